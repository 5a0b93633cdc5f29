// SPDX-License-Identifier: Apache-2.0
// test/vectors/packs/: each case gives the verdict, the link and the code that it says, with the cryptography of Node and the portable one.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Crypto, portableCrypto } from '../../../core/crypto.ts';
import { parseInstantMs } from '../../../core/encoding/document.ts';
import { hexEncode } from '../../../core/encoding/hex.ts';
import { Rejection } from '../../../core/faults.ts';
import { parseDevicePolicy } from '../../../core/release/device-policy.ts';
import { parsePack } from '../../../core/release/pack.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { attestationVerifier } from '../../../core/verify/attestation-verifier.ts';
import { PACK } from '../../../core/verify/faults.ts';
import type { PackTrust } from '../../../core/verify/pack-steps.ts';
import { checkPackImage, checkPackSbom, verifyPack } from '../../../core/verify/verify-pack.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';

const FOLDER = fileURLToPath(new URL('../../vectors/packs/', import.meta.url));
const CASES = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

interface Expected {
  readonly verdict?: 'verified';
  readonly link?: string;
  readonly code?: string;
}

function read(name: string, file: string): Uint8Array {
  const own = `${FOLDER}${name}/${file}`;
  return new Uint8Array(readFileSync(existsSync(own) ? own : `${FOLDER}${file}`));
}
const json = (name: string, file: string) => JSON.parse(Buffer.from(read(name, file)).toString());
const expectedOf = (name: string): Expected => json(name, 'expected.json');

/** The verdict on a case; `blind` is the link of the log, if that is left out. */
function verdict(name: string, crypto: Crypto, blind?: 'log'): Expected {
  let link = 'trust';
  try {
    const policy = parseDevicePolicy(read(name, 'device-policy.json'));
    const trust: PackTrust = {
      policy,
      logPolicy: parseLogPolicy(read(name, 'tlog-policy'), crypto),
      verifier: attestationVerifier(
        { trustedRoot: read(name, 'trusted_root.json'), keys: [policy.gate.publicKey] },
        crypto,
      ),
    };
    const { now, release } = json(name, 'question.json');
    const question = { trust, release, nowMs: parseInstantMs(now) as number };
    const verified = verifyPack(read(name, 'pack.waybill'), question, crypto, (at, check) => {
      link = at;
      // The bundles without their proofs.
      if (at === blind)
        return {
          bundles: parsePack(read(name, 'pack.waybill')).bundles.map(({ bundle }) => bundle),
        } as never;
      return check().value;
    });
    link = 'sbom file';
    checkPackSbom(verified, read(name, 'sbom.cdx.json'), crypto);
    link = 'image';
    const image = read(name, 'image.bin');
    checkPackImage(verified, { sha256: hexEncode(crypto.sha256(image)), sizeBytes: image.length });
    return { verdict: 'verified' };
  } catch (failure) {
    if (failure instanceof Rejection) return { link, code: failure.code };
    throw failure;
  }
}

describe.each(CASES)('%s', (name) => {
  test('has the verdict that it says', () => {
    expect(verdict(name, nodeCrypto)).toEqual(expectedOf(name));
    expect(verdict(name, portableCrypto)).toEqual(expectedOf(name));
  });
});

test('every link refuses a case, and every code of packs is that of one', () => {
  const expected = CASES.map(expectedOf);
  expect(new Set(expected.map(({ link }) => link))).toEqual(
    new Set([
      undefined,
      'pack',
      'log',
      'signature',
      'summary',
      'builder',
      'chain',
      'sbom',
      'sbom file',
      'image',
    ]),
  );
  // Whether a release was published is asked of a repository, not of the pack.
  const codes = Object.keys(PACK.table).filter((code) => code !== 'PACK_NOT_RELEASED');
  expect(codes.filter((code) => !expected.some((one) => one.code === code))).toEqual([]);
});

test('without the proofs of the log what they refuse passes', () => {
  expect(verdict('sound', nodeCrypto, 'log')).toEqual({ verdict: 'verified' });
  for (const name of CASES.filter(
    (one) => expectedOf(one).link === 'log' && expectedOf(one).code?.startsWith('TLOG'),
  )) {
    if (name !== 'log-entry-of-other-signature') {
      expect(verdict(name, nodeCrypto, 'log'), name).toEqual({ verdict: 'verified' });
    }
  }
});
