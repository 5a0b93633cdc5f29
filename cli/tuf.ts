// SPDX-License-Identifier: Apache-2.0
// `waybill tuf`: the officers with offline keys look at the repository, replace trust files, renew roles and exchange keys.

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { quote } from '../core/faults.ts';
import { makingKeysAlone } from '../registry/rotation-lock.ts';
import { keepingOwner } from '../registry/store/owner.ts';
import { createTufOnlineKeys } from '../registry/tuf/online-keys.ts';
import { publicKeyPath } from '../release/key-file.ts';
import type { OfflineRole } from '../release/offline-role.ts';
import { CLI } from './faults.ts';
import { readIfThere, writeOutput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { EXIT, printJson, printLine, printProgress } from './terminal.ts';
import {
  publishRoleFile,
  renewRole,
  rotateKeys,
  signRoleFile,
  type TufInputs,
  type TufResult,
  updateTrust,
} from './tuf-roles.ts';
import { type RoleStatus, readStatus } from './tuf-status.ts';
import type { TrustFiles } from './tuf-trust-files.ts';

interface Options extends TrustFiles {
  readonly root: string;
  readonly key?: readonly string[];
  readonly newKey?: readonly string[];
  readonly passphraseFile?: string;
  readonly out?: string;
  readonly role: OfflineRole;
  readonly json?: true;
}

interface RotateOptions extends Options {
  readonly addRoot?: readonly string[];
  readonly removeRoot?: readonly string[];
  readonly rootThreshold?: number;
  readonly targetsKey?: readonly string[];
  readonly addTargets?: readonly string[];
  readonly targetsThreshold?: number;
  readonly snapshotKey?: string;
  readonly timestampKey?: string;
}

/** Adds `waybill tuf` with its subcommands. */
export function tufVerb(program: Command): void {
  const tuf = program
    .command('tuf')
    .summary('offline roles: status, renewal, rotation of keys')
    .description(
      'Look at the TUF repository of a registry, replace the trust files that its targets role signs, sign root and ' +
        'targets again before they expire, and exchange keys. Officers in different places sign in turns, through a file.',
    );
  statusCommand(tuf);
  updateCommand(tuf);
  renewCommand(tuf);
  rotateCommand(tuf);
  signCommand(tuf);
  publishCommand(tuf);
  onlineKeysCommand(tuf);
}

const WHERE = 'http://127.0.0.1:8410 --root root.json';

function withRoot(command: Command): Command {
  return command
    .argument('<registry-url>', 'base URL of `waybill serve`')
    .requiredOption('--root <file>', 'TUF root.json that you trust')
    .option('--json', 'print one JSON document');
}

function withKeys(command: Command): Command {
  return withRoot(command)
    .option('--key <key...>', 'private key that signs: a file or a pkcs11: URI; several may follow')
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .option('--out <file>', 'write the file with the signatures so far, for others to sign; publish nothing');
}

function withTrustFiles(command: Command): Command {
  return command
    .option('--trusted-root <file>', 'new trusted_root.json')
    .option('--signing-config <file>', 'new signing_config.v0.2.json')
    .option('--log-policy <file>', 'new tlog-policy: logs, witnesses and their quorum')
    .option('--allow-reopen', 'let keys count again that the published trusted root has ended');
}

function statusCommand(tuf: Command): void {
  withRoot(tuf.command('status'))
    .option(
      '--public-key <key...>',
      'public keys, files or pkcs11: URIs: each is named in the list of those that must sign',
    )
    .description(
      'Show each role: version, expiry, keys, threshold. Exit code 1 if people must sign one of them soon: ' +
        'root and targets within 30 days, releases within 14.',
    )
    .addHelpText('after', `\nExample:\n  waybill tuf status ${WHERE} --public-key offline/*.pub`)
    .action(async (registry: string, options: Options & { publicKey?: readonly string[] }) => {
      const { root, publicKey: publicKeys } = options;
      const status = await interruptible(() => readStatus({ registry, root, publicKeys }, Date.now()));
      if (options.json === true) printJson(status);
      else for (const role of status) printStatus(role);
      if (status.some(({ isDue }) => isDue)) process.exitCode = EXIT.refused;
    });
}

function printStatus(status: RoleStatus): void {
  const { role, version, expires, daysLeft, threshold, keyIds, places, isDue } = status;
  const left = daysLeft < 0 ? 'has expired' : daysLeft < 1 ? 'less than a day left' : `${daysLeft} days left`;
  printLine(`${role} version ${version}, expires ${expires}: ${left}${isDue ? ', sign it again' : ''}`);
  printLine(`  ${threshold} of ${keyIds.length} keys must sign:`);
  keyIds.forEach((id, i) => {
    const place = places[id] === undefined ? '' : `  ${places[id]}`;
    printLine(`    ${role} key ${i + 1} of ${keyIds.length}  ${id}${place}`);
  });
}

function updateCommand(tuf: Command): void {
  withTrustFiles(withKeys(tuf.command('update')))
    .description('Sign the next targets with trust files replaced; everything else stays, products included.')
    .addHelpText(
      'after',
      `\nExample:\n  waybill tuf update ${WHERE} \\\n    --log-policy tlog-policy --key offline/targets-1.pem`,
    )
    .action(async (registry: string, options: Options) => {
      const { trustedRoot, signingConfig, logPolicy, allowReopen } = options;
      await run(options, (given) =>
        updateTrust({ ...given, registry, trustedRoot, signingConfig, logPolicy, allowReopen }),
      );
    });
}

function renewCommand(tuf: Command): void {
  withKeys(tuf.command('renew'))
    .description('Sign root or targets again, with an expiry a year from now and nothing else changed.')
    .addOption(
      new Option('--role <role>', 'which of them').choices(['root', 'targets']).makeOptionMandatory(),
    )
    .option('--new-key <key...>', 'targets: private keys that the next root will name for it sign, too')
    .addHelpText(
      'after',
      `\nExamples:\n  waybill tuf renew ${WHERE} \\\n    --role targets --key offline/targets-1.pem\n` +
        `  waybill tuf renew ${WHERE} \\\n    --role root --key offline/root-1.pem --out 2.root.json`,
    )
    .action(async (registry: string, options: Options) => {
      const { role, newKey: newKeys } = options;
      await run(options, (given) => renewRole({ ...given, registry, role, newKeys }));
    });
}

function rotateCommand(tuf: Command): void {
  withKeys(tuf.command('rotate'))
    .description(
      'Sign the next root with other keys or thresholds. It needs the thresholds of the root in force and of itself. ' +
        'New targets keys must have signed targets first: `waybill tuf renew --role targets --new-key`.',
    )
    .option('--add-root <key...>', 'public root key to add: a file or a pkcs11: URI')
    .option(
      '--remove-root <key...>',
      'root key to remove: its public half, a file or a pkcs11: URI, or its id as `waybill tuf status` shows it',
    )
    .option('--root-threshold <k>', 'signatures that a new root needs', wholeNumber)
    .option('--targets-key <key...>', 'all public targets keys there are to be')
    .option('--add-targets <key...>', 'public targets key to add')
    .option('--targets-threshold <k>', 'signatures that a new targets needs', wholeNumber)
    .option('--snapshot-key <file>', 'public key of `waybill tuf online-keys`')
    .option('--timestamp-key <file>', 'public key of `waybill tuf online-keys`')
    .addHelpText(
      'after',
      `\nExample:\n  waybill tuf rotate ${WHERE} \\\n    --add-root root-4.pub --remove-root root-3.pub \\\n` +
        '    --key offline/root-1.pem offline/root-2.pem',
    )
    .action(async (registry: string, options: RotateOptions) => {
      await run(options, (given) => rotateKeys({ ...options, ...given, registry }));
    });
}

function signCommand(tuf: Command): void {
  tuf
    .command('sign')
    .description(
      'Show what a file made with --out changes, and add your signature to it. What is in force comes from the ' +
        'registry, or without network from files. Without --key it is only shown.',
    )
    .argument('<file>', 'next root or targets, as another officer made it')
    .requiredOption('--root <file>', 'the newest root.json that you trust')
    .option('--registry <url>', 'base URL of `waybill serve`')
    .option('--current <file>', 'the targets in force, to sign targets without network')
    .option('--log-policy <file>', 'the tlog-policy that it names anew: its lines are shown, too')
    .option('--key <key...>', 'your private key: a file or a pkcs11: URI')
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  waybill tuf sign 2.root.json --root root.json --key /media/bob/root-2.pem',
    )
    .action(async (file: string, options: Options & { registry?: string; current?: string }) => {
      const { registry, current, logPolicy } = options;
      await run(options, (given) => signRoleFile({ ...given, file, registry, current, logPolicy }));
    });
}

function publishCommand(tuf: Command): void {
  withTrustFiles(withRoot(tuf.command('publish')))
    .description(
      'Publish a file that enough officers have signed, with the trust files that it names anew. Of one that is in force it says so.',
    )
    .argument('<file>', 'next root or targets')
    .addHelpText(
      'after',
      '\nExample:\n  waybill tuf publish http://127.0.0.1:8410 2.root.json --root root.json',
    )
    .action(async (registry: string, file: string, options: Options) => {
      const { trustedRoot, signingConfig, logPolicy, allowReopen } = options;
      await run(options, (given) =>
        publishRoleFile({ ...given, registry, file, trustedRoot, signingConfig, logPolicy, allowReopen }),
      );
    });
}

function onlineKeysCommand(tuf: Command): void {
  tuf
    .command('online-keys')
    .description(
      "Make the server's next keys for snapshot and timestamp. They lie there unused until a root names them; a " +
        'server that runs finds them then by itself. The public halves are written beside them.',
    )
    .argument('<folder>', 'data folder of the registry')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill tuf online-keys registry')
    .action(async (folder: string, options: { readonly json?: true }) => {
      const made = await interruptible((signal) =>
        keepingOwner(folder, () => makeOnlineKeys(folder, signal)),
      );
      if (options.json === true) return printJson(made);
      printLine('Made; a root must name them (waybill tuf rotate):');
      printLine(`  --snapshot-key ${made.snapshot.publicPath}`);
      printLine(`  --timestamp-key ${made.timestamp.publicPath}`);
    });
}

/** Makes the next online keys of a data folder. @throws CLI_USAGE, CLI_CANCELLED, CA_FILES_*, REGISTRY_DATA_LOCKED, REGISTRY_STORE_FAILED, CLI_FILE_UNWRITABLE */
export async function makeOnlineKeys(folder: string, signal?: AbortSignal) {
  if ((await readIfThere(join(folder, 'config.yaml'))) === undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected a data folder that \`waybill init\` made, found no config.yaml in ${quote(folder)}`,
    );
  }
  return makingKeysAlone(folder, async () => {
    const { snapshot, timestamp } = await createTufOnlineKeys({ folder: join(folder, 'keys'), signal });
    const show = async ({ path, publicKey }: { path: string; publicKey: string }) => {
      const publicPath = publicKeyPath(path);
      await writeOutput(publicPath, publicKey);
      return { path, publicPath };
    };
    return { snapshot: await show(snapshot), timestamp: await show(timestamp) };
  });
}

function wholeNumber(text: string): number {
  if (/^[1-9][0-9]{0,2}$/.test(text)) return Number(text);
  throw CLI.reject('CLI_USAGE', `expected a whole number from 1 to 999, got ${JSON.stringify(text)}`);
}

type Given = Omit<TufInputs, 'registry'>;

async function run(options: Options, work: (given: Given) => Promise<TufResult>): Promise<void> {
  const { root, key: keys = [], out } = options;
  const passphrases = passphrasesFrom(options);
  const result = await interruptible((signal, finish) =>
    work({ root, keys, passphrases, out, progress: printProgress, signal, finish }),
  );
  if (options.json === true) printJson(result);
  else print(result);
}

function print({ role, version, expires, published, wasPublished, missing, path }: TufResult): void {
  if (wasPublished) {
    printLine(`${role} version ${version} is published already, good until ${expires}: nothing to do`);
    return;
  }
  printLine(`${published ? 'published ' : ''}${role} version ${version}, good until ${expires}`);
  if (path === undefined) return;
  printLine(`  in ${path}`);
  for (const line of missing) printLine(`  ${line}`);
  if (missing.length > 0) printLine('  next: waybill tuf sign by another officer');
  else printLine('  signed by all who must: waybill tuf publish');
}
