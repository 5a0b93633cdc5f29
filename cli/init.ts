// SPDX-License-Identifier: Apache-2.0
// `waybill init`: makes the data folder of a registry and, apart from it, the offline keys. All or nothing: both are made beside
// their places and moved there when everything is done.

import { createPrivateKey, randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import type { Command } from 'commander';
import { portableCrypto } from '../core/crypto.ts';
import { quote, Rejection } from '../core/faults.ts';
import { formatLogPolicy, type LogPolicy, parseLogPolicy } from '../core/tlog/log-policy.ts';
import { parseVerifierKey } from '../core/tlog/note.ts';
import { isLoopback } from '../registry/ca/issuers.ts';
import { createLogKey, logVerifierKey } from '../registry/log/log-key.ts';
import { Blobs } from '../registry/store/blobs.ts';
import { STORE } from '../registry/store-faults.ts';
import { createTrustServices, serviceNames } from '../registry/trust/services.ts';
import { buildSigningConfig, buildTrustedRoot } from '../registry/trust/trusted-root.ts';
import { createTufOnlineKeys } from '../registry/tuf/online-keys.ts';
import { createTufRepository } from '../registry/tuf/repository.ts';
import { holdCeremony, type OfficerKey } from '../release/ceremony.ts';
import { formatPrivateKey } from '../release/key-file.ts';
import { canSign, openSigningKey, readRolePublicKey } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import { CLI } from './faults.ts';
import { readInput, writeOutput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { BEHIND_TLS, formatConfig, isForThisMachine } from './new-config.ts';
import { newPassphrase, passphrasesFrom } from './passphrase.ts';
import { printJson, printLine } from './terminal.ts';
import { baseOf, readTrustedRoot } from './trust.ts';

/** The inputs of `init`. */
export interface InitInputs {
  /** Made; must not exist or be empty. */
  readonly folder: string;
  /** Where the offline keys go; must not exist or be empty. */
  readonly offline: string;
  /** Base address under which clients reach the registry. */
  readonly url: string;
  readonly org: string;
  /** Number of root keys that are made, 3 by default; not with `rootKey`, which names them. */
  readonly rootKeys?: number | undefined;
  readonly rootThreshold: number;
  /** Root keys of officers who have them: private key files, `pkcs11:` URIs, or public keys. */
  readonly rootKey?: readonly string[] | undefined;
  /** 1 of 1 by default. */
  readonly targetsKeys?: number | undefined;
  readonly targetsThreshold?: number | undefined;
  /** Encrypts the offline keys that are made. */
  readonly passphrase?: string | undefined;
  /** For officers' keys. */
  readonly passphrases?: Passphrases | undefined;
  /** A YAML file with a list of issuers, as `issuers` of config.yaml. */
  readonly issuers?: string | undefined;
  /** A C2SP log policy without logs: witnesses with their addresses, groups, quorum. `quorum none` by default. */
  readonly witnesses?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What was made. */
export interface InitResult {
  readonly folder: string;
  readonly offline: string;
  readonly url: string;
  readonly rootPath: string;
  /** The log's verifier key, which its witnesses must be told. */
  readonly logKey: string;
  /** Names of signature log and certificate log, fixed for good. */
  readonly logs: { readonly log: string; readonly ct: string };
  /** Private keys. */
  readonly offlineKeys: readonly string[];
  /** Those of them that whoever has the file can use. */
  readonly unencrypted: readonly string[];
  /** Signatures that a new version of each offline role needs, of how many keys. */
  readonly thresholds: Readonly<
    Record<'root' | 'targets', { readonly threshold: number; readonly keys: number }>
  >;
  /** Folders beside these places that an `init` left which was killed: there are keys in them. */
  readonly leftBehind: readonly string[];
}

/**
 * Makes a registry. @throws REGISTRY_FOLDER_NOT_EMPTY, REGISTRY_FOLDERS_NESTED, CLI_USAGE, CLI_FILE_UNWRITABLE, CEREMONY_*, CA_FILES_*,
 * REGISTRY_STORE_FAILED, for --issuers CLI_DOCUMENT_MALFORMED, OIDC_CONFIG_*, and for --witnesses TLOG_POLICY_MALFORMED
 */
export async function init(inputs: InitInputs): Promise<InitResult> {
  const [folder, offline] = [resolve(inputs.folder), resolve(inputs.offline)];
  if (isInside(folder, offline) || isInside(offline, folder)) {
    throw STORE.reject(
      'REGISTRY_FOLDERS_NESTED',
      `expected two folders apart, got ${quote(folder)} and ${quote(offline)}`,
    );
  }
  if (inputs.rootKey !== undefined && inputs.rootKeys !== undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      'expected --root-keys, to make root keys, or --root-key, with the keys that there are, got both',
    );
  }
  await checkEmpty(folder);
  await checkEmpty(offline);
  const leftBehind = [...(await leftBeside(folder)), ...(await leftBeside(offline))];
  const config = await formatConfig(inputs);
  const witnesses = inputs.witnesses === undefined ? NO_WITNESSES : await readWitnesses(inputs.witnesses);
  const id = randomBytes(4).toString('hex');
  const made = { folder: `${folder}.${id}.new`, offline: `${offline}.${id}.new` };
  try {
    const logKey = await build({ ...inputs, ...made }, config, witnesses);
    inputs.signal?.throwIfAborted();
    const names = (await readdir(made.offline)).filter((name) => name.endsWith('.pem')).sort();
    await moveBoth(made, { folder, offline });
    const { log, ct } = serviceNames(inputs.org);
    const offlineKeys = names.map((name) => join(offline, name));
    const rootPath = join(folder, 'root.json');
    const unencrypted = inputs.passphrase === undefined ? offlineKeys : [];
    const places = { folder, offline, url: inputs.url, rootPath, logKey, logs: { log, ct } };
    return { ...places, offlineKeys, unencrypted, thresholds: await readThresholds(rootPath), leftBehind };
  } finally {
    await rm(made.folder, { recursive: true, force: true });
    await rm(made.offline, { recursive: true, force: true });
  }
}

/** What the root says that everyone will follow. */
async function readThresholds(rootPath: string): Promise<InitResult['thresholds']> {
  const { root, targets } = (await readTrustedRoot(rootPath)).signed.roles;
  return {
    root: { threshold: root.threshold, keys: root.keyIds.length },
    targets: { threshold: targets.threshold, keys: targets.keyIds.length },
  };
}

/** As `init` names what it makes beside a place. */
async function leftBeside(place: string): Promise<readonly string[]> {
  const names = await readdir(dirname(place)).catch(() => []);
  return names
    .filter(
      (name) =>
        name.startsWith(basename(place)) && /^\.[0-9a-f]{8}\.new$/.test(name.slice(basename(place).length)),
    )
    .map((name) => join(dirname(place), name));
}

function isInside(inner: string, outer: string): boolean {
  const path = relative(outer, inner);
  return path === '' || (path !== '..' && !path.startsWith(`..${sep}`));
}

async function checkEmpty(folder: string): Promise<void> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw STORE.reject(
      'REGISTRY_FOLDER_NOT_EMPTY',
      `expected a new folder at ${quote(folder)}, got ${cause.code}`,
    );
  });
  if (names.length > 0) {
    throw STORE.reject(
      'REGISTRY_FOLDER_NOT_EMPTY',
      `expected a new or empty folder, got ${quote(folder)} with files in it`,
    );
  }
}

/** What a log policy says besides its logs. */
type PolicyWitnesses = Omit<LogPolicy, 'logs'>;

/** Unless there are officers' keys. */
const ROOT_KEYS = 3;

const NO_WITNESSES: PolicyWitnesses = { witnesses: [], groups: [], quorum: 'none' };

/** Reads --witnesses. @throws CLI_FILE_UNREADABLE, TLOG_POLICY_MALFORMED, CLI_USAGE */
async function readWitnesses(path: string): Promise<PolicyWitnesses> {
  const policy = parseWitnesses(await readInput(path), path);
  if (policy.logs.length > 0) {
    throw CLI.reject(
      'CLI_USAGE',
      'expected --witnesses without `log` lines: init adds the one of the new log',
    );
  }
  const silent = policy.witnesses.find(({ url }) => url === undefined || !/^https?:\/\//.test(url));
  if (silent !== undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected an http or https address behind the key of each witness, got none for ${quote(silent.name)}`,
    );
  }
  return policy;
}

/** The place of a mistake begins with the file. @throws TLOG_POLICY_MALFORMED */
function parseWitnesses(bytes: Uint8Array, path: string): LogPolicy {
  try {
    return parseLogPolicy(bytes, portableCrypto);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    const at = cause.at === undefined ? path : `${path}: ${cause.at}`;
    throw new Rejection(cause.code, cause.row, cause.message, { at, cause });
  }
}

/** Returns the verifier key of the log. */
async function build(inputs: InitInputs, config: string, witnesses: PolicyWitnesses): Promise<string> {
  const { folder, offline, org, url, signal } = inputs;
  const now = Date.now();
  await makeFolders(join(folder, 'keys'), join(folder, 'trust'), join(folder, 'state'), offline);
  const { passphrase, rootThreshold, targetsKeys = 1, targetsThreshold = 1 } = inputs;
  const rootKeys = inputs.rootKey === undefined ? (inputs.rootKeys ?? ROOT_KEYS) : await openOfficers(inputs);
  const seal = (pem: string) => formatPrivateKey(createPrivateKey(pem), passphrase);
  const material = await createTrustServices({ folder, offlineFolder: offline, org, now, seal });
  const logKey = await createLogKey({ folder });
  const { snapshot, timestamp } = await createTufOnlineKeys({ folder: join(folder, 'keys') });
  const onlineKeys = { snapshot: snapshot.publicKey, timestamp: timestamp.publicKey };
  signal?.throwIfAborted();
  const { names, startMs } = material;
  const logVkey = logVerifierKey(names.log, logKey);
  const verifierKey = parseVerifierKey(logVkey, portableCrypto);
  const policy = { ...witnesses, logs: [{ key: verifierKey, url: `${url}/log` }] };
  const targetFiles = [
    {
      name: 'trusted_root.json',
      bytes: buildTrustedRoot(material, [{ origin: names.log, publicKey: logKey, startMs }]),
    },
    { name: 'signing_config.v0.2.json', bytes: buildSigningConfig({ url, org, startMs }) },
    { name: 'tlog-policy', bytes: new Uint8Array(Buffer.from(formatLogPolicy(policy))) },
  ];
  for (const { name, bytes } of targetFiles) await writeOutput(join(folder, 'trust', name), bytes);
  const roles = { rootKeys, rootThreshold, targetsKeys, targetsThreshold, onlineKeys };
  const ceremony = { offlineFolder: offline, org, passphrase, ...roles, targetFiles };
  const signed = await holdCeremony({ ...ceremony, now: new Date(now) });
  signal?.throwIfAborted();
  await createTufRepository({
    folder: join(folder, 'state', 'tuf'),
    keysFolder: join(folder, 'keys'),
    blobs: await Blobs.open(join(folder, 'state', 'blobs')),
    clock: () => now,
    ...signed,
    targetFiles,
  });
  await writeOutput(
    join(folder, 'keys', 'enrolment.token'),
    `${randomBytes(32).toString('base64url')}\n`,
    0o600,
  );
  await writeOutput(join(folder, 'root.json'), signed.root);
  await writeOutput(join(folder, 'config.yaml'), config);
  return logVkey;
}

/** Opens the keys of officers who are here, and takes the public ones of those who are not. */
async function openOfficers({ rootKey = [], passphrases }: InitInputs): Promise<readonly OfficerKey[]> {
  const officers: OfficerKey[] = [];
  for (const place of rootKey) {
    const signer = (await canSign(place)) ? await openSigningKey(place, 'ed25519', passphrases) : undefined;
    officers.push({ publicKey: signer?.publicKey ?? (await readRolePublicKey(place)), signer });
  }
  return officers;
}

async function makeFolders(...folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    // Only the owner may look into a registry's folders and at offline keys.
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
      throw CLI.unavailable('CLI_FILE_UNWRITABLE', `could not make ${quote(folder)}: ${cause.code}`, {
        cause,
      });
    });
  }
}

/** The offline keys first: a registry without them would be worthless, they without a registry are harmless. */
async function moveBoth(
  made: Pick<InitResult, 'folder' | 'offline'>,
  to: Pick<InitResult, 'folder' | 'offline'>,
) {
  try {
    await rename(made.offline, to.offline);
    await rename(made.folder, to.folder).catch(async (cause) => {
      await rename(to.offline, made.offline);
      throw cause;
    });
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    const place = quote(dirname(to.folder));
    throw CLI.unavailable('CLI_FILE_UNWRITABLE', `could not move the folders into ${place}: ${reason}`, {
      cause,
    });
  }
}

/** For a registry that nobody else can reach. */
const TRIAL_ORG = 'waybill.example';

export function initVerb(program: Command): void {
  program
    .command('init')
    .summary('make a registry and its keys')
    .description(
      'Makes the data folder of a registry: certificate authority, transparency log, signature log, timestamp ' +
        'authority and TUF repository, with their keys. The keys that must not be on the server (TUF root and ' +
        'targets, the roots of both authorities) go into a folder of their own, which `waybill serve` never reads. ' +
        'Fills only new or empty folders; makes everything, or removes what it made (only if it is killed, folders ' +
        'named .new stay beside these places; the next run names them).',
    )
    .argument('<folder>', 'data folder to be made')
    .requiredOption(
      '--offline <folder>',
      'folder for the offline keys, best on a medium that leaves this machine',
    )
    .requiredOption('--url <url>', 'base address of the registry, as clients will use it')
    .option(
      '--org <name>',
      'your organisation or its domain; names certificates and logs for good. Needed unless the address is of this ' +
        `machine alone (then ${TRIAL_ORG})`,
    )
    .option('--root-keys <n>', `number of TUF root keys to make (default: ${ROOT_KEYS})`, wholeNumber)
    .option('--root-threshold <k>', 'signatures of them that a new root needs', wholeNumber, 2)
    .option(
      '--root-key <key...>',
      'keys of officers who have them already, instead of making any: private key files or pkcs11: URIs of ' +
        'those who are here, public key files of those who are not',
    )
    .option('--targets-keys <n>', 'number of TUF targets keys', wholeNumber, 1)
    .option('--targets-threshold <k>', 'signatures of them that a new targets needs', wholeNumber, 1)
    .option('--encrypt', 'encrypt the offline keys under a passphrase')
    .option('--passphrase-file <file>', 'that passphrase (implies --encrypt), else it is asked for')
    .option('--issuers <file>', 'YAML list of the token issuers to accept')
    .option(
      '--witnesses <file>',
      'log policy of `witness`, `group` and `quorum` lines: who must cosign the log; nobody by default',
    )
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  waybill init registry --offline /media/usb/waybill \\\n' +
        '    --url http://127.0.0.1:8410 --org acme.example\n' +
        '  waybill init registry --offline /media/usb/waybill \\\n' +
        '    --url https://waybill.acme.example --org acme.example --witnesses witnesses\n' +
        '  waybill init registry --offline /media/usb/waybill \\\n' +
        '    --url https://waybill.acme.example --org acme.example \\\n' +
        "    --root-key 'pkcs11:token=alice;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so' bob.pub",
    )
    .action(async (folder: string, options: Options) => {
      const url = baseUrl(options.url);
      const org = organization(options.org, url);
      const { encrypt, passphraseFile, ...inputs } = options;
      const passphrases = passphrasesFrom(options);
      const isSealed = encrypt === true || passphraseFile !== undefined;
      const done = await interruptible(async (signal) => {
        const passphrase = isSealed ? await newPassphrase(options) : undefined;
        return init({ ...inputs, folder, url, org, passphrase, passphrases, signal });
      });
      if (options.json === true) printJson(done);
      else print(done, options);
    });
}

interface Options extends Omit<InitInputs, 'folder' | 'org' | 'signal' | 'passphrase' | 'passphrases'> {
  readonly org?: string;
  readonly encrypt?: true;
  readonly passphraseFile?: string;
  readonly json?: true;
}

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,2}$/.test(text)) {
    throw CLI.reject('CLI_USAGE', `expected a whole number from 1 to 999, got ${quote(text)}`);
  }
  return Number(text);
}

/** Names certificates for good, which hold 64 characters of it [RFC5280 §A.1 ub-organization-name]. */
function organization(text: string | undefined, url: string): string {
  if (text === undefined) {
    if (isLoopback(new URL(url))) return TRIAL_ORG;
    throw CLI.reject(
      'CLI_USAGE',
      'expected --org, such as acme.example: it names logs and certificates, and cannot be changed later',
    );
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    const name = URL.canParse(text) ? new URL(text).hostname : '';
    const instead = name === '' ? 'such as acme.example' : `here ${quote(name)}`;
    throw CLI.reject(
      'CLI_USAGE',
      `expected --org to be a name or a domain, ${instead}, got the address ${quote(text)}`,
    );
  }
  if (/^[^\p{C}\p{Z}](?:[^\p{C}]{0,62}[^\p{C}\p{Z}])?$/u.test(text)) return text;
  throw CLI.reject(
    'CLI_USAGE',
    `expected --org to be a name of 1 to 64 characters without line breaks, got ${quote(text)}`,
  );
}

function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isAddress = url !== undefined && /^https?:$/.test(url.protocol) && url.port !== '0';
  if (!isAddress || url.username || url.search || url.hash) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected --url to be an http or https address without user, query and fragment, got ${quote(text)}`,
    );
  }
  if (url.protocol === 'http:' && !isLoopback(url)) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected --url to be an https address, or of this machine alone (http://127.0.0.1:8410), got ${quote(text)}: without TLS whoever is on the way ` +
        'reads tokens and replaces what is fetched. Give the https address that clients will use; a proxy with TLS before `waybill serve`, or a ' +
        'certificate of its own, can follow (docs/operating.md)',
    );
  }
  return baseOf(url, text);
}

function print(done: InitResult, { issuers, org, witnesses }: Options): void {
  printLine(`Registry made in ${done.folder}`);
  printLine('  config.yaml   where to listen, whose tokens count; read at start');
  printLine('  keys/         online keys, mode 0600, and enrolment.token for devices');
  printLine('  trust/        certificate chains and what clients will trust');
  printLine('  state/        log, attestations, blobs, TUF repository');
  printLine('  unbegun/      marks of logs that have published nothing yet; `waybill serve` removes them');
  printLine(`  root.json     give it to everyone who must trust this registry: ${done.rootPath}`);
  printLine();
  printLine(`Its logs are ${done.logs.log} and ${done.logs.ct}; these names cannot be changed later.`);
  if (org === undefined)
    printLine(
      '  They came from no --org: good for trying out. Make the registry for others anew, with --org.',
    );
  printLine();
  printLine(`Offline keys in ${done.offline}`);
  for (const path of done.offlineKeys) printLine(`  ${path}`);
  const { root, targets } = done.thresholds;
  printLine(
    `  A new root needs signatures by ${root.threshold} of ${root.keys} keys, a new targets by ${targets.threshold} of ${targets.keys}.`,
  );
  if (done.unencrypted.length > 0) {
    printLine(
      '  They are not encrypted: whoever has one of these files can use the key. To have them encrypted, make the',
    );
    printLine('  registry anew with --encrypt or --passphrase-file.');
  }
  printLine(
    '  Move them off this machine now, to separate places. The server never needs them; whoever has enough',
  );
  printLine(
    '  of them can replace every other key. Keep the .pub files at hand: they show whose key is whose.',
  );
  printLine();
  if (witnesses !== undefined) {
    printLine(`Each witness must be told of the log: waybill witness add <its folder> ${done.logKey}`);
  }
  for (const path of done.leftBehind) {
    printLine(
      `An init that was killed left ${path}, with keys in it: remove it, unless another init is under way.`,
    );
  }
  printExposure(new URL(done.url));
  const first = issuers === undefined ? "list your CI's token issuer in config.yaml, then " : '';
  printLine(`Next: ${first}run: waybill serve ${done.folder}`);
}

/** Where the server will listen, and what is missing between it and its clients. */
function printExposure(url: URL): void {
  if (url.pathname !== '/') {
    printLine(
      `Clients ask below ${quote(url.pathname)}, where \`waybill serve\` has nothing: a proxy before it must take that away.`,
    );
  }
  if (isForThisMachine(url)) return;
  const shown = url.href.replace(/\/+$/, '');
  printLine(
    `\`waybill serve\` speaks plain HTTP at ${BEHIND_TLS.host}:${BEHIND_TLS.port}. For ${shown}, put a proxy with TLS before it, or`,
  );
  printLine('  give it a certificate of its own: listen in config.yaml; docs/operating.md shows both.');
}
