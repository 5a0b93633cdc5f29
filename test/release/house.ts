// SPDX-License-Identifier: Apache-2.0
// A whole house on loopback: a registry made by `waybill init` and served, a CI's issuer, gate and releases keys, the Optiboot
// policies; and a liar that stands before the registry and changes its answers.

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signStatement } from '../../attest/sign.ts';
import { submitBundle } from '../../attest/submit.ts';
import { type GateInputs, gate } from '../../cli/gate.ts';
import { init } from '../../cli/init.ts';
import { changeProduct } from '../../cli/product.ts';
import { type ReleaseInputs, release } from '../../cli/release.ts';
import { readConfigFile } from '../../cli/serve.ts';
import { openTrust } from '../../cli/trust.ts';
import { buildStepProvenance, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference, type SbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildServer, openRegistry } from '../../registry/server.ts';
import { generateKey, writeKeyPair } from '../../release/key-file.ts';
import { Registry } from '../../release/registry.ts';
import { compile, image, reference, sbomOf } from '../policy/evidence.ts';
import { LoopbackIssuer } from '../registry/trust/loopback-issuer.ts';

const EXAMPLES = new URL('../../examples/optiboot/', import.meta.url).pathname;

export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** A build of one version: an image of its own, and what is said about it. */
export interface Build {
  readonly version: string;
  readonly imagePath: string;
  readonly imageSha256: string;
  readonly compile: StepProvenance;
  readonly image: StepProvenance;
  readonly sbom: Uint8Array;
  readonly reference: SbomReference;
}

export class House {
  readonly folder: string;
  readonly url: string;
  readonly issuer: LoopbackIssuer;
  readonly #close: () => Promise<void>;

  private constructor(folder: string, url: string, issuer: LoopbackIssuer, close: () => Promise<void>) {
    this.folder = folder;
    this.url = url;
    this.issuer = issuer;
    this.#close = close;
  }

  /** Makes the house; product and keys included unless told otherwise. */
  static async open(): Promise<House> {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-house-'));
    process.env.XDG_STATE_HOME = join(folder, 'state-home');
    const issuer = await LoopbackIssuer.start();
    await writeFile(
      join(folder, 'issuers.yaml'),
      `- url: ${issuer.url}\n  audience: waybill\n  allowLoopbackHttp: true\n  kind: github-actions\n` +
        '  require: { repository_owner_id: "2002", repository_id: "1001" }\n',
    );
    const url = `http://127.0.0.1:${await freePort()}`;
    const data = join(folder, 'data');
    await init({
      folder: data,
      offline: join(folder, 'offline'),
      url,
      org: 'waybill.example',
      rootKeys: 3,
      rootThreshold: 2,
      issuers: join(folder, 'issuers.yaml'),
    });
    const config = { ...(await readConfigFile(data)), logLevel: 'silent' as const };
    const app = await buildServer(await openRegistry({ dataFolder: data, config, clock: Date.now }));
    await app.listen(config.listen);
    const house = new House(folder, url, issuer, async () => {
      // A client's connection can turn idle just after the server has closed those that were.
      const sweep = setInterval(() => app.server.closeIdleConnections(), 50);
      await app.close();
      clearInterval(sweep);
      await issuer.close();
    });
    await house.#writeKeysAndPolicies();
    return house;
  }

  async #writeKeysAndPolicies(): Promise<void> {
    await writeKeyPair(this.path('gate.pem'), generateKey('p256'));
    await writeKeyPair(this.path('releases.pem'), generateKey('ed25519'));
    for (const name of ['policy.yaml', 'device-policy.yaml']) {
      const text = await readFile(join(EXAMPLES, name), 'utf8');
      await writeFile(this.path(name), text.replace('http://127.0.0.1:7070', this.issuer.url));
    }
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  get root(): string {
    return this.path('data', 'root.json');
  }

  async close(): Promise<void> {
    await this.#close();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The offline keys at work: adds the product, or changes it. */
  product(verb: 'add' | 'update', changes: Partial<Parameters<typeof changeProduct>[1]> = {}) {
    return changeProduct(verb, {
      product: 'optiboot',
      devicePolicy: this.path('device-policy.yaml'),
      releasesKeys: [this.path('releases.pub')],
      offlineFolder: this.path('offline'),
      registry: this.url,
      root: this.root,
      progress: () => {},
      ...changes,
    });
  }

  /** A build whose bytes depend on the version. */
  async build(version: string): Promise<Build> {
    const bytes = `image of ${version}`;
    const imagePath = this.path(`optiboot-${version}.bin`);
    await mkdir(this.folder, { recursive: true });
    await writeFile(imagePath, bytes);
    const [imageSha256, elf] = [sha256(bytes), sha256(`elf of ${version}`)];
    const sbom = sbomOf(imageSha256);
    return {
      version,
      imagePath,
      imageSha256,
      compile: { ...compile, version, products: [{ name: 'optiboot.elf', sha256: elf }] },
      image: {
        ...image,
        version,
        products: [{ name: 'optiboot.bin', sha256: imageSha256 }],
        resolvedDependencies: image.resolvedDependencies.map((input) =>
          input.annotations?.role === 'material' ? { ...input, sha256: elf } : input,
        ),
      },
      sbom,
      reference: {
        ...reference,
        subjects: [{ name: 'optiboot.bin', sha256: imageSha256 }],
        sbomSha256: sha256(sbom),
      },
    };
  }

  /** Signs a statement as the CI and submits it; returns the digest of its bundle. */
  async attest(
    statement: UnsignedStatement,
    claims: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const { signingConfig } = await openTrust({ registryUrl: this.url, rootPath: this.root });
    const bundle = await signStatement(formatStatement(statement), {
      signingConfig: await signingConfig(),
      identity: { origin: 'test', token: () => this.issuer.token(claims) },
    });
    return (await submitBundle(this.url, bundle)).sha256;
  }

  /** Attests all of a build and uploads its SBOM. */
  async attestBuild(build: Build): Promise<void> {
    await this.attest(buildStepProvenance(build.compile));
    await this.attest(buildStepProvenance(build.image));
    await this.attest(buildSbomReference(build.reference));
    await new Registry(this.url).putBlob(sha256(build.sbom), build.sbom);
  }

  gate(build: Build, changes: Partial<GateInputs> = {}) {
    return gate({
      registry: this.url,
      root: this.root,
      policy: this.path('policy.yaml'),
      productVersion: build.version,
      image: build.imagePath,
      key: this.path('gate.pem'),
      progress: () => {},
      ...changes,
    });
  }

  /** What `release`, `withdraw` and `renew` need. */
  get desk(): ReleaseInputs {
    return {
      registry: this.url,
      root: this.root,
      product: 'optiboot',
      keys: [this.path('releases.pem')],
      progress: () => {},
    };
  }

  release(build: Build, changes: Partial<Parameters<typeof release>[0]> = {}) {
    return release({ ...this.desk, version: build.version, image: build.imagePath, ...changes });
  }

  /** Builds, attests, gates and releases a version. */
  async road(version: string): Promise<Build> {
    const build = await this.build(version);
    await this.attestBuild(build);
    await this.gate(build);
    await this.release(build);
    return build;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What the liar makes of an answer; undefined to pass it on. */
export type Lie = (
  path: string,
  body: Buffer,
  method: string,
) => { status?: number; body: string | Uint8Array } | undefined;

/** Serves the registry's answers, changed by `lie`, at an address of its own while `work` runs. */
export async function withLiar<T>(url: string, lie: Lie, work: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(async (request, response) => {
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk as Buffer);
    const method = request.method ?? 'GET';
    const answer = await fetch(`${url}${request.url}`, {
      method,
      ...(method === 'GET' ? {} : { body: Buffer.concat(body) }),
      ...(request.headers['content-type'] === undefined
        ? {}
        : { headers: { 'content-type': request.headers['content-type'] } }),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const lied = lie(request.url ?? '', bytes, method);
    response.writeHead(lied?.status ?? answer.status).end(lied?.body ?? bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
