// SPDX-License-Identifier: Apache-2.0
// A bundle that was opened before: its digests are those of the cryptography that verifies it, whoever opened it.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Crypto, portableCrypto } from '../../../core/crypto.ts';
import { STRICT_POLICY } from '../../../core/verify/evidence.ts';
import { OpenedBundle } from '../../../core/verify/opened-bundle.ts';
import { signatureVerifier } from '../../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';

const CASE = new URL('../../vectors/sigstore-bundle/rekor2-dsse-happy-path/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, CASE)));
const bundle = read('bundle.sigstore.json');
const trust = { trustedRoot: read('trusted_root.json'), keys: [], policy: STRICT_POLICY };

test('opened with the same cryptography it is taken as it is', () => {
  const opened = new OpenedBundle(bundle, portableCrypto);
  expect(OpenedBundle.of(opened, portableCrypto)).toBe(opened);
  const { sha256, signer, signedAtMs } = signatureVerifier(trust, portableCrypto).verify(bundle);
  expect(signatureVerifier(trust, portableCrypto).verify(opened)).toMatchObject({
    sha256,
    signer,
    signedAtMs,
  });
});

test('opened with another it is opened again: nothing that the other said of it counts', () => {
  const liar: Crypto = { ...portableCrypto, sha256: () => new Uint8Array(32) };
  const opened = new OpenedBundle(bundle, liar);
  expect(opened.sha256()).toBe('0'.repeat(64));
  const { sha256 } = signatureVerifier(trust, nodeCrypto).verify(opened);
  expect(sha256).toBe(signatureVerifier(trust, nodeCrypto).verify(bundle).sha256);
});
