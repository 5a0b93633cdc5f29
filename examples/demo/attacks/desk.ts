// SPDX-License-Identifier: Apache-2.0
// Attacks before the device: at attestation, at the registry's door, at the gate, at the release.

import { cp, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import { parseBundle } from '../../../core/sigstore/bundle.ts';
import { generateKey } from '../../../release/key-file.ts';
import type { Outcome } from '../command-line.ts';
import type { Reply } from '../interceptor.ts';
import { type Built, OTHER_PRODUCT, PRODUCT } from '../road.ts';
import { evidenceOf, type Refusal, refusalOf, type Scene, sha256Of } from '../scene.ts';
import type { Attack } from './attack.ts';
import { editedPayload, isReference, isStep, NIGHTLY } from './bending.ts';

/** A copy of a build output, free to be changed; its bundles are left behind. */
async function copyOf(scene: Scene, built: Built): Promise<string> {
  const folder = join(await mkdtemp(join(scene.road.folder, 'copy-')), 'build');
  const skip = join(built.folder, 'bundles');
  await cp(built.folder, folder, { recursive: true, filter: (path) => path !== skip });
  return folder;
}

const latest = (scene: Scene): Built =>
  scene.road.releases.filter(({ product }) => product === PRODUCT).at(-1) as Built;
const registry = (scene: Scene, url?: string): string[] => scene.road.trust(url);

async function attest(scene: Scene, folder: string, claims: Record<string, unknown> = {}): Promise<Outcome> {
  const env = { WAYBILL_ID_TOKEN: await scene.road.issuer.token(claims) };
  return scene.road.cli.run(['attest', folder, ...registry(scene), '--json'], { env });
}

/** An attack on a build output between build and attest. */
function tampering(name: string, code: string, tamper: (folder: string) => Promise<void>): Attack {
  return {
    ...{ name, code, stage: 'attest' },
    async mount(scene) {
      const folder = await copyOf(scene, latest(scene));
      await tamper(folder);
      return refusalOf(await attest(scene, folder));
    },
  };
}

async function rewrite(path: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(path, 'utf8');
  const after = change(before);
  if (after === before) throw new Error(`${path}: nothing was changed`);
  await writeFile(path, after);
}

async function fileOf(folder: string, ending: string): Promise<string> {
  const name = (await readdir(folder)).find((each) => each.endsWith(ending));
  if (name === undefined) throw new Error(`${folder} has no *${ending}`);
  return join(folder, name);
}

export const ATTEST_ATTACKS: readonly Attack[] = [
  tampering('statement: edited between build and attest', 'ATTEST_OUTPUT_CHANGED', async (folder) => {
    const path = await fileOf(join(folder, 'statements'), '-image.provenance.json');
    await rewrite(path, (text) =>
      text.replace(/("digest":\{"sha256":")[0-9a-f]{64}("\},"name":"[^"]+\.bin")/, `$1${'0'.repeat(64)}$2`),
    );
  }),
  tampering('image: exchanged between build and attest', 'ATTEST_OUTPUT_CHANGED', async (folder) => {
    const path = await fileOf(join(folder, 'products'), '.bin');
    const bytes = await readFile(path);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    await writeFile(path, bytes);
  }),
  tampering('SBOM: exchanged between build and attest', 'ATTEST_SBOM_CHANGED', (folder) =>
    rewrite(join(folder, 'sboms', 'optiboot.bin.cdx.json'), (text) =>
      text.replace('arduino-core-avr', 'nothing-to-see'),
    ),
  ),
  tampering('lock: exchanged between build and attest', 'ATTEST_LOCK_CHANGED', (folder) =>
    rewrite(join(folder, 'waybill.lock'), (text) =>
      text.replace(/"inReleaseSha256": ?"[0-9a-f]/, (found) =>
        found.replace(/.$/, (c) => (c === '0' ? '1' : '0')),
      ),
    ),
  ),
  {
    ...{
      name: "identity: another repository's token of the same issuer",
      stage: 'registry',
      code: 'SIGN_SERVICE_REFUSED',
    },
    async mount(scene) {
      const claims = { repository: 'evil/firmware', repository_id: '6666', repository_owner_id: '6667' };
      return refusalOf(await attest(scene, await copyOf(scene, latest(scene)), claims));
    },
  },
];

/** Sends bytes to an endpoint of the registry and reads its refusal. */
async function send(
  scene: Scene,
  method: string,
  path: string,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<Refusal> {
  const response = await fetch(`${scene.road.registryUrl}${path}`, {
    method,
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  const answer = (await response.json().catch(() => ({}))) as { error?: { code?: string } };
  const refused = response.status >= 400 && response.status < 500;
  return { code: answer.error?.code ?? 'none', exitCode: refused ? 1 : 0, untouched: true };
}

export const REGISTRY_ATTACKS: readonly Attack[] = [
  {
    ...{
      name: 'bundle: its statement edited after it was signed',
      stage: 'registry',
      code: 'SIGSTORE_SIGNATURE_INVALID',
    },
    async mount(scene) {
      const { pack } = await scene.offer('8.1.0');
      const reference = evidenceOf(pack).find(isReference) as Uint8Array;
      return send(scene, 'POST', '/api/v1/attestations', editedPayload(reference));
    },
  },
  {
    ...{
      name: 'bundle: logged in a fork of the log, with all stolen keys',
      stage: 'registry',
      code: 'REGISTRY_LEAF_UNKNOWN',
    },
    async mount(scene) {
      const { pack } = await scene.offer('8.1.0');
      const statement = parseBundle(evidenceOf(pack).find(isReference) as Uint8Array).payload;
      const forked = await scene.signAsCi(statement, {}, scene.thief.url);
      return send(scene, 'POST', '/api/v1/attestations', forked);
    },
  },
  {
    ...{
      name: 'delegation: the releases role signed by another key',
      stage: 'registry',
      code: 'TUF_REPOSITORY_THRESHOLD_UNMET',
    },
    async mount(scene) {
      const forge = await scene.repository();
      const role = `releases-${PRODUCT}`;
      forge.keys.set(role, [generateKey('ed25519')]);
      forge.roles.get(role).version += 1;
      return send(scene, 'PUT', `/api/v1/tuf/${role}`, forge.sign(role));
    },
  },
  {
    ...{ name: 'report: replayed', stage: 'registry', code: 'DEVICE_REPORT_REPLAYED' },
    async mount(scene) {
      const sent: Uint8Array[] = [];
      const overhear = (path: string, body: Uint8Array): void => {
        if (path.endsWith('/reports')) sent.push(body);
      };
      const folder = await scene.device('8.0.0');
      const update = () => scene.road.cli.must(['device', 'update', folder]);
      await scene.between.while(() => undefined, update, overhear);
      const [report] = sent;
      if (report === undefined) throw new Error('the device sent no report');
      return send(scene, 'POST', `/api/v1/devices/${scene.idOf('8.0.0')}/reports`, report);
    },
  },
];

interface GateCase {
  readonly registryUrl?: string;
  readonly image?: string;
  readonly version?: string;
}

async function gate(scene: Scene, options: GateCase = {}): Promise<Refusal> {
  const { gateKey, cli } = scene.road;
  const built = latest(scene);
  const what = ['--product-version', options.version ?? '9.0.0', '--image', options.image ?? built.imagePath];
  const how = ['--policy', scene.road.policyPath(PRODUCT), '--key', gateKey, '--json'];
  return refusalOf(await cli.run(['gate', ...what, ...how, ...registry(scene, options.registryUrl)]));
}

/** The gate, while someone changes what the registry answers. */
function gateBehind(scene: Scene, answer: (path: string) => Reply | undefined): Promise<Refusal> {
  const ask = () => gate(scene, { registryUrl: scene.between.url, version: '8.1.0' });
  return scene.between.while(({ path }) => answer(path), ask);
}

const lookUp = (sha256: string): string => `/api/v1/attestations?subject=${sha256}`;
const json = (value: unknown): Reply => ({ status: 200, body: utf8(JSON.stringify(value)) });

/** The registry's answer about an artifact, changed. */
async function lie(
  scene: Scene,
  change: (attestations: { sha256: string; bundle: string }[]) => Promise<unknown> | unknown,
): Promise<Refusal> {
  const { imageSha256 } = latest(scene);
  const { attestations } = JSON.parse(utf8Decode(await scene.fetch(lookUp(imageSha256))) ?? '');
  const told = { attestations: await change(attestations) };
  return gateBehind(scene, (path) => (path === lookUp(imageSha256) ? json(told) : undefined));
}

export const GATE_ATTACKS: readonly Attack[] = [
  {
    ...{ name: 'image: one byte flipped', stage: 'gate', code: 'POLICY_EVIDENCE_EMPTY' },
    async mount(scene) {
      const path = join(await mkdtemp(join(scene.road.folder, 'copy-')), 'image.bin');
      const bytes = await readFile(latest(scene).imagePath);
      bytes[0] = (bytes[0] ?? 0) ^ 1;
      await writeFile(path, bytes);
      return gate(scene, { image: path });
    },
  },
  {
    ...{
      name: 'provenance: a valid build of another version',
      stage: 'gate',
      code: 'CHAIN_PRODUCT_MISMATCH',
    },
    mount: (scene) => gate(scene, { version: '9.0.0' }),
  },
  {
    ...{
      name: "product: another product's image, with its valid evidence",
      stage: 'gate',
      code: 'CHAIN_PRODUCT_MISMATCH',
    },
    async mount(scene) {
      await scene.otherOffer('8.7.0');
      const other = await scene.road.build(OTHER_PRODUCT, '8.7.0');
      return gate(scene, { image: other.imagePath, version: '8.7.0' });
    },
  },
  {
    ...{
      name: 'version: not higher than the last release',
      stage: 'gate',
      code: 'POLICY_VERSION_NOT_HIGHER',
    },
    mount: (scene) => gate(scene, { version: '8.1.0' }),
  },
  {
    ...{
      name: 'identity: a build by a workflow that the policy does not name',
      stage: 'gate',
      code: 'CHAIN_BUILDER_NOT_TRUSTED',
    },
    async mount(scene) {
      const built = await scene.road.build(PRODUCT, '8.2.0');
      const outcome = await attest(scene, built.folder, NIGHTLY);
      if (outcome.exitCode !== 0)
        throw new Error(`the authority serves this workflow, but: ${outcome.stderr}`);
      return gate(scene, { image: built.imagePath, version: built.version });
    },
  },
  {
    ...{
      name: 'registry: says that a stored bundle is another',
      stage: 'gate',
      code: 'EVIDENCE_BUNDLE_DIGEST_MISMATCH',
    },
    mount: (scene) => lie(scene, ([first, ...rest]) => [{ ...first, bundle: rest[0]?.bundle }, ...rest]),
  },
  {
    ...{
      name: 'registry: answers with a bundle about something else',
      stage: 'gate',
      code: 'EVIDENCE_SUBJECT_ABSENT',
    },
    async mount(scene) {
      const elf = evidenceOf((await scene.offer('8.1.0')).pack).find((bundle) =>
        isStep(bundle, 'compile'),
      ) as Uint8Array;
      return lie(scene, (attestations) => [
        ...attestations,
        { sha256: sha256Of(elf), bundle: utf8Decode(elf) },
      ]);
    },
  },
  {
    ...{
      name: 'registry: answers with an edited bundle under its new digest',
      stage: 'gate',
      code: 'SIGSTORE_SIGNATURE_INVALID',
    },
    mount: (scene) =>
      lie(scene, (attestations) =>
        attestations.map(({ bundle, sha256 }) => {
          if (!isReference(utf8(bundle))) return { bundle, sha256 };
          const edited = editedPayload(utf8(bundle));
          return { sha256: sha256Of(edited), bundle: utf8Decode(edited) };
        }),
      ),
  },
  {
    ...{ name: 'registry: withholds the provenance', stage: 'gate', code: 'CHAIN_STEP_MISSING' },
    mount: (scene) =>
      lie(scene, (attestations) => attestations.filter(({ bundle }) => !isStep(utf8(bundle), 'image'))),
  },
  {
    ...{ name: 'SBOM: withheld', stage: 'gate', code: 'POLICY_SBOM_WITHHELD' },
    mount: (scene) =>
      gateBehind(scene, (path) =>
        path.startsWith('/api/v1/blobs/') ? { status: 404, body: utf8('{}') } : undefined,
      ),
  },
  {
    ...{ name: 'SBOM: exchanged', stage: 'gate', code: 'SBOM_DIGEST_MISMATCH' },
    async mount(scene) {
      const { sbom } = await scene.offer('8.0.0');
      return gateBehind(scene, (path) =>
        path.startsWith('/api/v1/blobs/') ? { status: 200, body: sbom } : undefined,
      );
    },
  },
];

export const RELEASE_ATTACKS: readonly Attack[] = [
  {
    ...{ name: 'gate: no summary for this version', stage: 'release', code: 'RELEASE_SUMMARY_MISSING' },
    async mount(scene) {
      const { cli } = scene.road;
      const what = ['--product', PRODUCT, '--product-version', '9.0.0', '--image', latest(scene).imagePath];
      const how = ['--key', scene.road.releasesKey(PRODUCT), '--json'];
      return refusalOf(await cli.run(['release', ...what, ...how, ...registry(scene)]));
    },
  },
  {
    ...{
      name: 'delegation: a release signed by another key',
      stage: 'release',
      code: 'RELEASE_KEY_NOT_DELEGATED',
    },
    async mount(scene) {
      const { cli } = scene.road;
      const built = await scene.road.build(PRODUCT, '8.2.0');
      const attested = await attest(scene, await copyOf(scene, built));
      const passed = await gate(scene, { image: built.imagePath, version: built.version });
      if (attested.exitCode !== 0 || passed.exitCode !== 0)
        throw new Error('an honest build did not pass the gate');
      const stranger = join(await mkdtemp(join(scene.road.folder, 'key-')), 'releases.pem');
      await cli.must(['key', 'new', '--for', 'releases', stranger]);
      const what = ['--product', PRODUCT, '--product-version', built.version, '--image', built.imagePath];
      return refusalOf(await cli.run(['release', ...what, '--key', stranger, '--json', ...registry(scene)]));
    },
  },
];
