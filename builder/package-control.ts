// SPDX-License-Identifier: Apache-2.0
// What a Debian package says of itself in its control file [Debian-Policy-4.6.2 §5.3]: who maintains it, which source it is from.

import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import { runTool } from './host-tool.ts';

export type PackageControl = {
  /** Who answers for the package, without address. */
  readonly maintainer?: string;
  readonly email?: string;
  /** Name and version of the source package, which security advisories name. */
  readonly source?: string;
  readonly homepage?: string;
};

/** Reads the control file of a package file. @throws SANDBOX_ROOT_UNPACKABLE, SANDBOX_TOOL_MISSING */
export async function readControl(file: string, signal?: AbortSignal): Promise<PackageControl> {
  const fields = ['Package', 'Version', 'Source', 'Maintainer', 'Homepage'];
  const told = await runTool('dpkg-deb', ['--field', file, ...fields], { signal });
  if (told.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_ROOT_UNPACKABLE',
      `expected a Debian package with a control file, got ${quote(told.stderr.trim())}`,
    );
  }
  return parseControl(told.stdout.toString('utf8'));
}

/** Reads a stanza of those fields; what is not as Debian writes it is left out. */
export function parseControl(text: string): PackageControl {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z-]+):[ \t]*(\S.*?)[ \t]*$/.exec(line);
    if (match !== null) fields.set((match[1] as string).toLowerCase(), match[2] as string);
  }
  const maintainer = /^"?([^<>"]*[^<>"\s])"?\s*<([^<>\s]+@[^<>\s]+)>$/.exec(fields.get('maintainer') ?? '');
  // `Source: name (version)` where the version is another, absent where the source is called the same.
  const source = /^(\S+)(?: \((\S+)\))?$/.exec(fields.get('source') ?? fields.get('package') ?? '');
  const version = source?.[2] ?? fields.get('version');
  const homepage = fields.get('homepage');
  return {
    ...(maintainer === null ? {} : { maintainer: maintainer[1] as string, email: maintainer[2] as string }),
    ...(source === null || version === undefined ? {} : { source: `${source?.[1]} ${version}` }),
    ...(homepage !== undefined && URL.canParse(homepage) ? { homepage } : {}),
  };
}
