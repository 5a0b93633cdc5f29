// SPDX-License-Identifier: Apache-2.0
// Signatures, listed keys, artifacts and policies that are wrong in one place, at the verifier's own entry point.

import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { STRICT_POLICY } from '../../../core/verify/evidence.ts';
import { sha256 } from '../../../registry/trust/certificate.ts';
import { Forge, NOW_MS, PAYLOAD_TYPE, pair, STATEMENT } from './forge.ts';
import {
  type BundleParts,
  certifiedSigner,
  dated,
  forgeBundle,
  hintOf,
  verifyForged,
} from './forged-bundle.ts';

const forge = new Forge();
const coded = (code: string) => expect.objectContaining({ code });
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const attempt = (parts: BundleParts) => () => verifyForged(forge, forgeBundle(forge, parts));
const IMAGE = utf8('image');

describe('a signature', () => {
  test.each<[string, BundleParts]>([
    ['by another key', { signature: pair().sign(preAuthEncoding(PAYLOAD_TYPE, STATEMENT)) }],
    ['over another type', { payloadType: PAYLOAD_TYPE, signature: utf8('x') }],
    ['that is none', { signature: new Uint8Array(70) }],
  ])('%s', (_, parts) => {
    expect(attempt(parts)).toThrow(coded('SIGSTORE_SIGNATURE_INVALID'));
  });

  test('over the payload without its type', () => {
    const signer = certifiedSigner(forge);
    expect(attempt({ signer, signature: signer.key.sign(STATEMENT) })).toThrow(
      coded('SIGSTORE_SIGNATURE_INVALID'),
    );
    const typed = signer.key.sign(preAuthEncoding('text/plain', STATEMENT));
    expect(attempt({ signer, signature: typed })).toThrow(coded('SIGSTORE_SIGNATURE_INVALID'));
  });

  test('over what is no statement', () => {
    expect(attempt({ payloadType: 'text/plain' })).toThrow(coded('SIGSTORE_CONTENT_UNSUPPORTED'));
    expect(attempt({ payload: utf8('{}') })).toThrow(coded('INTOTO_STATEMENT_MALFORMED'));
  });
});

describe('a listed key', () => {
  const signer = { key: forge.listed };
  const listed = { publicKey: forge.listed.spki };
  const bundle = forgeBundle(forge, { signer });

  test('signs where it is listed, by hint in hex or base64', () => {
    expect(verifyForged(forge, bundle, { keys: [listed] })).toMatchObject({
      signer: { kind: 'key', publicKey: forge.listed.spki },
      certificate: undefined,
    });
    const hint = b64(sha256(forge.listed.spki));
    const inBase64 = forgeBundle(forge, {
      signer,
      change: ({ verificationMaterial, dsseEnvelope }) => {
        verificationMaterial.publicKey.hint = dsseEnvelope.signatures[0].keyid = hint;
      },
    });
    expect(verifyForged(forge, inBase64, { keys: [listed] }).signer).toMatchObject({ kind: 'key' });
  });

  test('that nobody listed, or under another hint, or two hints', () => {
    expect(() => verifyForged(forge, bundle)).toThrow(coded('SIGSTORE_KEY_UNKNOWN'));
    const other = pair();
    expect(() => verifyForged(forge, bundle, { keys: [{ publicKey: other.spki }] })).toThrow(
      coded('SIGSTORE_KEY_UNKNOWN'),
    );
    const two = forgeBundle(forge, {
      signer,
      change: ({ dsseEnvelope }) => delete dsseEnvelope.signatures[0].keyid,
    });
    expect(() => verifyForged(forge, two, { keys: [listed] })).toThrow(coded('SIGSTORE_KEY_UNKNOWN'));
    const renamed = forgeBundle(forge, {
      signer,
      change: ({ verificationMaterial, dsseEnvelope }) => {
        verificationMaterial.publicKey.hint = dsseEnvelope.signatures[0].keyid = hintOf(other.spki);
      },
    });
    expect(() => verifyForged(forge, renamed, { keys: [listed, { publicKey: other.spki }] })).toThrow(
      coded('SIGSTORE_SIGNATURE_INVALID'),
    );
  });

  test('before or after it was in force', () => {
    const keys = (startMs: number, endMs: number) => [{ ...listed, validFor: { startMs, endMs } }];
    expect(verifyForged(forge, bundle, { keys: keys(NOW_MS, NOW_MS) }).signedAtMs).toBe(NOW_MS);
    for (const [start, end] of [
      [NOW_MS + 1000, NOW_MS + 2000],
      [NOW_MS - 2000, NOW_MS - 1000],
    ] as const) {
      expect(() => verifyForged(forge, bundle, { keys: keys(start, end) })).toThrow(
        coded('SIGSTORE_KEY_PERIOD'),
      );
    }
  });

  test('of a kind that does not sign bundles', () => {
    const p384 = pair('P-384', 'sha384');
    const by = forgeBundle(forge, { signer: { key: p384 } });
    expect(() => verifyForged(forge, by, { keys: [{ publicKey: p384.spki }] })).toThrow(
      coded('SIGSTORE_KEY_UNSUITABLE'),
    );
  });
});

/** A signature over an artifact. */
function signArtifact(artifact: Uint8Array, change: (bundle: never) => void = () => undefined): Uint8Array {
  const signer = certifiedSigner(forge);
  const signature = signer.key.sign(artifact);
  const digest = sha256(artifact);
  const leaf = formatHashedRekord({
    digest,
    signature,
    verifier: { certificate: signer.certificate as Uint8Array },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
  return forgeBundle(forge, {
    signer,
    signature,
    entries: () => [forge.entry(leaf)],
    change: (bundle) => {
      delete bundle.dsseEnvelope;
      bundle.messageSignature = {
        messageDigest: { algorithm: 'SHA2_256', digest: b64(digest) },
        signature: b64(signature),
      };
      change(bundle as never);
    },
  });
}

describe('an artifact', () => {
  const artifact = { bytes: IMAGE };
  const byDigest = { sha256: sha256(IMAGE) };
  test('that was signed is accepted by its bytes and by its digest', () => {
    for (const given of [artifact, byDigest]) {
      expect(verifyForged(forge, signArtifact(IMAGE), { artifact: given }).content).toEqual({
        kind: 'artifact',
        sha256: sha256(IMAGE),
      });
    }
  });

  test('that is another, or is not at hand', () => {
    const other = { bytes: utf8('another') };
    for (const given of [other, { sha256: sha256(other.bytes) }]) {
      expect(() => verifyForged(forge, signArtifact(IMAGE), { artifact: given })).toThrow(
        coded('SIGSTORE_ARTIFACT_MISMATCH'),
      );
    }
    expect(() => verifyForged(forge, signArtifact(IMAGE))).toThrow(coded('SIGSTORE_CONTENT_UNSUPPORTED'));
  });

  test('whose digest in the bundle is false, and whose signature is over another', () => {
    const falseDigest = signArtifact(IMAGE, (bundle: never) => {
      (
        bundle as { messageSignature: { messageDigest: { digest: string } } }
      ).messageSignature.messageDigest.digest = b64(sha256(utf8('x')));
    });
    expect(() => verifyForged(forge, falseDigest, { artifact })).toThrow(coded('SIGSTORE_ARTIFACT_MISMATCH'));
    const renamed = signArtifact(utf8('another'), (bundle: never) => {
      (
        bundle as { messageSignature: { messageDigest: { digest: string } } }
      ).messageSignature.messageDigest.digest = b64(sha256(IMAGE));
    });
    for (const given of [artifact, byDigest]) {
      expect(() => verifyForged(forge, renamed, { artifact: given })).toThrow(
        coded('SIGSTORE_SIGNATURE_INVALID'),
      );
    }
  });

  test('is one of the subjects of the statement about it', () => {
    const bundle = forgeBundle(forge);
    for (const given of [artifact, byDigest]) {
      expect(verifyForged(forge, bundle, { artifact: given }).content).toMatchObject({ kind: 'statement' });
    }
    expect(() => verifyForged(forge, bundle, { artifact: { bytes: utf8('another') } })).toThrow(
      coded('SIGSTORE_ARTIFACT_MISMATCH'),
    );
  });
});

describe('a policy', () => {
  test('that waives neither time is needed; what is waived is shown, and verified where it is there', () => {
    const noLog = { ...STRICT_POLICY, log: 'none', certificateLog: 'none' } as const;
    const bare = forgeBundle(forge, {
      signer: certifiedSigner(forge, { scts: () => [] }),
      entries: () => [],
    });
    expect(verifyForged(forge, bare, { policy: noLog })).toMatchObject({
      entries: [],
      waived: ['log', 'certificateLog'],
    });
    expect(() => verifyForged(forge, bare)).toThrow(coded('X509_SCT_MISSING'));
    const stale = forgeBundle(forge, {
      entries: (leaf) => [{ ...forge.entry(leaf), logIndex: '9' }],
    });
    expect(() => verifyForged(forge, stale, { policy: noLog })).toThrow(
      coded('SIGSTORE_LOG_PROOF_CONTRADICTED'),
    );
    const undated = forgeBundle(forge, { timestamps: () => [] });
    expect(() => verifyForged(forge, undated, { policy: { ...STRICT_POLICY, timestamps: 'none' } })).toThrow(
      coded('SIGSTORE_TIME_MISSING'),
    );
  });

  test('without any time is none', () => {
    expect(() =>
      verifyForged(forge, forgeBundle(forge), {
        policy: { timestamps: 'none', log: 'none', certificateLog: 'none' },
      }),
    ).toThrow(coded('SIGSTORE_POLICY_WITHOUT_TIME'));
  });

  test.each([
    ['certificateAuthorities', {}],
    ['timestampAuthorities', { timestamps: 'none' }],
    ['tlogs', { log: 'none' }],
    ['ctlogs', { certificateLog: 'none' }],
  ])('that nobody in the trusted root could meet: no %s', (list, waiver) => {
    for (const value of [[], undefined]) {
      const trustedRoot = forge.trustedRoot((root) => (root[list] = value));
      const bundle = forgeBundle(forge);
      expect(() => verifyForged(forge, bundle, { trustedRoot })).toThrow(
        coded('SIGSTORE_TRUSTED_ROOT_INCOMPLETE'),
      );
      const policy = { ...STRICT_POLICY, ...waiver } as typeof STRICT_POLICY;
      // Waived, but the bundle has such evidence, and nobody to believe it.
      expect(() => verifyForged(forge, bundle, { trustedRoot, policy })).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/_UNKNOWN$|_INCOMPLETE$/) }),
      );
    }
  });
});

test('evidence of one bundle does not pass in another', () => {
  const one = certifiedSigner(forge);
  const other = certifiedSigner(forge);
  const swapped = forgeBundle(forge, {
    signer: one,
    timestamps: () => dated(forge)(other.key.sign(STATEMENT)),
  });
  expect(() => verifyForged(forge, swapped)).toThrow(coded('TIMESTAMP_SUBJECT_MISMATCH'));
});
