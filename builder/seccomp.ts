// SPDX-License-Identifier: Apache-2.0
// The system call filter of a step [docs/spec/build-type.md §The system call filter]: a classic BPF program over struct
// seccomp_data [Linux Documentation/userspace-api/seccomp_filter.rst], assembled here and handed to bubblewrap by --seccomp.
// Everything is allowed but what is named: namespaces, capabilities and mounts already hold a step, and this takes away the
// calls by which such walls have been broken, those that reach past them, and privileged bits of files.

import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import {
  AUDIT_ARCH,
  type FilterArchitecture,
  GAPS,
  LAST_SYSCALL,
  SYSCALL,
  type SyscallName,
  X32_BIT,
} from './syscalls.ts';

/** Refused with EPERM whatever their arguments are. */
export const DENIED: readonly SyscallName[] = [
  // Other processes: their memory, their calls, their descriptors.
  ...(['ptrace', 'process_vm_readv', 'process_vm_writev', 'process_madvise', 'kcmp', 'pidfd_getfd'] as const),
  // Other namespaces and other views of the file system.
  ...(['unshare', 'setns', 'mount', 'umount2', 'pivot_root', 'chroot', 'open_tree', 'move_mount'] as const),
  ...(['fsopen', 'fsconfig', 'fsmount', 'fspick', 'mount_setattr', 'open_by_handle_at'] as const),
  // Large and often broken parts of the kernel that no build needs; io_uring would also go round this filter.
  ...(['bpf', 'perf_event_open', 'userfaultfd', 'fanotify_init', 'lookup_dcookie', 'modify_ldt'] as const),
  ...(['io_uring_setup', 'io_uring_enter', 'io_uring_register', 'ioperm', 'iopl'] as const),
  // Keys are of a user, not of a namespace.
  ...(['add_key', 'request_key', 'keyctl'] as const),
  // The machine itself.
  ...(['kexec_load', 'kexec_file_load', 'init_module', 'finit_module', 'delete_module', 'reboot'] as const),
  ...(['swapon', 'swapoff', 'acct', 'quotactl', 'quotactl_fd', 'syslog', 'vhangup'] as const),
  ...([
    'settimeofday',
    'clock_settime',
    'clock_adjtime',
    'adjtimex',
    'sethostname',
    'setdomainname',
  ] as const),
  // A step would see another number of CPUs than it was given.
  'sched_setaffinity',
];

/** Their arguments lie in memory, which no filter can read; ENOSYS makes a C library take the older call. */
export const ABSENT: readonly SyscallName[] = ['clone3', 'openat2'];

/** CLONE_NEW… for cgroup, ipc, mount, network, pid, user and uts. */
const CLONE_NAMESPACES = 0x7e020000;
const SET_ID_BITS = 0o6000;
/** O_CREAT and the own bit of O_TMPFILE: only then does `open` have a mode. */
const OPEN_CREATES = 0o100 | 0o20000000;
/** AF_UNIX, AF_INET, AF_INET6. Others, AF_VSOCK first, are not all held by a network namespace. */
const SOCKET_FAMILIES = [1, 2, 10];
/** TIOCSTI and TIOCLINUX put words into the mouth of a terminal. */
const TERMINAL_INPUT = [0x5412, 0x541c];
/** Asking, and the plain one. Others change what uname says, or the layout of memory. */
const PERSONALITIES = [0xffffffff, 0];

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;
const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const refuse = (errno: number) => 0x00050000 | errno;

/** One instruction, struct sock_filter [linux/filter.h]: jumps are counted from the instruction after it. */
interface Instruction {
  readonly code: number;
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly value: number;
}

const load = (offset: number): Instruction => ({ code: 0x20, ifTrue: 0, ifFalse: 0, value: offset });
const answer = (value: number): Instruction => ({ code: 0x06, ifTrue: 0, ifFalse: 0, value });
const jump = (code: number) => (value: number, ifTrue: number, ifFalse: number) => ({
  code,
  ifTrue,
  ifFalse,
  value,
});
const jumpIfEqual = jump(0x15);
const jumpIfGreater = jump(0x25);
const jumpIfAtLeast = jump(0x35);
const jumpIfAnyBit = jump(0x45);

const NUMBER_AT = 0;
const ARCH_AT = 4;
/** The low half of an argument: the calls concerned take 32-bit values and ignore the other half. */
const argumentAt = (index: number) => 16 + 8 * index;

/** Refuses if any bit of an argument is set. */
const refuseBits = (argument: number, bits: number): Instruction[] => [
  load(argumentAt(argument)),
  jumpIfAnyBit(bits, 0, 1),
  answer(refuse(EPERM)),
  answer(ALLOW),
];
/** Refuses set-id bits in the mode of a call that creates a file if its flags say so. */
const refuseModeOnCreate = (flags: number, mode: number): Instruction[] => [
  load(argumentAt(flags)),
  jumpIfAnyBit(OPEN_CREATES, 1, 0),
  answer(ALLOW),
  ...refuseBits(mode, SET_ID_BITS),
];
/** Allows an argument that is in the list, or one that is not. */
const choose = (argument: number, listed: readonly number[], found: number, otherwise: number) => [
  load(argumentAt(argument)),
  ...listed.flatMap((value) => [jumpIfEqual(value, 0, 1), answer(found)]),
  answer(otherwise),
];

/** Calls that are decided by an argument. */
const CONDITIONAL: readonly (readonly [SyscallName, readonly Instruction[]])[] = [
  ['clone', refuseBits(0, CLONE_NAMESPACES)],
  ['chmod', refuseBits(1, SET_ID_BITS)],
  ['fchmod', refuseBits(1, SET_ID_BITS)],
  ['fchmodat', refuseBits(2, SET_ID_BITS)],
  ['fchmodat2', refuseBits(2, SET_ID_BITS)],
  ['creat', refuseBits(1, SET_ID_BITS)],
  ['mknod', refuseBits(1, SET_ID_BITS)],
  ['mknodat', refuseBits(2, SET_ID_BITS)],
  ['open', refuseModeOnCreate(1, 2)],
  ['openat', refuseModeOnCreate(2, 3)],
  ['socket', choose(0, SOCKET_FAMILIES, ALLOW, refuse(EAFNOSUPPORT))],
  ['socketpair', choose(0, SOCKET_FAMILIES, ALLOW, refuse(EAFNOSUPPORT))],
  ['personality', choose(0, PERSONALITIES, ALLOW, refuse(EPERM))],
  ['ioctl', choose(1, TERMINAL_INPUT, refuse(EPERM), ALLOW)],
];

/** The processor of this machine as the filter knows it. @throws SANDBOX_FILTER_MISSING */
export function requireFilter(arch: string = process.arch): FilterArchitecture {
  if (arch === 'x64' || arch === 'arm64') return arch;
  throw BUILDER.unavailable(
    'SANDBOX_FILTER_MISSING',
    `expected a processor x64 or arm64, got ${quote(arch)}`,
  );
}

/** The program for one processor, as an array of struct sock_filter in the machine's (little-endian) bytes. */
export function seccompProgram(architecture: FilterArchitecture): Buffer {
  const numberOf = (name: SyscallName) => SYSCALL[name][architecture === 'x64' ? 0 : 1];
  const when = (name: SyscallName, then: readonly Instruction[]): Instruction[] => {
    const number = numberOf(name);
    return number === undefined ? [] : [jumpIfEqual(number, 0, then.length), ...then];
  };
  const program: Instruction[] = [
    // A 32-bit call on a 64-bit kernel has other numbers: it ends the process, whatever it was.
    load(ARCH_AT),
    jumpIfEqual(AUDIT_ARCH[architecture], 1, 0),
    answer(KILL),
    load(NUMBER_AT),
    ...(architecture === 'x64' ? [jumpIfAtLeast(X32_BIT, 0, 1), answer(KILL)] : []),
    jumpIfGreater(LAST_SYSCALL, 0, 1),
    answer(refuse(ENOSYS)),
    ...GAPS[architecture].flatMap(([first, last]) => [
      jumpIfAtLeast(first, 0, 2),
      jumpIfGreater(last, 1, 0),
      answer(refuse(ENOSYS)),
    ]),
    ...CONDITIONAL.flatMap(([name, then]) => when(name, then)),
    ...DENIED.flatMap((name) => when(name, [answer(refuse(EPERM))])),
    ...ABSENT.flatMap((name) => when(name, [answer(refuse(ENOSYS))])),
    answer(ALLOW),
  ];
  const bytes = Buffer.alloc(8 * program.length);
  for (const [i, { code, ifTrue, ifFalse, value }] of program.entries()) {
    bytes.writeUInt16LE(code, 8 * i);
    bytes.writeUInt8(ifTrue, 8 * i + 2);
    bytes.writeUInt8(ifFalse, 8 * i + 3);
    bytes.writeUInt32LE(value >>> 0, 8 * i + 4);
  }
  return bytes;
}
