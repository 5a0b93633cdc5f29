// SPDX-License-Identifier: Apache-2.0
// Makes whole releases without a build: statements signed under real certificates with real timestamps and log entries,
// the gate's summary, the pack. Whoever holds the foundry holds every key, and may make any release wrong in one place.

import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import { Level } from 'level';
import { signStatement, signStatementWithKey } from '../../attest/sign.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { buildStepProvenance, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference, CYCLONEDX_MEDIA_TYPE } from '../../core/intoto/reference.ts';
import { formatStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildVerificationSummary, type VerificationSummary } from '../../core/intoto/vsa.ts';
import { type EvidencePack, formatPack, type PackedBundle } from '../../core/release/pack.ts';
import type { ReleaseIndex } from '../../core/release/release-index.ts';
import { releaseUri } from '../../core/release/version.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import { issueCertificate } from '../../registry/ca/certificate-authority.ts';
import type { Identity } from '../../registry/ca/identity.ts';
import { Cosigning } from '../../registry/log/cosigning.ts';
import { createLogKey, openLogKey } from '../../registry/log/log-key.ts';
import { rekorRoutes } from '../../registry/log/rekor-routes.ts';
import { SignatureLog } from '../../registry/log/signature-log.ts';
import { Writers } from '../../registry/log/writers.ts';
import { buildSigningConfig, buildTrustedRoot } from '../../registry/trust/trusted-root.ts';
import { sbomOf } from '../policy/evidence.ts';
import { startTrustServer, type TrustServer } from '../registry/trust/trust-server.ts';
import { temporaryFolder } from './folder.ts';
import { devicePolicy, type House, listed, sha256 } from './house.ts';

const BUILDER = 'https://waybill.example/builders/ci';
export const WORKFLOW = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
const GATE = 'https://waybill.example/gates/main';
const POLICY = { uri: 'https://waybill.example/policies/release', sha256: sha256('policy') };
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/** A release on its way, to be made wrong before it is offered. */
export interface Casting {
  version: string;
  image: Uint8Array;
  sbom: Uint8Array;
  /** Bundles of provenance and SBOM reference. */
  evidence: Uint8Array[];
}

export class Foundry {
  readonly gateKey = newKey();
  private readonly trust: TrustServer;
  private readonly app: FastifyInstance;
  private readonly log: SignatureLog;
  private readonly level: Level;
  private readonly logFolder: { path: string; dispose: () => Promise<void> };
  private readonly logPublicKey: Uint8Array;
  private logUrl = '';

  private constructor(parts: {
    trust: TrustServer;
    app: FastifyInstance;
    log: SignatureLog;
    level: Level;
    logFolder: { path: string; dispose: () => Promise<void> };
    logPublicKey: Uint8Array;
  }) {
    this.trust = parts.trust;
    this.app = parts.app;
    this.log = parts.log;
    this.level = parts.level;
    this.logFolder = parts.logFolder;
    this.logPublicKey = parts.logPublicKey;
  }

  static async build(): Promise<Foundry> {
    const trust = await startTrustServer();
    const logFolder = await temporaryFolder();
    const logPublicKey = await createLogKey({ folder: logFolder.path });
    const level = new Level(join(logFolder.path, 'level'));
    const clock = () => Date.now();
    const key = await openLogKey({ folder: logFolder.path });
    const log = await SignatureLog.open({ db: level, origin: trust.material.names.log, key, clock });
    const app = fastify();
    const writers = new Writers({ authorities: [trust.material.caChain], isListedKey: () => true, clock });
    const cosigning = await Cosigning.open({ tiles: log.tiles, policy: () => undefined });
    await app.register(rekorRoutes, { prefix: '/log', log, cosigning, writers });
    const foundry = new Foundry({ trust, app, log, level, logFolder, logPublicKey });
    foundry.logUrl = await app.listen({ port: 0, host: '127.0.0.1' });
    return foundry;
  }

  async raze(): Promise<void> {
    await this.app.close();
    await this.log.close();
    await this.level.close();
    await this.logFolder.dispose();
    await this.trust.close();
  }

  /** What devices of this foundry's product trust. */
  trustMaterial(change: object = {}): Record<string, Uint8Array> {
    const { material } = this.trust;
    const { startMs, names } = material;
    const log = { origin: names.log, publicKey: this.logPublicKey, startMs };
    const gate = createPublicKey(this.gateKey).export({ type: 'spki', format: 'der' }).toString('base64');
    return {
      'trusted_root.json': buildTrustedRoot(material, [log]),
      'tlog-policy': utf8(`log ${this.log.verifierKey}\nquorum none\n`),
      'device-policy/optiboot.json': devicePolicy({
        builders: [{ builderId: BUILDER, identity: WORKFLOW, issuer: this.trust.issuer.url }],
        gate: { verifierId: GATE, publicKey: gate, policies: [POLICY] },
        ...change,
      }),
    };
  }

  /** Where the services of this foundry listen. */
  signingConfig(): Uint8Array {
    const { startMs, org } = this.trust.material;
    const text = Buffer.from(buildSigningConfig({ url: this.trust.url, org, startMs })).toString();
    return utf8(text.replace(`${this.trust.url}/log`, `${this.logUrl}/log`));
  }

  /** A certificate of the authority in any name, logged as it should be. */
  certify(identity: Identity, spki: Uint8Array): Promise<readonly string[]> {
    const { services, ctLog } = this.trust;
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return issueCertificate({ authority: services.ca, ctLog, clock: () => Date.now() }, identity, {
      spki,
      key,
    });
  }

  /** Who issues the CI's tokens. */
  get issuerUrl(): string {
    return this.trust.issuer.url;
  }

  /** A token of the CI's workflow. */
  ciToken(): Promise<string> {
    return this.trust.issuer.token();
  }

  /** Signs as the CI's workflow. */
  async asCi(statement: UnsignedStatement | Uint8Array): Promise<Uint8Array> {
    const bytes = statement instanceof Uint8Array ? statement : formatStatement(statement);
    const identity = { origin: 'test', token: () => this.ciToken() };
    return signStatement(bytes, { signingConfig: this.signingConfig(), identity });
  }

  /** Signs with a key; the gate's unless told otherwise. */
  async asGate(statement: UnsignedStatement, key = this.gateKey): Promise<Uint8Array> {
    const privateKeyPem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    return signStatementWithKey(formatStatement(statement), {
      signingConfig: this.signingConfig(),
      privateKeyPem,
    });
  }

  /** A sound release as far as the CI makes it. */
  async cast(version: string, image: Uint8Array): Promise<Casting> {
    const [compile, link] = stepsOf(version, image);
    const sbom = sbomOf(sha256(image));
    const evidence = [
      await this.asCi(buildStepProvenance(compile)),
      await this.asCi(buildStepProvenance(link)),
      await this.asCi(referenceOf(image, sbom)),
    ];
    return { version, image, sbom, evidence };
  }

  /** The gate's summary of a release, signed. */
  summaryOf(
    { version, image, evidence }: Casting,
    change: Partial<VerificationSummary> = {},
  ): UnsignedStatement {
    const summary: VerificationSummary = {
      subjects: [{ name: 'optiboot.bin', sha256: sha256(image) }],
      verifierId: GATE,
      timeVerifiedMs: Date.now(),
      resourceUri: releaseUri('optiboot', version),
      policyUri: POLICY.uri,
      policySha256: POLICY.sha256,
      inputAttestations: evidence.map(sha256),
      result: 'PASSED',
      verifiedLevels: [],
      ...change,
    };
    return buildVerificationSummary(summary, new Date(summary.timeVerifiedMs).toISOString());
  }

  /** The pack of these bundles, with proofs in the log's newest checkpoint. */
  async pack(casting: Casting, bundles: readonly Uint8Array[]): Promise<EvidencePack> {
    const { size, note } = this.log.tiles.checkpoint();
    const packed: PackedBundle[] = [];
    for (const bundle of bundles) {
      const { leafIndex } = parseBundle(bundle);
      packed.push({ bundle, leafIndex, proof: await this.log.tiles.inclusionProof(leafIndex, size) });
    }
    const name = `packs/optiboot/optiboot-${casting.version}.cdx.json`;
    const sbom = { sha256: sha256(casting.sbom), sizeBytes: casting.sbom.length };
    return {
      product: 'optiboot',
      version: casting.version,
      imageSha256: sha256(casting.image),
      imageSizeBytes: casting.image.length,
      checkpoint: note,
      bundles: packed,
      bodies: [{ name, mediaType: CYCLONEDX_MEDIA_TYPE, ...sbom }],
    };
  }

  /** The pack as the gate lets it go. */
  async gated(casting: Casting, change: Partial<VerificationSummary> = {}): Promise<EvidencePack> {
    const summary = await this.asGate(this.summaryOf(casting, change));
    return this.pack(casting, [...casting.evidence, summary]);
  }
}

/** Publishes a release, alone in its index, with everything that belongs to it. */
export function publish(
  house: House,
  casting: Casting,
  pack: EvidencePack,
  index: Partial<ReleaseIndex> = {},
): void {
  const bytes = formatPack(pack);
  const release = listed(casting.version, casting.image, bytes);
  house.offer(
    { releases: [release], ...index },
    {
      [release.image.name]: casting.image,
      [release.pack.name]: bytes,
      [`packs/optiboot/optiboot-${casting.version}.cdx.json`]: casting.sbom,
    },
  );
}

/** Two steps from the Debian source to the image. */
export function stepsOf(version: string, image: Uint8Array): [StepProvenance, StepProvenance] {
  const lock = { name: 'waybill.lock', sha256: sha256('lock'), annotations: { role: 'config' } };
  const elf = { name: 'optiboot.elf', sha256: sha256(`elf of ${version}`) };
  const both = {
    builderId: BUILDER,
    product: 'optiboot',
    version,
    sandbox: {
      hermetic: true,
      mechanism: 'bubblewrap 0.8.0',
      kernel: '6.1.0',
      sourceDateEpoch: 1,
      seccomp: true,
      limits: 'rlimits' as const,
      clock: 'host' as const,
      cpus: 1,
    },
    invocationId: 'urn:uuid:3f1a2b9c-7d8e-4f60-9a1b-2c3d4e5f6071',
  };
  const source = {
    uri: 'pkg:deb/debian/arduino-core-avr@1.8.6?arch=all',
    sha256: sha256('deb'),
    annotations: { role: 'source' },
  };
  return [
    { ...both, step: 'compile', products: [elf], resolvedDependencies: [source, lock] },
    {
      ...both,
      step: 'image',
      products: [{ name: 'optiboot.bin', sha256: sha256(image) }],
      resolvedDependencies: [
        {
          ...elf,
          uri: 'waybill:step/compile/optiboot.elf',
          annotations: { role: 'material', step: 'compile' },
        },
        lock,
      ],
    },
  ];
}

/** "This is the SBOM of that image." */
export function referenceOf(image: Uint8Array, sbom: Uint8Array): UnsignedStatement {
  return buildSbomReference({
    subjects: [{ name: 'optiboot.bin', sha256: sha256(image) }],
    attesterId: BUILDER,
    sbomSha256: sha256(sbom),
    downloadLocation: 'sbom.cdx.json',
  });
}
