// SPDX-License-Identifier: Apache-2.0
// Signed notes and verifier keys [C2SP-signed-note-v1.0.0 §Format, §Signatures, §Verifier keys].

import type { Crypto } from '../crypto.ts';
import { base64Decode, base64Encode } from '../encoding/base64.ts';
import { hexEncode } from '../encoding/hex.ts';
import { utf8, utf8Encode } from '../encoding/utf8.ts';
import { quote } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { TLOG } from './faults.ts';

declare const verified: unique symbol;

/** Signature type of Ed25519 over the note's text [C2SP-signed-note-v1.0.0 §Signature types]. */
export const ED25519_NOTE = 0x01;
/** Signature type of ECDSA P-256 with SHA-256, which Rekor v1 has; the key is a DER SubjectPublicKeyInfo. */
export const ECDSA_NOTE = 0x02;
/** Signature type of a witness's Ed25519 cosignature [C2SP-tlog-cosignature-v1.1.0-rc.1 §Format]. */
export const ED25519_COSIGNATURE = 0x04;

/** One signature line. */
export interface NoteSignature {
  readonly name: string;
  /** Four bytes, lower-case hex. A hint: two keys may share it. */
  readonly keyId: string;
  /** What follows the key id; its form depends on the key. */
  readonly signature: Uint8Array;
}

/** A note. Unauthenticated. */
export interface Note {
  /** The signed text, its last newline included. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A key that verifies notes. */
export interface VerifierKey {
  readonly name: string;
  readonly keyId: string;
  /** Signature type; `ED25519_NOTE` and `ECDSA_NOTE` can be verified here. */
  readonly type: number;
  /** 32 raw bytes for Ed25519, DER for ECDSA. */
  readonly publicKey: Uint8Array;
}

/** A note whose text at least one of the given keys signed. */
export interface VerifiedNote {
  readonly [verified]: true;
  readonly text: string;
  /** The keys that signed, each once. */
  readonly signedBy: readonly VerifierKey[];
}

/** True for a name that a key may carry: not empty, no Unicode space, no plus. */
export function isKeyName(name: string): boolean {
  return /^[^\s+\u0085]+$/u.test(name) && utf8Encode(name) !== undefined;
}

/** Parses a signed note. @throws TLOG_NOTE_MALFORMED */
export function parseNote(note: string): Note {
  const bad = (message: string, at?: string) => TLOG.reject('TLOG_NOTE_MALFORMED', message, { at });
  const bytes = note.length > LIMITS.noteSizeBytes ? undefined : utf8Encode(note);
  if (bytes === undefined || bytes.length > LIMITS.noteSizeBytes) {
    throw bad(`expected at most ${LIMITS.noteSizeBytes} bytes of UTF-8`);
  }
  const control = /[\u0000-\u0009\u000b-\u001f]/.exec(note);
  if (control !== null) {
    throw bad(
      `expected no control character but newline, got ${quote(control[0])}`,
      `offset ${control.index}`,
    );
  }
  // Extension lines may be followed by an empty line in other formats: only the last one divides.
  const divide = note.lastIndexOf('\n\n');
  if (divide < 0) throw bad('expected an empty line between text and signatures, found none');
  const lines = note.slice(divide + 2).split('\n');
  if (lines.pop() !== '') throw bad('expected a newline after the last signature, got the end of the note');
  if (lines.length === 0 || lines.length > LIMITS.noteSignatureCount) {
    throw bad(`expected 1 to ${LIMITS.noteSignatureCount} signature lines, got ${lines.length}`);
  }
  const signatures = lines.map((line, i) => {
    const signature = parseSignatureLine(line);
    if (signature === undefined) {
      throw bad(`expected "— name base64", got ${quote(line)}`, `signature line ${i + 1}`);
    }
    return signature;
  });
  return { text: note.slice(0, divide + 1), signatures };
}

function parseSignatureLine(line: string): NoteSignature | undefined {
  const [dash, name, encoded, ...more] = line.split(' ');
  if (dash !== '—' || name === undefined || encoded === undefined || more.length > 0) return undefined;
  const blob = base64Decode(encoded);
  if (!isKeyName(name) || blob === undefined || blob.length < 5) return undefined;
  return { name, keyId: hexEncode(blob.subarray(0, 4)), signature: blob.subarray(4) };
}

/** The text of a note; `parseNote` is the inverse. */
export function formatNote(note: Note): string {
  return `${note.text}\n${note.signatures.map(formatSignatureLine).join('')}`;
}

/** One signature line, newline included. */
export function formatSignatureLine(signature: NoteSignature): string {
  const blob = new Uint8Array(4 + signature.signature.length);
  for (let i = 0; i < 4; i++) blob[i] = Number.parseInt(signature.keyId.slice(2 * i, 2 * i + 2), 16);
  blob.set(signature.signature, 4);
  return `— ${signature.name} ${base64Encode(blob)}\n`;
}

/**
 * Verifies a note: signatures by keys that are not given are ignored, one that names a given key and does not verify
 * refuses the note, and so does the absence of any.
 * @throws TLOG_KEY_UNSUPPORTED, TLOG_NOTE_SIGNATURE, TLOG_NOTE_UNSIGNED
 */
export function verifyNote(note: Note, keys: readonly VerifierKey[], crypto: Crypto): VerifiedNote {
  const foreign = keys.find(({ type }) => type !== ED25519_NOTE && type !== ECDSA_NOTE);
  if (foreign !== undefined) {
    throw TLOG.reject(
      'TLOG_KEY_UNSUPPORTED',
      `expected a key of type ${ED25519_NOTE} (Ed25519) or ${ECDSA_NOTE} (ECDSA), got type ${foreign.type} for ` +
        quote(foreign.name),
    );
  }
  const text = utf8(note.text);
  const signedBy: VerifierKey[] = [];
  for (const { name, keyId, signature } of note.signatures) {
    const named = keys.filter((key) => key.name === name && key.keyId === keyId);
    if (named.length === 0) continue;
    const signer = named.find(({ type, publicKey }) =>
      type === ED25519_NOTE
        ? crypto.verifyEd25519(publicKey, text, signature)
        : crypto.verifyP256(publicKey, text, signature),
    );
    if (signer === undefined) {
      throw TLOG.reject('TLOG_NOTE_SIGNATURE', `the signature of ${quote(name)} (${keyId}) does not verify`);
    }
    if (!signedBy.includes(signer)) signedBy.push(signer);
  }
  if (signedBy.length === 0) {
    const expected = keys.map((key) => `${quote(key.name)} (${key.keyId})`).join(' or ') || 'no key at all';
    const got = note.signatures.map((line) => `${quote(line.name)} (${line.keyId})`).join(', ');
    throw TLOG.reject('TLOG_NOTE_UNSIGNED', `expected a signature by ${expected}, got ${got}`);
  }
  return { text: note.text, signedBy } as unknown as VerifiedNote;
}

/** Key id: the first four bytes of SHA-256(name ‖ "\n" ‖ type ‖ key), lower-case hex. */
export function noteKeyId(
  name: string,
  type: number,
  publicKey: Uint8Array,
  hasher: Pick<Crypto, 'sha256'>,
): string {
  return hexEncode(noteKeyHash(name, type, publicKey, hasher).subarray(0, 4));
}

/** SHA-256(name ‖ "\n" ‖ type ‖ key), whole: Rekor v2 calls it the log id. */
export function noteKeyHash(
  name: string,
  type: number,
  publicKey: Uint8Array,
  hasher: Pick<Crypto, 'sha256'>,
): Uint8Array {
  const head = utf8(`${name}\n`);
  const data = new Uint8Array(head.length + 1 + publicKey.length);
  data.set(head);
  data[head.length] = type;
  data.set(publicKey, head.length + 1);
  return hasher.sha256(data);
}

/** Parses `name+hash+base64(type ‖ key)`. @throws TLOG_KEY_MALFORMED */
export function parseVerifierKey(vkey: string, hasher: Pick<Crypto, 'sha256'>): VerifierKey {
  const bad = (message: string) => TLOG.reject('TLOG_KEY_MALFORMED', message);
  const match = vkey.length > 8192 ? null : /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(vkey);
  const [, name = '', keyId = '', encoded = ''] = match ?? [];
  const key = base64Decode(encoded);
  if (match === null || !isKeyName(name) || key === undefined || key.length < 2) {
    throw bad(`expected name+hash+key, got ${quote(vkey)}`);
  }
  const [type = 0] = key;
  const publicKey = key.subarray(1);
  if ((type === ED25519_NOTE || type === ED25519_COSIGNATURE) && publicKey.length !== 32) {
    throw bad(`expected 32 bytes for an Ed25519 key, got ${publicKey.length}`);
  }
  // ECDSA keys take their id from the SubjectPublicKeyInfo alone.
  const expected =
    type === 0x02
      ? hexEncode(hasher.sha256(publicKey).subarray(0, 4))
      : noteKeyId(name, type, publicKey, hasher);
  if (keyId !== expected) throw bad(`expected the hash ${expected} for this key, got ${keyId}`);
  return { name, keyId, type, publicKey };
}

/** The text form of a key; `parseVerifierKey` is the inverse. */
export function formatVerifierKey(key: VerifierKey): string {
  const blob = new Uint8Array(1 + key.publicKey.length);
  blob[0] = key.type;
  blob.set(key.publicKey, 1);
  return `${key.name}+${key.keyId}+${base64Encode(blob)}`;
}
