// SPDX-License-Identifier: Apache-2.0
// A small Debian archive, made with dpkg-deb and signed with gpg, and a loopback HTTP mirror of it that can misbehave.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

export const ARCHITECTURE = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
const DATE = 'Thu, 01 Jan 2026 00:00:00 UTC';

export interface PackageContent {
  readonly name: string;
  readonly version?: string;
  /** How dpkg-deb packs it. */
  readonly packing?: 'none' | 'zstd';
  readonly depends?: string;
  /** Text by path without leading slash. */
  readonly files?: Readonly<Record<string, string>>;
  /** Maintainer script. */
  readonly postinst?: string;
  /** Links by path. */
  readonly links?: Readonly<Record<string, string>>;
  /** Host files that are packed as they are, with the libraries they need. */
  readonly hostPrograms?: readonly string[];
}

export interface Archive {
  readonly folder: string;
  /** `file:` URL of the mirror. */
  readonly url: string;
  readonly keyring: string;
  readonly fingerprint: string;
  /** Packs more packages and signs the index again. */
  publish(packages: readonly PackageContent[]): void;
  /** Signs the index as it stands; `edit` may change the Release text first. */
  sign(edit?: (release: string) => string): void;
  close(): void;
}

/** Makes an archive `waybill-test`, suite `test`, component `main`. */
export function makeArchive(packages: readonly PackageContent[]): Archive {
  const base = mkdtempSync(join(tmpdir(), 'waybill-archive-'));
  const home = join(base, 'gnupg');
  const folder = join(base, 'mirror');
  mkdirSync(home, { mode: 0o700 });
  const gpg = (...args: string[]) =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--yes', ...args], {
      encoding: 'buffer',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  gpg('--passphrase', '', '--quick-gen-key', 'Archive <archive@waybill.example>', 'ed25519', 'sign', 'never');
  const keyring = join(base, 'keyring.gpg');
  writeFileSync(keyring, gpg('--export'));
  const fingerprint =
    /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys').toString())?.[1] ?? '';
  const suite = join(folder, 'dists/test');
  const archive: Archive = {
    folder,
    url: pathToFileURL(`${folder}/`).href,
    keyring,
    fingerprint,
    publish(more) {
      for (const content of more) pack(join(folder, 'pool'), content);
      index(folder, suite);
      archive.sign();
    },
    sign(edit = (release) => release) {
      const text = readFileSync(join(suite, 'main', `binary-${ARCHITECTURE}`, 'Packages'));
      const sha256 = createHash('sha256').update(text).digest('hex');
      const lines = [
        'Origin: Waybill-Test',
        'Suite: stable',
        'Codename: test',
        `Date: ${DATE}`,
        `Architectures: ${ARCHITECTURE}`,
        'Components: main',
        'SHA256:',
        ` ${sha256} ${text.length} main/binary-${ARCHITECTURE}/Packages`,
      ];
      writeFileSync(join(suite, 'Release'), edit(`${lines.join('\n')}\n`));
      gpg('--clearsign', '--output', join(suite, 'InRelease'), join(suite, 'Release'));
    },
    close() {
      execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
      rmSync(base, { recursive: true, force: true });
    },
  };
  archive.publish(packages);
  return archive;
}

/** A package whose content can be packed, unpacked and hashed alike each time. */
function pack(pool: string, content: PackageContent): void {
  const { name, version = '1.0-1', depends, files = {}, links = {}, hostPrograms = [] } = content;
  const tree = mkdtempSync(join(tmpdir(), 'waybill-pack-'));
  const put = (path: string) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    return join(tree, path);
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(put(path), text, { mode: 0o755 });
  for (const [path, target] of Object.entries(links)) execFileSync('ln', ['-s', target, put(path)]);
  for (const path of hostPrograms) packHostProgram(path, put);
  const control = [
    `Package: ${name}`,
    `Version: ${version}`,
    `Architecture: ${ARCHITECTURE}`,
    'Maintainer: Test <test@waybill.example>',
    ...(depends === undefined ? [] : [`Depends: ${depends}`]),
    'Description: made by a test',
  ];
  writeFileSync(put('DEBIAN/control'), `${control.join('\n')}\n`);
  if (content.postinst !== undefined)
    writeFileSync(put('DEBIAN/postinst'), content.postinst, { mode: 0o755 });
  mkdirSync(pool, { recursive: true });
  const file = join(pool, `${name}_${version.replace(/^\d+:/, '')}_${ARCHITECTURE}.deb`);
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', `-Z${content.packing ?? 'none'}`, tree, file], {
    stdio: 'ignore',
    env: { ...process.env, SOURCE_DATE_EPOCH: '1767225600' },
  });
  rmSync(tree, { recursive: true, force: true });
}

function packHostProgram(path: string, put: (path: string) => string): void {
  const libraries = execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  for (const file of [path, ...[...libraries].map((found) => found[1] as string)]) {
    cpSync(realpathSync(file), put(file.slice(1)));
  }
}

function index(folder: string, suite: string): void {
  const entries = readdirSync(join(folder, 'pool'))
    .sort()
    .map((file) => {
      const path = join(folder, 'pool', file);
      const bytes = readFileSync(path);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const control = execFileSync('dpkg-deb', ['-f', path], { encoding: 'utf8' }).trim();
      return `${control}\nFilename: pool/${file}\nSize: ${bytes.length}\nSHA256: ${sha256}\n`;
    });
  const main = join(suite, 'main', `binary-${ARCHITECTURE}`);
  mkdirSync(main, { recursive: true });
  writeFileSync(join(main, 'Packages'), entries.join('\n'));
}

/** The programs that steps of the tests run, in one package. */
export const TOOLBOX: PackageContent = {
  name: 'toolbox',
  hostPrograms: [
    ...['dash', 'bash', 'cat', 'chmod', 'cp', 'date', 'id', 'ln', 'ls', 'mkdir', 'mkfifo', 'mknod'].map(
      onHost,
    ),
    ...[
      'perl',
      'sleep',
      'sort',
      'stat',
      'touch',
      'uname',
      'env',
      'head',
      'tee',
      'setsid',
      'unshare',
      'nproc',
      'grep',
      'whoami',
      'find',
      'mv',
      'rm',
    ].map(onHost),
  ],
  links: { 'bin/sh': 'dash' },
};

function onHost(name: string): string {
  for (const folder of ['/bin', '/usr/bin']) {
    const found = readdirSync(folder).includes(name);
    if (found) return `${folder}/${name}`;
  }
  throw new Error(`the test needs ${name} on the host`);
}

export interface Mirror {
  readonly url: string;
  /** How requests for packages are answered from now on. */
  behave(how: (path: string, bytes: Buffer, response: ServerResponse) => boolean): void;
  readonly requested: string[];
  close(): Promise<void>;
}

/** Serves a folder over HTTP on loopback. `behave` may answer a request itself and return true. */
export async function serveMirror(folder: string): Promise<Mirror> {
  const requested: string[] = [];
  let behaviour: Parameters<Mirror['behave']>[0] = () => false;
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '/').slice(1);
    requested.push(path);
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(folder, path));
    } catch {
      response.writeHead(404).end();
      return;
    }
    if (!behaviour(path, bytes, response)) response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}/`,
    requested,
    behave(how) {
      behaviour = how;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
