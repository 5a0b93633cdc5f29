// SPDX-License-Identifier: Apache-2.0
// What may change in an index of releases, and what must never go back.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LIMITS } from '../../core/limits.ts';
import { formatReleaseIndex, parseReleaseIndex, type Release } from '../../core/release/release-index.ts';
import { compareVersions } from '../../core/release/version.ts';
import {
  addRelease,
  checkReleasable,
  emptyIndex,
  lastVersionOf,
  withdrawRelease,
} from '../../release/index-changes.ts';
import { indexFile } from '../../release/prepare-release.ts';
import { sha256 } from '../policy/evidence.ts';

const AT = '2026-11-20T12:00:00Z';

function releaseOf(version: string, image = version): Release {
  const file = (name: string) => ({ name, sha256: sha256(image + name), sizeBytes: 1 });
  return {
    version,
    image: { ...file(`images/optiboot/optiboot-${version}.bin`), sha256: sha256(image) },
    pack: file(`packs/optiboot/optiboot-${version}.waybill`),
    hardwareIds: ['atmega328p'],
    releasedAt: AT,
  };
}

const one = addRelease(emptyIndex('optiboot'), releaseOf('8.1'));

test('versions only go up', () => {
  expect(addRelease(one, releaseOf('8.1.1')).releases.map(({ version }) => version)).toEqual([
    '8.1',
    '8.1.1',
  ]);
  for (const version of ['8.1', '8.1.0', '8.0.9', '0']) {
    expect(() => addRelease(one, releaseOf(version))).toThrow(
      expect.objectContaining({ code: 'RELEASE_VERSION_NOT_HIGHER' }),
    );
  }
  expect(() => addRelease(emptyIndex('optiboot'), releaseOf('8.1-rc'))).toThrow(
    expect.objectContaining({ code: 'RELEASE_VERSION_MALFORMED' }),
  );
});

test('a first release may have any version, 0 included', () => {
  expect(addRelease(emptyIndex('optiboot'), releaseOf('0')).releases).toHaveLength(1);
  expect(lastVersionOf(emptyIndex('optiboot'))).toBeUndefined();
});

test('a withdrawn release counts: neither its version nor its image comes back', () => {
  const { index, withdrawn } = withdrawRelease(one, sha256('8.1'), 'bricks', AT);
  expect(withdrawn.map(({ version }) => version)).toEqual(['8.1']);
  expect(index).toMatchObject({
    releases: [],
    denials: [{ version: '8.1', reason: 'bricks', deniedAt: AT }],
  });
  expect(lastVersionOf(index)).toBe('8.1');
  expect(() => checkReleasable(index, '8.1', sha256('other'))).toThrow(
    expect.objectContaining({ code: 'RELEASE_VERSION_NOT_HIGHER' }),
  );
  expect(() => checkReleasable(index, '8.2', sha256('8.1'))).toThrow(
    expect.objectContaining({ code: 'RELEASE_IMAGE_WITHDRAWN' }),
  );
  expect(withdrawRelease(index, sha256('8.1'), 'again', AT)).toEqual({ index, withdrawn: [] });
  expect(() => withdrawRelease(index, sha256('unknown'), 'why', AT)).toThrow(
    expect.objectContaining({ code: 'RELEASE_UNKNOWN' }),
  );
});

test('an image that was released as two versions is withdrawn as both', () => {
  const two = addRelease(addRelease(one, releaseOf('8.2', '8.1')), releaseOf('8.3'));
  const { index } = withdrawRelease(two, sha256('8.1'), 'bricks', AT);
  expect(index.releases.map(({ version }) => version)).toEqual(['8.3']);
  expect(index.denials.map(({ version }) => version)).toEqual(['8.1', '8.2']);
});

test('an index that devices would not read is not made', () => {
  const reason = 'x'.repeat(LIMITS.releaseIndexSizeBytes);
  expect(() => indexFile(withdrawRelease(one, sha256('8.1'), reason, AT).index)).toThrow(
    expect.objectContaining({ code: 'RELEASE_INDEX_MALFORMED' }),
  );
});

test('property: whatever is done, the index can be read back, and the last version never falls', () => {
  const version = fc.tuple(fc.nat(3), fc.nat(3)).map((parts) => parts.join('.'));
  const change = fc.record({ version, withdraw: fc.boolean() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      let index = emptyIndex('optiboot');
      let last = '0';
      for (const { version, withdraw } of changes) {
        try {
          index = withdraw
            ? withdrawRelease(index, sha256(version), 'why', AT).index
            : addRelease(index, releaseOf(version));
        } catch (failure) {
          expect((failure as { code: string }).code).toMatch(/^RELEASE_/);
        }
        expect(parseReleaseIndex(formatReleaseIndex(index))).toEqual(index);
        const next = lastVersionOf(index) ?? '0';
        expect(compareVersions(next, last)).toBeGreaterThanOrEqual(0);
        last = next;
      }
    }),
  );
});
