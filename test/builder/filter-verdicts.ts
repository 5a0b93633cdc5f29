// SPDX-License-Identifier: Apache-2.0
// What the filter of system calls must say of every call there is [docs/spec/build-type.md §The system call filter], written down
// apart from the filter: by name, so that it is the same for every processor.

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { FilterArchitecture } from '../../builder/syscalls.ts';

const { EPERM, ENOSYS, EAFNOSUPPORT } = constants.errno;

/** `allow`, the number of the error that the call gets, or `kill` for the end of the process. */
export type Verdict = 'allow' | 'kill' | number;

/** A call to be tried. */
export interface Trial {
  /** As a reader knows it. */
  readonly what: string;
  readonly number: number;
  /** At most five: the sixth is for who tries. */
  readonly parameters: readonly bigint[];
  readonly verdict: Verdict;
}

/** Name → number on [x64, arm64], for every call of Linux 6.10. */
export const NUMBERS: Readonly<Record<string, readonly [number | null, number | null]>> = JSON.parse(
  readFileSync(new URL('../vectors/system-calls/numbers.json', import.meta.url), 'utf8'),
);

const REFUSED = new Set(
  `ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
  unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr open_by_handle_at
  bpf perf_event_open userfaultfd fanotify_init lookup_dcookie modify_ldt io_uring_setup io_uring_enter io_uring_register ioperm iopl
  add_key request_key keyctl
  kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl quotactl_fd syslog vhangup
  settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname sched_setaffinity`.split(/\s+/),
);
const ABSENT = new Set(['clone3', 'openat2']);

type Row = readonly [parameters: readonly (number | bigint)[], verdict: Verdict];

const ALL_ONES = 2n ** 64n - 1n;
/** Every permission and the sticky bit, but no set-id bit. */
const PLAIN_MODES = [0, 0o644, 0o1777];
const SET_ID_MODES = [0o4000, 0o2000, 0o6000, 0o4755, 0o7777];

/** A mode at a place; what else is there would mislead a filter that looked at it. */
function modeAt(place: number, before: readonly (number | bigint)[] = []): Row[] {
  const at = (mode: number, others: bigint) =>
    [0, 1, 2, 3, 4].map((i) => (i === place ? mode : (before[i] ?? others)));
  return [
    ...PLAIN_MODES.map((mode): Row => [at(mode, ALL_ONES), 'allow']),
    ...SET_ID_MODES.map((mode): Row => [at(mode, 0n), EPERM]),
  ];
}

/** Flags of open, then a mode: it counts only where a file is made. */
function modeOnCreate(flagsAt: number): Row[] {
  const creates = [0o100, 0o101, 0o20000000, 0o20200000, 0o37777777];
  const opens = [0, 0o1, 0o2, 0o200000, 0o40000, 0o17777677];
  const before = (flags: number) => [...Array(flagsAt).fill(0), flags];
  return [
    ...creates.flatMap((flags) => modeAt(flagsAt + 1, before(flags))),
    ...opens.flatMap((flags) =>
      SET_ID_MODES.map((mode): Row => [[...before(flags), mode, ALL_ONES], 'allow']),
    ),
  ];
}

const families: readonly Row[] = [
  ...Array.from(
    { length: 64 },
    (_, family): Row => [[family, ALL_ONES], [1, 2, 10].includes(family) ? 'allow' : EAFNOSUPPORT],
  ),
  [[ALL_ONES], EAFNOSUPPORT],
  // The kernel takes an int: the upper half is nothing to it.
  [[(7n << 32n) + 1n], 'allow'],
  [[(1n << 32n) + 40n], EAFNOSUPPORT],
];

/** CLONE_NEW… for mount, cgroup, uts, ipc, user, pid and network. */
const NAMESPACES = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];

const BY_PARAMETER: Readonly<Record<string, readonly Row[]>> = {
  clone: [
    // A process, a thread of glibc, a spawned process, and every flag that makes no namespace.
    ...[0x11, 0x3d0f00, 0x4111, 0x81fdffff].map((flags): Row => [[flags, ALL_ONES, ALL_ONES], 'allow']),
    ...NAMESPACES.flatMap((flag): Row[] => [
      [[flag | 0x11], EPERM],
      [[BigInt(flag) + (1n << 40n)], EPERM],
    ]),
  ],
  chmod: modeAt(1),
  fchmod: modeAt(1),
  fchmodat: modeAt(2),
  fchmodat2: modeAt(2),
  creat: modeAt(1),
  mknod: modeAt(1),
  mknodat: modeAt(2),
  open: modeOnCreate(1),
  openat: modeOnCreate(2),
  socket: families,
  socketpair: families,
  personality: [
    ...[0, 0xffffffff, ALL_ONES, 1n << 32n].map((persona): Row => [[persona], 'allow']),
    // 32-bit, no random addresses, another uname, readable means executable.
    ...[0x8, 0x40000, 0x20000, 0x400000, 0x20008].map((persona): Row => [[persona], EPERM]),
  ],
  ioctl: [
    ...[0, 0x5401, 0x5411, 0x5413, 0x541b, 0x541d, 0x5421].map(
      (request): Row => [[0x5412, request, 0x541c], 'allow'],
    ),
    ...[0x5412, 0x541c, (1n << 32n) + 0x5412n].map((request): Row => [[0, request], EPERM]),
  ],
};

/** Of calls that are decided by name alone. */
const ANYTHING = [
  [0, 0, 0, 0, 0],
  [ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES],
];

/** The last call of Linux 6.10; what came later is as if it were not there. */
const LAST = 462;

function rowsOf(name: string | undefined): readonly Row[] {
  const byName = (verdict: Verdict) => ANYTHING.map((parameters): Row => [parameters, verdict]);
  // A gap in the numbers, which a later kernel may fill.
  if (name === undefined) return byName(ENOSYS);
  if (REFUSED.has(name)) return byName(EPERM);
  if (ABSENT.has(name)) return byName(ENOSYS);
  return BY_PARAMETER[name] ?? byName('allow');
}

/** Every call of a processor, with what the filter must say of it. */
export function trialsFor(architecture: FilterArchitecture): Trial[] {
  const column = architecture === 'x64' ? 0 : 1;
  const names = new Map(Object.entries(NUMBERS).map(([name, numbers]) => [numbers[column], name]));
  const trials: Trial[] = [];
  const add = (label: string, number: number, rows: readonly Row[]) => {
    for (const [given, verdict] of rows) {
      const parameters = given.map((value) => BigInt(value));
      const words = parameters.map((value) => `0x${value.toString(16)}`).join(', ');
      trials.push({ what: `${label}(${words})`, number, parameters, verdict });
    }
  };
  for (let number = 0; number <= LAST; number++) {
    const name = names.get(number);
    add(name ?? `call ${number}`, number, rowsOf(name));
  }
  const later = [...Array.from({ length: 200 }, (_, i) => LAST + 1 + i), 0xffff, 0x3fffffff];
  for (const number of later) add(`call ${number}`, number, [[[], ENOSYS]]);
  // x32 and what is beyond; 64-bit ARM has no such thing.
  for (const number of [0x40000000, 0x40000027, 0x400001ce, 0x7fffffff, 0x80000000, 0xfffffffe])
    add(`call 0x${number.toString(16)}`, number, [[[], architecture === 'x64' ? 'kill' : ENOSYS]]);
  return trials;
}

/** Names that the table refuses, hides or decides by a parameter. */
export const NAMED: readonly string[] = [...REFUSED, ...ABSENT, ...Object.keys(BY_PARAMETER)];

/** Trials as filter-verdicts.c reads them. */
export function formatTrials(trials: readonly Trial[]): string {
  return trials
    .map(
      ({ number, parameters }) =>
        `${[BigInt(number), ...parameters].map((value) => value.toString(16)).join(' ')}\n`,
    )
    .join('');
}

/** What filter-verdicts.c said of each. */
export function readVerdicts(text: string): Verdict[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      if (line === 'allow') return line;
      const number = Number(line);
      return number === -constants.signals.SIGSYS ? 'kill' : number;
    });
}
