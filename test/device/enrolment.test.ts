// SPDX-License-Identifier: Apache-2.0
// A device and the registry that is to know it: the key is registered, and no answer of a registry can harm.

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { enrolDevice } from '../../device/enrolment.ts';
import { nodeHost } from '../../device/node-host.ts';
import { readStatus } from '../../device/status.ts';
import { House, TOKEN } from './house.ts';

const coded = (code: string) => expect.objectContaining({ code });
let house: House;

beforeEach(async () => {
  house = await House.build();
});
afterEach(() => house.raze());

test('registers the key once, and again without harm', async () => {
  const folder = await house.device({}, false);
  expect((await readStatus(folder, nodeHost())).enrolled).toBe(false);
  await enrolDevice(folder, TOKEN, nodeHost());
  await enrolDevice(folder, TOKEN, nodeHost());
  expect(house.asked).toEqual(['POST /api/v1/devices 201', 'POST /api/v1/devices 200']);
  expect((await readStatus(folder, nodeHost())).enrolled).toBe(true);
  expect(await house.known()).toMatchObject({ product: 'optiboot', hardwareId: 'atmega328p' });
});

test('with a wrong token is refused, with the registry’s reason and without the token', async () => {
  const folder = await house.device({}, false);
  const failure = await enrolDevice(folder, 'wrong-secret', nodeHost()).catch((cause: unknown) => cause);
  expect(failure).toEqual(coded('DEVICE_ENROLMENT_REFUSED'));
  expect((failure as Error).message).toContain('DEVICE_ENROL_UNAUTHORIZED');
  expect((failure as Error).message).not.toContain('wrong-secret');
  expect((await readStatus(folder, nodeHost())).enrolled).toBe(false);
});

/** A registry that answers every request so. */
const answering = (status: number, body: string | ReadableStream) => ({
  ...nodeHost(),
  fetch: async () => new Response(body, { status }),
});

test.each([429, 500, 503])('answered with %d is not settled', async (status) => {
  const folder = await house.device({}, false);
  await expect(enrolDevice(folder, TOKEN, answering(status, '{}'))).rejects.toEqual(
    coded('DEVICE_REGISTRY_UNREACHABLE'),
  );
});

test.each(['{"error":{"code":"X"}}', '{"error":{"message":"X"}}', '{"error":null}', 'null', '[', ''])(
  'answered with %s is refused all the same',
  async (body) => {
    const folder = await house.device({}, false);
    await expect(enrolDevice(folder, TOKEN, answering(400, body))).rejects.toEqual(
      coded('DEVICE_ENROLMENT_REFUSED'),
    );
  },
);

test('answered without end is not read to the end', async () => {
  const folder = await house.device({}, false);
  let pulled = 0;
  const endless = new ReadableStream({
    pull(controller) {
      if (++pulled > 1000) controller.error(new Error('read too much'));
      else controller.enqueue(new Uint8Array(1024));
    },
  });
  await expect(enrolDevice(folder, TOKEN, answering(400, endless))).rejects.toEqual(
    coded('DEVICE_ENROLMENT_REFUSED'),
  );
});

test('without a registry is not settled, and keeps no token', async () => {
  const folder = await house.device({}, false);
  await house.fall();
  await expect(enrolDevice(folder, TOKEN, nodeHost())).rejects.toEqual(coded('DEVICE_REGISTRY_UNREACHABLE'));
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) expect(await readFile(path, 'latin1')).not.toContain(TOKEN);
  }
});
