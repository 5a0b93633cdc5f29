// SPDX-License-Identifier: Apache-2.0
// Nobody released anything for too long: what has expired can still be signed anew.

import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { release, renew } from '../../cli/release.ts';
import { openTrust } from '../../cli/trust.ts';
import { openRoleKeys } from '../../release/open-key.ts';
import { Registry } from '../../release/registry.ts';
import { draftNext, publishRole, signDraft } from '../../release/roles.ts';
import { House } from './house.ts';

const OWN = 'releases-optiboot';
const LIFE_MS = 3000;
let house: House;

beforeAll(async () => {
  house = await House.open();
  await house.product('add');
  await house.road('8.0.0');
});
afterAll(() => house.close());

/** Signs a role so that it expires in a moment, and waits for that. */
async function expire(role: string, keyPath: string): Promise<void> {
  const { client } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const current = role === 'targets' ? client.role(role) : await client.delegatedRole(role);
  const keys = await openRoleKeys([keyPath]);
  const expiry = { now: new Date(), days: LIFE_MS / 86_400_000 };
  const metadata = await signDraft(role, draftNext(current), keys, client.signersOf(role), expiry);
  await publishRole(new Registry(house.url), role, metadata, []);
  await pause(LIFE_MS);
}

test('a product after an idle time: the gate refuses, the release manager renews', async () => {
  await expire(OWN, house.path('releases.pem'));
  const build = await house.build('8.1.0');
  await house.attestBuild(build);
  await expect(house.gate(build)).rejects.toMatchObject({ code: 'TUF_ROLE_EXPIRED' });
  expect(await renew(house.desk)).toMatchObject({ action: 'renewed' });
  expect((await house.gate(build)).decision.result).toBe('PASSED');
});

test('top-level targets after a year: nothing is released on them, the officer signs them anew', async () => {
  await expire('targets', house.path('offline', 'targets-1.pem'));
  const build = await house.build('8.1.0');
  const order = { ...house.desk, version: '8.1.0', image: build.imagePath };
  await expect(release(order)).rejects.toMatchObject({ code: 'TUF_ROLE_EXPIRED' });
  await house.product('update', { releasesKeys: undefined });
  expect(await release(order)).toMatchObject({ action: 'released' });
});
