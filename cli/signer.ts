// SPDX-License-Identifier: Apache-2.0
// `waybill signer`: holds one key of the services in a process of its own, best under a user of its own.

import { type Command, Option } from 'commander';
import { quote } from '../core/faults.ts';
import type { Purpose } from '../registry/signer/purpose.ts';
import { buildSignerServer, type HeldKey, listenAtSocket } from '../registry/signer/signer-server.ts';
import { TreeMemory } from '../registry/signer/tree-memory.ts';
import { checkKeyMode } from '../registry/trust/files.ts';
import { TRUST } from '../registry/trust-faults.ts';
import { algorithmOf, publicKeyDer } from '../release/key-file.ts';
import { openSigningKey } from '../release/open-key.ts';
import { isTokenKey } from '../release/token-key.ts';
import { CLI } from './faults.ts';
import { PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { serveUntilStopped } from './serving.ts';
import { printJson, printLine } from './terminal.ts';

const SERVICES = ['ca', 'ct', 'log', 'tsa'] as const;

interface Options {
  readonly for: (typeof SERVICES)[number];
  readonly key: string;
  readonly passphraseFile?: string;
  readonly socket: string;
  readonly origin?: string;
  readonly memory?: string;
  readonly json?: true;
}

/** Adds `waybill signer` with its subcommand. */
export function signerVerb(program: Command): void {
  program
    .command('signer')
    .summary('hold a key of the services in another process')
    .description(
      'Hold one key of the services apart from `waybill serve`, and sign with it what that service signs and nothing else. ' +
        'The data folder names the socket in keys/<name>.signer, in place of keys/<name>.pem.',
    )
    .addHelpText(
      'after',
      '\nExample:\n  waybill signer serve --for tsa --key tsa.pem --socket /run/waybill-tsa/tsa.sock',
    )
    .command('serve')
    .description(
      'Run a signer until SIGINT or SIGTERM; SIGHUP changes nothing. Prints a line when it is ready; the log goes to standard error.',
    )
    .addOption(new Option('--for <service>', 'whose key it is').choices([...SERVICES]).makeOptionMandatory())
    .requiredOption(
      '--key <key>',
      'private key, a file or a pkcs11: URI: P-256, or for log Ed25519 in a file',
    )
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .requiredOption('--socket <path>', 'where to listen; only this user and group may use it')
    .option('--origin <name>', 'for log: the origin of the shard, e.g. log.acme.example')
    .option(
      '--memory <file>',
      'for ct and log: where the size of the largest tree is kept that was signed; the name of the key file with .size behind it by default',
    )
    .option('--json', 'print one JSON document when ready')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  waybill signer serve --for tsa --key tsa.pem --socket /run/waybill-tsa/tsa.sock\n' +
        '  waybill signer serve --for log --origin log.acme.example --key log.pem --socket /run/waybill-log/log.sock',
    )
    .action(async (options: Options) => {
      const purpose = purposeOf(options);
      const key = await openHeldKey(options, purpose);
      const trees = await openMemory(options, purpose, key);
      const app = buildSignerServer({ purpose, key, trees, logLevel: 'warn' });
      process.on('SIGHUP', () =>
        app.log.warn('SIGHUP changes nothing: a signer reads its key when it starts'),
      );
      await serveUntilStopped(app, async () => {
        await listenAtSocket(app, options.socket);
        const { service } = purpose;
        if (options.json === true) printJson({ service, socket: options.socket, pid: process.pid });
        else printLine(`waybill signer: ready for ${service} at ${options.socket}`);
      });
    });
}

/** @throws CLI_USAGE */
function purposeOf({ for: service, origin, socket }: Options): Purpose {
  if (!socket.startsWith('/') || socket.length > 100) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected --socket to be an absolute path of at most 100 characters, got ${quote(socket)}`,
    );
  }
  if (service !== 'log') {
    if (origin !== undefined) throw CLI.reject('CLI_USAGE', 'expected --origin with --for log alone');
    return { service };
  }
  if (origin === undefined) throw CLI.reject('CLI_USAGE', 'expected --origin with --for log');
  return { service, origin };
}

/** What the signer of a log remembers beside its key. @throws CLI_USAGE, SIGNER_MEMORY_UNUSABLE, REGISTRY_STORE_FAILED */
async function openMemory(
  { memory, key }: Options,
  purpose: Purpose,
  { spki }: HeldKey,
): Promise<TreeMemory> {
  const { service } = purpose;
  if (service === 'ca' || service === 'tsa') {
    if (memory !== undefined) throw CLI.reject('CLI_USAGE', 'expected --memory with --for ct or log alone');
    return TreeMemory.forgetful();
  }
  if (memory === undefined && isTokenKey(key)) {
    throw CLI.reject('CLI_USAGE', 'expected --memory with a key in a token: there is no file beside it');
  }
  const name = purpose.service === 'log' ? purpose.origin : service;
  return TreeMemory.open(memory ?? `${key}.size`, { name, spki });
}

/** The key of a file or a token. @throws CA_KEY_EXPOSED, CEREMONY_*, SIGNER_KEY_UNSUITABLE */
async function openHeldKey(options: Options, { service }: Purpose): Promise<HeldKey> {
  const { key: place, passphraseFile } = options;
  const algorithm = service === 'log' ? 'ed25519' : 'p256';
  const passphrases = passphrasesFrom(passphraseFile === undefined ? {} : { passphraseFile });
  if (!isTokenKey(place)) await checkKeyMode(place);
  const { publicKey, sign } = await openSigningKey(place, algorithm, passphrases);
  if (algorithmOf(publicKey) === algorithm) return { spki: publicKeyDer(publicKey), sign };
  throw TRUST.reject(
    'SIGNER_KEY_UNSUITABLE',
    `expected an Ed25519 key in a file, got a token: ${quote(place)}`,
  );
}
