// SPDX-License-Identifier: Apache-2.0
// Each step of the verifier is needed: without it, and with all the others, something passes that must not.

import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { attestationVerifier } from '../../../core/verify/attestation-verifier.ts';
import { type Artifact, type ListedKey, STRICT_POLICY } from '../../../core/verify/evidence.ts';
import * as logs from '../../../core/verify/log-steps.ts';
import * as signers from '../../../core/verify/signer-steps.ts';
import * as times from '../../../core/verify/time-steps.ts';
import { type NamedStep, STEPS, signatureVerifier } from '../../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { sha256 } from '../../../registry/trust/certificate.ts';
import { Forge, leafOf, NOW_MS, PAYLOAD_TYPE, STATEMENT } from './forge.ts';
import { certifiedSigner, dated, forgeBundle, hashedRekordV1 } from './forged-bundle.ts';

const forge = new Forge();
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const RECORD = { kind: 'hashedrekord', version: '0.0.1' };
const DIGEST = sha256(preAuthEncoding(PAYLOAD_TYPE, STATEMENT));
const signer = certifiedSigner(forge);

/** A bundle that one step alone refuses, and under what. */
interface Catch {
  readonly bundle: Uint8Array;
  readonly code: string;
  readonly root?: Uint8Array;
  readonly keys?: readonly ListedKey[];
  readonly policy?: typeof STRICT_POLICY;
  readonly artifact?: Artifact;
}

const LOG_DATES = { ...STRICT_POLICY, timestamps: 'none' } as unknown as typeof STRICT_POLICY;
const promised = (signature: Uint8Array) => forge.oldEntry(hashedRekordV1(signer, DIGEST, signature), RECORD);

/** A signature over one artifact that calls itself, in bundle and log alike, one over another. */
function misnamed(): Uint8Array {
  const signature = signer.key.sign(utf8('image'));
  const digest = sha256(utf8('another'));
  const verifier = { certificate: signer.certificate as Uint8Array };
  const leaf = formatHashedRekord({ digest, signature, verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' });
  return forgeBundle(forge, {
    signer,
    signature,
    entries: () => [forge.entry(leaf)],
    change: (bundle) => {
      delete bundle.dsseEnvelope;
      const messageDigest = { algorithm: 'SHA2_256', digest: b64(digest) };
      bundle.messageSignature = { messageDigest, signature: b64(signature) };
    },
  });
}

const CATCHES: ReadonlyMap<unknown, Catch> = new Map<unknown, Catch>([
  [
    signers.matchArtifact,
    { bundle: misnamed(), artifact: { bytes: utf8('image') }, code: 'SIGSTORE_ARTIFACT_MISMATCH' },
  ],
  [
    times.verifyTimestamps,
    {
      bundle: forgeBundle(forge, {
        signer,
        timestamps: dated(new Forge()),
        entries: (_, signature) => [promised(signature)],
      }),
      policy: LOG_DATES,
      code: 'TIMESTAMP_AUTHORITY_UNKNOWN',
    },
  ],
  [
    times.verifyPromises,
    {
      bundle: forgeBundle(forge, {
        signer,
        entries: (_, signature) => [{ ...promised(signature), logIndex: '4002' }],
      }),
      code: 'SIGSTORE_LOG_PROMISE_INVALID',
    },
  ],
  [
    times.requireTime,
    {
      bundle: forgeBundle(forge, {
        signer,
        timestamps: () => [],
        entries: (_, signature) => [promised(signature)],
      }),
      code: 'SIGSTORE_TIMESTAMP_MISSING',
    },
  ],
  [
    signers.verifySignerTrust,
    {
      bundle: forgeBundle(forge, { signer: { key: forge.listed } }),
      keys: [{ publicKey: forge.listed.spki, validFor: { startMs: NOW_MS + 1000 } }],
      code: 'SIGSTORE_KEY_PERIOD',
    },
  ],
  [
    signers.verifyCertificateLog,
    {
      bundle: forgeBundle(forge, { signer: certifiedSigner(forge, { scts: () => [] }) }),
      code: 'X509_SCT_MISSING',
    },
  ],
  [
    signers.verifyContentSignature,
    {
      bundle: forgeBundle(forge, { signer, signature: signer.key.sign(utf8('x')) }),
      code: 'SIGSTORE_SIGNATURE_INVALID',
    },
  ],
  [
    logs.requireEntries,
    { bundle: forgeBundle(forge, { entries: () => [] }), code: 'SIGSTORE_LOG_ENTRY_MISSING' },
  ],
  [
    logs.verifyInclusion,
    {
      bundle: forgeBundle(forge, {
        change: (bundle) => delete bundle.verificationMaterial.tlogEntries[0].inclusionProof,
      }),
      code: 'SIGSTORE_LOG_PROOF_MISSING',
    },
  ],
  [
    logs.compareEntries,
    {
      bundle: forgeBundle(forge, {
        signer,
        entries: (_, s) => [forge.entry(leafOf(certifiedSigner(forge), s))],
      }),
      code: 'SIGSTORE_LOG_ENTRY_MISMATCH',
    },
  ],
  [
    logs.checkLogPeriods,
    {
      bundle: forgeBundle(forge),
      root: forge.trustedRoot((root) => (root.tlogs[0].publicKey.validFor.end = '2026-02-01T00:00:00Z')),
      code: 'SIGSTORE_LOG_PERIOD',
    },
  ],
]);

/** Steps that all after them need: without one of these nothing at all is accepted. */
const NEEDED_BY_OTHERS: readonly unknown[] = [signers.findSigner, signers.readSignedContent];

const verify = (one: Catch, steps: readonly NamedStep[] = STEPS) => {
  const { root: trustedRoot = forge.trustedRoot(), keys = [], policy = STRICT_POLICY } = one;
  return signatureVerifier({ trustedRoot, keys, policy }, nodeCrypto, steps).verify(one.bundle, one.artifact);
};
const without = (step: unknown) => STEPS.filter(([, other]) => other !== step);

test('every step is here, once', () => {
  const steps = STEPS.map(([, step]) => String(step));
  expect(new Set(steps).size).toBe(STEPS.length);
  expect([...CATCHES.keys(), ...NEEDED_BY_OTHERS].map(String).sort()).toEqual(steps.sort());
});

describe.each([...CATCHES].map(([step, one]) => [one.code, step, one] as const))('%s', (code, step, one) => {
  test('is what one step refuses, and no other', () => {
    expect(() => verify(one)).toThrow(expect.objectContaining({ code }));
    expect(verify(one, without(step)).sha256).toHaveLength(64);
  });
});

test.each(NEEDED_BY_OTHERS)('without a step that all others need nothing is accepted', (step) => {
  const sound = { bundle: forgeBundle(forge), code: '' };
  expect(verify(sound).waived).toEqual([]);
  expect(() => verify(sound, without(step))).toThrow(TypeError);
  expect(() => verify(sound, without(step))).not.toThrow(Rejection);
});

test('of what is sound, the verifier of our own bundles takes our own form alone', () => {
  const trustedRoot = forge.trustedRoot();
  const general = signatureVerifier({ trustedRoot, keys: [], policy: STRICT_POLICY }, nodeCrypto);
  const ours = attestationVerifier({ trustedRoot, keys: [] }, nodeCrypto);
  expect(ours.verify(forgeBundle(forge)).evidence.entries).toHaveLength(1);
  const foreign = [
    forgeBundle(forge, {
      change: (bundle) => (bundle.mediaType = 'application/vnd.dev.sigstore.bundle+json;version=0.3'),
    }),
    forgeBundle(forge, { signer, entries: (_, signature) => [promised(signature)] }),
  ];
  for (const bundle of foreign) {
    expect(() => general.verify(bundle)).not.toThrow();
    expect(() => ours.verify(bundle)).toThrow(expect.objectContaining({ code: 'SIGSTORE_BUNDLE_MALFORMED' }));
  }
});
