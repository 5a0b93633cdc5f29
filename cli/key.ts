// SPDX-License-Identifier: Apache-2.0
// `waybill key`: makes and shows the keys that stay with people and devices.

import { createHash, type KeyObject } from 'node:crypto';
import { type Command, Option } from 'commander';
import {
  algorithmOf,
  generateKey,
  publicKeyDer,
  publicKeyPath,
  publicKeyPem,
  readAnyKey,
  writeKeyPair,
} from '../release/key-file.ts';
import { roleKey } from '../release/role-metadata.ts';
import { isTokenKey, readTokenPublicKey } from '../release/token-key.ts';
import { CLI } from './faults.ts';
import { interruptible } from './interrupt.ts';
import { newPassphrase, PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { printJson, printLine } from './terminal.ts';

/** Which algorithm each holder's key has. */
const ALGORITHM_FOR = {
  gate: 'p256',
  releases: 'ed25519',
  device: 'p256',
  root: 'ed25519',
  targets: 'ed25519',
} as const;

type Holder = keyof typeof ALGORITHM_FOR;

/** Adds `waybill key` with its subcommands. */
export function keyVerb(program: Command): void {
  const key = program
    .command('key')
    .summary('make and show keys')
    .description('Make and show the keys of gates, release managers, TUF officers and devices.')
    .addHelpText(
      'after',
      '\nExample:\n  waybill key new --for gate keys/gate.pem\n  waybill key show keys/gate.pub',
    );
  key
    .command('new')
    .description(
      'Make a key: the private half in <file> (mode 0600, never over another file), the public half beside it (.pub).',
    )
    .argument('<file>', 'where to write the private key, e.g. gate.pem')
    .addOption(
      new Option('--for <holder>', 'who will hold the key')
        .choices(Object.keys(ALGORITHM_FOR))
        .makeOptionMandatory(),
    )
    .option('--encrypt', 'encrypt the private half under a passphrase')
    .option('--passphrase-file <file>', 'that passphrase (implies --encrypt), else it is asked for')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill key new --for releases keys/releases.pem')
    .action(async (path: string, options: NewOptions) => {
      // Not shown: a PIN may be in it.
      if (isTokenKey(path)) {
        throw CLI.reject(
          'CLI_USAGE',
          "expected a path for the new key, got a pkcs11: URI: make that key with the token's own tools",
        );
      }
      const isSealed = options.encrypt === true || options.passphraseFile !== undefined;
      const key = generateKey(ALGORITHM_FOR[options.for]);
      await interruptible(async (signal) => {
        const passphrase = isSealed ? await newPassphrase(options) : undefined;
        await writeKeyPair(path, key, passphrase, signal);
      });
      const shown = describe(key);
      if (options.json === true) printJson({ ...shown, private: path, public: publicKeyPath(path) });
      else {
        printLine(`${shown.algorithm} key for ${options.for}, id ${shown.keyId}`);
        printLine(`  private half: ${path} (keep it here; nobody else needs it)`);
        printLine(`  public half:  ${publicKeyPath(path)}`);
      }
    });
  key
    .command('show')
    .description('Show the public half of a key, and the id under which metadata and bundles name it.')
    .argument('<key>', 'a private or public key in PEM, or a pkcs11: URI')
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill key show keys/gate.pem')
    .action(async (place: string, options: { json?: true; passphraseFile?: string }) => {
      const shown = describe(
        isTokenKey(place)
          ? await readTokenPublicKey(place)
          : await readAnyKey(place, passphrasesFrom(options)),
      );
      if (options.json === true) printJson(shown);
      else {
        printLine(`${shown.algorithm}, id ${shown.keyId}`);
        if (shown.tufKeyId !== undefined) printLine(`as the key of a TUF role: id ${shown.tufKeyId}`);
        printLine(shown.publicKeyPem.trimEnd());
      }
    });
}

interface NewOptions {
  readonly for: Holder;
  readonly encrypt?: true;
  readonly passphraseFile?: string;
  readonly json?: true;
}

/** Ed25519: the TUF key id; P-256: the hint in bundles, SHA-256 of the DER public key, and the key id where it signs a TUF role. */
function describe(key: KeyObject) {
  const der = publicKeyDer(key);
  const isTuf = algorithmOf(key) === 'ed25519';
  const { keyId } = roleKey(key);
  return {
    algorithm: isTuf ? 'Ed25519' : 'ECDSA P-256',
    keyId: isTuf ? keyId : createHash('sha256').update(der).digest('hex'),
    ...(isTuf ? {} : { tufKeyId: keyId }),
    publicKey: Buffer.from(der).toString('base64'),
    publicKeyPem: publicKeyPem(key),
  };
}
