// SPDX-License-Identifier: Apache-2.0
// Bodies under way are held in memory: of one client and of all only so many, and what was held is free again however a request ends.

import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RunningRegistry } from '../running-registry.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start({
    limits: { bodyBytes: 10_000_000, bodyBytesPerClient: 5_000_000, trustedProxies: ['127.0.0.0/8'] },
  });
});
afterAll(async () => registry.close());

const PATH = '/api/v1/tuf/targets';

/** Sends what a client announces, but for the last byte unless told otherwise; resolves with the status, or `waits`. */
async function send(client: string, announced: string, body: string, path = PATH) {
  const { port } = new URL(registry.url);
  const socket: Socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    `PUT ${path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${client}\r\nContent-Type: application/json\r\n${announced}\r\n\r\n${body}`,
  );
  const answer = await new Promise<string>((resolve) => {
    socket.once('data', (data) => resolve(String(data)));
    setTimeout(() => resolve('waits'), 300);
  });
  const code = /"code":"([A-Z_]+)"/.exec(answer)?.[1];
  return { socket, told: answer === 'waits' ? answer : `${answer.slice(9, 12)} ${code}` };
}
const sized = (bytes: number) => `Content-Length: ${bytes}`;
const CROWDED = '503 REGISTRY_BODIES_TOO_LARGE';

test('a client gets no more than its part, and others still get theirs', async () => {
  const sockets: Socket[] = [];
  const tell = async (...given: Parameters<typeof send>) => {
    const { socket, told } = await send(...given);
    sockets.push(socket);
    return told;
  };
  expect(await tell('192.0.2.1', sized(4_000_000), '{')).toBe('waits');
  expect(await tell('192.0.2.1', sized(1_000_001), '{')).toBe(CROWDED);
  expect(await tell('192.0.2.1', sized(1_000_000), '{')).toBe('waits');
  // Without a length as much as the endpoint takes.
  expect(await tell('192.0.2.2', 'Transfer-Encoding: chunked', '1\r\n{\r\n')).toBe('waits');
  expect(await tell('192.0.2.2', sized(100_000), '')).toBe(CROWDED);
  // All together.
  expect(await tell('192.0.2.3', sized(100_000), '')).toBe(CROWDED);
  // What is small has room left; that ends too.
  expect(await tell('192.0.2.3', sized(65_536), '{')).toBe('waits');
  // Blobs are written as they come, and too much at once is no body at all.
  expect(await tell('192.0.2.3', sized(9_000_000), '{', `/api/v1/blobs/${'00'.repeat(32)}`)).toMatch(/^403/);
  expect((await registry.send('GET', '/healthz')).status).toBe(200);
  sockets[0]?.destroy();
  await expect.poll(() => tell('192.0.2.3', sized(2), '{}')).toBe('400 TUF_REPOSITORY_METADATA_MALFORMED');
  for (const socket of sockets) socket.destroy();
});

test('the addresses of an IPv6 network are one client', async () => {
  const first = await send('2001:db8:0:1::1', sized(5_000_000), '{');
  const second = await send('2001:db8:0:1:ffff::2', sized(100_000), '{');
  const other = await send('2001:db8:0:2::1', sized(100_000), '{');
  expect([first.told, second.told, other.told]).toEqual(['waits', CROWDED, 'waits']);
  for (const { socket } of [first, second, other]) socket.destroy();
});

test('nothing stays held: of answered, broken off and pipelined requests', async () => {
  const request = `PUT ${PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${sized(1_000_000)}\r\n\r\n`;
  for (let i = 0; i < 6; i++) {
    const answered = await send('192.0.2.4', sized(2), '{}');
    answered.socket.destroy();
    const { socket } = await send('192.0.2.4', sized(2_000_000), '{');
    socket.write(' '.repeat(1_999_999 - 10));
    socket.destroy();
    const pipelining = connect(Number(new URL(registry.url).port), '127.0.0.1');
    pipelining.on('error', () => undefined);
    pipelining.write(`${request}${' '.repeat(1_000_000)}`.repeat(4), () => pipelining.destroy());
  }
  const whole = (client: string) => async () => {
    const { socket, told } = await send(client, sized(5_000_000), '{');
    socket.destroy();
    return told;
  };
  for (const client of ['192.0.2.4', '127.0.0.1']) {
    await expect.poll(whole(client), { timeout: 5000 }).toBe('waits');
  }
});
