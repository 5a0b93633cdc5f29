// SPDX-License-Identifier: Apache-2.0
// Every bit of two bundles changed, in text and inside base64.

import { expect, test } from 'vitest';
import { everyOption, ourBundle } from '../hostile/bundles.ts';
import { soundPack } from '../hostile/packs.ts';
import { changeBits, EVERY_BIT, saidOf } from '../hostile/single-bits.ts';

test.each([
  ['as Waybill makes it', ourBundle],
  ['with all that is optional', everyOption],
])('of a bundle %s', { timeout: 3_600_000 }, (_, make) => {
  const { bundle, verify, isFree } = make();
  const { tried, unnoticed } = changeBits(bundle, (bytes) => saidOf(verify(bytes)), EVERY_BIT);
  expect(tried).toBeGreaterThan(bundle.length * 12);
  expect(unnoticed.filter(({ place, offset }) => !isFree(place, offset))).toEqual([]);
  expect(unnoticed.filter(({ sameVerdict }) => !sameVerdict)).toEqual([]);
});

test('of a pack', { timeout: 3_600_000 }, () => {
  const { pack, verify, within, isFree } = soundPack();
  const { tried, unnoticed } = changeBits(pack, verify, EVERY_BIT, within);
  expect(tried).toBeGreaterThan(pack.length * 12);
  expect(unnoticed.filter(({ place, offset }) => !isFree(place, offset))).toEqual([]);
  expect(unnoticed.filter(({ sameVerdict }) => !sameVerdict)).toEqual([]);
});
