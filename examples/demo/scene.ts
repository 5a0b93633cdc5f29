// SPDX-License-Identifier: Apache-2.0
// What an attacker has to work with: the honest road, keys that were stolen, and ways to bend a release and put it before a
// device. Forging is done in this process with stolen keys; what is attacked runs as a command of its own.

import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { signStatement, signStatementWithKey } from '../../attest/sign.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import {
  formatStatement,
  parseStatement,
  type Statement,
  type UnsignedStatement,
} from '../../core/intoto/statement.ts';
import {
  buildVerificationSummary,
  parseVerificationSummary,
  type VerificationSummary,
  VSA_TYPE,
} from '../../core/intoto/vsa.ts';
import { type EvidencePack, formatPack, parsePack } from '../../core/release/pack.ts';
import {
  formatReleaseIndex,
  parseReleaseIndex,
  type Release,
  type ReleaseIndex,
} from '../../core/release/release-index.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import { codeOf, type Outcome } from './command-line.ts';
import { type Answer, Interceptor } from './interceptor.ts';
import { HARDWARE, OTHER_PRODUCT, PRODUCT, type Road } from './road.ts';
import { startThief, type Thief } from './thief.ts';
import { type Signed, TufForge } from './tuf-forge.ts';

export const OWN_ROLE = `releases-${PRODUCT}`;
export const INDEX_NAME = `packs/${PRODUCT}/releases.json`;

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** How an attempt ended. */
export interface Refusal {
  readonly code: string;
  readonly exitCode: number;
  /** True if the active slot held the same bytes before and after; always true where no device took part. */
  readonly untouched: boolean;
}

/** The outcome of a command that no device took part in. */
export function refusalOf(outcome: Outcome): Refusal {
  return { code: codeOf(outcome), exitCode: outcome.exitCode, untouched: true };
}

/** A release on its way to a device, free to be bent before it is listed and signed. */
export interface Offer {
  readonly forge: TufForge;
  index: ReleaseIndex;
  pack: EvidencePack;
  image: Uint8Array;
  sbom: Uint8Array;
}

/** Whose keys the attacker holds. `online` are snapshot and timestamp of `waybill serve`. */
export type Stolen = 'releases' | 'online' | 'targets';

export class Scene {
  readonly road: Road;
  /** The registry of someone who stole every key inside `serve`. */
  readonly thief: Thief;
  /** Between the true registry and whoever is attacked; passes everything on unless told otherwise. */
  readonly between: Interceptor;
  private readonly name: string;
  private readonly factories = new Map<string, string>();
  private readonly beside: Scene[] = [];

  private constructor(road: Road, thief: Thief, between: Interceptor, name: string) {
    this.road = road;
    this.thief = thief;
    this.between = between;
    this.name = name;
  }

  /** Sets the scene on a road that was travelled; `close` ends what it started. */
  static async set(road: Road): Promise<Scene> {
    const thief = await startThief(road);
    return new Scene(road, thief, await Interceptor.start(road.registryUrl), 'victim');
  }

  /** A second scene on the same road, with devices of its own, so that two attacks can be mounted at a time. */
  async another(): Promise<Scene> {
    const between = await Interceptor.start(this.road.registryUrl);
    const scene = new Scene(this.road, this.thief, between, `${this.name}-${this.beside.length + 2}`);
    this.beside.push(scene);
    return scene;
  }

  async close(): Promise<void> {
    for (const scene of this.beside) await scene.between.close();
    await this.between.close();
    await this.thief.close();
  }

  /** Fetches a file of the registry, or of the thief's. */
  async fetch(path: string, registryUrl = this.road.registryUrl): Promise<Uint8Array> {
    const response = await fetch(`${registryUrl}${path}`);
    if (!response.ok) throw new Error(`${path}: HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** The true repository as it is now, with the stolen keys to sign what is changed in it. */
  async repository(...stolen: readonly Stolen[]): Promise<TufForge> {
    const forge = new TufForge();
    const load = async (role: string, file: string) => {
      forge.roles.set(role, JSON.parse(utf8Decode(await this.fetch(`/tuf/${file}`)) ?? '').signed);
    };
    await load('timestamp', 'timestamp.json');
    await load('snapshot', `${forge.roles.get('timestamp').meta['snapshot.json'].version}.snapshot.json`);
    const { meta } = forge.roles.get('snapshot');
    for (const role of ['targets', OWN_ROLE])
      await load(role, `${meta[`${role}.json`].version}.${role}.json`);
    const { dataFolder, offlineFolder } = this.road;
    if (stolen.includes('releases'))
      forge.keys.set(OWN_ROLE, [await readKey(this.road.releasesKey(PRODUCT))]);
    if (stolen.includes('targets'))
      forge.keys.set('targets', [await readKey(join(offlineFolder, 'targets-1.pem'))]);
    if (stolen.includes('online')) {
      for (const role of ['snapshot', 'timestamp']) {
        forge.keys.set(role, [await readKey(join(dataFolder, 'keys', `tuf-${role}.pem`))]);
      }
    }
    return forge;
  }

  /** The honest release of a version, ready to be bent. */
  async offer(version: string, ...stolen: readonly Stolen[]): Promise<Offer> {
    const forge = await this.repository(...stolen);
    return { forge, ...(await this.goods(forge.roles.get(OWN_ROLE), INDEX_NAME, version)) };
  }

  /** The honest release of another product, built, gated and released when first asked for. */
  async otherOffer(version: string): Promise<Omit<Offer, 'forge'>> {
    const { road } = this;
    if (!road.releases.some(({ product }) => product === OTHER_PRODUCT)) {
      await road.addProduct(OTHER_PRODUCT);
      await road.release(await road.build(OTHER_PRODUCT, version));
    }
    const forge = await this.repository();
    const { version: at } = forge.roles.get('snapshot').meta[`releases-${OTHER_PRODUCT}.json`];
    const role = JSON.parse(
      utf8Decode(await this.fetch(`/tuf/${at}.releases-${OTHER_PRODUCT}.json`)) ?? '',
    ).signed;
    return this.goods(role, `packs/${OTHER_PRODUCT}/releases.json`, version);
  }

  private async goods(role: Signed, indexName: string, version: string): Promise<Omit<Offer, 'forge'>> {
    const target = async (name: string) => {
      const { sha256 } = role.targets[name].hashes;
      const at = name.lastIndexOf('/') + 1;
      return this.fetch(`/tuf/targets/${name.slice(0, at)}${sha256}.${name.slice(at)}`);
    };
    const index = parseReleaseIndex(await target(indexName));
    const release = releaseOf(index, version);
    const pack = parsePack(await target(release.pack.name));
    const sbom = await target(bodyOf(pack).name);
    return { index, pack, image: await target(release.image.name), sbom };
  }

  /** Lists image, pack, SBOM and index of a bent offer under the digests that they have now. */
  list(offer: Offer): void {
    const release = releaseOf(offer.index, offer.pack.version);
    const bytes = formatPack(offer.pack);
    const file = (name: string, content: Uint8Array) => ({
      name,
      sha256: sha256Of(content),
      sizeBytes: content.length,
    });
    const listed: Release = {
      ...release,
      image: file(release.image.name, offer.image),
      pack: file(release.pack.name, bytes),
    };
    offer.index = {
      ...offer.index,
      releases: offer.index.releases.map((one) => (one === release ? listed : one)),
    };
    offer.forge.addTarget(OWN_ROLE, listed.image.name, offer.image);
    offer.forge.addTarget(OWN_ROLE, listed.pack.name, bytes);
    for (const body of offer.pack.bodies) offer.forge.addTarget(OWN_ROLE, body.name, offer.sbom);
    offer.forge.addTarget(OWN_ROLE, INDEX_NAME, formatReleaseIndex(offer.index));
  }

  /**
   * Signs a statement as the CI does: with a token for a workflow, a certificate, a timestamp and a log entry. With the
   * thief's registry this is also what a stolen authority can mint: the same certificate for the same identity.
   */
  async signAsCi(
    statement: Uint8Array,
    claims: Record<string, unknown> = {},
    registryUrl?: string,
  ): Promise<Uint8Array> {
    const token = () => this.road.issuer.token(claims);
    return signStatement(statement, {
      signingConfig: await this.signingConfig(registryUrl),
      identity: { origin: 'attack', token },
    });
  }

  /** Signs a statement with a P-256 key, the gate's by default. */
  async signWithKey(
    statement: Uint8Array,
    pemPath = this.road.gateKey,
    registryUrl?: string,
  ): Promise<Uint8Array> {
    return signStatementWithKey(statement, {
      signingConfig: await this.signingConfig(registryUrl),
      privateKeyPem: await readFile(pemPath),
    });
  }

  private async signingConfig(registryUrl = this.road.registryUrl): Promise<Uint8Array> {
    const text = await readFile(join(this.road.dataFolder, 'trust', 'signing_config.v0.2.json'), 'utf8');
    return utf8(text.replaceAll(this.road.registryUrl, registryUrl));
  }

  /** A pack with other evidence: proofs from the true log, and a summary over it by the stolen gate key. */
  async repack(
    pack: EvidencePack,
    evidence: readonly Uint8Array[],
    change: Partial<VerificationSummary> = {},
  ): Promise<EvidencePack> {
    const honest = parseVerificationSummary(statementOf(summaryOf(pack)));
    const summary = { ...honest, inputAttestations: evidence.map(sha256Of), ...change };
    return this.withProofs(pack, [...evidence, await this.signWithKey(formatSummary(summary))]);
  }

  /** A pack with these bundles, each with its place in the log of the registry or of the thief. */
  async withProofs(
    pack: EvidencePack,
    bundles: readonly Uint8Array[],
    registryUrl?: string,
  ): Promise<EvidencePack> {
    const proof = async (index: bigint, size?: number) => {
      const query = `index=${index}${size === undefined ? '' : `&size=${size}`}`;
      const answer = utf8Decode(await this.fetch(`/log/api/v2/proof?${query}`, registryUrl)) ?? '';
      return JSON.parse(answer) as { size: number; hashes: string[]; checkpoint: string };
    };
    const indexes = bundles.map((bundle) => parseBundle(bundle).leafIndex);
    // The checkpoint must cover all: the log waits for one that witnesses cosigned and that covers the youngest.
    const { size, checkpoint } = await proof(indexes.reduce((a, b) => (a > b ? a : b)));
    const packed = await Promise.all(
      bundles.map(async (bundle, i) => {
        const leafIndex = indexes[i] as bigint;
        const { hashes } = await proof(leafIndex, size);
        return {
          bundle,
          leafIndex,
          proof: hashes.map((hash) => new Uint8Array(Buffer.from(hash, 'base64'))),
        };
      }),
    );
    return { ...pack, checkpoint, bundles: packed };
  }

  /**
   * A device with a version installed, as it was when it was made: what an attack before left in its trusted metadata is gone,
   * its report counter goes on.
   */
  async device(installed: string): Promise<string> {
    const factory = this.factories.get(installed) ?? (await this.makeDevice(installed));
    const folder = `${factory}-in-use`;
    const counter = await readFile(join(folder, 'counter')).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
    await cp(factory, folder, { recursive: true });
    if (counter !== undefined)
      await Promise.all(['counter', 'counter.copy'].map((name) => writeFile(join(folder, name), counter)));
    return folder;
  }

  private async makeDevice(installed: string): Promise<string> {
    const { folder, releases, cli, enrolmentToken } = this.road;
    const factory = join(folder, this.idOf(installed));
    const built = releases.find(({ version }) => version === installed);
    if (built === undefined) throw new Error(`the road has no version ${installed}`);
    const place = [...this.road.trust(this.between.url), '--id', this.idOf(installed)];
    const identity = ['--product', PRODUCT, '--hardware-id', HARDWARE, '--version-floor', '1.0.0'];
    const initial = ['--initial-image', built.imagePath, '--initial-version', installed];
    await cli.must(['device', 'init', factory, ...place, ...identity, ...initial]);
    await cli.must(['device', 'enrol', factory, '--token-file', enrolmentToken]);
    this.factories.set(installed, factory);
    return factory;
  }

  /** The id of a device that `device` makes. */
  idOf(installed: string): string {
    return `${this.name}-${installed}`;
  }

  /** Puts a repository before a device, which may have been up to date with the true one before, and lets the device update. */
  async attackDevice(forge: TufForge, installed = '8.0.0', updatedBefore = false): Promise<Refusal> {
    const folder = await this.device(installed);
    if (updatedBefore) await this.road.cli.must(['device', 'update', folder]);
    const answer: Answer = ({ path }) => {
      const body = path.startsWith('/tuf/')
        ? forge.files.get(decodeURIComponent(path.slice('/tuf/'.length)))
        : undefined;
      return body === undefined ? undefined : { status: 200, body };
    };
    return this.between.while(answer, () => this.updateDevice(folder));
  }

  /** Runs `device update` and says how it ended and whether the active slot is what it was. */
  async updateDevice(folder: string): Promise<Refusal> {
    const before = await activeSlot(folder);
    const outcome = await this.road.cli.run(['device', 'update', folder, '--json']);
    const untouched = (await activeSlot(folder)) === before;
    return { code: codeOf(outcome), exitCode: outcome.exitCode, untouched };
  }
}

/** Which slot is active and the digest of what it holds, read from the medium. */
async function activeSlot(folder: string): Promise<string> {
  const { record } = JSON.parse(await readFile(join(folder, 'active'), 'utf8')) as {
    record: { slot: string };
  };
  return `${record.slot} ${sha256Of(new Uint8Array(await readFile(join(folder, 'slots', record.slot))))}`;
}

async function readKey(path: string): Promise<KeyObject> {
  return createPrivateKey(await readFile(path));
}

export function releaseOf(index: ReleaseIndex, version: string): Release {
  const found = index.releases.find((release) => release.version === version);
  if (found === undefined) throw new Error(`the index has no version ${version}`);
  return found;
}

export function bodyOf(pack: EvidencePack) {
  const [body] = pack.bodies;
  if (body === undefined) throw new Error('the pack has no body');
  return body;
}

/** What a bundle's signer signed. Unverified: attackers read what they like. */
export function statementOf(bundle: Uint8Array): Statement {
  return parseStatement(parseBundle(bundle).payload);
}

/** The bundles of a pack but the summary, in order. */
export function evidenceOf(pack: EvidencePack): Uint8Array[] {
  return pack.bundles
    .map(({ bundle }) => bundle)
    .filter((bundle) => statementOf(bundle).predicateType !== VSA_TYPE);
}

export function summaryOf(pack: EvidencePack): Uint8Array {
  const found = pack.bundles.find(({ bundle }) => statementOf(bundle).predicateType === VSA_TYPE);
  if (found === undefined) throw new Error('the pack has no summary');
  return found.bundle;
}

/** The canonical statement of a summary. */
export function formatSummary(summary: VerificationSummary): Uint8Array {
  return formatStatement(buildVerificationSummary(summary, new Date(summary.timeVerifiedMs).toISOString()));
}

/** The same statement, bent; unsigned. */
export function bent(statement: Statement, change: (copy: BentStatement) => void): Uint8Array {
  const { subjects, predicateType } = statement;
  const copy = structuredClone({ subjects, predicateType, predicate: plain(statement.predicate.value) });
  change(copy as unknown as BentStatement);
  return formatStatement(copy as unknown as UnsignedStatement);
}

/** A statement that is being bent: its predicate has no shape that could be promised. */
export interface BentStatement {
  subjects: { name: string; sha256: string }[];
  // biome-ignore lint/suspicious/noExplicitAny: see above.
  predicate: any;
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
