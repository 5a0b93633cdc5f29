// SPDX-License-Identifier: Apache-2.0
// What a verified Sigstore bundle of any kind says [docs/spec/verification.md §Results]: a type that nothing outside the verifier can make.

import type { Statement } from '../intoto/statement.ts';
import type { CertifiedIdentity } from '../x509/identity.ts';
import type { VerifiedSigner } from './verified.ts';

declare const verified: unique symbol;

/** Who says when: a timestamp authority by its URI, or a log by its origin. */
export interface VerifiedTime {
  readonly by: 'authority' | 'log';
  readonly name: string;
  /** Milliseconds since 1970, whole seconds. */
  readonly timeMs: number;
}

/** One log entry that is about this bundle. */
export interface VerifiedLogEntry {
  readonly origin: string;
  /** Place in the tree of the checkpoint; with a promise alone, the index that the log promised. */
  readonly index: bigint;
  /** Size of the tree whose checkpoint the log signed; undefined with a promise alone. */
  readonly treeSize: bigint | undefined;
  readonly leaf: Uint8Array;
  /** Cosignatures are not looked at here: a trusted root names no witnesses. [docs/spec/log.md §Verifying a checkpoint] asks for them. */
  readonly witnesses: 'none';
}

/** A kind of evidence that the policy did not demand. */
export type WaivedEvidence = 'timestamps' | 'log' | 'certificateLog';

/** What was signed. */
export type VerifiedContent =
  | { readonly kind: 'statement'; readonly statement: Statement; readonly payload: Uint8Array }
  /** An artifact, by its SHA-256. */
  | { readonly kind: 'artifact'; readonly sha256: Uint8Array };

/** A bundle that passed every step; each field was authenticated by one of them. */
export interface VerifiedSignature {
  readonly [verified]: true;
  /** SHA-256 of the bundle's bytes, lower-case hex. */
  readonly sha256: string;
  readonly signer: VerifiedSigner;
  /** Undefined for a key; `certificateLogs` are ids in hex. */
  readonly certificate: (CertifiedIdentity & { readonly certificateLogs: readonly string[] }) | undefined;
  /** The earliest time that a timestamp authority gave, else that a log gave; milliseconds since 1970. */
  readonly signedAtMs: number;
  readonly times: readonly VerifiedTime[];
  readonly entries: readonly VerifiedLogEntry[];
  readonly content: VerifiedContent;
  /** What the policy waived, whether or not it was there. */
  readonly waived: readonly WaivedEvidence[];
}

/** Only the verifier calls this (tidy checks who): everything but the brand. */
export function asVerifiedSignature(facts: Omit<VerifiedSignature, typeof verified>): VerifiedSignature {
  return facts as VerifiedSignature;
}
