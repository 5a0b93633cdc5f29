// SPDX-License-Identifier: Apache-2.0
// One Debian package into a folder. tar runs with the host read-only around that folder: a link in a package cannot lead it out.

import { spawn } from 'node:child_process';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import { toolEnvironment, toolMissing } from './host-tool.ts';

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
  const kill = () => {
    unpack.kill('SIGKILL');
    extract.kill('SIGKILL');
  };
  signal?.addEventListener('abort', kill, { once: true });
  unpack.stdout.pipe(extract.stdin);
  // When one of the two fails the pipe between them breaks; the exit codes say so.
  extract.stdin.on('error', () => unpack.kill('SIGKILL'));
  let said = '';
  const complain = (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-4096);
  };
  unpack.stderr.on('data', complain);
  extract.stderr.on('data', complain);
  const listed: Buffer[] = [];
  extract.stdout.on('data', (chunk: Buffer) => listed.push(chunk));
  try {
    const ended = (child: typeof unpack | typeof extract, tool: 'dpkg-deb' | 'bwrap') =>
      new Promise<number | null>((resolve, reject) => {
        child.on('error', (cause: NodeJS.ErrnoException) => {
          kill();
          reject(cause.code === 'ENOENT' ? toolMissing(tool) : cause);
        });
        child.on('close', resolve);
      });
    const codes = await Promise.all([ended(unpack, 'dpkg-deb'), ended(extract, 'bwrap')]);
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
