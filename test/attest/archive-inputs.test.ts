// SPDX-License-Identifier: Apache-2.0
// Archiving of inputs, as the registry sees it: asked first, sent once, stopped at the first failure.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { archiveInputs, type InputFinder } from '../../attest/archive-inputs.ts';
import type { NamedInput } from '../../attest/build-output.ts';
import { exchange } from '../../attest/exchange.ts';
import type { StreamedBody } from '../../attest/streamed-body.ts';
import { sha256 } from './build-folder.ts';

let server: Server;
let url: string;
let folder: string;
/** `METHOD <first digits>` of every request. */
let asked: string[];
let kept: Map<string, string>;
/** Answers a PUT itself and returns true. */
let refuse: (request: IncomingMessage, response: ServerResponse) => boolean;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-inputs-'));
  server = createServer(async (request, response) => {
    const digest = (request.url ?? '').replace('/api/v1/blobs/', '');
    asked.push(`${request.method} ${digest.slice(0, 8)}`);
    if (request.method === 'HEAD') response.writeHead(kept.has(digest) ? 200 : 404).end();
    else if (!refuse(request, response)) {
      const body = Buffer.concat(await request.toArray());
      kept.set(digest, sha256(body));
      response.writeHead(201).end('{}');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  asked = [];
  kept = new Map();
  refuse = () => false;
});

/** Inputs that lie in the folder under their digests. */
async function inputsOf(...contents: readonly (string | Buffer)[]): Promise<NamedInput[]> {
  return Promise.all(
    contents.map(async (content, i) => {
      await writeFile(join(folder, sha256(content)), content);
      return { uri: `pkg:generic/n${i}`, sha256: sha256(content), sizeBytes: content.length };
    }),
  );
}

const find: InputFinder = async ({ sha256 }) => join(folder, sha256);
const archive = (inputs: readonly NamedInput[], more: object = {}) =>
  archiveInputs(inputs, { registryUrl: url, find, progress: () => {}, ...more });
const code = (code: string) => expect.objectContaining({ code });

test('what the registry lacks is sent whole; the second time nothing is, and no file is looked for', async () => {
  const inputs = await inputsOf('one', Buffer.alloc(3_000_000, 7), '');
  const said: string[] = [];
  const progress = (text: string) => said.push(text);
  const all = { count: 3, sizeBytes: 3_000_003 };
  expect(await archive(inputs, { progress })).toEqual({
    ...all,
    uploadedCount: 3,
    uploadedSizeBytes: 3_000_003,
  });
  for (const { sha256 } of inputs) expect(kept.get(sha256)).toBe(sha256);
  expect(said.at(0)).toBe('asking the registry for 3 inputs');
  expect(said.at(-1)).toBe('uploading 3 inputs: 3.0 of 3.0 MB');
  asked = [];
  const again = await archive(inputs, { find: () => Promise.reject(new Error('looked')) });
  expect(again).toEqual({ ...all, uploadedCount: 0, uploadedSizeBytes: 0 });
  expect(asked.map((line) => line.split(' ')[0])).toEqual(['HEAD', 'HEAD', 'HEAD']);
});

test('an input that cannot be found is named, and nothing is sent', async () => {
  const inputs = await inputsOf(...Array.from({ length: 9 }, (_, i) => `input ${i}`));
  const only: InputFinder = async (input) => (input.uri === 'pkg:generic/n0' ? find(input) : undefined);
  const failed = archive(inputs, { find: only });
  await expect(failed).rejects.toEqual(code('ATTEST_INPUT_MISSING'));
  await expect(failed).rejects.toThrow(/"pkg:generic\/n\d".* and 3 more/);
  expect(kept.size).toBe(0);
});

test('the first refusal ends it: no other upload begins, and the registry’s words are passed on', async () => {
  const inputs = await inputsOf(...Array.from({ length: 20 }, (_, i) => `refused ${i}`));
  refuse = (request, response) => {
    request.resume();
    const error = { code: 'BLOB_TOO_LARGE', message: 'm', remedy: 'r' };
    response.writeHead(413).end(JSON.stringify({ error }));
    return true;
  };
  const failed = archive(inputs);
  await expect(failed).rejects.toEqual(code('SUBMIT_REFUSED'));
  await expect(failed).rejects.toThrow('413 "BLOB_TOO_LARGE" "m" "r"');
  expect(asked.filter((line) => line.startsWith('PUT')).length).toBeLessThanOrEqual(2);
});

test('a question that is refused is not taken for an answer', async () => {
  const inputs = await inputsOf('asked in vain');
  const login = createServer((_request, response) => response.writeHead(302, { location: '/login' }).end());
  await new Promise<void>((resolve) => login.listen(0, '127.0.0.1', resolve));
  try {
    const registryUrl = `http://127.0.0.1:${(login.address() as AddressInfo).port}`;
    await expect(archive(inputs, { registryUrl })).rejects.toEqual(code('SUBMIT_REFUSED'));
  } finally {
    await new Promise((resolve) => login.close(resolve));
  }
});

test('an upload that broke is sent again from the start', async () => {
  const inputs = await inputsOf(Buffer.alloc(2_000_000, 9));
  let tries = 0;
  refuse = (request) => {
    if (++tries > 1) return false;
    request.once('data', () => request.destroy());
    return true;
  };
  expect(await archive(inputs)).toMatchObject({ uploadedCount: 1 });
  expect(tries).toBe(2);
  expect([...kept.values()]).toEqual(inputs.map(({ sha256 }) => sha256));
});

test('an abort ends it with its own reason', async () => {
  const inputs = await inputsOf('never acknowledged');
  const controller = new AbortController();
  refuse = () => {
    controller.abort(new Error('cancelled'));
    return true;
  };
  await expect(archive(inputs, { signal: controller.signal })).rejects.toThrow('cancelled');
});

describe('a body that is streamed', () => {
  /** Chunks of 1000 bytes, each after a pause; counts what was taken of it. */
  const body = (pauseMs: number, count: number, sizeBytes = 1000 * count) => {
    const taken = { sizeBytes: 0 };
    const open = async function* () {
      for (let n = 0; n < count; n++) {
        if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
        taken.sizeBytes += 1000;
        yield new Uint8Array(1000);
      }
    };
    return { sizeBytes, open, taken };
  };
  const put = (sent: StreamedBody) =>
    exchange(`${url}/api/v1/blobs/slow`, { method: 'PUT', body: sent, timeoutMs: 400 });

  test('may take its time, as long as something moves', async () => {
    expect(await put(body(100, 10))).toMatchObject({ status: 201 });
  });

  test('is given up when the registry is silent', async () => {
    refuse = () => true;
    expect(await put(body(0, 1))).toMatchObject({ status: 0, reason: 'timed out' });
  });

  test('is read no faster than the network takes it', async () => {
    refuse = (request) => {
      request.pause();
      return true;
    };
    const endless = body(0, 100_000);
    expect(await put(endless)).toMatchObject({ reason: 'timed out' });
    // Three tries, each of which fills the buffers of two sockets.
    expect(endless.taken.sizeBytes).toBeLessThan(60_000_000);
  });

  test('is not sent further once there is an answer', async () => {
    let left: Promise<unknown> = Promise.resolve();
    refuse = (request, response) => {
      left = new Promise((resolve) => request.socket.on('error', () => {}).on('close', resolve));
      response.writeHead(413).end('{}');
      return true;
    };
    expect(await put(body(1, 1_000_000))).toMatchObject({ status: 413 });
    await left;
  });

  test.each([999, 1001])('that was announced with %i bytes and has 1000 is broken off', async (sizeBytes) => {
    expect(await put(body(0, 1, sizeBytes))).toMatchObject({
      status: 0,
      reason: expect.stringContaining('changed'),
    });
    expect(kept.size).toBe(0);
  });
});
