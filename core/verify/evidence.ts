// SPDX-License-Identifier: Apache-2.0
// What the steps of the verifier are given, and what they learn from one another [docs/spec/verification.md §Bundle].

import type { Crypto } from '../crypto.ts';
import type { AnyBundle } from '../sigstore/any-bundle.ts';
import type { TrustedRoot } from '../sigstore/trusted-root.ts';
import type { Certificate } from '../x509/certificate.ts';
import type { CertifiedIdentity } from '../x509/identity.ts';
import type { Times, Validity } from '../x509/path.ts';
import type { OpenedBundle } from './opened-bundle.ts';
import type {
  VerifiedContent,
  VerifiedLogEntry,
  VerifiedTime,
  WaivedEvidence,
} from './verified-signature.ts';

/** Which evidence is demanded. What a bundle has besides is verified too. `none` waives a kind, and every result shows it. */
export interface EvidencePolicy {
  /** A timestamp authority says when; with `none` the word of a log (Rekor v1) is enough. */
  readonly timestamps: 'required' | 'none';
  /** The signature stands in a log. */
  readonly log: 'required' | 'none';
  /** The signer's certificate stands in a certificate transparency log. */
  readonly certificateLog: 'required' | 'none';
}

/** Everything is demanded: what Waybill itself makes has it. */
export const STRICT_POLICY: EvidencePolicy = {
  timestamps: 'required',
  log: 'required',
  certificateLog: 'required',
};

/** A key that may sign without a certificate. */
export interface ListedKey {
  /** DER SubjectPublicKeyInfo, P-256. A bundle names it by its SHA-256 in lower-case hex or in base64. */
  readonly publicKey: Uint8Array;
  /** When it is in force; always, if absent. */
  readonly validFor?: Validity;
}

/** The artifact that a bundle is about: its bytes, or its SHA-256. */
export type Artifact = { readonly bytes: Uint8Array } | { readonly sha256: Uint8Array };

/** What a bundle is verified against. */
export interface Given {
  readonly bundle: AnyBundle;
  /** The same, with its digests. */
  readonly opened: OpenedBundle;
  readonly root: TrustedRoot;
  readonly keys: readonly ListedKey[];
  readonly policy: EvidencePolicy;
  /** Needed for a signature over an artifact; with a statement it must be one of the subjects. */
  readonly artifact: Artifact | undefined;
  readonly crypto: Crypto;
}

/** What the steps found, each for those after it. */
export interface Learned {
  signer?: LearnedSigner;
  times: VerifiedTime[];
  certificateLogs: readonly string[];
  entries: VerifiedLogEntry[];
  content?: VerifiedContent;
}

/** Whose key it is. `publicKey` is DER SubjectPublicKeyInfo. */
export type LearnedSigner =
  | {
      readonly kind: 'certificate';
      readonly publicKey: Uint8Array;
      readonly certificate: Certificate;
      readonly identity: CertifiedIdentity;
      issuers?: readonly Certificate[];
    }
  | { readonly kind: 'key'; readonly publicKey: Uint8Array; readonly validFor: Validity | undefined };

/** One step: looks at what is given and was learned, adds to it, or refuses. @throws Rejection */
export type Step = (given: Given, learned: Learned) => void;

/** What an earlier step learned. */
export function signerOf(learned: Learned): LearnedSigner {
  if (learned.signer === undefined) throw new TypeError('no step has found the signer');
  return learned.signer;
}

/** The times of signing, which an earlier step required. */
export function timesOf(learned: Learned): Times {
  const [first, ...more] = learned.times.map(({ timeMs }) => timeMs);
  if (first === undefined) throw new TypeError('no step has required a time');
  return [first, ...more];
}

/** The kinds of evidence that a policy waives. */
export function waivedBy(policy: EvidencePolicy): readonly WaivedEvidence[] {
  return (['timestamps', 'log', 'certificateLog'] as const).filter((kind) => policy[kind] === 'none');
}
