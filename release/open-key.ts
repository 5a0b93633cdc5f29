// SPDX-License-Identifier: Apache-2.0
// A key as a command line names it: a file, or a `pkcs11:` URI.

import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type KeyAlgorithm, readPrivateKey, readPublicKey } from './key-file.ts';
import type { Passphrases } from './passphrase.ts';
import { localKey, type SigningKey } from './signing-key.ts';
import { isTokenKey, openTokenKey, readTokenPublicKey } from './token-key.ts';

/**
 * Opens a private key: one in a file is of the given kind, one in a token is always P-256.
 * @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE, CEREMONY_PASSPHRASE_*, CEREMONY_TOKEN_*
 */
export async function openSigningKey(
  place: string,
  algorithm: KeyAlgorithm,
  passphrases?: Passphrases,
): Promise<SigningKey> {
  if (isTokenKey(place)) return openTokenKey(place, passphrases);
  return localKey(await readPrivateKey(place, algorithm, passphrases));
}

/** Opens private keys of TUF roles, one after the other. @throws as `openSigningKey` */
export async function openRoleKeys(
  places: readonly string[],
  passphrases?: Passphrases,
): Promise<readonly SigningKey[]> {
  const keys: SigningKey[] = [];
  for (const place of places) keys.push(await openSigningKey(place, 'ed25519', passphrases));
  return keys;
}

/** The public key of a TUF role's signer: a file, or a key in a token. @throws as `openSigningKey` */
export async function readRolePublicKey(place: string): Promise<KeyObject> {
  return isTokenKey(place) ? readTokenPublicKey(place) : readPublicKey(place, 'ed25519', 'p256');
}

/** True if a private key is there: then its holder can sign here. @throws nothing: whoever reads it says what is wrong */
export async function canSign(place: string): Promise<boolean> {
  if (isTokenKey(place)) return true;
  return (await readFile(place, 'latin1').catch(() => '')).includes('PRIVATE KEY-----');
}
