// SPDX-License-Identifier: Apache-2.0
// The road from source to device, each stage through the public command line and real network calls on loopback. The
// demo shows it, the end-to-end test asserts it, and the attacks start from what it leaves behind.

import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandLine } from './command-line.ts';
import { type DemoIssuer, startIssuer } from './oidc-issuer.ts';

const EXAMPLE = fileURLToPath(new URL('../optiboot/', import.meta.url));
export const PRODUCT = 'optiboot';
export const HARDWARE = 'atmega328p';
export const BUILDER_ID = 'https://waybill.example/builders/github-hermetic';

/** One version built, attested, gated and released. */
export interface BuiltRelease {
  readonly version: string;
  /** Build output folder. */
  readonly folder: string;
  readonly imagePath: string;
  readonly imageSha256: string;
}

/** What the road leaves behind. Everything lies under `folder`; `close` ends every process. */
export interface Road {
  readonly folder: string;
  readonly cli: CommandLine;
  readonly issuer: DemoIssuer;
  readonly registryUrl: string;
  readonly dataFolder: string;
  readonly offlineFolder: string;
  readonly rootPath: string;
  readonly policyPath: string;
  readonly gateKey: string;
  readonly releasesKey: string;
  readonly enrolmentToken: string;
  readonly devicePath: string;
  readonly releases: readonly BuiltRelease[];
  /** A further version, built when first asked for, that nobody has released. */
  buildUnreleased(): Promise<BuiltRelease>;
  /** Stops `serve`, runs what needs its data folder at rest, and starts it again. */
  standStill(work: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Hears what happens: a stage begins, a command runs, a stage has something to show. */
export interface Reporter {
  stage(title: string): void;
  command(line: string): void;
  show(text: string): void;
}

/** A free port of the loopback interface. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Copies a template of the example, with the CI's address in place of the one in the file. */
async function fillIn(name: string, to: string, issuerUrl: string): Promise<void> {
  const text = await readFile(join(EXAMPLE, name), 'utf8');
  await writeFile(to, text.replaceAll('http://127.0.0.1:7070', issuerUrl));
}

/** Starts `waybill serve` and waits until it answers. */
export async function serve(cli: CommandLine, dataFolder: string, url: string): Promise<ChildProcess> {
  const server = cli.start(['serve', dataFolder]);
  let said = '';
  server.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  // Its log is read to the end, or the pipe would fill and stop it.
  server.stdout?.resume();
  for (let i = 0; i < 200; i++) {
    if (server.exitCode !== null) throw new Error(`waybill serve ended with ${server.exitCode}:\n${said}`);
    const up = await fetch(`${url}/healthz`).then(
      (response) => response.ok,
      () => false,
    );
    if (up) return server;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await stop(server);
  throw new Error(`waybill serve did not answer at ${url} within 10 s:\n${said}`);
}

/** Ends a process that this demo started, and waits for it. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** Travels the whole road in an empty folder. On failure everything that was started is ended. */
export async function travelRoad(folder: string, reporter: Reporter): Promise<Road> {
  const cli = new CommandLine(environment(folder), (line) =>
    reporter.command(line.replaceAll(`${folder}/`, '')),
  );
  const closers: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    return await travel(folder, cli, reporter, closers, close);
  } catch (failure) {
    await close();
    throw failure;
  }
}

/** The environment of every command: the package cache may be the user's, everything else lies in the folder. */
function environment(folder: string): Record<string, string> {
  const env: Record<string, string> = { XDG_STATE_HOME: join(folder, 'state') };
  for (const name of ['PATH', 'HOME', 'XDG_CACHE_HOME', 'WAYBILL_MIRROR', 'TMPDIR']) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

async function travel(
  folder: string,
  cli: CommandLine,
  reporter: Reporter,
  closers: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<Road> {
  const at = (...names: string[]) => join(folder, ...names);
  await mkdir(folder, { recursive: true });

  reporter.stage('1. Lock: every input by digest');
  const source = at('source');
  await cp(EXAMPLE, source, { recursive: true });
  reporter.show((await cli.must(['lock', join(source, 'waybill.yaml')])).stdout);

  reporter.stage('2. Build: hermetic steps, image, SBOM, one statement a step');
  const first = await build(cli, reporter, source, at('build-8.0.0'), '8.0.0');

  reporter.stage('3. Serve: a private Sigstore, log, timestamps, TUF and store in one process');
  const issuer = await startIssuer({});
  closers.push(() => issuer.close());
  const registryUrl = `http://127.0.0.1:${await freePort()}`;
  const [dataFolder, offlineFolder] = [at('registry'), at('offline')];
  reporter.show(
    (
      await cli.must([
        'init',
        dataFolder,
        '--offline',
        offlineFolder,
        '--url',
        registryUrl,
        '--org',
        'example',
      ])
    ).stdout,
  );
  await trustIssuer(dataFolder, issuer.url);
  // What the offline keys can sign, the server never can: it runs without that folder in reach.
  let server = await serve(cli, dataFolder, registryUrl);
  closers.push(() => stop(server));
  const standStill = async (work: () => Promise<void>): Promise<void> => {
    await stop(server);
    await work();
    server = await serve(cli, dataFolder, registryUrl);
  };
  const rootPath = join(dataFolder, 'root.json');
  const registry = ['--registry', registryUrl, '--root', rootPath];

  reporter.stage('   Product: keys of the release managers, gate policy, device policy');
  const [gateKey, releasesKey] = [at('keys', 'gate.pem'), at('keys', 'releases.pem')];
  await cli.must(['key', 'new', '--for', 'gate', gateKey]);
  await cli.must(['key', 'new', '--for', 'releases', releasesKey]);
  const policyPath = at('keys', 'policy.yaml');
  await fillIn('policy.yaml', policyPath, issuer.url);
  await fillIn('device-policy.yaml', at('keys', 'device-policy.yaml'), issuer.url);
  reporter.show(
    (
      await cli.must([
        ...['product', 'add', PRODUCT, '--device-policy', at('keys', 'device-policy.yaml')],
        ...['--releases-key', at('keys', 'releases.pub'), '--offline', offlineFolder, ...registry],
      ])
    ).stdout,
  );

  const release = async (built: BuiltRelease): Promise<void> => {
    reporter.stage(`4. Attest ${built.version}: hash again, sign without a stored key, log, submit`);
    const env = { WAYBILL_ID_TOKEN: await issuer.token({}) };
    reporter.show((await cli.must(['attest', built.folder, ...registry], { env })).stdout);
    reporter.stage(`5. Gate ${built.version}: policy decides, the gate key signs the decision`);
    const gate = [
      '--policy',
      policyPath,
      '--product-version',
      built.version,
      '--image',
      built.imagePath,
      '--key',
      gateKey,
    ];
    reporter.show((await cli.must(['gate', ...gate, ...registry])).stdout);
    reporter.stage(`6. Release ${built.version}: image and evidence pack into the product's delegation`);
    const what = ['--product', PRODUCT, '--product-version', built.version, '--image', built.imagePath];
    reporter.show(
      (await cli.must(['release', ...what, '--hardware-id', HARDWARE, '--key', releasesKey, ...registry]))
        .stdout,
    );
  };
  await release(first);

  reporter.stage('7. Device: checks the whole chain at the door, then installs');
  const devicePath = at('device');
  const enrolmentToken = join(dataFolder, 'keys', 'enrolment.token');
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
  await cli.must(['device', 'init', devicePath, ...registry, ...identity]);
  await cli.must(['device', 'enrol', devicePath, '--token-file', enrolmentToken]);
  reporter.show((await cli.must(['device', 'update', devicePath])).stdout);

  reporter.stage('   A second version: same source, other start-up blinks');
  const buildVariant = async (version: string): Promise<BuiltRelease> => {
    const variant = at(`source-${version}`);
    await cp(source, variant, { recursive: true });
    await makeVariant(join(variant, 'waybill.yaml'), version);
    await cli.must(['lock', join(variant, 'waybill.yaml')]);
    return build(cli, reporter, variant, at(`build-${version}`), version);
  };
  const second = await buildVariant('8.1.0');
  await release(second);
  reporter.show((await cli.must(['device', 'update', devicePath])).stdout);

  reporter.stage('8. Trace: where is this component?');
  for (const purl of ['pkg:deb/debian/arduino-core-avr', 'pkg:deb/debian/gcc-avr']) {
    reporter.show((await cli.must(['trace', purl, '--registry', registryUrl])).stdout);
  }
  let unreleased: Promise<BuiltRelease> | undefined;
  const buildUnreleased = (): Promise<BuiltRelease> => {
    unreleased ??= buildVariant('8.2.0');
    return unreleased;
  };
  return {
    folder,
    cli,
    issuer,
    registryUrl,
    dataFolder,
    offlineFolder,
    rootPath,
    policyPath,
    gateKey,
    releasesKey,
    enrolmentToken,
    devicePath,
    releases: [first, second],
    standStill,
    buildUnreleased,
    close,
  };
}

async function build(
  cli: CommandLine,
  reporter: Reporter,
  source: string,
  folder: string,
  version: string,
): Promise<BuiltRelease> {
  const args = ['build', join(source, 'waybill.yaml'), '--out', folder, '--builder-id', BUILDER_ID];
  reporter.show((await cli.must(args)).stdout);
  const statement = JSON.parse(await readFile(join(folder, 'statements', '03-sbom.reference.json'), 'utf8'));
  const [image] = statement.subject as { name: string; digest: { sha256: string } }[];
  if (image === undefined) throw new Error('the SBOM reference has no subject');
  return {
    version,
    folder,
    imagePath: join(folder, 'products', image.name),
    imageSha256: image.digest.sha256,
  };
}

/** Adds the demo's CI to the issuers that the certificate authority accepts. */
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
 * Turns the definition of 8.0.0 into that of another version: the start-up light blinks another number of times. The image
 * that Debian publishes is that of 8.0.0 alone, so there is none to compare with.
 */
async function makeVariant(path: string, version: string): Promise<void> {
  const blinks = Number(version.split('.')[1]) + 3;
  const text = await readFile(path, 'utf8');
  const changed = text
    .replace('version: 8.0.0', `version: ${version}`)
    .replace(
      '      make --eval',
      `      sed -i s/LED_START_FLASHES=3/LED_START_FLASHES=${blinks}/ Makefile\n      make --eval`,
    )
    .replace(/ {8}published:\n( {10}.*\n)+/, '');
  await writeFile(path, changed);
}
