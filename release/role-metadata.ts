// SPDX-License-Identifier: Apache-2.0
// Making and signing TUF role metadata [TUF-1.0.34 §4]: signatures over canonical JSON by Ed25519 keys, or by ECDSA P-256 keys where
// the key lives in a token. Used by whoever holds an offline key; the server has its own code for the two online roles.

import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import type { Json } from '../core/encoding/strict-json.ts';
import { utf8 } from '../core/encoding/utf8.ts';
import { canonicalMetadata } from '../core/tuf/canonical.ts';
import type { SigningKey } from './signing-key.ts';

/** The version that tuf-js implements; [TUF-1.0.34 §4.3] asks clients to compare the major number alone. */
export const TUF_SPEC_VERSION = '1.0.31';

/** A public key as metadata lists it, under its key id. */
export interface RoleKey {
  readonly keyId: string;
  readonly json: {
    readonly keytype: 'ed25519' | 'ecdsa';
    readonly scheme: 'ed25519' | 'ecdsa-sha2-nistp256';
    readonly keyval: { readonly public: string };
  };
}

/** A public key in metadata form, Ed25519 or P-256; key id = SHA-256 of its canonical JSON [TUF-1.0.34 §4.2]. */
export function roleKey(key: KeyObject): RoleKey {
  const json = keyJson(key.type === 'private' ? createPublicKey(key) : key);
  return {
    keyId: createHash('sha256')
      .update(canonicalMetadata(json) as Uint8Array)
      .digest('hex'),
    json,
  };
}

function keyJson(key: KeyObject): RoleKey['json'] {
  if (key.asymmetricKeyType === 'ed25519') {
    const raw = key.export({ type: 'spki', format: 'der' }).subarray(-32);
    return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw.toString('hex') } };
  }
  const pem = key.export({ type: 'spki', format: 'pem' }).toString();
  return { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem } };
}

/** The beginning of a key id, for people. */
export function shortId(keyId: string): string {
  return keyId.slice(0, 12);
}

/** A time `days` after `from` in the form of metadata: whole seconds, UTC [TUF-1.0.34 §4.2.1]. */
export function expiryAfter(from: Date, days: number): string {
  return new Date(from.getTime() + days * 86_400_000).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** `{length, hashes}` of a target [TUF-1.0.34 §4.5]. */
export function targetEntry(bytes: Uint8Array): { length: number; hashes: { sha256: string } } {
  return { length: bytes.length, hashes: { sha256: createHash('sha256').update(bytes).digest('hex') } };
}

/** A signature as metadata carries it. */
export interface RoleSignature {
  readonly keyid: string;
  /** Lower-case hex. */
  readonly sig: string;
}

/** Signs with every key given, over canonical JSON. @throws what the keys throw */
export async function signaturesOver(
  signed: Json,
  keys: readonly SigningKey[],
): Promise<readonly RoleSignature[]> {
  const data = canonicalMetadata(signed);
  if (data === undefined) throw new TypeError('metadata with a number that is not whole');
  const signatures: RoleSignature[] = [];
  // One after the other: each may ask its holder for a passphrase or a touch.
  for (const key of keys) {
    const sig = Buffer.from(await key.sign(data)).toString('hex');
    signatures.push({ keyid: roleKey(key.publicKey).keyId, sig });
  }
  return signatures;
}

/** The bytes of a metadata file. */
export function formatMetadata(signed: Json, signatures: readonly RoleSignature[]): Uint8Array {
  return utf8(`${JSON.stringify({ signatures, signed }, null, 1)}\n`);
}
