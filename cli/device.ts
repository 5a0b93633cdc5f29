// SPDX-License-Identifier: Apache-2.0
// `waybill device`: the update agent's commands, and how an update looks to a person.

import type { Command } from 'commander';
import { quote } from '../core/faults.ts';
import { enrolDevice, makeDevice } from '../device/enrolment.ts';
import { nodeHost } from '../device/node-host.ts';
import type { Link } from '../device/road.ts';
import { type DeviceStatus, readStatus } from '../device/status.ts';
import { type UpdateResult, updateDevice } from '../device/update.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { EXIT, printJson, printLine, printProgress } from './terminal.ts';
import { readTrustedRoot, registryUrl } from './trust.ts';

const EXAMPLE = `
Example:
  waybill device init device --root root.json --registry http://127.0.0.1:8410 \\
    --product optiboot --hardware-id atmega328p --version-floor 8.0.0
  waybill device enrol device --token-file enrolment.token
  waybill device update device`;

/** Adds `waybill device` with its subcommands. */
export function deviceVerb(program: Command): void {
  const device = program
    .command('device')
    .summary('make, register and update a device')
    .description('Make, register and update a device; it verifies the whole chain before it installs.')
    .addHelpText('after', EXAMPLE);
  addInit(device);
  addEnrol(device);
  addUpdate(device);
  addStatus(device);
}

interface InitOptions {
  readonly root: string;
  readonly registry: string;
  readonly product: string;
  readonly hardwareId: string;
  readonly versionFloor: string;
  readonly id?: string;
  readonly initialImage?: string;
  readonly initialVersion?: string;
  readonly json?: true;
}

function addInit(device: Command): void {
  device
    .command('init')
    .description('Make a device in a new folder: factory root, identity, key, two slots.')
    .argument('<folder>', 'where the device keeps its state')
    .requiredOption('--root <file>', 'the TUF root.json that the device trusts from the factory')
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .requiredOption('--product <name>', 'the product whose releases it installs')
    .requiredOption('--hardware-id <id>', 'the hardware that it is')
    .requiredOption('--version-floor <version>', 'the lowest version that it ever accepts')
    .option('--id <id>', 'name of the device (made from its key if absent)')
    .option('--initial-image <file>', 'the image that the factory installs')
    .option('--initial-version <version>', 'its version')
    .option('--json', 'print one JSON document')
    .addHelpText('after', EXAMPLE)
    .action(async (folder: string, options: InitOptions) => {
      const identity = await makeDevice(
        folder,
        {
          id: options.id,
          product: options.product,
          hardwareId: options.hardwareId,
          registryUrl: registryUrl(options.registry),
          versionFloor: options.versionFloor,
          root: (await readTrustedRoot(options.root)).bytes,
          image: await factoryImage(options),
        },
        nodeHost(),
      );
      if (options.json) printJson({ folder, ...identity });
      else
        printLine(
          `made device ${identity.id} for ${identity.product} on ${identity.hardwareId} in ${folder}`,
        );
    });
}

/** It is held in memory while it is written. */
const INITIAL_IMAGE_SIZE_BYTES_MAX = 1024 * 1024 * 1024;

async function factoryImage(
  options: InitOptions,
): Promise<{ bytes: Uint8Array; version: string } | undefined> {
  const { initialImage, initialVersion } = options;
  if (initialImage === undefined && initialVersion === undefined) return undefined;
  if (initialImage === undefined || initialVersion === undefined) {
    throw CLI.reject('CLI_USAGE', 'expected --initial-image and --initial-version together, got one of them');
  }
  return { bytes: await readInput(initialImage, INITIAL_IMAGE_SIZE_BYTES_MAX), version: initialVersion };
}

function addEnrol(device: Command): void {
  device
    .command('enrol')
    .description("Register the device's public key with the registry, proving that it holds the key.")
    .argument('<folder>', 'the device')
    .requiredOption('--token-file <file>', 'file with the enrolment token that the registry gave out')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill device enrol device --token-file enrolment.token')
    .action(async (folder: string, options: { readonly tokenFile: string; readonly json?: true }) => {
      const token = Buffer.from(await readInput(options.tokenFile))
        .toString('utf8')
        .trim();
      // Anything else could not stand in a header, and an error of the HTTP client would repeat it.
      if (!/^[\x21-\x7e]{1,4096}$/.test(token)) {
        throw CLI.reject(
          'CLI_USAGE',
          `expected an enrolment token, one line of printable ASCII, in ${quote(options.tokenFile)}; the registry's is keys/enrolment.token in its data folder`,
        );
      }
      const identity = await enrolDevice(folder, token, nodeHost());
      if (options.json) printJson({ enrolled: true, device: identity.id, registry: identity.registryUrl });
      else printLine(`enrolled ${identity.id} with ${identity.registryUrl}`);
    });
}

function addUpdate(device: Command): void {
  device
    .command('update')
    .description(
      'Fetch, verify link by link, install and report. The active slot changes only if every link holds.',
    )
    .argument('<folder>', 'the device')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill device update device')
    .action(async (folder: string, options: { readonly json?: true }) => {
      const result = await watchedUpdate(folder, options.json === true);
      if (options.json) printJson(updateDocument(result));
      else printOutcome(result);
      if (result.refusal !== undefined) process.exitCode = EXIT.refused;
    });
}

/** Runs the update; prints lines as they are known, says what takes longer than a second, and stops on Ctrl-C. */
async function watchedUpdate(folder: string, quiet: boolean): Promise<UpdateResult> {
  let busy = '';
  const ticker = setInterval(() => printProgress(`still at ${busy}`), 1000);
  const begun = (name: string): void => {
    busy = name;
    ticker.refresh();
  };
  const known = (link: Link): void => {
    if (!quiet) printLink(link);
  };
  try {
    return await interruptible((cancel) => updateDevice(folder, nodeHost(), { begun, known, cancel }));
  } finally {
    clearInterval(ticker);
  }
}

function printLink(link: Link): void {
  if (link.verdict === 'refused') printLine(`REFUSED  ${link.link}  ${link.code}: ${link.detail}`);
  else printLine(`${link.verdict === 'ok' ? 'ok' : 'queued'}  ${link.link}  ${link.detail}`);
}

function printOutcome({ outcome, active, refusal }: UpdateResult): void {
  const running = active.image === undefined ? 'nothing' : active.image.version;
  if (outcome === 'installed') printLine(`installed ${running} in slot ${active.slot}`);
  if (outcome === 'current') printLine(`up to date: ${running} stays in slot ${active.slot}`);
  if (refusal === undefined) return;
  printLine(`${outcome}: ${running} stays active in slot ${active.slot}`);
  printLine(`  what to do: ${refusal.row.remedy}`);
}

/** The JSON form [docs/spec/device.md §Outcomes]. */
function updateDocument({ outcome, identity, active, links, refusal }: UpdateResult): object {
  return {
    outcome,
    device: identity.id,
    product: identity.product,
    links,
    ...(refusal === undefined
      ? {}
      : { code: refusal.code, message: refusal.message, remedy: refusal.row.remedy }),
    active: { slot: active.slot, version: active.image?.version, sha256: active.image?.sha256 },
    versionFloor: active.versionFloor,
  };
}

function addStatus(device: Command): void {
  device
    .command('status')
    .description('Show who the device is, what is installed, and whether the slot still holds it.')
    .argument('<folder>', 'the device')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill device status device')
    .action(async (folder: string, options: { readonly json?: true }) => {
      const status = await readStatus(folder, nodeHost());
      if (options.json) printJson(status);
      else printStatus(status);
      if (!status.active.intact) process.exitCode = EXIT.refused;
    });
}

function printStatus(status: DeviceStatus): void {
  const { active } = status;
  const image =
    active.version === undefined
      ? 'nothing installed yet'
      : `${active.version} sha256:${active.sha256} ${active.intact ? '(intact)' : '(SLOT_ACTIVE_DAMAGED: it holds something else)'}`;
  for (const [name, value] of [
    ['device', `${status.device} (${status.enrolled ? 'enrolled' : 'not enrolled'})`],
    ['product', `${status.product} on ${status.hardwareId}`],
    ['registry', status.registryUrl],
    ['active', `slot ${active.slot}: ${image}`],
    ['floor', status.versionFloor],
    ['reports', `last number ${status.reportCounter}, ${status.reportsQueued} waiting`],
  ]) {
    printLine(`${String(name).padEnd(10)}${value}`);
  }
}
