// SPDX-License-Identifier: Apache-2.0
// Someone who signs notes as a log does, or cosigns them as a witness does [C2SP-tlog-cosignature-v1.1.0-rc.1 §Format].

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { portableCrypto } from '../../../core/crypto.ts';
import { formatCosignature, formatCosignedMessage } from '../../../core/tlog/cosignature.ts';
import {
  ED25519_COSIGNATURE,
  ED25519_NOTE,
  formatVerifierKey,
  type NoteSignature,
  noteKeyId,
  type VerifierKey,
} from '../../../core/tlog/note.ts';

/** An Ed25519 key that follows from its seed; the same name gives the same key in every run. */
export function seededKey(seed: string): KeyObject {
  const raw = createHash('sha256').update(seed).digest();
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), raw]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

function verifierKeyOf(name: string, type: number, privateKey: KeyObject): VerifierKey {
  const der = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const publicKey = new Uint8Array(der.subarray(-32));
  return { name, keyId: noteKeyId(name, type, publicKey, portableCrypto), type, publicKey };
}

/** A log's key and its signature over a text. */
export function noteSigner(name: string, privateKey: KeyObject = seededKey(name)) {
  const key = verifierKeyOf(name, ED25519_NOTE, privateKey);
  return {
    key,
    vkey: formatVerifierKey(key),
    sign: (text: string): NoteSignature => ({
      name,
      keyId: key.keyId,
      signature: new Uint8Array(sign(null, Buffer.from(text), privateKey)),
    }),
  };
}

/** A witness's key and its cosignature on a text, as of a time in seconds since 1970. */
export function witnessSigner(name: string, privateKey: KeyObject = seededKey(name)) {
  const key = verifierKeyOf(name, ED25519_COSIGNATURE, privateKey);
  return {
    key,
    vkey: formatVerifierKey(key),
    cosign: (text: string, timestampS: number): NoteSignature => {
      const message = Buffer.from(formatCosignedMessage(timestampS, text));
      const signature = new Uint8Array(sign(null, message, privateKey));
      return { name, keyId: key.keyId, signature: formatCosignature({ timestampS, signature }) };
    },
  };
}

export type WitnessSigner = ReturnType<typeof witnessSigner>;
