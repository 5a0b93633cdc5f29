// SPDX-License-Identifier: Apache-2.0
// One Debian package into a folder. tar runs with the host read-only around that folder: a link in a package cannot lead it out.

import { type ChildProcess, spawn } from 'node:child_process';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import { type HostTool, toolEnvironment, toolMissing } from './host-tool.ts';

/**
 * Unpacks a package's files into `root` and returns the paths of those that are not folders, without leading slash.
 * Maintainer scripts are not run. @throws SANDBOX_ROOT_UNPACKABLE, SANDBOX_TOOL_MISSING
 */
export async function unpackPackage(
  file: string,
  root: string,
  name: string,
  signal?: AbortSignal,
): Promise<string[]> {
  signal?.throwIfAborted();
  const { unpack, extract } = startPipeline(file, root);
  const kill = () => {
    unpack.kill('SIGKILL');
    extract.kill('SIGKILL');
  };
  signal?.addEventListener('abort', kill, { once: true });
  let said = '';
  for (const { stderr } of [unpack, extract]) {
    stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('utf8')).slice(-4096);
    });
  }
  const listed: Buffer[] = [];
  extract.stdout.on('data', (chunk: Buffer) => listed.push(chunk));
  try {
    const codes = await Promise.all([ended(unpack, 'dpkg-deb', kill), ended(extract, 'bwrap', kill)]);
    signal?.throwIfAborted();
    if (codes.some((code) => code !== 0)) {
      throw BUILDER.unavailable(
        'SANDBOX_ROOT_UNPACKABLE',
        `expected to unpack ${name}, got ${quote(said.trim())}`,
      );
    }
  } finally {
    signal?.removeEventListener('abort', kill);
  }
  const lines = Buffer.concat(listed).toString('utf8').split('\n');
  return lines
    .filter((line) => line !== '' && !line.endsWith('/'))
    .map((line) => line.replace(/^\.?\/+/, ''));
}

/** dpkg-deb decompresses into a pipe, tar unpacks from it. */
function startPipeline(file: string, root: string) {
  const env = toolEnvironment();
  const unpack = spawn('dpkg-deb', ['--fsys-tarfile', file], { stdio: ['ignore', 'pipe', 'pipe'], env });
  const args = [
    '--unshare-user',
    '--unshare-net',
    '--die-with-parent',
    '--ro-bind',
    '/',
    '/',
    '--dev',
    '/dev',
  ];
  // Links to folders stay links, so that packages of a merged and of an unmerged /usr fit together.
  const tar = [
    'tar',
    '-x',
    '-v',
    '-p',
    '--no-same-owner',
    '--keep-directory-symlink',
    '--quoting-style=literal',
  ];
  const extract = spawn('bwrap', [...args, '--bind', root, root, '--chdir', root, ...tar], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env,
  });
  unpack.stdout.pipe(extract.stdin);
  // When one of the two fails the pipe between them breaks; the exit codes say so.
  extract.stdin.on('error', () => unpack.kill('SIGKILL'));
  // Nobody reads on then; what was not read would keep the end of dpkg-deb from being noticed.
  extract.stdin.on('close', () => unpack.stdout.destroy());
  return { unpack, extract };
}

/** The exit code of one end of the pipeline; if it cannot be started the other end is stopped. */
function ended(child: ChildProcess, tool: HostTool, kill: () => void): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.on('error', (cause: NodeJS.ErrnoException) => {
      kill();
      reject(cause.code === 'ENOENT' ? toolMissing(tool) : cause);
    });
    child.on('close', resolve);
  });
}
