// SPDX-License-Identifier: Apache-2.0
// Releases keys come and go: what is not given stays as it is, and no product is left with metadata that nobody can replace.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { renew } from '../../cli/release.ts';
import { generateKey, writeKeyPair } from '../../release/key-file.ts';
import { House } from './house.ts';

let house: House;
const keys = (...names: string[]) => names.map((name) => house.path(`${name}.pem`));
/** Changes keys and threshold alone. */
const change = (releasesKeys: string[] | undefined, releasesThreshold?: number) =>
  house.product('update', {
    devicePolicy: undefined,
    releasesKeys: releasesKeys?.map((name) => house.path(`${name}.pub`)),
    releasesThreshold,
  });
const signedBy = (...names: string[]) => renew({ ...house.desk, keys: keys(...names) });

beforeAll(async () => {
  house = await House.open();
  for (const name of ['second', 'third'])
    await writeKeyPair(house.path(`${name}.pem`), generateKey('ed25519'));
  await house.product('add');
});
afterAll(() => house.close());

test('before the first release any keys will do', async () => {
  expect(await change(['second', 'third'])).toMatchObject({ releases: { threshold: 1 } });
  expect(await change(['releases'])).toMatchObject({ releases: { threshold: 1 } });
});

test('keys are exchanged over metadata that both sign; at one stroke they are not', async () => {
  await house.road('8.0.0');
  await expect(change(['second'])).rejects.toMatchObject({ code: 'RELEASE_KEYS_CUT_OFF' });
  await change(['releases', 'second']);
  await expect(change(['second'])).rejects.toMatchObject({ code: 'RELEASE_KEYS_CUT_OFF' });
  await signedBy('second');
  await change(['second']);
  await expect(signedBy('releases')).rejects.toMatchObject({ code: 'RELEASE_KEY_NOT_DELEGATED' });
  await signedBy('second');
});

test('a threshold is raised over metadata that enough have signed, and stays when keys change', async () => {
  await change(['second', 'third']);
  await expect(change(undefined, 2)).rejects.toMatchObject({ code: 'RELEASE_KEYS_CUT_OFF' });
  await signedBy('second', 'third');
  const raised = await change(undefined, 2);
  expect(raised.releases).toMatchObject({ threshold: 2, keyIds: { length: 2 } });
  expect(await change(['releases', 'second', 'third'])).toMatchObject({ releases: { threshold: 2 } });
  await expect(signedBy('second')).rejects.toMatchObject({ code: 'RELEASE_KEY_NOT_DELEGATED' });
  await expect(change(['second'])).rejects.toMatchObject({ code: 'CEREMONY_THRESHOLD_INVALID' });
});
