// SPDX-License-Identifier: Apache-2.0
// `waybill rotate`: the next key of one of the services, and later the end of the older ones. Publishing is `waybill tuf update`.

import { createPrivateKey } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { parseInstantMs } from '../core/encoding/document.ts';
import { quote } from '../core/faults.ts';
import type { LogPolicy } from '../core/tlog/log-policy.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { RegistryConfig } from '../registry/config.ts';
import type { TrustFile } from '../registry/rotated-log-files.ts';
import { type Retired, type Rotated, type RotationOf, retire, rotate } from '../registry/rotation.ts';
import { keepingOwner } from '../registry/store/owner.ts';
import type { CertifiedService, Service } from '../registry/trust/instances.ts';
import type { P256Signer } from '../registry/trust/signer.ts';
import { formatPrivateKey, publicKeyDer } from '../release/key-file.ts';
import { openSigningKey } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import { isTokenKey } from '../release/token-key.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { newPassphrase, PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { readConfigFile } from './serve.ts';
import { printJson, printLine } from './terminal.ts';

/** What can be rotated: a service's online key, or the root above it with it. */
const KEYS = ['ca', 'ca-root', 'ct', 'log', 'tsa', 'tsa-root'] as const;
type Key = (typeof KEYS)[number];

interface Options {
  readonly offline?: string;
  readonly encrypt?: true;
  readonly passphraseFile?: string;
  readonly stolenSince?: string;
  readonly retire?: true;
  readonly json?: true;
}

const TITLE: Readonly<Record<Service, string>> = {
  ca: 'certificate authority',
  ct: 'certificate transparency log',
  log: 'signature log',
  tsa: 'timestamp authority',
};

const FLAG: Readonly<Record<TrustFile, string>> = {
  'trusted_root.json': '--trusted-root',
  'signing_config.v0.2.json': '--signing-config',
  'tlog-policy': '--log-policy',
};

/** Adds `waybill rotate`. */
export function rotateVerb(program: Command): void {
  program
    .command('rotate')
    .summary('replace a key of the trust services')
    .description(
      'Makes the next key of a trust service beside the ones that are there, and the trust material that names it. ' +
        'Nothing changes for anybody until that is published with `waybill tuf update`; until then the server goes on ' +
        'signing with the key before. What was signed with older keys stays valid. Run it again with --retire when the ' +
        'new key is in use: then older keys end. Prints what to do next.',
    )
    .argument('<folder>', 'data folder that `waybill init` made')
    .argument('<key>', `which key: ${KEYS.join(', ')}; with -root the offline root as well`)
    .option(
      '--offline <path>',
      'for ca and tsa the offline root key (file or pkcs11: URI), or the folder it is in; for ca-root and tsa-root the folder for the new one',
    )
    .option('--encrypt', 'for ca-root and tsa-root: encrypt the new root key under a passphrase')
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .addOption(
      new Option('--stolen-since <time>', 'end all older keys at this time (RFC 3339, UTC), in the past'),
    )
    .option('--retire', 'make no key: end all but the newest, ten minutes from now')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  waybill rotate registry tsa --offline /media/usb/waybill\n' +
        '  waybill rotate registry log\n' +
        '  waybill rotate registry tsa --retire\n' +
        '  waybill rotate registry ca --offline /media/usb/waybill --stolen-since 2026-01-31T12:00:00Z',
    )
    .action(async (folder: string, key: string, options: Options) => {
      const of = checkUsage(key, options);
      const config = await readConfigFile(folder);
      const { org, url, headFolder } = config;
      const place = { dataFolder: folder, org, url, headFolder, nowMs: Date.now() };
      if (options.retire === true) {
        const retired = await keepingOwner(folder, () => retire(place, of.service));
        return printRetired({ service: of.service, retired, folder, url }, options);
      }
      const stolenSinceMs = stolenSince(options.stolenSince, place.nowMs);
      const rotated = await interruptible(async (signal) => {
        const rotation = await rotationOf(of, options);
        return keepingOwner(folder, () => rotate({ ...place, signal }, rotation, stolenSinceMs));
      });
      const policy = parseLogPolicy(await readInput(join(folder, 'trust', 'tlog-policy')), nodeCrypto);
      printRotated({ rotated, folder, config, policy, stolenSinceMs }, options);
    });
}

interface Asked {
  readonly service: Service;
  readonly withRoot: boolean;
}

/** @throws CLI_USAGE */
function checkUsage(key: string, { offline, stolenSince: stolen, retire: ends }: Options): Asked {
  if (!(KEYS as readonly string[]).includes(key)) {
    throw CLI.reject('CLI_USAGE', `expected one of ${KEYS.join(', ')}, got ${quote(key)}`);
  }
  const withRoot = key.endsWith('-root');
  const service = key.replace(/-root$/, '') as Exclude<Key, `${string}-root`>;
  if (ends === true && (offline !== undefined || stolen !== undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected --retire alone, got it with --offline or --stolen-since');
  }
  const needsOffline = (service === 'ca' || service === 'tsa') && ends !== true;
  if (needsOffline === (offline === undefined)) {
    const expected = needsOffline ? 'with its offline root key or folder' : 'without offline keys';
    throw CLI.reject('CLI_USAGE', `expected ${quote(key)} ${expected} (--offline)`);
  }
  return { service, withRoot };
}

/** @throws CLI_USAGE */
function stolenSince(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseInstantMs(text);
  if (ms === undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected --stolen-since to be a time in UTC, with Z at its end, such as 2026-01-31T12:00:00Z, got ${quote(text)}`,
    );
  }
  if (ms > nowMs) {
    throw CLI.reject('CLI_USAGE', `expected --stolen-since to be a time in the past, got ${quote(text)}`);
  }
  return ms;
}

async function rotationOf({ service, withRoot }: Asked, options: Options): Promise<RotationOf> {
  const { offline = '', encrypt, passphraseFile } = options;
  if (service === 'ct' || service === 'log') return { service };
  const from = passphraseFile === undefined ? {} : { passphraseFile };
  if (!withRoot) return { service, rootKey: await openRootKey(offline, service, passphrasesFrom(from)) };
  const isSealed = encrypt === true || passphraseFile !== undefined;
  const passphrase = isSealed ? await newPassphrase(from) : undefined;
  const seal = (pem: string) => formatPrivateKey(createPrivateKey(pem), passphrase);
  return { service, newRootFolder: offline, seal };
}

/** The root key in a token or a file, or in the offline folder the newest of that service. @throws CEREMONY_*, CLI_FILE_UNREADABLE */
async function openRootKey(
  place: string,
  service: CertifiedService,
  passphrases: Passphrases,
): Promise<P256Signer> {
  const isPlain = isTokenKey(place) || !(await isFolder(place));
  const file = isPlain ? place : join(place, await newestRoot(place, service));
  const { publicKey, sign } = await openSigningKey(file, 'p256', passphrases);
  return { spki: publicKeyDer(publicKey), sign };
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** `ca-root-3.pem` rather than `ca-root.pem`; a wrong one is refused when it is compared with the certificate. */
async function newestRoot(folder: string, service: CertifiedService): Promise<string> {
  const number = (name: string): number => Number(/-([0-9]+)\.pem$/.exec(name)?.[1] ?? 1);
  const pattern = new RegExp(`^${service}-root(-[0-9]+)?\\.pem$`);
  const found = (await readdir(folder)).filter((name) => pattern.test(name));
  return found.sort((a, b) => number(a) - number(b)).at(-1) ?? `${service}-root.pem`;
}

const updateCommand = (url: string, folder: string, files: readonly TrustFile[]): string =>
  [
    `waybill tuf update ${url} --root ${join(folder, 'root.json')} --key <targets key>`,
    ...files.map((name) => `    ${FLAG[name]} ${join(folder, 'trust', name)}`),
  ].join(' \\\n');

function printRotated(
  done: {
    readonly rotated: Rotated;
    readonly folder: string;
    readonly config: RegistryConfig;
    readonly policy: LogPolicy;
    readonly stolenSinceMs: number | undefined;
  },
  options: Options,
): void {
  const { rotated, folder, config, policy, stolenSinceMs } = done;
  const { service, instance, keys, chain, signer, changed, renewed = [], logKey, unpublished } = rotated;
  if (options.json === true) {
    printJson({ folder, ...rotated });
    return;
  }
  printLine(`Key ${instance} of the ${TITLE[service]}`);
  for (const path of keys) printLine(`  made     ${path}`);
  if (chain !== undefined) printLine(`  made     ${chain}  (certificates)`);
  if (signer !== undefined) printLine(`  held     by the signer that ${signer} names`);
  else if (keys.length === 0) printLine('  made     before, by a rotation that was broken off');
  for (const name of changed) {
    const from = renewed.includes(name) ? ', made from the published one, of which it lacked something' : '';
    printLine(`  changed  ${join(folder, 'trust', name)}${from}`);
  }
  if (unpublished !== undefined) {
    printLine(`  Key ${unpublished} was never published: it ends too, and signs nothing.`);
  }
  if (keys.length > 1) printLine('  The root key is an offline key: move it off this machine now.');
  printLine();
  printLine('Next:');
  printLine(
    `- start \`waybill serve ${folder}\` anew, so that it has the key; it goes on signing with the one before`,
  );
  if (logKey !== undefined && policy.quorum !== 'none') {
    printLine(`- tell each witness of the new log: waybill witness add <its folder> ${logKey}`);
  }
  printLine('- publish, which puts the key into use:');
  printLine(`  ${updateCommand(config.url, folder, changed)}`);
  if (stolenSinceMs === undefined) {
    printLine(`- when nobody signs with older keys any more: waybill rotate ${folder} ${service} --retire`);
  }
}

function printRetired(
  done: {
    readonly service: Service;
    readonly retired: Retired;
    readonly folder: string;
    readonly url: string;
  },
  options: Options,
): void {
  const { service, retired, folder, url } = done;
  const { isNew, isPublished } = retired;
  const ended = new Date(retired.endMs).toISOString();
  const changed: readonly TrustFile[] = isNew ? ['trusted_root.json'] : [];
  if (options.json === true) {
    printJson({ folder, service, ended, changed, isPublished });
    return;
  }
  const keys = `Older keys of the ${TITLE[service]}`;
  if (isPublished) {
    printLine(`${keys} already end at ${ended}, nothing to do`);
    return;
  }
  printLine(`${keys} ${isNew ? '' : 'already '}end at ${ended}; what was signed before stays valid`);
  for (const name of changed) printLine(`  changed  ${join(folder, 'trust', name)}`);
  printLine();
  printLine('Next: publish it:');
  printLine(`  ${updateCommand(url, folder, ['trusted_root.json'])}`);
}
