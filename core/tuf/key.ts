// SPDX-License-Identifier: Apache-2.0
// Public keys of roles [TUF-1.0.34 §4.2.2]: ed25519, ecdsa over P-256, and rsa with PSS where the host can check it.
// Looser than [TUF-1.0.34 §4.3]: a key id is a name within its document and need not be the digest of its key, as in
// repositories that added members to a key object later. A threshold counts keys, not key ids, so nothing hangs on it.

import type { Crypto } from '../crypto.ts';
import { base64Decode } from '../encoding/base64.ts';
import type { DocumentNode } from '../encoding/document.ts';
import { hexDecode, hexEncode } from '../encoding/hex.ts';
import { LIMITS } from '../limits.ts';

/** A key as a role above lists it. */
export interface TufKey {
  /** The same for every spelling of one key, so that it counts once. */
  readonly identity: string;
  /** Undefined if nobody here can check signatures by this key. */
  readonly verify: ((data: Uint8Array, signature: Uint8Array) => boolean) | undefined;
}

/** Reads a key object. A key of a kind or form that is unknown here is not refused: it signs nothing. */
export function readKey(node: DocumentNode, crypto: Crypto): TufKey {
  const kind = `${node.field('keytype').string()} ${node.field('scheme').string()}`;
  const keyval = node.field('keyval');
  const read = readers[kind];
  // What the public portion of another kind is called, nobody knows.
  if (read === undefined) keyval.members();
  const key = read?.(keyval.field('public').string(), crypto);
  return key ?? { identity: `${kind} ${node.pointer}`, verify: undefined };
}

const readers: Readonly<Record<string, (text: string, crypto: Crypto) => TufKey | undefined>> = {
  'ed25519 ed25519': ed25519Key,
  'ecdsa ecdsa-sha2-nistp256': p256Key,
  // What older repositories write.
  'ecdsa-sha2-nistp256 ecdsa-sha2-nistp256': p256Key,
  'rsa rsassa-pss-sha256': rsaKey,
};

function ed25519Key(text: string, crypto: Crypto): TufKey | undefined {
  const key = hexDecode(text.toLowerCase());
  if (key?.length !== 32) return undefined;
  return {
    identity: `ed25519 ${hexEncode(key)}`,
    verify: (data, signature) => crypto.verifyEd25519(key, data, signature),
  };
}

function p256Key(text: string, crypto: Crypto): TufKey | undefined {
  const spki = pemDecode(text);
  if (spki === undefined) return undefined;
  return {
    identity: `ecdsa ${hexEncode(spki)}`,
    verify: (data, signature) => crypto.verifyP256(spki, data, signature),
  };
}

function rsaKey(text: string, crypto: Crypto): TufKey | undefined {
  const spki = pemDecode(text);
  const numbers = spki === undefined ? undefined : rsaNumbers(spki);
  if (spki === undefined || numbers === undefined) return undefined;
  const { verifyRsaPss } = crypto;
  return {
    identity: `rsa ${hexEncode(numbers)}`,
    verify: verifyRsaPss && ((data, signature) => verifyRsaPss(spki, data, signature)),
  };
}

const PEM = /^\s*-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/;

/** The DER SubjectPublicKeyInfo of a PEM text [RFC7468 §13]; undefined if it is none. */
function pemDecode(text: string): Uint8Array | undefined {
  if (text.length > LIMITS.tufKeyCharacters) return undefined;
  const body = PEM.exec(text)?.[1];
  return body === undefined ? undefined : base64Decode(body.replace(/\s/g, ''));
}

/** `SEQUENCE { OID rsaEncryption, NULL }` [RFC3279 §2.3.1]. */
const RSA_ALGORITHM = [
  0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/** Modulus and exponent of an RSA key of at least 2048 bits, as their DER [RFC3279 §2.3.1]; undefined for another key. */
function rsaNumbers(spki: Uint8Array): Uint8Array | undefined {
  const info = derContent(spki, 0x30);
  const algorithm = info !== undefined && RSA_ALGORITHM.every((byte, i) => info[i] === byte);
  const bits = algorithm ? derContent(info.subarray(RSA_ALGORITHM.length), 0x03) : undefined;
  const numbers = bits?.[0] === 0 ? derContent(bits.subarray(1), 0x30) : undefined;
  // An INTEGER of 2048 bits: two bytes of length, a zero, and 256 bytes of which the first has its high bit set.
  if (numbers?.[0] !== 0x02 || numbers[1] !== 0x82 || numbers[4] !== 0 || (numbers[5] ?? 0) < 0x80)
    return undefined;
  const modulusBytes = (((numbers[2] as number) << 8) | (numbers[3] as number)) - 1;
  return modulusBytes >= 256 && modulusBytes <= 1024 ? numbers : undefined;
}

/** The content of a DER value that fills its bytes [X.690 §8.1]; undefined if it does not, or has another tag. */
function derContent(der: Uint8Array, tag: number): Uint8Array | undefined {
  if (der[0] !== tag) return undefined;
  const first = der[1] ?? 0xff;
  const count = first < 0x80 ? 0 : first & 0x7f;
  if (count > 2) return undefined;
  let length = count === 0 ? first : 0;
  for (let i = 0; i < count; i++) length = (length << 8) | (der[2 + i] ?? 0);
  return der.length === 2 + count + length ? der.subarray(2 + count) : undefined;
}
