// SPDX-License-Identifier: Apache-2.0
// Numbers of the system calls that the filter of a step names [Linux 6.10 asm/unistd_64.h, asm-generic/unistd.h].

/** Processors that the filter knows, as `process.arch` calls them. */
export type FilterArchitecture = 'x64' | 'arm64';

/** AUDIT_ARCH_… [linux/audit.h]: what the kernel says a call was made for. Both are little-endian, 64 bits. */
export const AUDIT_ARCH: Readonly<Record<FilterArchitecture, number>> = {
  x64: 0xc000003e,
  arm64: 0xc00000b7,
};

/** The last call of Linux 6.10, on both. Later ones do not exist for a step, on whatever kernel it runs. */
export const LAST_SYSCALL = 462;

/**
 * Ranges up to there, first and last, that hold no call of Linux 6.10. Later kernels put calls of one processor into such gaps, as Linux 6.11
 * did with uretprobe, number 335 on x86-64.
 */
export const GAPS: Readonly<Record<FilterArchitecture, readonly (readonly [number, number])[]>> = {
  x64: [[335, 423]],
  arm64: [
    [244, 259],
    [295, 423],
  ],
};

/** Calls with this bit are those of the x32 ABI, which the x86-64 numbers would not match. */
export const X32_BIT = 0x40000000;

/** [x64, arm64]; arm64 does without the older spelling of some. */
export const SYSCALL = {
  acct: [163, 89],
  add_key: [248, 217],
  adjtimex: [159, 171],
  bpf: [321, 280],
  chmod: [90, undefined],
  chroot: [161, 51],
  clock_adjtime: [305, 266],
  clock_settime: [227, 112],
  clone: [56, 220],
  clone3: [435, 435],
  creat: [85, undefined],
  delete_module: [176, 106],
  fanotify_init: [300, 262],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  finit_module: [313, 273],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fsopen: [430, 430],
  fspick: [433, 433],
  init_module: [175, 105],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  io_uring_setup: [425, 425],
  ioctl: [16, 29],
  ioperm: [173, undefined],
  iopl: [172, undefined],
  kcmp: [312, 272],
  kexec_file_load: [320, 294],
  kexec_load: [246, 104],
  keyctl: [250, 219],
  lookup_dcookie: [212, 18],
  mknod: [133, undefined],
  mknodat: [259, 33],
  modify_ldt: [154, undefined],
  mount: [165, 40],
  mount_setattr: [442, 442],
  move_mount: [429, 429],
  open: [2, undefined],
  open_by_handle_at: [304, 265],
  open_tree: [428, 428],
  openat: [257, 56],
  openat2: [437, 437],
  perf_event_open: [298, 241],
  personality: [135, 92],
  pidfd_getfd: [438, 438],
  pivot_root: [155, 41],
  process_madvise: [440, 440],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  ptrace: [101, 117],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  reboot: [169, 142],
  request_key: [249, 218],
  sched_setaffinity: [203, 122],
  setdomainname: [171, 162],
  sethostname: [170, 161],
  setns: [308, 268],
  settimeofday: [164, 170],
  socket: [41, 198],
  socketpair: [53, 199],
  swapoff: [168, 225],
  swapon: [167, 224],
  syslog: [103, 116],
  umount2: [166, 39],
  unshare: [272, 97],
  userfaultfd: [323, 282],
  vhangup: [153, 58],
} as const satisfies Readonly<Record<string, readonly [number, number | undefined]>>;

export type SyscallName = keyof typeof SYSCALL;
