// SPDX-License-Identifier: Apache-2.0
// Passphrases of key files and PINs of tokens: asked for when they are needed, from a file that only its owner can read or from
// a person. Never from arguments or the environment, which other processes can see.

import { open } from 'node:fs/promises';
import { quote, Rejection } from '../core/faults.ts';
import { RELEASE } from './faults.ts';

/** Where passphrases come from. */
export interface Passphrases {
  /** `what` is unlocked, for people: `the key "root-1.pem"`. @throws CEREMONY_PASSPHRASE_* */
  ask(what: string): Promise<string>;
}

/** OpenSSL stretches a passphrase 2,048 times: that makes a long one no stronger, and a short one is guessed all the same. */
export const NEW_CHARACTERS_MIN = 16;
const FILE_SIZE_BYTES_MAX = 4096;

/**
 * The first line of a file that nobody but its owner may read.
 * @throws CEREMONY_KEY_UNREADABLE, CEREMONY_PASSPHRASE_UNSUITABLE
 */
export async function readPassphraseFile(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { mode, size } = await file.stat();
      // What was open to others may be known to them; hiding it now would not help.
      if ((mode & 0o077) !== 0) {
        throw unsuitable(
          `${quote(path)} to be its owner's alone (mode 0600), got ${(mode & 0o777).toString(8)}`,
        );
      }
      if (size > FILE_SIZE_BYTES_MAX) throw unsuitable(`one line in ${quote(path)}, got ${size} bytes`);
      const [line = ''] = (await file.readFile('utf8')).split(/\r?\n/);
      if (line === '') throw unsuitable(`a passphrase in the first line of ${quote(path)}, got none`);
      return line;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof Rejection) throw cause;
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw RELEASE.reject('CEREMONY_KEY_UNREADABLE', `expected a passphrase in ${quote(path)}, got ${reason}`);
  }
}

/** Refuses to encrypt under a passphrase that is soon guessed. @throws CEREMONY_PASSPHRASE_UNSUITABLE */
export function checkNewPassphrase(passphrase: string): void {
  if ([...passphrase].length < NEW_CHARACTERS_MIN)
    throw unsuitable(`a new passphrase of at least ${NEW_CHARACTERS_MIN} characters, got fewer`);
}

function unsuitable(expected: string): Rejection {
  return RELEASE.reject('CEREMONY_PASSPHRASE_UNSUITABLE', `expected ${expected}`);
}
