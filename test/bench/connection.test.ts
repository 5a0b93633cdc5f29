// SPDX-License-Identifier: Apache-2.0
// The client of the load generator reads an answer whole, however it comes.

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Connection, formatRequest } from '../../bench/log/connection.ts';

const HEAD = 'HTTP/1.1 201 Created\r\n';
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/** Asks twice over one connection a server that answers both in pieces of `size` bytes. */
async function answersInPieces(answer: string, size: number): Promise<string[]> {
  const server = createServer((socket) => {
    socket.setNoDelay(true).on('data', async () => {
      for (let at = 0; at < answer.length; at += size) {
        socket.write(answer.slice(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const connection = await Connection.open(url);
  onTestFinished(() => connection.close());
  const request = formatRequest('GET', url);
  const answers = [await connection.ask(request), await connection.ask(request)];
  return answers.map(({ status, body }) => `${status} ${body}`);
}

test.each([1, 2, 3, 7, 1000])('a body is whole when it comes in pieces of %i bytes', async (size) => {
  const sized = `${HEAD}Content-Length: 11\r\n\r\nhello world`;
  expect(await answersInPieces(sized, size)).toEqual(['201 hello world', '201 hello world']);
  // A size of two digits, a chunk that looks like an end, and an extension.
  const chunks = `b\r\nhello world\r\n5;x=1\r\n0\r\n\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n`;
  const body = '201 hello world0\r\n\r\n0123456789abcdef';
  expect(await answersInPieces(CHUNKED + chunks, size)).toEqual([body, body]);
});

test('what is no chunk is refused', async () => {
  await expect(answersInPieces(`${CHUNKED}hello\r\n`, 1000)).rejects.toThrow('expected the size of a chunk');
});

test('an answer without a body is whole with its head', async () => {
  expect(await answersInPieces(`${HEAD}\r\n`, 1)).toEqual(['201 ', '201 ']);
});
