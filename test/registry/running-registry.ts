// SPDX-License-Identifier: Apache-2.0
// A registry made by `waybill init`, served on a real port, with a loopback token issuer, and signers that use its services.

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { stringify } from 'yaml';
import { signStatement, signStatementWithKey } from '../../attest/sign.ts';
import { init } from '../../cli/init.ts';
import { readConfigFile } from '../../cli/serve.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { formatStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { listen } from '../../registry/listen.ts';
import { buildServer, openRegistry, type Registry } from '../../registry/server.ts';
import { LoopbackIssuer } from './trust/loopback-issuer.ts';
import { entryFor } from './trust/trust-server.ts';
import { delegationsTo, newKey, sha256, signRole } from './tuf-house.ts';

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Data and offline folder of a new registry that accepts the issuer's tokens. */
export async function makeDataFolder(
  issuerUrl: string,
  config: Record<string, unknown> = {},
  witnesses?: string,
): Promise<{
  readonly home: string;
  readonly dataFolder: string;
  readonly offline: string;
  readonly url: string;
}> {
  const home = await mkdtemp(join(tmpdir(), 'waybill-registry-'));
  const [dataFolder, offline] = [join(home, 'data'), join(home, 'offline')];
  const url = `http://127.0.0.1:${await freePort()}`;
  await init({ folder: dataFolder, offline, url, org: 'example', rootKeys: 3, rootThreshold: 2, witnesses });
  const path = join(dataFolder, 'config.yaml');
  const settings = stringify({ issuers: [entryFor(issuerUrl)], logLevel: 'silent', ...config });
  await writeFile(path, `${await readFile(path, 'utf8')}${settings}`);
  return { home, dataFolder, offline, url };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
  /** The body as JSON; undefined if it is none. */
  readonly json: never;
}

export class RunningRegistry {
  readonly issuer: LoopbackIssuer;
  readonly home: string;
  readonly dataFolder: string;
  readonly offline: string;
  readonly url: string;
  readonly #skew: { ms: number };
  registry: Registry;
  #app: FastifyInstance;
  /** Signs for the product `optiboot` once `addProduct` ran. */
  readonly releasesKey = newKey();
  /** P-256, PKCS#8 PEM and SubjectPublicKeyInfo. */
  readonly gate = newP256();

  private constructor(
    issuer: LoopbackIssuer,
    made: Awaited<ReturnType<typeof makeDataFolder>>,
    running: { registry: Registry; app: FastifyInstance },
    skew: { ms: number },
  ) {
    this.issuer = issuer;
    this.home = made.home;
    this.dataFolder = made.dataFolder;
    this.offline = made.offline;
    this.url = made.url;
    this.registry = running.registry;
    this.#app = running.app;
    this.#skew = skew;
  }

  /** `config` replaces or adds members of config.yaml. */
  static async start(config: Record<string, unknown> = {}): Promise<RunningRegistry> {
    const issuer = await LoopbackIssuer.start();
    const made = await makeDataFolder(issuer.url, config);
    const skew = { ms: 0 };
    return new RunningRegistry(issuer, made, await run(made.dataFolder, skew), skew);
  }

  /** What `rotate` and `retire` need to know of it. */
  rotationOptions() {
    return { dataFolder: this.dataFolder, org: 'example', url: this.url, nowMs: Date.now() };
  }

  /** Stops and starts again over the same folder, `between` while it stands still. */
  async restart(between: () => Promise<void> = async () => undefined): Promise<void> {
    await this.#app.close();
    await between();
    const { registry, app } = await run(this.dataFolder, this.#skew);
    this.registry = registry;
    this.#app = app;
  }

  /** Moves the server's clock. */
  skewTo(ms: number): void {
    this.#skew.ms = ms;
  }

  async close(): Promise<void> {
    await this.#app.close();
    await this.issuer.close();
    await rm(this.home, { recursive: true });
  }

  async send(method: string, path: string, body?: Uint8Array | string, headers: Record<string, string> = {}) {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { connection: 'close', ...headers },
      ...(body === undefined ? {} : { body: body as never }),
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    let json: unknown;
    try {
      json = JSON.parse(Buffer.from(bytes).toString());
    } catch {
      json = undefined;
    }
    return {
      status: response.status,
      headers: response.headers,
      bytes,
      json: json as never,
    } satisfies Answer;
  }

  async signingConfig(): Promise<Uint8Array> {
    return new Uint8Array(await readFile(join(this.dataFolder, 'trust', 'signing_config.v0.2.json')));
  }

  /** A bundle signed as the CI's identity, with this registry's services. */
  async sign(statement: UnsignedStatement | Uint8Array): Promise<Uint8Array> {
    const bytes = statement instanceof Uint8Array ? statement : formatStatement(statement);
    const identity = { token: () => this.issuer.token() };
    return signStatement(bytes, { signingConfig: await this.signingConfig(), identity: identity as never });
  }

  /** A bundle signed with the gate's key. */
  async signAsGate(statement: UnsignedStatement): Promise<Uint8Array> {
    const options = { signingConfig: await this.signingConfig(), privateKeyPem: this.gate.pem };
    return signStatementWithKey(formatStatement(statement), options);
  }

  submit(bundle: Uint8Array): Promise<Answer> {
    return this.send('POST', '/api/v1/attestations', bundle, { 'content-type': 'application/json' });
  }

  putBlob(bytes: Uint8Array, digest = sha256(bytes)): Promise<Answer> {
    return this.send('PUT', `/api/v1/blobs/${digest}`, bytes, { 'content-type': 'application/octet-stream' });
  }

  putRole(role: string, bytes: Uint8Array): Promise<Answer> {
    return this.send('PUT', `/api/v1/tuf/${role}`, bytes, { 'content-type': 'application/json' });
  }

  /** Publishes a role as a release manager would: metadata, what is missing, metadata again. */
  async publish(role: string, metadata: Uint8Array, files: readonly Uint8Array[]): Promise<Answer> {
    const first = await this.putRole(role, metadata);
    if (first.status !== 409) return first;
    for (const file of files) await this.putBlob(file);
    return this.putRole(role, metadata);
  }

  /** The next version of top-level targets with more files, signed with the offline key. */
  async nextTargets(
    files: Record<string, Uint8Array>,
    more: Record<string, unknown> = {},
  ): Promise<Uint8Array> {
    const current = await this.current('targets');
    const entries = Object.entries(files).map(([name, bytes]) => [
      name,
      { length: bytes.length, hashes: { sha256: sha256(bytes) } },
    ]);
    const targets = { ...(current.targets as object), ...Object.fromEntries(entries) };
    const key = createPrivateKey(await readFile(join(this.offline, 'targets-1.pem')));
    return signRole({ ...current, version: (current.version as number) + 1, targets, ...more }, [key]);
  }

  /** The signed part of a published role. */
  async current(role: string): Promise<Record<string, Json>> {
    const timestamp = (await this.send('GET', '/tuf/timestamp.json')).json as never as Signed;
    const version = timestamp.signed.meta['snapshot.json']?.version;
    const snapshot = (await this.send('GET', `/tuf/${version}.snapshot.json`)).json as never as Signed;
    const file = `${snapshot.signed.meta[`${role}.json`]?.version}.${role}.json`;
    return ((await this.send('GET', `/tuf/${file}`)).json as { signed: never }).signed;
  }

  /** Publishes the delegation and the device policy of `optiboot`, which names the gate's key. */
  async addProduct(): Promise<Answer> {
    const policy = utf8(JSON.stringify(devicePolicy(this.gate.spki)));
    const delegations = delegationsTo({ optiboot: [this.releasesKey] });
    const metadata = await this.nextTargets({ 'device-policy/optiboot.json': policy }, { delegations });
    return this.publish('targets', metadata, [policy]);
  }
}

interface Signed {
  readonly signed: { readonly meta: Record<string, { readonly version: number }> };
}

async function run(dataFolder: string, skew: { ms: number }) {
  const config = await readConfigFile(dataFolder);
  const registry = await openRegistry({ dataFolder, config, clock: () => Date.now() + skew.ms });
  const app = await buildServer(registry);
  await listen(app, config.listen);
  return { registry, app };
}

/** A device policy of `optiboot`, sound unless `change` says otherwise. */
export function devicePolicy(gateKey: Uint8Array, change: Record<string, unknown> = {}) {
  return {
    product: 'optiboot',
    builders: [
      {
        builderId: 'https://waybill.example/builders/test',
        identity: 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main',
        issuer: 'https://issuer.example',
      },
    ],
    steps: ['compile', 'image'],
    source: 'pkg:deb/debian/arduino-core-avr',
    hardwareIds: ['uno-r3'],
    gate: {
      verifierId: 'https://waybill.example/gates/test',
      publicKey: Buffer.from(gateKey).toString('base64'),
      policies: [{ uri: 'https://waybill.example/policies/test', sha256: 'ab'.repeat(32) }],
    },
    witnesses: 'none',
    ...change,
  };
}

/** A P-256 key pair. */
export function newP256(): { readonly key: KeyObject; readonly pem: string; readonly spki: Uint8Array } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    key: privateKey,
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
  };
}

/** `{status, code}` of a refusal. */
export function refusal(answer: Answer): { readonly status: number; readonly code: string } {
  return { status: answer.status, code: (answer.json as { error?: { code: string } })?.error?.code ?? '' };
}
