// SPDX-License-Identifier: Apache-2.0
// Making and signing TUF role metadata [TUF-1.0.34 §4]: Ed25519 keys, signatures over canonical JSON. Used by whoever holds
// an offline key; the server has its own code for the two online roles.

import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { type Metadata, type Root, Signature, type Targets } from '@tufjs/models';
import type { Json } from '../core/encoding/strict-json.ts';
import { utf8 } from '../core/encoding/utf8.ts';
import { canonicalMetadata } from '../core/tuf/canonical.ts';

/** The version that tuf-js implements; [TUF-1.0.34 §4.3] asks clients to compare the major number alone. */
export const TUF_SPEC_VERSION = '1.0.31';

/** A public key as metadata lists it, under its key id. */
export interface RoleKey {
  readonly keyId: string;
  readonly json: {
    readonly keytype: 'ed25519';
    readonly scheme: 'ed25519';
    readonly keyval: { readonly public: string };
  };
}

/** Ed25519 key in metadata form; key id = SHA-256 of its canonical JSON [TUF-1.0.34 §4.2]. */
export function roleKey(key: KeyObject): RoleKey {
  const pub = key.type === 'private' ? createPublicKey(key) : key;
  const raw = pub.export({ type: 'spki', format: 'der' }).subarray(-32);
  const json = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw.toString('hex') } } as const;
  return {
    keyId: createHash('sha256')
      .update(canonicalMetadata(json) as Uint8Array)
      .digest('hex'),
    json,
  };
}

/** A time `days` after `from` in the form of metadata: whole seconds, UTC [TUF-1.0.34 §4.2.1]. */
export function expiryAfter(from: Date, days: number): string {
  return new Date(from.getTime() + days * 86_400_000).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** `{length, hashes}` of a target [TUF-1.0.34 §4.5]. */
export function targetEntry(bytes: Uint8Array): { length: number; hashes: { sha256: string } } {
  return { length: bytes.length, hashes: { sha256: createHash('sha256').update(bytes).digest('hex') } };
}

/** Signs with every key given, over canonical JSON, and returns the bytes of the file. */
export function signMetadata(
  metadata: Metadata<Root> | Metadata<Targets>,
  keys: readonly KeyObject[],
): Uint8Array {
  for (const key of keys) {
    const keyID = roleKey(key).keyId;
    metadata.sign((data) => new Signature({ keyID, sig: sign(null, data, key).toString('hex') }));
  }
  return utf8(`${JSON.stringify(metadata.toJSON() as Json, null, 1)}\n`);
}
