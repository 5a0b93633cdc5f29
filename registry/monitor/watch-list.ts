// SPDX-License-Identifier: Apache-2.0
// Whose signatures are watched [docs/spec/monitor.md §Watch list]: identities by their name in the certificate, and keys that sign without one.

import { base64Decode, base64Encode } from '../../core/encoding/base64.ts';
import type { DocumentNode } from '../../core/encoding/document.ts';
import { checkListedKey } from '../trust-in-force.ts';

/** Names that are ours, and the issuer that may vouch for them. */
export interface WatchedIdentity {
  readonly issuer: string;
  /** The whole name, or how it begins. */
  readonly name: { readonly whole: string } | { readonly prefix: string };
}

export interface WatchedKey {
  readonly name: string;
  /** DER SubjectPublicKeyInfo in base64. */
  readonly publicKey: string;
}

export interface WatchList {
  readonly identities: readonly WatchedIdentity[];
  readonly keys: readonly WatchedKey[];
}

/** Reads an open watch list. @throws the document's fault, REGISTRY_KEY_UNSUITABLE */
export function readWatchList(root: DocumentNode): WatchList {
  root.only('identities', 'keys');
  const identities = (root.optional('identities')?.someElements() ?? []).map(readIdentity);
  const keys = (root.optional('keys')?.someElements() ?? []).map(readKey);
  if (identities.length + keys.length === 0) throw root.wrong('expected identities, keys or both');
  return { identities, keys };
}

function readIdentity(node: DocumentNode): WatchedIdentity {
  node.only('issuer', 'identity', 'prefix');
  const issuer = node.field('issuer').string();
  const whole = node.optional('identity')?.string();
  const prefix = node.optional('prefix')?.string();
  if (whole !== undefined && prefix === undefined) return { issuer, name: { whole } };
  if (prefix !== undefined && whole === undefined) return { issuer, name: { prefix } };
  throw node.wrong('expected either an identity or a prefix');
}

function readKey(node: DocumentNode): WatchedKey {
  node.only('name', 'publicKey');
  const publicKey = node.field('publicKey');
  const spki = base64Decode(publicKey.string());
  if (spki === undefined) throw publicKey.wrong('expected a DER public key in base64');
  checkListedKey(spki, publicKey.pointer);
  return { name: node.field('name').string(), publicKey: base64Encode(spki) };
}

/** The entries of the list that a name falls under, whoever issued it. */
export function watchedAs(list: WatchList, identity: string): readonly WatchedIdentity[] {
  return list.identities.filter(({ name }) =>
    'whole' in name ? name.whole === identity : identity.startsWith(name.prefix),
  );
}

/**
 * False if a certificate names nobody of the list: a name stands in DER as it is, in UTF-8. Most entries of a log that others share are told apart by this, at a
 * fraction of the time that reading takes.
 */
export function mayBeWatched(list: WatchList, der: Uint8Array): boolean {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  return list.identities.some(({ name }) => bytes.includes('whole' in name ? name.whole : name.prefix));
}
