// SPDX-License-Identifier: Apache-2.0
// Passphrases and PINs: from --passphrase-file, else from whoever sits at the terminal, whose typing is not shown.

import { ReadStream } from 'node:tty';
import { RELEASE } from '../release/faults.ts';
import {
  checkNewPassphrase,
  NEW_CHARACTERS_MIN,
  type Passphrases,
  readPassphraseFile,
} from '../release/passphrase.ts';
import { CLI } from './faults.ts';

export const PASSPHRASE_FILE_HELP = 'passphrase of encrypted keys or PIN of tokens; else it is asked for';

const [INTERRUPT, END, BACKSPACE, DELETE] = ['\u0003', '\u0004', '\b', '\u007f'];
const [ENTER, NEWLINE] = ['\r', '\n'];

/** Where a command's passphrases come from. */
export function passphrasesFrom({ passphraseFile }: { readonly passphraseFile?: string }): Passphrases {
  return {
    ask: (what) => (passphraseFile === undefined ? prompt(what) : readPassphraseFile(passphraseFile)),
  };
}

/** A passphrase for new keys; on a terminal it is typed twice. @throws CEREMONY_PASSPHRASE_* */
export async function newPassphrase(options: { readonly passphraseFile?: string }): Promise<string> {
  const { passphraseFile } = options;
  const passphrase =
    passphraseFile === undefined
      ? await prompt(`the new keys, at least ${NEW_CHARACTERS_MIN} characters`)
      : await readPassphraseFile(passphraseFile);
  checkNewPassphrase(passphrase);
  if (passphraseFile !== undefined || passphrase === (await prompt('the new keys, again'))) return passphrase;
  throw RELEASE.reject('CEREMONY_PASSPHRASE_UNREPEATED', 'expected the same passphrase twice, got two');
}

/** Asks on the terminal, shows nothing of what is typed. @throws CEREMONY_PASSPHRASE_MISSING, CLI_CANCELLED */
async function prompt(what: string): Promise<string> {
  const { stdin } = process;
  if (!(stdin instanceof ReadStream)) {
    throw RELEASE.reject(
      'CEREMONY_PASSPHRASE_MISSING',
      `expected a passphrase for ${what}, got no terminal to ask at`,
    );
  }
  stdin.setRawMode(true);
  try {
    // Only now, when nothing is shown any more, is it asked for.
    process.stderr.write(`  passphrase for ${what}: `);
    const typed = await readLine(stdin);
    if (typed !== '') return typed;
    throw RELEASE.reject('CEREMONY_PASSPHRASE_MISSING', `expected a passphrase for ${what}, got none`);
  } finally {
    process.stderr.write('\n');
    stdin.setRawMode(false);
    stdin.pause();
  }
}

/** In raw mode the terminal does nothing by itself: not even Ctrl-C. */
function readLine(stdin: ReadStream): Promise<string> {
  return new Promise((resolve, reject) => {
    const typed: string[] = [];
    const take = (chunk: Buffer): void => {
      for (const character of chunk.toString('utf8')) {
        if (character === BACKSPACE || character === DELETE) typed.pop();
        else if (![ENTER, NEWLINE, END, INTERRUPT].includes(character)) typed.push(character);
        else {
          stdin.off('data', take);
          if (character === INTERRUPT)
            reject(CLI.unavailable('CLI_CANCELLED', 'expected a passphrase, got an interrupt'));
          else resolve(typed.join(''));
          return;
        }
      }
    };
    stdin.on('data', take);
    stdin.resume();
  });
}
