// SPDX-License-Identifier: Apache-2.0
// The road from source to device, each stage through the public command line and real network calls on loopback. The
// demo shows it, the end-to-end test asserts it, and the attacks start from what it leaves behind.

import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildSummary } from '../../builder/output-folder.ts';
import { CommandLine, type Outcome } from './command-line.ts';
import { type DemoIssuer, startIssuer } from './oidc-issuer.ts';
import { freePort, serve, stop } from './processes.ts';
import { DemoWitnesses } from './witnesses.ts';

const EXAMPLE = fileURLToPath(new URL('../optiboot/', import.meta.url));
export const PRODUCT = 'optiboot';
export const OTHER_PRODUCT = 'otherboot';
export const HARDWARE = 'atmega328p';
const BUILDER_ID = 'https://waybill.example/builders/github-hermetic';

/** In the device policy, in place of no witness at all. The gate's policy knows no other word than `none`. */
const DEVICES_ASK = 'witnesses: { checkpointAgeMaxDays: 90 }';

/** One version of a product, built. */
export interface Built {
  readonly product: string;
  readonly version: string;
  /** Build output folder. */
  readonly folder: string;
  readonly imagePath: string;
  readonly imageSha256: string;
}

/** Hears what happens: a stage begins, a command runs, a command has said something. */
export interface Reporter {
  stage(title: string): void;
  command(line: string): void;
  show(text: string): void;
}

const SILENT: Reporter = { stage: () => {}, command: () => {}, show: () => {} };

/** A folder with everything that the road makes, the processes that it started, and its stages as methods. */
export class Road {
  readonly folder: string;
  readonly cli: CommandLine;
  /** Versions that were released, in order. */
  readonly releases: Built[] = [];
  private reporter: Reporter;
  private issuerInUse: DemoIssuer | undefined;
  private witnessesInUse: DemoWitnesses | undefined;
  private server: ChildProcess | undefined;
  private url = '';
  private readonly builds = new Map<string, Promise<Built>>();

  constructor(folder: string, reporter: Reporter) {
    this.folder = folder;
    this.reporter = reporter;
    const say = (line: string): void => this.reporter.command(line.replaceAll(`${folder}/`, ''));
    this.cli = new CommandLine(environment(folder), say);
  }

  /**
   * The whole road: two versions, released and installed one after the other. On failure nothing is left running. With `isLocked` the inputs
   * are those of the lock that the example has; nobody asks which there are today.
   */
  static async travel(folder: string, reporter: Reporter, isLocked = false): Promise<Road> {
    await mkdir(folder, { recursive: true });
    const road = new Road(folder, reporter);
    try {
      await road.travel(isLocked);
      return road;
    } catch (failure) {
      await road.close();
      throw failure;
    }
  }

  private async travel(isLocked: boolean): Promise<void> {
    this.stage('1. Lock: every input by digest');
    await cp(EXAMPLE, this.at('source'), { recursive: true });
    if (!isLocked) await this.show(['lock', this.at('source', 'waybill.yaml')]);
    this.stage('2. Build: hermetic steps, image, SBOM, one statement a step');
    const first = await this.build(PRODUCT, '8.0.0');
    this.stage(
      '3. Serve: a private Sigstore, log, timestamps, TUF and store in one process, and two witnesses of its log',
    );
    await this.startRegistry();
    this.stage("   Product: the release managers' keys, gate policy, device policy");
    await this.addProduct(PRODUCT);
    await this.release(first);
    this.stage('7. Device: checks the whole chain at the door, then installs');
    await this.makeDevice();
    await this.show(['device', 'update', this.devicePath]);
    this.stage('   Desk: the same pack, verified by anybody, without a network');
    await this.verifyPack(first);
    this.stage('   A second version: the same source, other start-up blinks');
    await this.release(await this.build(PRODUCT, '8.1.0'));
    await this.show(['device', 'update', this.devicePath]);
    this.stage('8. Trace: where is this component?');
    for (const purl of ['pkg:deb/debian/arduino-core-avr', 'pkg:deb/debian/gcc-avr']) {
      await this.show(['trace', purl, '--registry', this.registryUrl]);
    }
  }

  /** From now on nobody is told what happens. */
  silence(): void {
    this.reporter = SILENT;
  }

  /** Ends every process that the road started. */
  async close(): Promise<void> {
    if (this.server !== undefined) await stop(this.server);
    await this.witnessesInUse?.close();
    await this.issuerInUse?.close();
  }

  get registryUrl(): string {
    return this.url;
  }
  get issuer(): DemoIssuer {
    if (this.issuerInUse === undefined) throw new Error('the issuer is not running yet');
    return this.issuerInUse;
  }
  /** The log policy asks for both. */
  get witnesses(): DemoWitnesses {
    if (this.witnessesInUse === undefined) throw new Error('the witnesses are not made yet');
    return this.witnessesInUse;
  }
  get dataFolder(): string {
    return this.at('registry');
  }
  get offlineFolder(): string {
    return this.at('offline');
  }
  get rootPath(): string {
    return join(this.dataFolder, 'root.json');
  }
  get enrolmentToken(): string {
    return join(this.dataFolder, 'keys', 'enrolment.token');
  }
  get devicePath(): string {
    return this.at('device');
  }
  get gateKey(): string {
    return this.at('keys', 'gate.pem');
  }
  releasesKey(product: string): string {
    return this.at('keys', product, 'releases.pem');
  }
  policyPath(product: string): string {
    return this.at('keys', product, 'policy.yaml');
  }
  /** `--registry` and `--root`, as most commands take them. */
  trust(registryUrl = this.registryUrl): string[] {
    return ['--registry', registryUrl, '--root', this.rootPath];
  }

  /** Builds a version of a product from its own copy of the example, once. */
  build(product: string, version: string): Promise<Built> {
    const name = product === PRODUCT ? version : `${product}-${version}`;
    const known = this.builds.get(name) ?? this.buildNew(product, version, name);
    this.builds.set(name, known);
    return known;
  }

  private async buildNew(product: string, version: string, name: string): Promise<Built> {
    const source = this.at(version === '8.0.0' ? 'source' : `source-${name}`);
    const definition = join(source, 'waybill.yaml');
    if (version !== '8.0.0') {
      // The inputs are those of 8.0.0, and so is the lock.
      await cp(this.at('source'), source, { recursive: true });
      await makeVariant(definition, product, version);
    }
    const folder = this.at(`build-${name}`);
    await this.show(['build', definition, '--out', folder, '--builder-id', BUILDER_ID]);
    const { images } = JSON.parse(await readFile(join(folder, 'build.json'), 'utf8')) as BuildSummary;
    const [image] = images;
    if (image === undefined) throw new Error('a build without an image');
    const imagePath = join(folder, 'products', image.file);
    return { product, version, folder, imagePath, imageSha256: image.sha256 };
  }

  private async startRegistry(): Promise<void> {
    this.issuerInUse = await startIssuer({});
    this.url = `http://127.0.0.1:${await freePort()}`;
    const where = [this.dataFolder, '--offline', this.offlineFolder];
    this.witnessesInUse = await DemoWitnesses.make(this.cli, this.folder);
    const witnesses = ['--witnesses', this.witnesses.policyPath];
    await this.show(['init', ...where, '--url', this.url, '--org', 'waybill', ...witnesses]);
    await this.witnesses.start(this.cli, join(this.dataFolder, 'trust', 'tlog-policy'));
    await trustIssuer(this.dataFolder, this.issuer.url);
    this.server = await serve(this.cli, this.dataFolder, this.url);
  }

  /** Stops `serve`, runs what needs its data folder at rest, and starts it again. */
  async standStill(work: () => Promise<void>): Promise<void> {
    if (this.server !== undefined) await stop(this.server);
    await work();
    this.server = await serve(this.cli, this.dataFolder, this.url);
  }

  /** Keys, gate policy and device policy of a product, and its delegation. One gate serves all products. */
  async addProduct(product: string): Promise<void> {
    const folder = this.at('keys', product);
    await mkdir(folder, { recursive: true });
    if (product === PRODUCT) await this.cli.must(['key', 'new', '--for', 'gate', this.gateKey]);
    await this.cli.must(['key', 'new', '--for', 'releases', this.releasesKey(product)]);
    await cp(this.at('keys', 'gate.pub'), join(folder, 'gate.pub'));
    for (const name of ['policy.yaml', 'device-policy.yaml']) {
      const text = await readFile(join(EXAMPLE, name), 'utf8');
      const own = text
        .replaceAll('http://127.0.0.1:7070', this.issuer.url)
        .replaceAll(PRODUCT, product)
        .replace(/^witnesses: none$/m, name === 'policy.yaml' ? '$&' : DEVICES_ASK);
      await writeFile(join(folder, name), own);
    }
    const keys = ['--releases-key', join(folder, 'releases.pub'), '--offline', this.offlineFolder];
    const policy = ['--device-policy', join(folder, 'device-policy.yaml')];
    await this.show(['product', 'add', product, ...policy, ...keys, ...this.trust()]);
  }

  /** Takes a build through attestation, gate and release. */
  async release(built: Built): Promise<void> {
    const { product, version, imagePath } = built;
    this.stage(`4. Attest ${version}: hash again, sign without a stored key, log, submit`);
    await this.show(['attest', built.folder, ...this.trust()], {
      WAYBILL_ID_TOKEN: await this.issuer.token(),
    });
    const what = ['--product-version', version, '--image', imagePath];
    this.stage(`5. Gate ${version}: policy decides, the gate key signs the decision`);
    await this.show([
      'gate',
      '--policy',
      this.policyPath(product),
      ...what,
      '--key',
      this.gateKey,
      ...this.trust(),
    ]);
    this.stage(`6. Release ${version}: image and evidence pack into the product's delegation`);
    const key = ['--key', this.releasesKey(product)];
    const out = ['--out', this.at('releases')];
    await this.show(['release', '--product', product, ...what, ...key, ...out, ...this.trust()]);
    this.releases.push(built);
  }

  /** Takes a copy of the repository, and verifies by the copy alone. */
  private async verifyPack({ product, version, imagePath }: Built): Promise<void> {
    const goods = [this.at('releases', `${product}-${version}.waybill`), imagePath];
    await this.cli.must(['verify', ...goods, ...this.trust(), '--keep', this.at('repository')]);
    await this.show(['verify', ...goods, '--root', this.rootPath, '--tuf', this.at('repository')]);
  }

  private async makeDevice(): Promise<void> {
    const identity = [
      '--product',
      PRODUCT,
      '--hardware-id',
      HARDWARE,
      '--version-floor',
      '1.0.0',
      '--id',
      'device-1',
    ];
    await this.cli.must(['device', 'init', this.devicePath, ...this.trust(), ...identity]);
    await this.cli.must(['device', 'enrol', this.devicePath, '--token-file', this.enrolmentToken]);
  }

  private at(...names: string[]): string {
    return join(this.folder, ...names);
  }

  private stage(title: string): void {
    this.reporter.stage(title);
  }

  private async show(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
    const outcome = await this.cli.must(args, { env });
    this.reporter.show(outcome.stdout);
    return outcome;
  }
}

/** The environment of every command: the package cache may be the user's, everything else lies in the folder. */
function environment(folder: string): Record<string, string> {
  const env: Record<string, string> = {
    XDG_STATE_HOME: join(folder, 'state'),
    // A hundred short commands compile the same code: they share the result, in this folder alone.
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
  };
  for (const name of ['PATH', 'HOME', 'XDG_CACHE_HOME', 'WAYBILL_MIRROR', 'TMPDIR']) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** Adds the demo's CI to the issuers that the certificate authority accepts: two workflows, of which policies name one. */
async function trustIssuer(dataFolder: string, url: string): Promise<void> {
  const path = join(dataFolder, 'config.yaml');
  const entries = ['build.yml', 'nightly.yml'].map((workflow) =>
    [
      `  - url: ${url}`,
      '    kind: github-actions',
      '    audience: waybill',
      '    allowLoopbackHttp: true',
      '    require:',
      '      repository: example/firmware',
      '      repository_id: "1001"',
      '      repository_owner_id: "2002"',
      `      job_workflow_ref: example/firmware/.github/workflows/${workflow}@refs/heads/main`,
    ].join('\n'),
  );
  const config = await readFile(path, 'utf8');
  await writeFile(path, `${config.replace(/^issuers:.*\n/m, '')}issuers:\n${entries.join('\n')}\n`);
}

/**
 * Turns the definition of 8.0.0 into that of another version or product: the start-up light blinks another number of times.
 * The image that Debian publishes is that of 8.0.0 alone, so there is none to compare with.
 */
async function makeVariant(path: string, product: string, version: string): Promise<void> {
  const blinks = Number(version.split('.')[1]) + 3;
  const text = await readFile(path, 'utf8');
  const changed = text
    .replace('version: 8.0.0', `version: ${version}`)
    .replace(`product: ${PRODUCT}`, `product: ${product}`)
    .replace(
      '      make --eval',
      `      sed -i s/LED_START_FLASHES=3/LED_START_FLASHES=${blinks}/ Makefile\n      make --eval`,
    )
    .replace(/ {8}published:\n( {10}.*\n)+/, '');
  await writeFile(path, changed);
}
