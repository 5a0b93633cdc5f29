// SPDX-License-Identifier: Apache-2.0
// Licences of files that ship, where they are clear: a Debian package's machine-readable copyright file [DEP-5 §Files paragraph],
// and SPDX-License-Identifier tags in sources [SPDX-3.0.1 §Annex D]. Otherwise nothing is said.

import { isLicenceExpression } from './licence-expression.ts';

/** Debian's short names whose SPDX identifier differs only in spelling [DEP-5 §License specification]. */
const SPDX: Readonly<Record<string, string>> = {
  'apache-2.0': 'Apache-2.0',
  'artistic-2.0': 'Artistic-2.0',
  'bsd-2-clause': 'BSD-2-Clause',
  'bsd-3-clause': 'BSD-3-Clause',
  'bsl-1.0': 'BSL-1.0',
  'cc0-1.0': 'CC0-1.0',
  expat: 'MIT',
  'gpl-2': 'GPL-2.0-only',
  'gpl-2+': 'GPL-2.0-or-later',
  'gpl-3': 'GPL-3.0-only',
  'gpl-3+': 'GPL-3.0-or-later',
  isc: 'ISC',
  'lgpl-2': 'LGPL-2.0-only',
  'lgpl-2+': 'LGPL-2.0-or-later',
  'lgpl-2.1': 'LGPL-2.1-only',
  'lgpl-2.1+': 'LGPL-2.1-or-later',
  'lgpl-3': 'LGPL-3.0-only',
  'lgpl-3+': 'LGPL-3.0-or-later',
  'mpl-2.0': 'MPL-2.0',
  openssl: 'OpenSSL',
  'python-2.0': 'Python-2.0',
  zlib: 'Zlib',
};

/** Tags stand in the head of a file. */
export const HEAD_SIZE_BYTES = 4096;
const TAG = /SPDX-License-Identifier:[ \t]*([^\n\r*]{1,200})/;

interface FilesParagraph {
  readonly files: readonly string[];
  readonly licence: string | undefined;
}

/**
 * The SPDX expression of one installed file of a package, or of a member of an archive that it is, or undefined. `copyright` is the
 * text of its copyright file. Paths there are the source's, of which an installed path may keep the end, or nothing: so a
 * paragraph must name the very file, or all that could hold it must say the same.
 */
export function licenceOf(copyright: string, installedPath: string, member?: string): string | undefined {
  if (!copyright.startsWith('Format:')) return undefined;
  // An archive of sources keeps their paths, as a rule below a folder of its own.
  const inArchive = member === undefined ? [] : [member, member.replace(/^[^/]+\//, '')];
  const paragraphs = readParagraphs(copyright);
  // The last paragraph that matches holds.
  const named = [...paragraphs]
    .reverse()
    .find(({ files }) =>
      files.some(
        (file) =>
          !/[*?]/.test(file) && (`/${installedPath}`.endsWith(`/${file}`) || inArchive.includes(file)),
      ),
    );
  if (named !== undefined) return named.licence;
  // What is under debian/ is the packaging, of which nothing is compiled into other people's firmware.
  const possible = paragraphs.filter(({ files }) => !files.every((file) => file.startsWith('debian/')));
  const covered = possible.some(({ files }) => files.includes('*'));
  const said = new Set(possible.map(({ licence }) => licence));
  return covered && said.size === 1 ? [...said][0] : undefined;
}

function readParagraphs(copyright: string): FilesParagraph[] {
  return copyright.split(/\n[ \t]*\n/).flatMap((paragraph) => {
    const files = /^Files:((?:.*\n)(?:[ \t].*\n)*)/m.exec(`${paragraph}\n`)?.[1]?.trim().split(/\s+/);
    if (files === undefined) return [];
    return [{ files, licence: expressionOf(/^License:[ \t]*(.*?)[ \t]*$/m.exec(paragraph)?.[1] ?? '') }];
  });
}

/** `GPL-2+ or Expat`, `Expat and ISC`; `and` binds more strongly, as in SPDX. */
function expressionOf(shortName: string): string | undefined {
  const words = shortName.toLowerCase().split(/\s+/);
  const names = words.map((word, i) =>
    i % 2 === 0 ? SPDX[word] : word === 'or' || word === 'and' ? word.toUpperCase() : undefined,
  );
  return words.length % 2 === 1 && !names.includes(undefined) ? names.join(' ') : undefined;
}

/** The SPDX expression of a source file's own tag, or undefined. */
export function taggedLicence(source: Uint8Array): string | undefined {
  const head = Buffer.from(source.subarray(0, HEAD_SIZE_BYTES)).toString('latin1');
  const tag = TAG.exec(head)?.[1]
    ?.replace(/\s*(?:-->|#\}|"\)?;?)?\s*$/, '')
    .trim();
  return tag !== undefined && isLicenceExpression(tag) ? tag : undefined;
}
