// SPDX-License-Identifier: Apache-2.0
// Which release a device takes, and what it refuses about an offer.

import { describe, expect, test } from 'vitest';
import type { DevicePolicy } from '../../core/release/device-policy.ts';
import type { Release, ReleaseIndex } from '../../core/release/release-index.ts';
import {
  type Chooser,
  checkIndexProduct,
  checkPackDigest,
  checkPolicyScope,
  checkTarget,
  checkVersionFloor,
  chooseRelease,
  newerDenials,
} from '../../device/release-choice.ts';

const digest = (n: number) => n.toString(16).padStart(64, '0');
const coded = (code: string) => expect.objectContaining({ code });

function release(version: string, n: number, hardwareIds = ['atmega328p']): Release {
  return {
    version,
    image: { name: `images/optiboot/optiboot-${version}.bin`, sha256: digest(n), sizeBytes: 500 + n },
    pack: { name: `packs/optiboot/optiboot-${version}.waybill`, sha256: digest(n + 100), sizeBytes: 9 },
    hardwareIds,
    releasedAt: '2026-11-01T00:00:00Z',
  };
}

const denial = (version: string, n: number) => ({
  imageSha256: digest(n),
  version,
  reason: 'bricks the board',
  deniedAt: '2026-11-02T00:00:00Z',
});
const index = (releases: Release[], denials: ReturnType<typeof denial>[] = []): ReleaseIndex => ({
  product: 'optiboot',
  releases,
  denials,
});
const fresh: Chooser = { product: 'optiboot', hardwareId: 'atmega328p' };
const installed = (version: string, n: number): Chooser => ({
  ...fresh,
  installed: { version, sha256: digest(n), sizeBytes: 500 + n },
});
const two = [release('8.0.0', 1), release('8.1.0', 2)];

describe('the choice', () => {
  test('is the newest for this hardware', () => {
    const later = release('9.0.0', 3, ['atmega168']);
    expect(chooseRelease(index([...two, later]), fresh)).toEqual({ kind: 'candidate', release: two[1] });
    const both = release('9.0.0', 3, ['atmega168', 'atmega328p']);
    expect(chooseRelease(index([...two, both]), fresh)).toEqual({ kind: 'candidate', release: both });
  });

  test('is nothing if the newest is installed or nothing was released', () => {
    expect(chooseRelease(index(two), installed('8.1.0', 2))).toMatchObject({ kind: 'current' });
    expect(chooseRelease(index([]), fresh)).toMatchObject({ kind: 'current' });
  });

  test('is the same version again if its image differs, and an older one: links after it refuse both', () => {
    expect(chooseRelease(index(two), installed('8.1.0', 7))).toMatchObject({ kind: 'candidate' });
    expect(chooseRelease(index([release('8.0.0', 1)]), installed('8.1.0', 2))).toMatchObject({
      kind: 'candidate',
      release: { version: '8.0.0' },
    });
  });

  test('is refused if releases are for other hardware alone', () => {
    const other = index([release('8.1.0', 2, ['atmega168'])]);
    expect(() => chooseRelease(other, fresh)).toThrow(coded('UPDATE_HARDWARE_MISMATCH'));
  });

  test('is refused if the release on offer is denied', () => {
    expect(() => chooseRelease(index(two, [denial('8.1.0', 2)]), fresh)).toThrow(coded('UPDATE_WITHDRAWN'));
    expect(() => chooseRelease(index(two, [denial('8.1.0', 2)]), installed('8.0.0', 1))).toThrow(
      coded('UPDATE_WITHDRAWN'),
    );
  });

  test('is refused if what was on offer is gone and denied', () => {
    const gone = index([], [denial('8.1.0', 2)]);
    expect(() => chooseRelease(gone, fresh)).toThrow(coded('UPDATE_WITHDRAWN'));
    expect(() => chooseRelease(gone, installed('8.0.0', 1))).toThrow(coded('UPDATE_WITHDRAWN'));
    expect(chooseRelease(gone, installed('8.2.0', 9))).toMatchObject({ kind: 'current' });
  });

  test('a withdrawal behind the newest release is told, not refused', () => {
    const older = index([release('8.0.0', 1)], [denial('8.1.0', 2)]);
    const device = installed('8.0.0', 1);
    expect(chooseRelease(older, device)).toMatchObject({ kind: 'current' });
    expect(newerDenials(older, device.installed)).toHaveLength(1);
    expect(newerDenials(older, installed('8.1.0', 2).installed)).toHaveLength(0);
  });

  test('an installed image that is denied is reported, unless something newer cures it', () => {
    const denied = [denial('8.1.0', 2)];
    const device = installed('8.1.0', 2);
    for (const offered of [[], [release('8.0.0', 1)], two, [release('9.0.0', 3, ['atmega168'])]]) {
      expect(() => chooseRelease(index(offered, denied), device)).toThrow(
        coded('UPDATE_INSTALLED_WITHDRAWN'),
      );
    }
    const same = release('8.1.1', 2);
    expect(() => chooseRelease(index([same], denied), device)).toThrow(coded('UPDATE_INSTALLED_WITHDRAWN'));
    const cure = release('8.1.1', 3);
    const alsoDenied = index([cure], [...denied, denial('8.1.1', 3)]);
    expect(() => chooseRelease(alsoDenied, device)).toThrow(coded('UPDATE_INSTALLED_WITHDRAWN'));
    expect(chooseRelease(index([...two, cure], denied), device)).toEqual({
      kind: 'candidate',
      release: cure,
    });
  });
});

describe('the offer', () => {
  const wanted = release('8.1.0', 2);

  test("another product's index is refused", () => {
    expect(() => checkIndexProduct({ ...index(two), product: 'other' }, fresh)).toThrow(
      coded('UPDATE_PRODUCT_MISMATCH'),
    );
    checkIndexProduct(index(two), fresh);
  });

  test('a policy of another product or other hardware is refused', () => {
    const policy = { product: 'optiboot', hardwareIds: ['atmega328p'] } as unknown as DevicePolicy;
    checkPolicyScope(policy, fresh);
    for (const change of [{ product: 'other' }, { hardwareIds: ['atmega168'] }]) {
      expect(() => checkPolicyScope({ ...policy, ...change }, fresh)).toThrow(
        coded('UPDATE_POLICY_MISMATCH'),
      );
    }
  });

  test('a file on which index and delegation disagree is refused', () => {
    const { sha256, sizeBytes } = wanted.image;
    checkTarget(wanted.image, { sha256, sizeBytes });
    for (const target of [
      { sha256: digest(5), sizeBytes },
      { sha256, sizeBytes: sizeBytes + 1 },
    ]) {
      expect(() => checkTarget(wanted.image, target)).toThrow(coded('UPDATE_TARGET_MISMATCH'));
    }
  });

  test('another pack than the index names is refused', () => {
    const { sha256, sizeBytes } = wanted.pack;
    checkPackDigest({ sha256, sizeBytes }, wanted);
    for (const got of [
      { sha256: digest(5), sizeBytes },
      { sha256, sizeBytes: sizeBytes + 1 },
    ]) {
      expect(() => checkPackDigest(got, wanted)).toThrow(coded('UPDATE_PACK_DIGEST'));
    }
  });

  test('a version below the floor, or not above the installed one, is refused', () => {
    const { installed: image } = installed('8.1.0', 2);
    checkVersionFloor('8.1.0', '8.1.0', undefined);
    checkVersionFloor('8.1.1', '8.1.0', image);
    expect(() => checkVersionFloor('8.0.9', '8.1.0', undefined)).toThrow(coded('UPDATE_VERSION_FLOOR'));
    expect(() => checkVersionFloor('8.1.0', '8.0.0', image)).toThrow(coded('UPDATE_VERSION_FLOOR'));
    expect(() => checkVersionFloor('8.0.0', '8.0.0', image)).toThrow(coded('UPDATE_VERSION_FLOOR'));
    // Numbers, not text.
    checkVersionFloor('8.10.0', '8.9.0', image);
  });
});
