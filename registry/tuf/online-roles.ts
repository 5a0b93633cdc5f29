// SPDX-License-Identifier: Apache-2.0
// Making snapshot and timestamp [TUF-1.0.34 §4.4, §4.6]: which versions belong together, and that they are fresh.

import { createHash } from 'node:crypto';
import { Metadata, MetaFile, Snapshot, Timestamp } from '@tufjs/models';
import { type OnlineKeys, signOnline } from './online-keys.ts';

const SPEC_VERSION = '1.0.31';
const DAY_MS = 86_400_000;
/** Lifetimes: a device that is kept from the repository notices after a day that it is being held back. */
export const LIFETIME_MS = { snapshot: 7 * DAY_MS, timestamp: DAY_MS } as const;

/** A role file as snapshot names it. */
export interface RoleFile {
  readonly version: number;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** A signed online role. */
export interface SignedRole {
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly expiresMs: number;
}

/** The entry for role metadata with these bytes. */
export function roleFile(version: number, bytes: Uint8Array): RoleFile {
  return { version, sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Signs a snapshot over the given roles (`targets`, `releases-…`). */
export function signSnapshot(
  version: number,
  roles: ReadonlyMap<string, RoleFile>,
  keys: OnlineKeys,
  nowMs: number,
): SignedRole {
  const expiresMs = expiryMs(nowMs, LIFETIME_MS.snapshot);
  const meta = Object.fromEntries([...roles].map(([role, file]) => [`${role}.json`, metaFile(file)]));
  const signed = new Snapshot({ specVersion: SPEC_VERSION, version, expires: instant(expiresMs), meta });
  return { version, expiresMs, bytes: signOnline(new Metadata(signed), keys.snapshot) };
}

/** Signs a timestamp over a snapshot. */
export function signTimestamp(
  version: number,
  snapshot: SignedRole,
  keys: OnlineKeys,
  nowMs: number,
): SignedRole {
  const expiresMs = expiryMs(nowMs, LIFETIME_MS.timestamp);
  const snapshotMeta = metaFile(roleFile(snapshot.version, snapshot.bytes));
  const signed = new Timestamp({
    specVersion: SPEC_VERSION,
    version,
    expires: instant(expiresMs),
    snapshotMeta,
  });
  return { version, expiresMs, bytes: signOnline(new Metadata(signed), keys.timestamp) };
}

function metaFile(file: RoleFile): MetaFile {
  return new MetaFile({ version: file.version, length: file.sizeBytes, hashes: { sha256: file.sha256 } });
}

/** Metadata carries whole seconds. */
function expiryMs(nowMs: number, lifetimeMs: number): number {
  return Math.floor((nowMs + lifetimeMs) / 1000) * 1000;
}

function instant(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}
