// SPDX-License-Identifier: Apache-2.0
// A machine in QEMU that boots a kernel, runs one command as root and ends. By itself it has a RAM disk and nothing else; given the host's root
// it sees all files of the host, read-only under a file system in memory, and control groups of version 2.

import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Kernel } from './debian-kernel.ts';

export interface MachineRun {
  readonly kernel: Kernel;
  /** The first word is an absolute path. */
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Where the command starts; default `/`. */
  readonly folder?: string;
  /** Files of the RAM disk, by path without leading slash; not seen over the host's root. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
  /** Programs of the RAM disk, by path without leading slash: where they are on the host. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Whether the command sees the host's files. */
  readonly hostRoot?: boolean;
  readonly memoryMebibytes?: number;
  readonly timeoutMs: number;
}

export interface MachineResult {
  /** 128 + signal number if a signal ended the command, as a shell says. */
  readonly exitCode: number;
  /** What the command printed, standard error among it. */
  readonly output: string;
}

/** What differs between processors. */
const HARDWARE = {
  amd64: {
    qemu: 'qemu-system-x86_64',
    machine: 'q35',
    cpu: 'max',
    console: 'ttyS0',
    compiler: 'x86_64-linux-gnu-gcc',
  },
  // The larger models spend their time on what nothing here asks for.
  arm64: {
    qemu: 'qemu-system-aarch64',
    machine: 'virt',
    cpu: 'cortex-a72',
    console: 'ttyAMA0',
    compiler: 'aarch64-linux-gnu-gcc',
  },
} as const;

/** Without the modules of this machine's own virtio no host root. */
const HOST_ROOT_MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];

/** Compiles a program of one file so that it needs nothing around it. */
export function compileStatic(kernel: Kernel, source: URL, program: string): void {
  const { compiler } = HARDWARE[kernel.architecture];
  execFileSync(compiler, ['-static', '-O1', '-Wall', '-Werror', '-o', program, fileURLToPath(source)]);
}

/** Boots, runs, and returns when the machine is off. Throws if it does not come so far, with the end of what its console said. */
export async function runInMachine(run: MachineRun): Promise<MachineResult> {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-machine-'));
  try {
    const disk = makeRamDisk(run, folder);
    const { code, said } = await boot(run, disk);
    const [, output, exitCode] = /\nmachine: begin\n([\s\S]*)\nmachine: exit (\d+)\n/.exec(said) ?? [];
    if (output === undefined)
      throw new Error(
        `QEMU ended (${code}) before the command did; the console ended with:\n${said.slice(-4000)}`,
      );
    return { exitCode: Number(exitCode), output };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Everything that the machine starts with, as an archive in the kernel's form. */
function makeRamDisk(run: MachineRun, folder: string): string {
  const tree = join(folder, 'tree');
  for (const name of ['modules', 'dev', 'proc', 'sys']) mkdirSync(join(tree, name), { recursive: true });
  compileStatic(run.kernel, new URL('machine-init.c', import.meta.url), join(tree, 'init'));
  const words = (list: readonly string[]) => list.map((word) => `${word}\0`).join('');
  writeFileSync(join(tree, 'command'), words(run.command));
  writeFileSync(
    join(tree, 'environment'),
    words(Object.entries(run.environment ?? {}).map((pair) => pair.join('='))),
  );
  writeFileSync(join(tree, 'folder'), words([run.folder ?? '/']));
  const place = (path: string) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    return join(tree, path);
  };
  for (const [path, content] of Object.entries(run.files ?? {})) writeFileSync(place(path), content);
  for (const [path, from] of Object.entries(run.programs ?? {})) copyFileSync(from, place(path));
  if (run.hostRoot === true) {
    writeFileSync(join(tree, 'host-root'), '');
    for (const [i, file] of run.kernel.modules(...HOST_ROOT_MODULES).entries())
      copyFileSync(file, join(tree, 'modules', `${String(i).padStart(2, '0')}.ko`));
  }
  const disk = join(folder, 'disk');
  execFileSync('/bin/sh', ['-c', 'find . | cpio --create --format=newc --quiet >"$1"', 'sh', disk], {
    cwd: tree,
  });
  return disk;
}

function boot(run: MachineRun, disk: string): Promise<{ code: number | null; said: string }> {
  const { qemu, machine, cpu, console } = HARDWARE[run.kernel.architecture];
  const share = 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap';
  const words = [
    ...['-machine', machine, '-cpu', cpu, '-smp', '2', '-m', String(run.memoryMebibytes ?? 512)],
    // A panic restarts the machine at once, and a restart ends QEMU.
    ...['-no-reboot', '-nodefaults', '-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
    ...['-kernel', run.kernel.image, '-initrd', disk],
    ...['-append', `console=${console} panic=-1 loglevel=4`],
    ...(run.hostRoot === true ? ['-virtfs', share] : []),
  ];
  return new Promise((resolve, reject) => {
    // Whatever ends us ends the machine.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', qemu, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const heard: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => heard.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), run.timeoutMs);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, said: Buffer.concat(heard).toString('utf8') });
    });
  });
}
