// SPDX-License-Identifier: Apache-2.0
// Licences out of a Debian package's machine-readable copyright file [DEP-5 §Files paragraph]. Only where it is clear: a
// paragraph that names the very file, and a short name with one SPDX meaning. Otherwise nothing is said.

/** Debian's short names whose SPDX identifier differs only in spelling [DEP-5 §License specification, SPDX-3.24 list]. */
const SPDX: Readonly<Record<string, string>> = {
  'apache-2.0': 'Apache-2.0',
  'bsd-2-clause': 'BSD-2-Clause',
  'bsd-3-clause': 'BSD-3-Clause',
  expat: 'MIT',
  'gpl-2': 'GPL-2.0-only',
  'gpl-2+': 'GPL-2.0-or-later',
  'gpl-3': 'GPL-3.0-only',
  'gpl-3+': 'GPL-3.0-or-later',
  isc: 'ISC',
  'lgpl-2.1': 'LGPL-2.1-only',
  'lgpl-2.1+': 'LGPL-2.1-or-later',
  'lgpl-3': 'LGPL-3.0-only',
  'lgpl-3+': 'LGPL-3.0-or-later',
  zlib: 'Zlib',
};

/** The SPDX identifier of one installed file of a package, or undefined. `copyright` is the text of its copyright file. */
export function licenceOf(copyright: string, installedPath: string): string | undefined {
  if (!copyright.startsWith('Format:')) return undefined;
  let found: string | undefined;
  for (const paragraph of copyright.split(/\n\s*\n/)) {
    const files = /^Files:((?:.*\n)(?:[ \t].*\n)*)/m.exec(`${paragraph}\n`)?.[1]?.trim().split(/\s+/) ?? [];
    // Paths there are the source's, of which the installed path keeps the end; patterns say too little to be clear.
    const named = files.some((file) => !/[*?]/.test(file) && `/${installedPath}`.endsWith(`/${file}`));
    // The last paragraph that matches holds.
    if (named) found = /^License:[ \t]*(\S+)[ \t]*$/m.exec(paragraph)?.[1]?.toLowerCase();
  }
  return found === undefined ? undefined : SPDX[found];
}
