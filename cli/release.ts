// SPDX-License-Identifier: Apache-2.0
// `waybill release`: the release manager adds a gated image to the product's TUF delegation, or withdraws one.

import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { portableCrypto } from '../core/crypto.ts';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { type DevicePolicy, devicePolicyName, parseDevicePolicy } from '../core/release/device-policy.ts';
import { parseReleaseIndex, type ReleaseIndex, releaseIndexName } from '../core/release/release-index.ts';
import { isProductName } from '../core/release/version.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { RELEASE } from '../release/faults.ts';
import { type GoodsFile, releasesRole } from '../release/goods.ts';
import { emptyIndex, withdrawRelease } from '../release/index-changes.ts';
import { openRoleKeys } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import { indexFile, prepareRelease } from '../release/prepare-release.ts';
import { Registry } from '../release/registry.ts';
import { draftNext, nameFile, publishRole, type RoleDraft, signDraft } from '../release/roles.ts';
import type { SigningKey } from '../release/signing-key.ts';
import { CLI } from './faults.ts';
import { writeOutput } from './files.ts';
import { readDigest, readImage } from './image.ts';
import { interruptible } from './interrupt.ts';
import { PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { printJson, printLine, printProgress } from './terminal.ts';
import { openTrust, registryUrl, type Trust } from './trust.ts';

/** Lifetime of a product's role: who releases nothing for that long signs again with `--renew`. */
const RELEASES_LIFETIME_DAYS = 90;

/** What every use of the command needs. */
export interface ReleaseInputs {
  readonly registry: string;
  readonly root: string;
  readonly product: string;
  /** The private keys that sign, by path or `pkcs11:` URI; as many as the delegation's threshold asks. */
  readonly keys: readonly string[];
  readonly passphrases?: Passphrases | undefined;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** What happened, as plain data. */
export interface ReleaseResult {
  readonly product: string;
  readonly action: 'released' | 'withdrawn' | 'renewed' | 'unchanged';
  /** Version of the role that was signed. */
  readonly roleVersion: number;
  readonly version?: string;
  readonly imageSha256?: string;
  readonly files?: readonly { readonly name: string; readonly sha256: string; readonly sizeBytes: number }[];
  readonly bundleCount?: number;
  readonly treeSize?: number;
  readonly summarySha256?: string;
}

interface Options {
  readonly registry: string;
  readonly root: string;
  readonly product: string;
  readonly key?: readonly string[];
  readonly passphraseFile?: string;
  readonly image?: string;
  readonly productVersion?: string;
  readonly hardwareId?: readonly string[];
  readonly out?: string;
  readonly withdraw?: string;
  readonly reason?: string;
  readonly renew?: true;
  readonly list?: true;
  readonly json?: true;
}

/** Adds `waybill release`. */
export function releaseVerb(program: Command): void {
  program
    .command('release')
    .summary('release a gated image, or withdraw a release')
    .description(
      "Adds an image, its SBOM and its evidence pack to the product's delegation, signed with the releases key. " +
        'Everything that a device would refuse is refused here first: without a PASSED summary of the gate, with evidence ' +
        'that does not hold, or with a version that is not higher, nothing is signed.',
    )
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .requiredOption('--root <file>', 'TUF root.json that you trust')
    .requiredOption('--product <name>', 'the product')
    .option(
      '--key <file...>',
      'private releases key (`waybill key new --for releases`) or pkcs11: URI; several for a threshold',
    )
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .option('--image <file>', 'release: the image')
    .option('--product-version <version>', 'release: its version')
    .option('--hardware-id <id...>', 'release: only for this hardware; all of the device policy by default')
    .option('--out <folder>', 'release: also write pack and SBOM there, for `waybill verify`')
    .option('--withdraw <digest>', 'withdraw the release whose image has this digest (sha256:…)')
    .option('--reason <text>', 'withdraw: why; devices show it')
    .option('--renew', 'sign the role again before it expires, unchanged')
    .option('--list', 'show releases and denials')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  waybill release --registry http://127.0.0.1:8410 --root root.json --product optiboot \\\n' +
        '    --product-version 8.1.0 --image optiboot.bin --key releases.pem\n' +
        '  waybill release --registry http://127.0.0.1:8410 --root root.json --product optiboot \\\n' +
        "    --withdraw sha256:… --reason 'bricks revision B' --key releases.pem",
    )
    .action(async (options: Options) => {
      await interruptible((signal) => run(options, signal));
    });
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { registry, root, product, key: keys = [] } = options;
  const passphrases = passphrasesFrom(options);
  const inputs = { registry, root, product, keys, passphrases, progress: printProgress, signal };
  const wanted = [options.image, options.withdraw, options.renew, options.list];
  if (wanted.filter((one) => one !== undefined).length !== 1) {
    throw CLI.reject('CLI_USAGE', 'expected exactly one of --image, --withdraw, --renew and --list');
  }
  if (options.list === true) return list(inputs, options.json === true);
  if (keys.length === 0) throw CLI.reject('CLI_USAGE', 'expected --key, got none');
  let result: ReleaseResult;
  if (options.image !== undefined) {
    const { productVersion: version, hardwareId: hardwareIds, image, out } = options;
    if (version === undefined)
      throw CLI.reject('CLI_USAGE', 'expected --product-version with --image, got none');
    result = await release({ ...inputs, version, image, hardwareIds, out });
  } else if (options.withdraw !== undefined) {
    const { reason = '' } = options;
    if (reason === '') throw CLI.reject('CLI_USAGE', 'expected --reason with --withdraw, got none');
    result = await withdraw({
      ...inputs,
      imageSha256: readDigest(
        options.withdraw,
        'the image to --withdraw, which `waybill release --list` shows,',
      ),
      reason,
    });
  } else result = await renew(inputs);
  if (options.json === true) printJson(result);
  else print(result);
}

function print(result: ReleaseResult): void {
  const { product, action, version, roleVersion } = result;
  printLine(
    `${action} ${product}${version === undefined ? '' : ` ${version}`}: releases-${product} version ${roleVersion}`,
  );
  for (const { name, sha256, sizeBytes } of result.files ?? []) {
    printLine(`  ${name}  ${sizeBytes} bytes  sha256:${sha256}`);
  }
  if (result.bundleCount !== undefined) {
    printLine(
      `  pack: ${result.bundleCount} bundles, each proved in the log's checkpoint of size ${result.treeSize}`,
    );
  }
}

/** Where a change of the product's role starts. */
interface Desk {
  readonly trust: Trust;
  readonly registry: Registry;
  readonly index: ReleaseIndex;
  readonly draft: RoleDraft;
  readonly keys: readonly SigningKey[];
}

async function openDesk(inputs: ReleaseInputs): Promise<Desk> {
  const { product, progress } = inputs;
  if (!isProductName(product)) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected a product name of lower-case letters, digits and hyphens, got ${quote(product)}`,
    );
  }
  const url = registryUrl(inputs.registry);
  const keys = await openRoleKeys(inputs.keys, inputs.passphrases);
  progress(`fetching trust material from ${url}`);
  const trust = await openTrust({ registryUrl: url, rootPath: inputs.root });
  const role = releasesRole(product);
  if (trust.client.signersOf(role) === undefined) {
    throw RELEASE.reject('RELEASE_PRODUCT_UNKNOWN', `expected a delegation to ${role}, found none`);
  }
  const current = await trust.client.delegatedRole(role, { evenExpired: true });
  const index =
    current === undefined
      ? emptyIndex(product)
      : parseReleaseIndex(
          await trust.client.goods(product, releaseIndexName(product), LIMITS.releaseIndexSizeBytes, {
            evenExpired: true,
          }),
        );
  const registry = new Registry(url, inputs.signal);
  return { trust, registry, index, draft: draftNext(current), keys };
}

/** Signs and publishes what the desk's draft has become. */
async function publish(desk: Desk, inputs: ReleaseInputs, files: readonly GoodsFile[]): Promise<void> {
  const role = releasesRole(inputs.product);
  const now = new Date();
  const signers = desk.trust.client.signersOf(role);
  const metadata = await signDraft(role, desk.draft, desk.keys, signers, {
    now,
    days: RELEASES_LIFETIME_DAYS,
  });
  inputs.signal?.throwIfAborted();
  inputs.progress(`publishing ${role} version ${desk.draft.version}`);
  await publishRole(desk.registry, role, metadata, files);
}

async function readDevicePolicy({ client }: Trust, product: string): Promise<DevicePolicy> {
  const name = devicePolicyName(product);
  if (!client.trustMaterialNames().includes(name)) {
    throw RELEASE.reject(
      'RELEASE_PRODUCT_UNKNOWN',
      `expected top-level targets to name ${name}, it does not`,
    );
  }
  return parseDevicePolicy(await client.trustMaterial(name));
}

/** Does the work of `waybill release --image`. @throws as `prepareRelease` and `publishRole` */
export async function release(
  inputs: ReleaseInputs & {
    readonly version: string;
    readonly image: string;
    readonly hardwareIds?: readonly string[] | undefined;
    /** Folder for pack and SBOM. */
    readonly out?: string | undefined;
  },
): Promise<ReleaseResult> {
  const { product, version, progress, out } = inputs;
  const image = await readImage(inputs.image);
  const desk = await openDesk(inputs);
  const policy = await readDevicePolicy(desk.trust, product);
  progress('fetching and verifying evidence, proving it in the log');
  const prepared = await prepareRelease({
    registry: desk.registry,
    verifier: await desk.trust.verifier([policy.gate.publicKey]),
    logPolicy: parseLogPolicy(await desk.trust.tlogPolicy(), portableCrypto),
    crypto: portableCrypto,
    policy,
    index: desk.index,
    version,
    image,
    hardwareIds: inputs.hardwareIds ?? policy.hardwareIds,
    releasedAt: instant(new Date()),
  });
  for (const file of prepared.files) nameFile(desk.draft, file);
  await publish(desk, inputs, prepared.files);
  for (const { name, body } of out === undefined ? [] : [prepared.pack, prepared.sbom]) {
    const bytes = body instanceof Uint8Array ? body : new Uint8Array(await body.arrayBuffer());
    await writeOutput(join(out as string, basename(name)), bytes);
  }
  return {
    product,
    action: 'released',
    roleVersion: desk.draft.version,
    version,
    imageSha256: image.sha256,
    files: prepared.files.map(({ name, sha256, sizeBytes }) => ({ name, sha256, sizeBytes })),
    bundleCount: prepared.bundleCount,
    treeSize: Number(prepared.treeSize),
    summarySha256: prepared.summarySha256,
  };
}

/** Does the work of `waybill release --withdraw`. @throws RELEASE_UNKNOWN and what `publishRole` throws */
export async function withdraw(
  inputs: ReleaseInputs & { readonly imageSha256: string; readonly reason: string },
): Promise<ReleaseResult> {
  const { product, imageSha256, reason } = inputs;
  const desk = await openDesk(inputs);
  const { index, withdrawn } = withdrawRelease(desk.index, imageSha256, reason, instant(new Date()));
  const last = withdrawn.at(-1);
  if (last === undefined) {
    return { product, action: 'unchanged', roleVersion: desk.draft.version - 1, imageSha256 };
  }
  for (const { image, pack } of withdrawn) {
    const goods = [image.name, pack.name, pack.name.replace(/\.waybill$/, '.cdx.json')];
    for (const name of goods) delete desk.draft.targets[name];
  }
  const file = indexFile(index);
  nameFile(desk.draft, file);
  await publish(desk, inputs, [file]);
  const { version } = last;
  return { product, action: 'withdrawn', roleVersion: desk.draft.version, version, imageSha256 };
}

/** Does the work of `waybill release --renew`. @throws RELEASE_UNKNOWN before the first release */
export async function renew(inputs: ReleaseInputs): Promise<ReleaseResult> {
  const desk = await openDesk(inputs);
  if (desk.draft.version === 1) {
    throw RELEASE.reject('RELEASE_UNKNOWN', `expected a release of ${inputs.product} to renew, found none`);
  }
  await publish(desk, inputs, []);
  return { product: inputs.product, action: 'renewed', roleVersion: desk.draft.version };
}

async function list(inputs: ReleaseInputs, json: boolean): Promise<void> {
  const { index } = await openDesk({ ...inputs, keys: [] });
  if (json) return printJson(index);
  for (const { version, image, releasedAt, hardwareIds } of index.releases) {
    printLine(`${version}  sha256:${image.sha256}  ${releasedAt}  for ${hardwareIds.map(quote).join(', ')}`);
  }
  for (const { version, imageSha256, deniedAt, reason } of index.denials) {
    printLine(`${version}  sha256:${imageSha256}  withdrawn ${deniedAt}: ${quote(reason)}`);
  }
  if (index.releases.length + index.denials.length === 0) printLine('no release yet');
}

/** RFC 3339 in whole seconds. */
function instant(at: Date): string {
  return at.toISOString().replace(/\.\d{3}Z$/, 'Z');
}
