// SPDX-License-Identifier: Apache-2.0
// One bundle, verified in full by the field's verifier @sigstore/verify with its default thresholds (one SCT, one log
// entry, one timestamp), and by what it leaves open [docs/spec/verification.md §Bundle]: strict parsing, the entry rebuilt
// from the bundle, the log index, identities as strings.

import { createHash } from 'node:crypto';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { type Signer, toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify';
import { parseDocument } from '../core/encoding/document.ts';
import { utf8Decode } from '../core/encoding/utf8.ts';
import { CORE, quote, Rejection } from '../core/faults.ts';
import { PAYLOAD_TYPE, parseStatement } from '../core/intoto/statement.ts';
import { parseBundle, preAuthEncoding, type SigstoreBundle } from '../core/sigstore/bundle.ts';
import { SIGSTORE } from '../core/sigstore/faults.ts';
import { formatHashedRekord } from '../core/tlog/hashed-rekord.ts';
import { asVerifiedBundle, type BundleVerifier, type VerifiedSigner } from '../core/verify/verified.ts';
import { PEERS } from './faults.ts';

export interface SigstoreTrust {
  /** The bytes of trusted_root.json, authenticated by TUF. */
  readonly trustedRoot: Uint8Array;
  /** Listed keys (DER SubjectPublicKeyInfo, P-256) that may sign without a certificate; often none. */
  readonly keys: readonly Uint8Array[];
}

/** The hint by which a bundle names a listed key: SHA-256 of its SubjectPublicKeyInfo, lower-case hex. */
export function keyHintOf(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}

/**
 * Makes a verifier for one trusted root.
 * @throws SIGSTORE_TRUSTED_ROOT_MALFORMED
 */
export function sigstoreVerifier(trust: SigstoreTrust): BundleVerifier {
  const verifier = new Verifier(trustMaterialOf(trust));
  return {
    verify(bytes) {
      const bundle = parseBundle(bytes);
      if (bundle.payloadType !== PAYLOAD_TYPE) {
        throw CORE.reject(
          'SIGSTORE_BUNDLE_MALFORMED',
          `expected payload type ${PAYLOAD_TYPE}, got ${quote(bundle.payloadType)}`,
        );
      }
      const { signer, signedAtMs } = verifyByLibrary(verifier, bytes);
      const leaf = rebuildLeaf(bundle, signer);
      return asVerifiedBundle({
        sha256: createHash('sha256').update(bytes).digest('hex'),
        signer: describe(bundle, signer),
        statement: parseStatement(bundle.payload),
        leafIndex: bundle.leafIndex,
        leaf,
        signedAtMs,
      });
    },
  };
}

function trustMaterialOf(trust: SigstoreTrust) {
  const refuse = (message: string, at: string) =>
    SIGSTORE.reject('SIGSTORE_TRUSTED_ROOT_MALFORMED', message, { at });
  const json = parseDocument(trust.trustedRoot, { refuse }).value;
  const keys = Object.fromEntries(
    trust.keys.map((spki) => [
      keyHintOf(spki),
      { rawBytes: Buffer.from(spki), keyDetails: 5 /* PKIX_ECDSA_P256_SHA_256 */ },
    ]),
  );
  try {
    const root = TrustedRoot.fromJSON(json);
    const lists = [root.certificateAuthorities, root.ctlogs, root.tlogs, root.timestampAuthorities];
    // An empty list would be met by nobody or, worse, by an absent check: it is an error, never a pass.
    if (lists.some((list) => list.length === 0))
      throw new Error('a list of authorities or logs that is empty');
    return toTrustMaterial(root, keys);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw refuse(`expected a trusted root, got ${quote(reason)}`, '/');
  }
}

/** Certificate chain with SCT (or listed key), timestamp, log entry and signature, by @sigstore/verify. */
function verifyByLibrary(verifier: Verifier, bytes: Uint8Array): { signer: Signer; signedAtMs: number } {
  try {
    const bundle = bundleFromJSON(JSON.parse(utf8Decode(bytes) ?? ''));
    const entity = toSignedEntity(bundle);
    const signer = verifier.verify(entity);
    const [entry] = entity.tlogEntries;
    if (entry?.inclusionProof === undefined || entry.inclusionProof.logIndex !== entry.logIndex) {
      // The library proves the index inside the proof and leaves the one outside unread.
      throw SIGSTORE.reject(
        'SIGSTORE_LOG_ENTRY_MISMATCH',
        'expected one log index inside and outside the inclusion proof, got two',
      );
    }
    const times = entity.timestamps.flatMap((t) =>
      t.$case === 'timestamp-authority' ? [t.timestamp.signingTime.getTime()] : [],
    );
    if (times.length === 0) {
      // The library also counts the word of a log, whose key would then date whatever it likes.
      throw PEERS.reject(
        'SIGSTORE_TIMESTAMP_REFUSED',
        "expected an authority's timestamp, got that of a log",
      );
    }
    return { signer, signedAtMs: Math.min(...times) };
  } catch (cause) {
    if (cause instanceof Rejection) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    if (!(cause instanceof VerificationError)) {
      // Parsers of the library throw errors of many kinds for foreign bytes; all of them mean the same here.
      throw CORE.reject(
        'SIGSTORE_BUNDLE_MALFORMED',
        `expected a bundle that can be read, got ${quote(message)}`,
        { cause },
      );
    }
    throw (CODES[cause.code] ?? refused('SIGSTORE_CERTIFICATE_REFUSED'))(quote(message), { cause });
  }
}

type Refuse = (message: string, place: { cause: unknown }) => Rejection;
const refused =
  (code: Parameters<typeof PEERS.reject>[0]): Refuse =>
  (message, place) =>
    PEERS.reject(code, message, place);
const refusedAlike =
  (code: Parameters<typeof SIGSTORE.reject>[0]): Refuse =>
  (message, place) =>
    SIGSTORE.reject(code, message, place);

const CODES: Record<string, Refuse> = {
  CERTIFICATE_ERROR: refused('SIGSTORE_CERTIFICATE_REFUSED'),
  PUBLIC_KEY_ERROR: refusedAlike('SIGSTORE_KEY_UNKNOWN'),
  SIGNATURE_ERROR: refusedAlike('SIGSTORE_SIGNATURE_INVALID'),
  TIMESTAMP_ERROR: refused('SIGSTORE_TIMESTAMP_REFUSED'),
  TLOG_ERROR: refused('SIGSTORE_LOG_PROOF_REFUSED'),
  TLOG_INCLUSION_PROOF_ERROR: refused('SIGSTORE_LOG_PROOF_REFUSED'),
  TLOG_INCLUSION_PROMISE_ERROR: refused('SIGSTORE_LOG_PROOF_REFUSED'),
  TLOG_MISSING_INCLUSION_ERROR: refused('SIGSTORE_LOG_PROOF_REFUSED'),
  TLOG_BODY_ERROR: refusedAlike('SIGSTORE_LOG_ENTRY_MISMATCH'),
};

/** The entry that this bundle must have in the log; the library compares digest and signature, not certificate and key. */
function rebuildLeaf(bundle: SigstoreBundle, signer: Signer): Uint8Array {
  const pae = preAuthEncoding(bundle.payloadType, bundle.payload);
  const leaf = formatHashedRekord({
    digest: createHash('sha256').update(pae).digest(),
    signature: bundle.signature,
    verifier:
      'certificate' in bundle.verifier
        ? { certificate: bundle.verifier.certificate }
        : { publicKey: spkiOf(signer) },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
  if (Buffer.compare(leaf, bundle.leaf) !== 0) {
    throw SIGSTORE.reject(
      'SIGSTORE_LOG_ENTRY_MISMATCH',
      'expected the log entry that this bundle leads to, got another',
    );
  }
  return leaf;
}

function spkiOf(signer: Signer): Uint8Array {
  return new Uint8Array(signer.key.export({ type: 'spki', format: 'der' }));
}

function describe(bundle: SigstoreBundle, signer: Signer): VerifiedSigner {
  if ('keyHint' in bundle.verifier) return { kind: 'key', publicKey: spkiOf(signer) };
  const identity = signer.identity?.subjectAlternativeName;
  const issuer = signer.identity?.extensions?.issuer;
  if (identity === undefined || issuer === undefined) {
    throw PEERS.reject(
      'SIGSTORE_CERTIFICATE_REFUSED',
      'expected a certificate with subject alternative name and issuer, got one without',
    );
  }
  return { kind: 'certificate', identity, issuer };
}
