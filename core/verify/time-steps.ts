// SPDX-License-Identifier: Apache-2.0
// Steps of verification about when a bundle was signed [docs/spec/verification.md §Bundle]: timestamps of authorities, and the promises
// of logs of Rekor v1, which are dated [sigstore-bundle-v0.3 §TransparencyLogEntry].

import { base64Encode } from '../encoding/base64.ts';
import { canonicalJsonBytes } from '../encoding/canonical-json.ts';
import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import type { BundleLogEntry } from '../sigstore/any-bundle.ts';
import { SIGSTORE } from '../sigstore/faults.ts';
import type { SignatureLog, TrustedRoot } from '../sigstore/trusted-root.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { verifySignature } from '../x509/public-key.ts';
import { parseTimestamp, verifyTimestamp } from '../x509/timestamp.ts';
import type { Step } from './evidence.ts';
import type { VerifiedTime } from './verified-signature.ts';

/** Every timestamp in the bundle was made by a listed authority over the bundle's signature. */
export const verifyTimestamps: Step = ({ bundle: { timestamps, signature }, root, crypto }, learned) => {
  const seen: string[] = [];
  timestamps.forEach((der, i) => {
    const at = `/verificationMaterial/timestampVerificationData/rfc3161Timestamps/${i}`;
    const timestamp = parseTimestamp(der);
    const { timeMs, authority } = verifyTimestamp(
      timestamp,
      signature,
      root.timestampAuthorities,
      crypto,
      at,
    );
    refuseTwice(seen, `${hexEncode(authority.certificate.serial)} ${timeMs}`, at);
    learned.times.push({ by: 'authority', name: authority.uri, timeMs });
  });
};

/** Every promise of a log in the bundle was signed by a listed log; its time counts as one of signing. */
export const verifyPromises: Step = ({ bundle: { entries }, root, crypto }, learned) => {
  const seen: string[] = [];
  entries.forEach((entry, i) => {
    const { promise: signature, integratedTimeS } = entry;
    if (signature === undefined) return;
    const at = entryPlace(i);
    const logs = logsOf(entry, root, at);
    const data = promisedBytes(entry);
    const log = logs.find(({ publicKey: key }) =>
      verifySignature({ key, algorithm: logAlgorithm(key.kind), data, signature }, crypto),
    );
    if (log === undefined) {
      throw SIGSTORE.reject(
        'SIGSTORE_LOG_PROMISE_INVALID',
        `expected a promise of ${quote(logs[0]?.origin ?? '')} about this entry, got another`,
        { at: `${at}/inclusionPromise` },
      );
    }
    if (integratedTimeS === 0) return;
    refuseTwice(seen, `${hexEncode(entry.logId)} ${integratedTimeS}`, at);
    learned.times.push({ by: 'log', name: log.origin, timeMs: integratedTimeS * 1000 });
  });
};

/** Somebody who is trusted says when: an authority, or a log where the policy says so. */
export const requireTime: Step = ({ policy }, learned) => {
  if (policy.timestamps === 'required' && !learned.times.some(({ by }) => by === 'authority')) {
    throw SIGSTORE.reject(
      'SIGSTORE_TIMESTAMP_MISSING',
      'expected a timestamp of a trusted authority, got none',
      { at: '/verificationMaterial/timestampVerificationData' },
    );
  }
  if (learned.times.length === 0) {
    throw SIGSTORE.reject(
      'SIGSTORE_TIME_MISSING',
      'expected a timestamp of a trusted authority, or the word of a trusted log, got neither',
      { at: '/verificationMaterial' },
    );
  }
};

/** The earliest time that an authority gave, else that a log gave. */
export function signedAtMs(times: readonly VerifiedTime[]): number {
  const ofAuthorities = times.filter(({ by }) => by === 'authority');
  return Math.min(...(ofAuthorities.length > 0 ? ofAuthorities : times).map(({ timeMs }) => timeMs));
}

/** Where a log entry stands in the bundle. */
export function entryPlace(i: number): string {
  return `/verificationMaterial/tlogEntries/${i}`;
}

/** The listed logs of an entry's log id. @throws SIGSTORE_LOG_UNKNOWN */
export function logsOf(entry: BundleLogEntry, root: TrustedRoot, at: string): readonly SignatureLog[] {
  const logs = root.signatureLogs.filter(({ logId }) => sameBytes(logId, entry.logId));
  if (logs.length > 0) return logs;
  throw SIGSTORE.reject(
    'SIGSTORE_LOG_UNKNOWN',
    `expected a log that the trusted root names, got ${quote(hexEncode(entry.logId))}`,
    { at: `${at}/logId` },
  );
}

/** What logs sign with: ECDSA with SHA-256, Ed25519. */
function logAlgorithm(kind: string) {
  return kind === 'ed25519' ? ({ kind } as const) : ({ kind: 'ecdsa', hash: 'sha256' } as const);
}

/** The bytes that a promise signs [Rekor-v1-3097417 §9.5]: canonical JSON of entry, time, log and index. */
function promisedBytes({ body, integratedTimeS, index, logId }: BundleLogEntry): Uint8Array {
  return canonicalJsonBytes({
    body: base64Encode(body),
    integratedTime: integratedTimeS,
    logID: hexEncode(logId),
    logIndex: Number(index),
  });
}

/** One source cannot date a signature twice to the same second: the second is a copy. */
function refuseTwice(seen: string[], one: string, at: string): void {
  if (seen.includes(one)) {
    throw SIGSTORE.reject(
      'SIGSTORE_TIMESTAMP_REPEATED',
      'expected each time from each source once, got it twice',
      {
        at,
      },
    );
  }
  seen.push(one);
}
