// SPDX-License-Identifier: Apache-2.0
// Steps of the verifier of packs that need no signature: what the pack is about, and when its evidence was signed.

import { expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { type EvidencePack, formatPack } from '../../../core/release/pack.ts';
import { checkClock, type PackTrust, type ReleaseFacts, readPack } from '../../../core/verify/pack-steps.ts';

const digest = (n: number) => n.toString(16).padStart(64, '0');
const coded = (code: string) => expect.objectContaining({ code });
const trust = { policy: { product: 'optiboot' } } as PackTrust;
const release: ReleaseFacts = { version: '8.1.0', imageSha256: digest(2), imageSizeBytes: 502 };
const pack: EvidencePack = {
  product: 'optiboot',
  version: '8.1.0',
  imageSha256: digest(2),
  imageSizeBytes: 502,
  checkpoint: 'x',
  bundles: [{ bundle: utf8('{}'), leafIndex: 0n, proof: [] }],
  bodies: [],
};
const read = (change: Partial<EvidencePack>, asked?: ReleaseFacts) =>
  readPack(formatPack({ ...pack, ...change }), { trust, release: asked, nowMs: 0 });

test('a pack is about the release that was asked for', () => {
  expect(read({}, release).value).toEqual(pack);
  for (const change of [
    { product: 'other' },
    { version: '8.1' },
    { imageSha256: digest(5) },
    { imageSizeBytes: 1 },
  ]) {
    expect(() => read(change, release), JSON.stringify(change)).toThrow(coded('PACK_RELEASE_MISMATCH'));
  }
});

test('a pack is about the product of the policy, whichever release was asked for', () => {
  expect(read({ version: '9' }).value.version).toBe('9');
  expect(() => read({ product: 'other' })).toThrow(coded('PACK_RELEASE_MISMATCH'));
});

test('evidence that was signed later than now is refused', () => {
  const bundle = { sha256: digest(1), signedAtMs: 1_000_000_000_000 };
  for (const now of [2_000_000_000_000, 1_000_000_000_000, 1_000_000_000_000 - 300_000]) {
    checkClock([bundle], now);
  }
  for (const now of [0, 1_000_000_000_000 - 300_001, Number.NaN]) {
    expect(() => checkClock([{ ...bundle, signedAtMs: 0 }, bundle], now)).toThrow(
      coded('PACK_EVIDENCE_FROM_FUTURE'),
    );
  }
});
