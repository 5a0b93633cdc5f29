// SPDX-License-Identifier: Apache-2.0
// Whom limits count as one client.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { DEFAULT_LIMITS } from '../../../registry/config-limits.ts';
import { clientOf } from '../../../registry/http/client-address.ts';
import { makeHttpServer } from '../../../registry/http/http-server.ts';

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:db8:0:1::1', '2001:db8:0:1::/64'],
  ['2001:0DB8:0000:0001:ffff:1:2:3', '2001:db8:0:1::/64'],
  ['2001:db8::7:1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['', ''],
])('%s is %s', (address, client) => {
  expect(clientOf(address)).toBe(client);
});

test('connections are counted so', async () => {
  const limits = { ...DEFAULT_LIMITS, connectionsPerClient: 2 };
  const app = makeHttpServer({ limits, logLevel: 'silent' });
  const sockets: Socket[] = [];
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await app.close();
  });
  const addresses = ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8:0:1::1'];
  // Where from is all that is pretended: loopback has one network.
  app.server.prependListener('connection', (socket: Socket) => {
    Object.defineProperty(socket, 'remoteAddress', { value: addresses.shift() });
  });
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  const answers: string[] = [];
  while (addresses.length > 0) {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
    sockets.push(socket);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const [data] = await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => [''])]);
    answers.push(String(data).slice(9, 12));
  }
  expect(answers).toEqual(['404', '404', '', '404']);
});
