// SPDX-License-Identifier: Apache-2.0
// What the monitor takes down of an entry when a watched identity or key made it: enough to explain it later, or to show it.

import { base64Encode } from '../../core/encoding/base64.ts';
import { hexEncode } from '../../core/encoding/hex.ts';
import { Rejection } from '../../core/faults.ts';
import { parseEntryBundle } from '../../core/tlog/entry-bundle.ts';
import { parseHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { hashLeaf } from '../../core/tlog/merkle.ts';
import { type Certificate, parseCertificate } from '../../core/x509/certificate.ts';
import { type Claims, readIdentity } from '../../core/x509/identity.ts';
import { withoutSctList } from '../../core/x509/sct.ts';
import { nodeHasher } from '../log/hash-tiles.ts';
import type { EntryReader, FollowedLog, LogName, ReadEntry } from './followed-log.ts';
import { jsonRow, wide } from './monitor-store.ts';
import { parseDataTile, withoutSignature } from './tile-leaf.ts';
import { mayBeWatched, type WatchList, watchedAs } from './watch-list.ts';

/** Who made an entry, as it says. */
export type Maker =
  | {
      readonly kind: 'certificate';
      readonly identity: string;
      readonly issuer: string;
      readonly claims: Claims;
      /** SHA-256 of the certificate without its log's promise, hex: by this the certificate log has it. */
      readonly loggedAs: string;
    }
  | { readonly kind: 'key'; readonly name: string };

/** An entry of a watched identity or key, as it is kept until it is explained. */
export interface Sighting {
  readonly log: LogName;
  readonly origin: string;
  /** Decimal. */
  readonly index: string;
  /** Hex. */
  readonly leafHash: string;
  readonly maker: Maker;
  /** Of a signature: SHA-256 of what was signed, hex. */
  readonly digest?: string;
  /** Milliseconds since 1970: when it was made, as far as it says so, and not later than it was seen. */
  readonly sinceMs: number;
  /** The leaf of a signature; what was logged of a certificate, as DER of one without a signature; base64. */
  readonly entry: string;
}

/** Below it are the rows that say where a certificate was logged, a `LoggedAt` each. */
export const loggedPrefix = (loggedAs: string): string => `certificate/${loggedAs}/`;

/** A place in a certificate log, which may have been read ahead of what was verified. */
export type LoggedAt = Pick<Sighting, 'log' | 'origin' | 'index'>;

/** Counts what was read and says nothing to us. */
export interface Counts {
  /** Entries in a form that cannot be read here. */
  foreign: number;
}

interface Deps {
  readonly log: FollowedLog;
  readonly list: WatchList;
  readonly counts: Counts;
  readonly nowMs: number;
}

/** Reads a signature log. */
export function signatureReader({ log, list, counts, nowMs }: Deps): EntryReader<Uint8Array> {
  return {
    parse: (bundle) => orUndefined(() => parseEntryBundle(bundle).map(asRead)),
    rows: (leaf, index, leafHash) => {
      const read = orUndefined(() => readSignature(leaf, list));
      if (read === undefined) counts.foreign++;
      if (read?.maker === undefined) return [];
      const sighting: Sighting = {
        ...placeOf(log, index, leafHash),
        maker: read.maker,
        digest: hexEncode(read.digest),
        sinceMs: Math.min(read.madeMs ?? nowMs, nowMs),
        entry: base64Encode(leaf),
      };
      return [jsonRow(log.pendingKey(index), sighting)];
    },
  };
}

function asRead(leaf: Uint8Array): ReadEntry<Uint8Array> {
  return { entry: leaf, leafHash: hashLeaf(leaf, nodeHasher) };
}

function readSignature(leaf: Uint8Array, list: WatchList) {
  const { digest, verifier } = parseHashedRekord(leaf);
  if ('publicKey' in verifier) {
    const publicKey = base64Encode(verifier.publicKey);
    const key = list.keys.find((listed) => listed.publicKey === publicKey);
    return { digest, maker: key && ({ kind: 'key', name: key.name } as const), madeMs: undefined };
  }
  if (!mayBeWatched(list, verifier.certificate)) return { digest, maker: undefined, madeMs: undefined };
  const certificate = parseCertificate(verifier.certificate);
  const maker = makerOf(certificate, list, () => withoutSctList(certificate));
  return { digest, maker, madeMs: certificate.notBeforeMs };
}

/** Reads a certificate log: watched identities to be explained, and that it has them. */
export function certificateReader({ log, list, counts, nowMs }: Deps) {
  type Entry = NonNullable<ReturnType<typeof parseDataTile>>[number];
  const reader: EntryReader<Entry> = {
    parse: (tile) => parseDataTile(tile)?.map((entry) => ({ entry, leafHash: entry.leafHash })),
    rows: ({ der: served, tbs, timeMs }, index, leafHash) => {
      // The precertificate that is served beside its TBSCertificate is in no hash: it may name anybody.
      if (!mayBeWatched(list, tbs ?? served)) return [];
      const read = orUndefined(() => {
        const der = tbs === undefined ? served : withoutSignature(tbs);
        const certificate = parseCertificate(der);
        return { der, maker: makerOf(certificate, list, () => certificate.tbs) };
      });
      if (read === undefined) counts.foreign++;
      if (read?.maker === undefined) return [];
      const { der, maker } = read;
      const sighting: Sighting = {
        ...placeOf(log, index, leafHash),
        maker,
        sinceMs: Math.min(timeMs, nowMs),
        entry: base64Encode(der),
      };
      const at: LoggedAt = { log: log.name, origin: log.last.origin, index: String(index) };
      const known = loggedPrefix(maker.kind === 'certificate' ? maker.loggedAs : '');
      return [jsonRow(log.pendingKey(index), sighting), jsonRow(`${known}${at.origin}/${wide(index)}`, at)];
    },
  };
  return reader;
}

function makerOf(certificate: Certificate, list: WatchList, tbs: () => Uint8Array): Maker | undefined {
  const { identity, issuer, claims } = readIdentity(certificate);
  if (watchedAs(list, identity).length === 0) return undefined;
  const loggedAs = hexEncode(nodeHasher.sha256(tbs()));
  return { kind: 'certificate', identity, issuer, claims, loggedAs };
}

function placeOf(log: FollowedLog, index: bigint, leafHash: Uint8Array) {
  return { log: log.name, origin: log.last.origin, index: String(index), leafHash: hexEncode(leafHash) };
}

/** What a parser refuses is not ours to explain: no verifier takes it either. */
function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (failure) {
    if (failure instanceof Rejection) return undefined;
    throw failure;
  }
}
