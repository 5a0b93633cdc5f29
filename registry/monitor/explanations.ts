// SPDX-License-Identifier: Apache-2.0
// Why a watched identity or key made an entry [docs/spec/monitor.md §Explained]: what is missing for it to be explained, and whether it was made at all.

import { base64Decode } from '../../core/encoding/base64.ts';
import { quote, Rejection, Unavailable } from '../../core/faults.ts';
import type { TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { parseHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { type Certificate, parseCertificate } from '../../core/x509/certificate.ts';
import { verifyCertificate } from '../../core/x509/path.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { verifyP256Digest } from '../../peers/p256-digest.ts';
import type { DecisionsFolder, RegistryDocuments } from './documents.ts';
import type { Sighting } from './sightings.ts';
import type { StartedBuilds } from './started-builds.ts';
import { type WatchList, watchedAs } from './watch-list.ts';

/** Where explanations come from. */
export interface Evidence {
  readonly list: WatchList;
  readonly builds: StartedBuilds | undefined;
  /** Undefined: signatures whose documents nobody holds are not asked about. */
  readonly documents: RegistryDocuments | undefined;
  readonly decisions: DecisionsFolder | undefined;
}

/** What the certificate logs have, all shards together. */
export interface LoggedCertificates {
  /** `loggedAs` of a maker. @throws MONITOR_LOG_UNREACHABLE */
  has(loggedAs: string): Promise<boolean>;
}

/**
 * What is missing for a sighting to be explained, in words; nothing if all is there. Certificates are asked for in the certificate logs
 * if these are followed.
 * @throws MONITOR_LOG_UNREACHABLE where nothing is known to be missing and somebody does not answer; the signal's reason
 */
export async function missingFor(
  sighting: Sighting,
  { list, builds, documents, decisions }: Evidence,
  certificates: LoggedCertificates | undefined,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { maker, digest, log } = sighting;
  if (maker.kind === 'key') {
    return digest !== undefined && decisions?.has(digest) === true
      ? []
      : ['no decision in the folder has this digest'];
  }
  const missing: string[] = [];
  let unanswered: Unavailable | undefined;
  const ask = async (question: () => Promise<string | undefined>) => {
    try {
      const reason = await question();
      if (reason !== undefined) missing.push(reason);
    } catch (failure) {
      signal?.throwIfAborted();
      if (!(failure instanceof Unavailable)) throw failure;
      unanswered ??= failure;
    }
  };
  if (!watchedAs(list, maker.identity).some(({ issuer }) => issuer === maker.issuer)) {
    missing.push(`the issuer ${quote(maker.issuer)} is not the one that vouches for this identity`);
  }
  if (log === 'signatures' && certificates !== undefined) {
    await ask(async () =>
      (await certificates.has(maker.loggedAs)) ? undefined : 'the certificate is in no certificate log',
    );
  }
  await ask(() => (builds as StartedBuilds).whyNot(maker.claims, signal));
  if (log === 'signatures' && documents !== undefined) {
    await ask(async () =>
      (await documents.has(sighting, signal)) ? undefined : 'the store holds no document of this entry',
    );
  }
  // Whatever one would say who does not answer, what is missing is missing: else a registry that hides its store would hide a theft.
  if (missing.length === 0 && unanswered !== undefined) throw unanswered;
  return missing;
}

/**
 * True if the watched key, or a key that a trusted authority certified, made the entry. Anybody can copy a certificate of ours into an entry of a
 * log that does not look; no verifier takes it, and it is no alarm. Costly, so it is asked of what is not explained alone.
 */
export function isMade({ log, entry, maker }: Sighting, root: TrustedRoot | undefined): boolean {
  const bytes = base64Decode(entry) as Uint8Array;
  try {
    // The certificate log takes certificates from the authority alone; it is the authority that is watched there.
    if (log === 'certificates') return true;
    const { digest, signature, verifier } = parseHashedRekord(bytes);
    if ('publicKey' in verifier) return verifyP256Digest(verifier.publicKey, digest, signature);
    const leaf = parseCertificate(verifier.certificate);
    if (!verifyP256Digest(leaf.publicKey.spki, digest, signature)) return false;
    if (root === undefined || maker.kind === 'key') return true;
    return beginnings(leaf, root).some((timeMs) => isCertified(leaf, timeMs, root));
  } catch (failure) {
    if (failure instanceof Rejection) return false;
    throw failure;
  }
}

/**
 * When the leaf, an authority or its certificates begin to count, within the life of the leaf: if there is any time at which all of them do, it is one of
 * these. Whoever has an authority's key may write into a certificate that it began before the authority did.
 */
function beginnings({ notBeforeMs, notAfterMs }: Certificate, root: TrustedRoot): readonly number[] {
  const times = root.certificateAuthorities.flatMap(({ issuers, validFor }) => [
    validFor.startMs,
    ...issuers.map((issuer) => issuer.notBeforeMs),
  ]);
  return [notBeforeMs, ...times].filter((timeMs) => notBeforeMs <= timeMs && timeMs <= notAfterMs);
}

function isCertified(leaf: Certificate, timeMs: number, root: TrustedRoot): boolean {
  const question = { leaf, purpose: 'codeSigning' as const, timesMs: [timeMs] as const, at: '/' };
  try {
    verifyCertificate(question, root.certificateAuthorities, nodeCrypto);
    return true;
  } catch (failure) {
    if (failure instanceof Rejection) return false;
    throw failure;
  }
}
