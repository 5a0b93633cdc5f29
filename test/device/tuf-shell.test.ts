// SPDX-License-Identifier: Apache-2.0
// What a server does to a client of update metadata: data without end (A11), data that hardly comes (A12), and names that lead out of
// the folder (A15). Each is refused or given up with its code, what was trusted stays, and the next update works.

import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fetchFile } from '../../device/fetch-file.ts';
import { nodeHost } from '../../device/node-host.ts';
import { TufShell } from '../../device/tuf-shell.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';
import { bytesOf, NOW, Simulator } from '../core/tuf/simulator.ts';

let simulator: Simulator;
let home: string;
let folder: string;
let server: Server;
let url: string;
/** Answers in place of a sound server, by path. */
const bent = new Map<string, (response: ServerResponse) => void>();

beforeEach(async () => {
  simulator = new Simulator();
  home = await mkdtemp(join(tmpdir(), 'waybill-shell-'));
  folder = join(home, 'device');
  await mkdir(folder);
  bent.clear();
  server = createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    const answer = bent.get(path);
    if (answer !== undefined) return answer(response);
    const body = simulator.files.get(path.startsWith('targets/') ? decodeURIComponent(path) : path);
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(home, { recursive: true });
});

const state = () => join(folder, 'state');
const shell = () =>
  new TufShell(nodeHost(), { metadataUrl: url, targetsUrl: `${url}/targets`, stateFolder: state() });

async function update(name?: string): Promise<Uint8Array | undefined> {
  const client = shell();
  const workflow = await client.open(simulator.root1, NOW);
  await client.run(workflow.refresh());
  if (name === undefined) return undefined;
  return client.fetchTarget(await client.run(workflow.findTarget(name)), 1_000_000);
}

const kept = async (): Promise<Record<string, string>> => {
  const names = (await readdir(state())).filter((name) => !name.endsWith('.copy'));
  return Object.fromEntries(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(state(), name), 'utf8')] as const),
    ),
  );
};

describe('A11, endless data', () => {
  /** Bytes without end and without a length, until the client has enough; how many went out is counted. */
  let sentBytes = 0;
  const endless = (response: ServerResponse): void => {
    const piece = Buffer.alloc(64 * 1024, 0x20);
    const more = (): void => {
      while (!response.destroyed && response.write(piece)) sentBytes += piece.length;
    };
    response.on('drain', more).writeHead(200);
    more();
  };
  /** A megabyte for each kilobyte that is sent. */
  const bomb = (response: ServerResponse): void => {
    response
      .writeHead(200, { 'content-encoding': 'gzip' })
      .end(gzipSync(Buffer.alloc(64 * 1024 * 1024, 0x20)));
  };

  test.each([
    ['2.root.json', 512_000],
    ['timestamp.json', 16_384],
    ['3.snapshot.json', 2_000_000],
    ['3.targets.json', 5_000_000],
  ])('for %s ends at its limit', async (path, limit) => {
    await update();
    const before = await kept();
    simulator.publish('targets');
    for (const answer of [endless, bomb]) {
      sentBytes = 0;
      bent.set(path, answer);
      expect(await codeOfAsync(update())).toBe('TUF_METADATA_MALFORMED');
      // Buffers of the system hold some more.
      expect(sentBytes).toBeLessThan(limit + 12_000_000);
    }
    const now = await kept();
    const role = path.replace(/^\d+\./, '');
    expect(now[role]).toBe(before[role]);
    bent.clear();
    await update();
    expect((await kept())['targets.json']).toBe(Buffer.from(simulator.current('targets')).toString());
  });

  test.each(['timestamp.json', '2.snapshot.json', '2.targets.json'])(
    'that is one byte more than may be, for %s',
    async (path) => {
      const limit = { 'timestamp.json': 16_384, '2.snapshot.json': 2_000_000 }[path] ?? 5_000_000;
      const padded = (size: number) => {
        const bytes = Buffer.alloc(size, 0x20);
        bytes.set(simulator.files.get(path) as Uint8Array);
        bent.set(path, (response) => response.writeHead(200).end(bytes));
      };
      padded(limit + 1);
      expect(await codeOfAsync(update())).toBe('TUF_METADATA_MALFORMED');
      padded(limit);
      await update();
    },
  );

  test('for a target ends at the length that is listed', async () => {
    simulator.add('targets', 'x', bytesOf('x'));
    simulator.publish('targets');
    const path = `targets/${simulator.roles.get('targets').targets.x.hashes.sha256}.x`;
    bent.set(path, endless);
    expect(await codeOfAsync(update('x'))).toBe('TUF_TARGET_DIGEST');
    bent.clear();
    expect(await update('x')).toEqual(bytesOf('x'));
  });
});

describe('A12, slow retrieval', () => {
  const limits = { sizeBytesMax: 5_000_000, idleTimeoutMs: 400, tooLong: 'TUF_METADATA_MALFORMED' } as const;
  const drip =
    (first: number) =>
    async (response: ServerResponse): Promise<void> => {
      response.writeHead(200);
      if (first > 0) response.write(Buffer.alloc(first));
      for (; !response.destroyed; await pause(50)) response.write('x');
    };

  test.each([0, 500])(
    'a byte now and then, after %i at once, is given up though no silence was long',
    async (first) => {
      bent.set('slow', drip(first));
      const startedMs = performance.now();
      expect(await codeOfAsync(fetchFile(nodeHost(), `${url}/slow`, limits))).toBe('TUF_UNREACHABLE');
      // Not the time that five megabytes would be given.
      expect(performance.now() - startedMs).toBeLessThan(15_000);
    },
  );

  test('silence is given up', async () => {
    bent.set('silent', (response) => response.writeHead(200).write('{'));
    expect(await codeOfAsync(fetchFile(nodeHost(), `${url}/silent`, limits))).toBe('TUF_UNREACHABLE');
    bent.set('mute', () => undefined);
    expect(await codeOfAsync(fetchFile(nodeHost(), `${url}/mute`, limits))).toBe('TUF_UNREACHABLE');
  });

  test('an answer that breaks off is none', async () => {
    await update();
    const before = await kept();
    simulator.publish('targets');
    for (const path of ['timestamp.json', '3.snapshot.json', '3.targets.json']) {
      const whole = simulator.files.get(path) as Uint8Array;
      bent.set(path, (response) => {
        response.writeHead(200, { 'content-length': whole.length });
        response.write(whole.slice(0, whole.length / 2), () => response.destroy());
      });
      expect(await codeOfAsync(update())).toBe('TUF_UNREACHABLE');
      expect((await kept())[path.replace('3.', '')]).toBe(before[path.replace('3.', '')]);
      bent.delete(path);
    }
    await update();
  });

  test('another place is not followed', async () => {
    bent.set('timestamp.json', (response) => response.writeHead(302, { location: `${url}/other` }).end());
    bent.set('other', (response) => response.writeHead(200).end(simulator.files.get('timestamp.json')));
    expect(await codeOfAsync(update())).toBe('TUF_UNREACHABLE');
  });
});

describe('A15, names that lead out of the folder', () => {
  const names = [
    '../x',
    '../../x',
    '/abs',
    '..',
    '.',
    '1.role',
    '?',
    '#',
    'a/../../b',
    '%2e%2e%2fx',
    'x.json',
    'root.json',
    'root%2Ejson',
  ];

  test.each(names)('a role %j is written and read in it', async (name) => {
    simulator.delegate('targets', name);
    simulator.add(name, 'x', bytesOf('x'));
    simulator.publish(name, 'targets');
    expect(await update('x')).toEqual(bytesOf('x'));
    expect(await readdir(folder)).toEqual(['state']);
    expect((await readdir(state())).length).toBe(8);
    expect(await readdir(home)).toEqual(['device']);
    // Read again, from where it was kept.
    const file = `1.${encodeURIComponent(name)}.json`;
    expect(simulator.files.delete(file)).toBe(true);
    expect(await update('x')).toEqual(bytesOf('x'));
  });
});
