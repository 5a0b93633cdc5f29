// SPDX-License-Identifier: Apache-2.0
// Ctrl-C while `waybill tuf` publishes: what has been sent is in force a moment later, so the command says that, or that it does not know.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { House } from './house.ts';

const WAYBILL = new URL('../../cli/waybill.js', import.meta.url).pathname;

let house: House;
beforeAll(async () => {
  house = await House.open();
});
afterAll(() => house.close());

/** Hands everything on to the registry; what offers a role only once `gate` is open. */
async function passing(gate: Promise<void>) {
  const forward = async (request: IncomingMessage, response: ServerResponse) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    if (request.method === 'PUT') {
      proxy.emit('offered');
      await gate;
    }
    const answer = await fetch(`${house.url}${request.url}`, {
      method: request.method ?? 'GET',
      headers: { 'content-type': request.headers['content-type'] ?? 'application/json' },
      ...(request.method === 'PUT' ? { body: Buffer.concat(pieces) } : {}),
    });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
    response.end(Buffer.from(await answer.arrayBuffer()));
  };
  const proxy = createServer(
    (request, response) => void forward(request, response).catch(() => response.destroy()),
  );
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const close = () => {
    proxy.closeAllConnections();
    proxy.close();
  };
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, proxy, close };
}

function renew(url: string) {
  const keys = ['root-1', 'root-2'].map((name) => house.path('offline', `${name}.pem`));
  const words = ['tuf', 'renew', url, '--root', house.root, '--role', 'root', '--key', ...keys];
  const child = spawn(process.execPath, [WAYBILL, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    said.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    said.err += chunk;
  });
  const ended = once(child, 'close').then(([code]) => ({ code, ...said }));
  return { child, said, ended };
}

const statusOfRoot2 = async () => (await fetch(`${house.url}/tuf/2.root.json`)).status;

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'a second %s does not wait, and says that it may be published',
  { timeout: 60_000 },
  async (name) => {
    const { url, proxy, close } = await passing(new Promise(() => undefined));
    try {
      const { child, said, ended } = renew(url);
      await once(proxy, 'offered');
      child.kill(name);
      while (child.exitCode === null && !said.err.includes('waiting for the answer')) await wait(5);
      child.kill(name);
      const { code, out, err } = await ended;
      expect([code, out]).toEqual([75, '']);
      expect(err).toContain('CLI_PUBLICATION_UNCERTAIN');
      expect(err).toContain('look with `waybill tuf status` before running it again');
      expect(err).not.toContain('nothing half-written');
      expect(await statusOfRoot2()).toBe(404);
    } finally {
      close();
    }
  },
);

test('an interrupt waits for what has been sent, and tells that it is published', {
  timeout: 60_000,
}, async () => {
  const gate = Promise.withResolvers<void>();
  const { url, proxy, close } = await passing(gate.promise);
  try {
    const { child, said, ended } = renew(url);
    await once(proxy, 'offered');
    child.kill('SIGINT');
    while (child.exitCode === null && !said.err.includes('waiting for the answer')) await wait(5);
    // Longer than what was cancelled before may hold the process.
    await wait(1500);
    gate.resolve();
    expect(await ended).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^published root version 2, good until /),
    });
    expect(await statusOfRoot2()).toBe(200);
  } finally {
    close();
  }
});
