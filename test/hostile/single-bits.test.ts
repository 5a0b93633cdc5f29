// SPDX-License-Identifier: Apache-2.0
// One bit of each octet of a bundle changed, in text and inside base64: refused, every one. Of a bundle with optional parts that
// nobody signs these alone pass, and the verdict says what it said; there every fifth octet is tried, all of them in `test:long`.

import { expect, test } from 'vitest';
import { everyOption, ourBundle } from './bundles.ts';
import { soundPack } from './packs.ts';
import { changeBits, ONE_BIT, saidOf } from './single-bits.ts';

test('of a bundle as Waybill makes it none passes', { timeout: 300_000 }, () => {
  const { bundle, verify } = ourBundle();
  const { tried, unnoticed } = changeBits(bundle, (bytes) => saidOf(verify(bytes)), ONE_BIT);
  expect(tried).toBeGreaterThan(bundle.length * 1.5);
  expect(unnoticed).toEqual([]);
});

test('of a bundle with all that is optional only what is free passes, and changes nothing', {
  timeout: 300_000,
}, () => {
  const { bundle, verify, isFree } = everyOption();
  const { unnoticed } = changeBits(
    bundle,
    (bytes) => saidOf(verify(bytes)),
    (at) => (at % 5 === 0 ? ONE_BIT(at) : []),
  );
  expect(unnoticed.filter(({ place, offset }) => !isFree(place, offset))).toEqual([]);
  expect(unnoticed.filter(({ sameVerdict }) => !sameVerdict)).toEqual([]);
  // Each kind of free octet was reached.
  for (const place of ['text', 'signedTimestamp', 'certificates/1']) {
    expect(
      unnoticed.some((one) => one.place.includes(place)),
      place,
    ).toBe(true);
  }
});

test('of a pack only what nothing signs passes, and changes nothing', { timeout: 300_000 }, () => {
  const { pack, verify, within, isFree } = soundPack();
  const { unnoticed } = changeBits(pack, verify, (at) => (at % 61 === 0 ? ONE_BIT(at) : []), within);
  expect(unnoticed.filter(({ place, offset }) => !isFree(place, offset))).toEqual([]);
  expect(unnoticed.filter(({ sameVerdict }) => !sameVerdict)).toEqual([]);
  expect(unnoticed.length).toBeGreaterThan(0);
});
