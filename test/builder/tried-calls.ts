// SPDX-License-Identifier: Apache-2.0
// System calls that are made in earnest under the filter of a step, as words for system-calls.c.

import { constants } from 'node:os';
import { type FilterArchitecture, SYSCALL, type SyscallName } from '../../builder/syscalls.ts';

const { EPERM, EAFNOSUPPORT, EFAULT } = constants.errno;

export function hasCall(architecture: FilterArchitecture, name: SyscallName): boolean {
  return SYSCALL[name][architecture === 'x64' ? 0 : 1] !== undefined;
}

/** A call as the program wants it: `f!` is a file's path; a parameter that is not given is -1. */
export function callWord(
  architecture: FilterArchitecture,
  name: SyscallName,
  ...parameters: (number | 'f!')[]
): string {
  return [SYSCALL[name][architecture === 'x64' ? 0 : 1], ...parameters]
    .map((value) => (typeof value === 'number' ? value.toString(16) : value))
    .join(',');
}

/** What a step would gain, the call for it, and the error that it gets instead. */
export function forbiddenCalls(architecture: FilterArchitecture) {
  const call = callWord.bind(undefined, architecture);
  const all: [what: string, name: SyscallName, parameters: (number | 'f!')[], errno: number][] = [
    ['a user namespace', 'clone', [0x10000011, 0, 0, 0, 0], EPERM],
    ['a mount namespace', 'clone', [0x20011, 0, 0, 0, 0], EPERM],
    ['a network namespace', 'clone', [0x40000011, 0, 0, 0, 0], EPERM],
    ['a set-uid file', 'fchmodat', [0xffffff9c, 'f!', 0o4755], EPERM],
    ['a set-gid file', 'fchmodat', [0xffffff9c, 'f!', 0o2755], EPERM],
    ['a set-uid file of an open one', 'fchmod', [0, 0o4755], EPERM],
    ['a set-uid file by the newer call', 'fchmodat2', [0xffffff9c, 'f!', 0o4755, 0], EPERM],
    ['a set-uid file from the start', 'openat', [0xffffff9c, 'f!', 0o101, 0o4755], EPERM],
    ['a set-uid file without a name', 'openat', [0xffffff9c, 'f!', 0o20200001, 0o4755], EPERM],
    ['a set-uid file by mknodat', 'mknodat', [0xffffff9c, 'f!', 0o104755, 0], EPERM],
    ['a set-uid file by chmod', 'chmod', ['f!', 0o4755], EPERM],
    ['a set-uid file by creat', 'creat', ['f!', 0o4755], EPERM],
    ['a set-uid file by open', 'open', ['f!', 0o101, 0o4755], EPERM],
    ['a set-uid file by mknod', 'mknod', ['f!', 0o104755, 0], EPERM],
    ['a socket to the hypervisor', 'socket', [40, 1, 0], EAFNOSUPPORT],
    ['a socket to the kernel', 'socket', [16, 3, 0], EAFNOSUPPORT],
    ['a socket of raw packets', 'socket', [17, 3, 0], EAFNOSUPPORT],
    ['a pair of such', 'socketpair', [16, 3, 0], EAFNOSUPPORT],
    ['another personality', 'personality', [0x20008], EPERM],
    ['words put into a terminal', 'ioctl', [0, 0x5412, 0], EPERM],
  ];
  return all
    .filter(([, name]) => hasCall(architecture, name))
    .map(([what, name, parameters, errno]) => ({
      what,
      word: call(name, ...parameters),
      given: String(errno),
    }));
}

/** What builds do, and what the kernel alone makes of it. */
export function usualCalls(architecture: FilterArchitecture) {
  const call = callWord.bind(undefined, architecture);
  return [
    { word: call('clone', 17, 0, 0, 0, 0), given: '0' },
    { word: call('fchmodat', 0xffffff9c, 'f!', 0o755), given: '0' },
    { word: call('openat', 0xffffff9c, 'f!', 0o101, 0o644), given: '0' },
    // Without O_CREAT the fourth is whatever was in the register.
    { word: call('openat', 0xffffff9c, 'f!', 0, 0o7777), given: '0' },
    { word: call('socket', 1, 1, 0), given: '0' },
    { word: call('socket', 2, 1, 0), given: '0' },
    // It has nowhere to put its numbers.
    { word: call('socketpair', 1, 1, 0, 0), given: String(EFAULT) },
    { word: call('personality', 0xffffffff), given: '0' },
    { word: call('personality', 0), given: '0' },
  ];
}
