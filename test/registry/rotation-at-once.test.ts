// SPDX-License-Identifier: Apache-2.0
// Two rotations of one data folder at the same moment: one of them is refused, nothing of the other is lost, and the server starts.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RotationOf, retire, rotate } from '../../registry/rotation.ts';
import { openKey, openTrustServices, serviceNames } from '../../registry/trust/services.ts';
import { instancesOf, readTrustedRoot } from '../../registry/trust/trust-changes.ts';
import { RunningRegistry } from './running-registry.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

const withRoot = async (service: 'ca' | 'tsa'): Promise<RotationOf> => ({
  service,
  rootKey: await openKey(join(registry.offline, `${service}-root.pem`)),
});

/** How many instances the data folder's own trusted root has. */
async function countInRoot(service: 'ca' | 'ct' | 'tsa'): Promise<number> {
  const bytes = await readFile(join(registry.dataFolder, 'trust', 'trusted_root.json'));
  return instancesOf(readTrustedRoot(new Uint8Array(bytes)), service, serviceNames('example')).length;
}

/** The next key is made once this one is published. */
async function publish(): Promise<void> {
  await registry.restart();
  const bytes = new Uint8Array(await readFile(join(registry.dataFolder, 'trust', 'trusted_root.json')));
  const targets = await registry.nextTargets({ 'trusted_root.json': bytes });
  expect((await registry.publish('targets', targets, [bytes])).status).toBe(201);
}

test.each([1, 2, 3, 4])('of the same key, round %d', async () => {
  const of = await withRoot('ca');
  const before = await countInRoot('ca');
  const outcomes = await Promise.allSettled([
    rotate(registry.rotationOptions(), of),
    rotate(registry.rotationOptions(), of),
  ]);
  const failures = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason.code] : []));
  expect(failures).toEqual(['REGISTRY_DATA_LOCKED']);
  expect(await countInRoot('ca')).toBe(before + 1);
  expect((await openTrustServices(registry.dataFolder)).ca).toHaveLength(before + 1);
  await publish();
});

test('of two keys: what one says of the trusted root is not overwritten by the other', async () => {
  const [tsa, ct] = [await withRoot('tsa'), { service: 'ct' } as const];
  const outcomes = await Promise.allSettled([
    rotate(registry.rotationOptions(), tsa),
    rotate(registry.rotationOptions(), ct),
  ]);
  const [tsaDone = 0, ctDone = 0] = outcomes.map(({ status }) => (status === 'fulfilled' ? 1 : 0));
  expect([tsaDone, ctDone].sort()).toEqual([0, 1]);
  expect([await countInRoot('tsa'), await countInRoot('ct')]).toEqual([1 + tsaDone, 1 + ctDone]);
  // Whoever was refused tries again, and nothing is left of it.
  await rotate(registry.rotationOptions(), tsaDone === 1 ? ct : tsa);
  expect([await countInRoot('tsa'), await countInRoot('ct')]).toEqual([2, 2]);
  await publish();
});

test('the end of older keys waits for its turn too', async () => {
  const outcomes = await Promise.allSettled([
    rotate(registry.rotationOptions(), { service: 'ct' }),
    retire(registry.rotationOptions(), 'tsa'),
  ]);
  expect(outcomes.map((each) => (each.status === 'rejected' ? each.reason.code : 'done'))).toContain(
    'REGISTRY_DATA_LOCKED',
  );
});
