// SPDX-License-Identifier: Apache-2.0
// Signed metadata as a whole [TUF-1.0.34 §4.2.1]: read strictly, its signatures counted against a role's keys before anything in
// it is interpreted. Members that the specification does not know are covered by the signatures and otherwise left alone.

import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { hexDecode } from '../encoding/hex.ts';
import { quote, type Rejection } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { canonicalMetadata } from './canonical.ts';
import { TUF } from './faults.ts';
import type { TufKey } from './key.ts';

/** Metadata of a role. Unauthenticated. */
export interface Envelope {
  readonly role: string;
  readonly bytes: Uint8Array;
  readonly signed: DocumentNode;
  /** What the signatures cover. */
  readonly data: Uint8Array;
  /** Signatures in hex, by key id. */
  readonly signatures: ReadonlyMap<string, string>;
}

/** Who may sign a role, as the role above it says. */
export interface RoleKeys {
  readonly keyIds: readonly string[];
  readonly threshold: number;
}

/** Reads the envelope of a role's metadata. @throws TUF_METADATA_MALFORMED */
export function parseEnvelope(role: string, bytes: Uint8Array, sizeBytesMax: number): Envelope {
  const refuse = (message: string, at: string): Rejection =>
    TUF.reject('TUF_METADATA_MALFORMED', `${quote(role)}: ${message}`, { at });
  const root = parseDocument(bytes, { refuse }, sizeBytesMax);
  const signed = root.field('signed');
  signed.members();
  const data = canonicalMetadata(signed.value);
  if (data === undefined) throw signed.wrong('expected whole numbers alone, got a fraction');
  const signatures = new Map<string, string>();
  for (const node of listedElements(root.field('signatures'))) {
    const id = node.field('keyid').string();
    const { value: sig } = node.field('sig');
    if (typeof sig !== 'string') throw node.wrong('expected a signature in hex, got none');
    // Several signatures under one key id are not allowed [TUF-1.0.34 §4.2.1].
    if (signatures.has(id)) throw node.wrong(`expected one signature under key id ${quote(id)}, got two`);
    signatures.set(id, sig);
  }
  return { role, bytes, signed, data, signatures };
}

/** The elements of an array that is not too long. @throws the document's fault */
export function listedElements(node: DocumentNode): readonly DocumentNode[] {
  const elements = node.elements();
  checkCount(node, elements.length);
  return elements;
}

/** The members of an object that has not too many. @throws the document's fault */
export function listedMembers(node: DocumentNode): readonly (readonly [string, DocumentNode])[] {
  const members = node.members();
  checkCount(node, members.length);
  return members;
}

function checkCount(node: DocumentNode, count: number): void {
  if (count > LIMITS.tufListedCount) {
    throw node.wrong(`expected at most ${LIMITS.tufListedCount} members, got ${count}`);
  }
}

/**
 * Checks that a threshold of a role's keys signed, each key counted once [TUF-1.0.34 §5.3.4]. One signature a key id is tried, none
 * by keys that the role does not list, and none once the threshold is met.
 * Stricter than [TUF-1.0.34 §5.3.4]: two key ids of one key count once.
 * @throws TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED
 */
export function checkThreshold(
  envelope: Envelope,
  { keyIds, threshold }: RoleKeys,
  keys: ReadonlyMap<string, TufKey>,
): void {
  const counted = new Set<string>();
  let unsupported = 0;
  for (const id of keyIds) {
    if (counted.size >= threshold) break;
    const key = keys.get(id);
    const signature = hexDecode(envelope.signatures.get(id)?.toLowerCase() ?? '-');
    if (key === undefined || signature === undefined) continue;
    if (key.verify === undefined) unsupported++;
    else if (key.verify(envelope.data, signature)) counted.add(key.identity);
  }
  if (counted.size >= threshold) return;
  const expected = `${quote(envelope.role)}: expected signatures by ${threshold} of ${keyIds.length} keys, got ${counted.size}`;
  if (unsupported === 0) throw TUF.reject('TUF_SIGNATURE_THRESHOLD', expected);
  throw TUF.reject('TUF_KEY_UNSUPPORTED', `${expected} and ${unsupported} that this host cannot check`);
}

/** Reads who may sign a role: at least one key, each named once, and a threshold of at least one. @throws the document's fault */
export function readRoleKeys(node: DocumentNode): RoleKeys {
  const list = node.field('keyids');
  list.someElements();
  const keyIds = listedElements(list).map((id) => id.string());
  if (new Set(keyIds).size !== keyIds.length)
    throw list.wrong('expected each key id once, got one of them twice');
  return { keyIds, threshold: node.field('threshold').integer(1) };
}
