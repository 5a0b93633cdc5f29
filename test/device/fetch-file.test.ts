// SPDX-License-Identifier: Apache-2.0
// A download of metadata: slow links are served, drips and silence are not.

import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { fetchFile } from '../../device/fetch-file.ts';
import { nodeHost } from '../../device/node-host.ts';

const unreachable = expect.objectContaining({ code: 'TUF_UNREACHABLE' });
let server: Server;

async function from(answer: RequestListener, sizeBytesMax: number, idleTimeoutMs: number) {
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/x`;
  return fetchFile(nodeHost(), url, { sizeBytesMax, idleTimeoutMs, tooLong: 'TUF_METADATA_MALFORMED' });
}
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Sends so many pieces of so many bytes with a pause after each. */
const sending =
  (count: number, sizeBytes: number, pauseMs: number): RequestListener =>
  async (_, response) => {
    for (let i = 0; i < count && !response.destroyed; i++) {
      response.write(Buffer.alloc(sizeBytes));
      await pause(pauseMs);
    }
    response.end();
  };

test('over a slow link arrives', async () => {
  expect(await from(sending(8, 1000, 150), 8000, 800)).toHaveLength(8000);
});

test('that drips is given up', async () => {
  await expect(from(sending(1000, 1, 20), 1000, 300)).rejects.toEqual(unreachable);
});

test('that falls silent is given up', async () => {
  await expect(from(sending(2, 1000, 60_000), 1_000_000, 200)).rejects.toEqual(unreachable);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await expect(from(() => undefined, 1_000_000, 200)).rejects.toEqual(unreachable);
});
