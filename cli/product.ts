// SPDX-License-Identifier: Apache-2.0
// `waybill product`: the security officer adds a product to top-level targets, or changes one, with the offline targets keys.

import type { KeyObject } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { quote } from '../core/faults.ts';
import { isProductName } from '../core/release/version.ts';
import { OFFLINE_LIFETIME_DAYS } from '../release/ceremony.ts';
import { releasesRole } from '../release/goods.ts';
import { openRoleKeys, readRolePublicKey } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import {
  addProduct,
  checkStillSigned,
  type NewProduct,
  type ProductChange,
  updateProduct,
} from '../release/product.ts';
import { Registry } from '../release/registry.ts';
import { publishRole, signDraft } from '../release/roles.ts';
import { readDevicePolicyFile } from './device-policy-file.ts';
import { CLI } from './faults.ts';
import { interruptible } from './interrupt.ts';
import { PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { printJson, printLine, printProgress } from './terminal.ts';
import { openTrust, registryUrl } from './trust.ts';

interface Options {
  readonly devicePolicy?: string;
  readonly releasesKey?: readonly string[];
  readonly releasesThreshold?: string;
  readonly offline?: string;
  readonly key?: readonly string[];
  readonly passphraseFile?: string;
  readonly registry: string;
  readonly root: string;
  readonly json?: true;
}

/** What a change of a product needs, the same for `add` and `update`. */
export interface ProductInputs {
  readonly product: string;
  /** Path of the policy in YAML. */
  readonly devicePolicy?: string | undefined;
  /** Paths of public keys. */
  readonly releasesKeys?: readonly string[] | undefined;
  readonly releasesThreshold?: number | undefined;
  /** The folder with `targets-<n>.pem`. */
  readonly offlineFolder?: string | undefined;
  /** Targets keys by path or `pkcs11:` URI. */
  readonly keys?: readonly string[] | undefined;
  readonly passphrases?: Passphrases | undefined;
  readonly registry: string;
  readonly root: string;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Adds `waybill product` with its subcommands. */
export function productVerb(program: Command): void {
  const product = program
    .command('product')
    .summary('add or change a product (offline targets key)')
    .description(
      'Add a product to the repository, or change it: what its devices ask of a release (device policy), and whose ' +
        'keys may sign its releases. Signs the next version of top-level targets with the offline keys.',
    );
  for (const verb of ['add', 'update'] as const) {
    const command = product
      .command(verb)
      .description(verb === 'add' ? 'Add a product.' : 'Change a product; what is not given stays as it is.')
      .argument('<name>', 'lower-case letters, digits and hyphens')
      .option(
        '--releases-threshold <n>',
        `how many of the releases keys must sign (${verb === 'add' ? '1' : 'as many as before'} if not given)`,
      )
      .option('--json', 'print one JSON document')
      .option('--offline <folder>', 'the folder with targets-<n>.pem')
      .option('--key <file...>', 'private targets key instead: a file or a pkcs11: URI; several may follow')
      .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
      .requiredOption('--registry <url>', 'base URL of `waybill serve`')
      .requiredOption('--root <file>', 'TUF root.json that you trust')
      .addHelpText(
        'after',
        `\nExample:\n  waybill product ${verb} optiboot --device-policy device-policy.yaml \\\n` +
          '    --releases-key releases.pub --offline offline \\\n' +
          '    --registry http://127.0.0.1:8410 --root root.json',
      );
    const [policy, key] = [
      ['--device-policy <file>', 'YAML of docs/spec/device-policy.md'],
      ['--releases-key <file...>', 'public key (Ed25519 PEM) of a release manager; several may follow'],
    ] as const;
    if (verb === 'add') command.requiredOption(...policy).requiredOption(...key);
    else command.option(...policy).option(...key);
    command.action((name: string, options: Options) => run(verb, name, options));
  }
}

async function run(verb: 'add' | 'update', product: string, options: Options): Promise<void> {
  const { devicePolicy, releasesKey, offline, key, registry, root } = options;
  const releasesThreshold =
    options.releasesThreshold === undefined ? undefined : Number(options.releasesThreshold);
  const done = await interruptible((signal) =>
    changeProduct(verb, {
      ...{ product, devicePolicy, releasesKeys: releasesKey, releasesThreshold },
      ...{ offlineFolder: offline, keys: key, passphrases: passphrasesFrom(options) },
      ...{ registry, root, progress: printProgress, signal },
    }),
  );
  if (options.json === true) printJson(done);
  else {
    printLine(`${verb === 'add' ? 'added' : 'changed'} ${product}: targets version ${done.targetsVersion}`);
    printLine(`  device-policy/${product}.json  sha256:${done.devicePolicySha256}`);
    printLine(
      `  releases-${product} may be signed by ${done.releases.threshold} of ${done.releases.keyIds.join(', ')}`,
    );
    if (verb === 'add') printLine('  no release yet: `waybill gate` and `waybill release` make the first');
  }
}

/**
 * Does the work of `waybill product add` and `update`.
 * @throws CLI_USAGE, CLI_FILE_UNREADABLE, DEVICE_POLICY_MALFORMED, RELEASE_*, CEREMONY_*, TUF_*
 */
export async function changeProduct(verb: 'add' | 'update', inputs: ProductInputs) {
  const { product, progress } = inputs;
  if (!isProductName(product)) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected a product name of lower-case letters, digits and hyphens, got ${quote(product)}`,
    );
  }
  const { devicePolicy, releasesKeys, releasesThreshold } = inputs;
  if (devicePolicy === undefined && releasesKeys === undefined && releasesThreshold === undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      'expected --device-policy, --releases-key or --releases-threshold, got nothing to change',
    );
  }
  const url = registryUrl(inputs.registry);
  const policy = devicePolicy === undefined ? undefined : await readDevicePolicyFile(devicePolicy, product);
  const change: ProductChange = {
    product,
    devicePolicy: policy?.bytes,
    releasesKeys: await readReleasesKeys(inputs),
    releasesThreshold: inputs.releasesThreshold,
  };
  const keys = await openRoleKeys(await targetsKeyPlaces(inputs), inputs.passphrases);
  progress(`reading top-level targets from ${url}`);
  const { client } = await openTrust({ registryUrl: url, rootPath: inputs.root, evenExpired: true });
  const current = client.role('targets');
  const { draft, files } =
    verb === 'add' ? addProduct(current, whole(change)) : updateProduct(current, change);
  const metadata = await signDraft('targets', draft, keys, client.signersOf('targets'), {
    now: new Date(),
    days: OFFLINE_LIFETIME_DAYS,
  });
  if (change.releasesKeys !== undefined || change.releasesThreshold !== undefined) {
    const own = releasesRole(product);
    const releases = await client.delegatedRole(own, { evenExpired: true });
    if (releases !== undefined) {
      checkStillSigned(product, metadata, releases.bytes);
    }
  }
  inputs.signal?.throwIfAborted();
  progress(`publishing targets version ${draft.version}`);
  await publishRole(new Registry(url, inputs.signal), 'targets', metadata, files);
  const role = draft.delegations?.roles.find(({ name }) => name === `releases-${product}`);
  return {
    product,
    targetsVersion: draft.version,
    devicePolicySha256: draft.targets[`device-policy/${product}.json`]?.hashes.sha256,
    releases: { keyIds: role?.keyids ?? [], threshold: role?.threshold },
  };
}

function whole(change: ProductChange): NewProduct {
  const { devicePolicy, releasesKeys } = change;
  if (devicePolicy === undefined || releasesKeys === undefined) {
    throw CLI.reject('CLI_USAGE', 'expected --device-policy and --releases-key for a new product');
  }
  return { ...change, devicePolicy, releasesKeys };
}

async function readReleasesKeys({ releasesKeys }: ProductInputs): Promise<readonly KeyObject[] | undefined> {
  if (releasesKeys === undefined) return undefined;
  const keys: KeyObject[] = [];
  for (const path of releasesKeys) keys.push(await readRolePublicKey(path));
  return keys;
}

/** Every targets key of the offline folder; those that the root does not name are not used. @throws CLI_FILE_UNREADABLE, CLI_USAGE */
async function targetsKeyPlaces({ offlineFolder, keys = [] }: ProductInputs): Promise<readonly string[]> {
  if ((offlineFolder === undefined) === (keys.length === 0)) {
    throw CLI.reject('CLI_USAGE', 'expected either --offline or --key');
  }
  if (offlineFolder === undefined) return keys;
  try {
    const names = (await readdir(offlineFolder)).filter((name) => /^targets-[0-9]+\.pem$/.test(name)).sort();
    return names.map((name) => join(offlineFolder, name));
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw CLI.reject(
      'CLI_FILE_UNREADABLE',
      `expected a readable folder ${quote(offlineFolder)}, got ${reason}`,
      { cause },
    );
  }
}
