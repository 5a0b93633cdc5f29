// SPDX-License-Identifier: Apache-2.0
// What a failed step wanted and did not have, read from its log, with a hint at the input that would provide it. Programs say it in
// their own words, so this finds what the usual ones of a firmware build say; a hint is a hint.

import { printable, quote } from '../core/faults.ts';
import type { Elsewhere } from './elsewhere.ts';
import type { StepRoot } from './root.ts';

/** How compilers, linkers, shells, make and the tools of a Debian system say that something is not there. */
const COMPLAINTS: readonly RegExp[] = [
  /fatal error: ([^:\s]+): No such file or directory/,
  /cannot find (-l[\w.+-]+|[\w./+-]+\.o)\b/,
  /cannot read spec file '([^']+)'/,
  /^(?:\/\S+: \d+: |\S+: line \d+: )([^\s:]+): (?:not found|command not found|No such file or directory)$/,
  /^make(?:\[\d+\])?: ([^\s:]+): No such file or directory$/,
  /\benv: [‘']([^’']+)[’']: No such file or directory/,
  /No rule to make target [‘'`]([^’'`]+)[’'`]/,
  /: cannot (?:open|access|stat|create)(?: file)?:? [‘'`]?([^\s’'`:]+)[’'`]?(?: for \w+)?: No such file/,
  /^bwrap: execvp ([^\s:]+): No such file or directory$/,
  /: ([^\s:]+): No such file or directory$/,
];

/** Programs whose package has another name. */
const PROGRAM_PACKAGES: Readonly<Record<string, string>> = {
  'arm-none-eabi-gcc': 'gcc-arm-none-eabi',
  'avr-gcc': 'gcc-avr',
  'riscv64-unknown-elf-gcc': 'gcc-riscv64-unknown-elf',
  awk: 'mawk',
  cc: 'gcc',
  'c++': 'g++',
  dtc: 'device-tree-compiler',
  envsubst: 'gettext-base',
  hexdump: 'bsdextrautils',
  mkimage: 'u-boot-tools',
  ninja: 'ninja-build',
  python: 'python3',
  sha256sum: 'coreutils',
  srec_cat: 'srecord',
  strip: 'binutils',
};
const SAME_NAME =
  /^(?:bash|bc|bison|bzip2|cmake|cpio|file|flex|g\+\+|gawk|gcc|git|gperf|grep|gzip|m4|make|patch|perl|python3|rsync|sed|tar|unzip|xxd|xz-utils|zip)$/;

/** The C library of each cross compiler: its headers, -lc and start files. */
const C_LIBRARIES: readonly (readonly [string, string])[] = [
  ['gcc-avr', 'avr-libc'],
  ['gcc-arm-none-eabi', 'libnewlib-arm-none-eabi'],
  ['gcc-riscv64-unknown-elf', 'picolibc-riscv64-unknown-elf'],
  ['gcc', 'libc6-dev'],
];
const OF_C_LIBRARY =
  /^(?:-l(?:c|m|nosys|g)|crt\w*\.o|(?:assert|ctype|errno|inttypes|limits|math|setjmp|signal|stdint|stdio|stdlib|string|strings|time|unistd|avr\/\w+|util\/\w+|sys\/\w+)\.h|nano\.specs|nosys\.specs)$/;

export interface MissingInput {
  /** As the step's program named it. */
  readonly path: string;
  readonly hint: string | undefined;
}

const NAMED_MAX = 5;

/** What the log says was missing, in its order, each once, five at most. */
export function findMissing(
  log: string,
  root: Pick<StepRoot, 'owners'>,
  elsewhere: readonly Elsewhere[] = [],
): MissingInput[] {
  const found = new Map<string, MissingInput>();
  for (const line of log.split('\n')) {
    const path = COMPLAINTS.map((complaint) => complaint.exec(line)?.[1]).find(
      (named) => named !== undefined,
    );
    if (path === undefined || found.has(path) || found.size === NAMED_MAX) continue;
    found.set(path, { path, hint: hintAt(path, root, elsewhere) });
  }
  return [...found.values()];
}

/** Whether the log says that anything was missing. */
export function namesMissing(log: string): boolean {
  return log.split('\n').some((line) => COMPLAINTS.some((complaint) => complaint.test(line)));
}

/** For a message: `; it did not find "stdio.h" (try the package avr-libc)`; empty if the log names nothing. */
export function describeMissing(missing: readonly MissingInput[]): string {
  if (missing.length === 0) return '';
  const texts = missing.map(({ path, hint }) => quote(path) + (hint === undefined ? '' : ` (${hint})`));
  return `; it did not find ${texts.join(', ')}`;
}

/** Which input would provide what was looked for under a name or path; undefined if that is not known. */
export function hintAt(
  path: string,
  root: Pick<StepRoot, 'owners'>,
  elsewhere: readonly Elsewhere[],
): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const ending = `/${path.replace(/^-l(.*)$/, 'lib$1.a').replace(/^\/+/, '')}`;
  for (const [place, { name: owner }] of root.owners) {
    if (place.endsWith(ending)) return `the package ${owner} has ${printable(`/${place}`)}`;
  }
  for (const { paths, hint } of elsewhere) {
    for (const place of paths) if (place.endsWith(ending)) return hint(place);
  }
  const packages = new Set([...root.owners.values()].map((owner) => owner.name));
  const library = C_LIBRARIES.find(([compiler]) => packages.has(compiler))?.[1];
  if (OF_C_LIBRARY.test(path)) return library === undefined ? undefined : tryPackage(library);
  if (path === name || /^\/(?:usr\/)?s?bin\//.test(path)) {
    const program = PROGRAM_PACKAGES[name] ?? (SAME_NAME.test(name) ? name : undefined);
    if (program !== undefined) return tryPackage(program);
  }
  return undefined;
}

function tryPackage(name: string): string {
  return `try the package ${name}`;
}
