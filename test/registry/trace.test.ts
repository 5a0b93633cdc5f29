// SPDX-License-Identifier: Apache-2.0
// "Where is this component?" over two releases of one product, built in two steps, released, installed, withdrawn.

import { sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trace } from '../../cli/trace.ts';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { buildInstallReport, type InstallReport } from '../../core/intoto/install-report.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, PAYLOAD_TYPE, type ResourceDescriptor } from '../../core/intoto/statement.ts';
import { type Denial, formatReleaseIndex, type Release } from '../../core/release/release-index.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { ReleaseRecords } from '../../registry/releases.ts';
import { type Trace, Tracer } from '../../registry/trace.ts';
import { newP256, RunningRegistry, refusal } from './running-registry.ts';
import { sha256, signRole, targetsRole } from './tuf-house.ts';

let running: RunningRegistry;
const BUILDER = 'https://waybill.example/builders/test';

interface Build {
  readonly version: string;
  readonly image: Uint8Array;
  readonly compile: Uint8Array;
  readonly last: Uint8Array;
  readonly sbom: Uint8Array;
}
const builds: Build[] = [];

/** Source and compiler go into step `compile`; its ELF, and another tool, into step `image`. */
async function build(version: string, compiler: string): Promise<Build> {
  const elf = sha256(`elf ${version}`);
  const image = utf8(`image ${version}`);
  const input = (uri: string, role: string): ResourceDescriptor => ({
    uri,
    sha256: sha256(uri),
    annotations: { role },
  });
  const step = (name: string, product: { name: string; sha256: string }, inputs: ResourceDescriptor[]) =>
    running.sign(
      buildStepProvenance({
        products: [product],
        builderId: BUILDER,
        product: 'optiboot',
        version,
        step: name,
        resolvedDependencies: inputs,
        sandbox: {
          hermetic: true,
          mechanism: 'test',
          kernel: 'none',
          sourceDateEpoch: 0,
          seccomp: true,
          limits: 'rlimits' as const,
          clock: 'host' as const,
          cpus: 1,
        },
        invocationId: `run-${version}`,
      }),
    );
  const compile = await step('compile', { name: 'o.elf', sha256: elf }, [
    input('pkg:deb/debian/arduino-core-avr@1.8.6?arch=all', 'source'),
    input(`pkg:deb/debian/gcc-avr@${compiler}?arch=amd64`, 'toolchain'),
    { name: 'waybill.yaml', sha256: sha256('yaml'), annotations: { role: 'config' } },
  ]);
  const last = await step('image', { name: 'o.bin', sha256: sha256(image) }, [
    input('pkg:deb/debian/binutils-avr@2.40?arch=amd64', 'toolchain'),
    {
      name: 'o.elf',
      uri: 'waybill:step/compile/o.elf',
      sha256: elf,
      annotations: { role: 'material', step: 'compile' },
    },
  ]);
  const component = { type: 'library', name: 'a', purl: 'pkg:deb/debian/arduino-core-avr@1.8.6?arch=all' };
  const sbom = utf8(
    JSON.stringify({
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      version: Number(version),
      components: [component],
    }),
  );
  const reference = await running.sign(
    buildSbomReference({
      subjects: [{ name: 'o.bin', sha256: sha256(image) }],
      attesterId: BUILDER,
      sbomSha256: sha256(sbom),
      downloadLocation: 'sbom.cdx.json',
    }),
  );
  for (const bundle of [last, reference, compile]) expect((await running.submit(bundle)).status).toBe(201);
  for (const blob of [image, sbom]) expect((await running.putBlob(blob)).status).toBe(201);
  return { version, image, compile, last, sbom };
}

let roleVersion = 0;
async function publish(releases: readonly Build[], denials: readonly Denial[]): Promise<void> {
  const files: Record<string, Uint8Array> = {};
  const listed = releases.map(({ version, image }): Release => {
    const [imageName, packName] = [`images/optiboot/o-${version}.bin`, `packs/optiboot/o-${version}.waybill`];
    const pack = utf8(`pack ${version}`);
    files[imageName] = image;
    files[packName] = pack;
    const file = (name: string, bytes: Uint8Array) => ({
      name,
      sha256: sha256(bytes),
      sizeBytes: bytes.length,
    });
    return {
      version,
      image: file(imageName, image),
      pack: file(packName, pack),
      hardwareIds: ['uno-r3'],
      releasedAt: `2026-11-2${version}T00:00:00Z`,
    };
  });
  files['packs/optiboot/releases.json'] = formatReleaseIndex({
    product: 'optiboot',
    releases: listed,
    denials,
  });
  const metadata = signRole(targetsRole(++roleVersion, files), [running.releasesKey]);
  expect((await running.publish('releases-optiboot', metadata, Object.values(files))).status).toBe(201);
}

const device = newP256();
let counter = 0;
async function report(image: Uint8Array, outcome: InstallReport['outcome'], version: string): Promise<void> {
  const at = `2026-11-23T00:00:0${++counter}.000Z`;
  const payload = formatStatement(
    buildInstallReport(
      {
        deviceId: 'dev-1',
        product: 'optiboot',
        counter,
        outcome,
        imageSha256: sha256(image),
        version,
        reportedAtMs: Date.parse(at),
      },
      at,
    ),
  );
  const sig = sign('sha256', preAuthEncoding(PAYLOAD_TYPE, payload), device.key).toString('base64');
  const envelope = {
    payloadType: PAYLOAD_TYPE,
    payload: Buffer.from(payload).toString('base64'),
    signatures: [{ sig }],
  };
  const answer = await running.send('POST', '/api/v1/devices/dev-1/reports', JSON.stringify(envelope));
  expect(answer.status).toBe(201);
}

beforeAll(async () => {
  running = await RunningRegistry.start();
  await running.addProduct();
  builds.push(await build('1', '13.2'), await build('2', '13.20'));
  const token = (await readFile(join(running.dataFolder, 'keys', 'enrolment.token'), 'utf8')).trim();
  const claim = {
    deviceId: 'dev-1',
    product: 'optiboot',
    hardwareId: 'uno-r3',
    publicKey: Buffer.from(device.spki).toString('base64'),
  };
  const proof = sign('sha256', canonicalJsonBytes(claim), device.key).toString('base64');
  const headers = { authorization: `Bearer ${token}` };
  await running.send('POST', '/api/v1/devices', JSON.stringify({ ...claim, proof }), headers);
});
afterAll(() => running.close());

const buildAt = (i: number): Build => builds[i] as Build;
const ask = (purl: string): Promise<Trace> => trace(purl, running.url);
const versions = (images: Trace['shipsIn']): readonly string[] => images.map((image) => image.version);

describe('trace', () => {
  it('tells which images a package ships in, from which build, signed by whom', async () => {
    const { purl, shipsIn } = await ask('pkg:deb/debian/arduino-core-avr');
    expect(purl).toBe('pkg:deb/debian/arduino-core-avr');
    expect(versions(shipsIn)).toEqual(['1', '2']);
    const first = buildAt(0);
    expect(shipsIn[0]).toEqual({
      imageSha256: sha256(first.image),
      product: 'optiboot',
      version: '1',
      component: 'pkg:deb/debian/arduino-core-avr@1.8.6?arch=all',
      sbomSha256: sha256(first.sbom),
      build: {
        invocationId: 'run-1',
        builderId: BUILDER,
        step: 'image',
        bundleSha256: sha256(first.last),
        logIndex: 1,
        signer: {
          kind: 'certificate',
          identity: 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main',
          issuer: running.issuer.url,
        },
        signedAt: expect.stringMatching(/Z$/),
      },
      releases: [],
      devices: [],
    });
  });

  it('tells apart which images it was built with, through all steps', async () => {
    const compiler = await ask('pkg:deb/debian/gcc-avr');
    expect(compiler.shipsIn).toEqual([]);
    expect(compiler.builtWith).toHaveLength(2);
    expect(compiler.builtWith[0]).toMatchObject({
      imageSha256: sha256(buildAt(0).image),
      component: 'pkg:deb/debian/gcc-avr@13.2?arch=amd64',
      role: 'toolchain',
      usedIn: { step: 'compile', bundleSha256: sha256(buildAt(0).compile) },
      build: { step: 'image' },
      sbomSha256: sha256(buildAt(0).sbom),
    });
    const linker = await ask('pkg:deb/debian/binutils-avr');
    expect(linker.builtWith.map((image) => image.usedIn?.step)).toEqual(['image', 'image']);
    const source = await ask('pkg:deb/debian/arduino-core-avr');
    expect(source.builtWith.map((image) => image.role)).toEqual(['source', 'source']);
  });

  it('compares package URLs part by part', async () => {
    expect(versions((await ask('pkg:deb/debian/gcc-avr@13.2')).builtWith)).toEqual(['1']);
    expect(versions((await ask('pkg:deb/debian/gcc-avr@13.20?arch=amd64')).builtWith)).toEqual(['2']);
    expect(versions((await ask('pkg:DEB/Debian/gcc%2Davr')).builtWith)).toEqual(['1', '2']);
    for (const none of [
      'pkg:deb/debian/gcc',
      'pkg:deb/debian/gcc-avr@13',
      'pkg:deb/debian/gcc-avr@13.2?arch=arm64',
      'pkg:deb/ubuntu/gcc-avr',
      'pkg:rpm/debian/gcc-avr',
      'pkg:deb/gcc-avr',
    ]) {
      expect([none, (await ask(none)).builtWith]).toEqual([none, []]);
    }
  });

  it('tells when an image was released, and when it was withdrawn', async () => {
    await publish(builds, []);
    const released = await ask('pkg:deb/debian/gcc-avr');
    expect(released.builtWith.map((image) => image.releases)).toEqual([
      [{ product: 'optiboot', version: '1', releasedAt: '2026-11-21T00:00:00Z' }],
      [{ product: 'optiboot', version: '2', releasedAt: '2026-11-22T00:00:00Z' }],
    ]);
    const denial = {
      imageSha256: sha256(buildAt(0).image),
      version: '1',
      reason: 'watchdog',
      deniedAt: '2026-11-23T00:00:00Z',
    };
    await publish([buildAt(1)], [denial]);
    await running.restart();
    const [first] = (await ask('pkg:deb/debian/gcc-avr@13.2')).builtWith;
    expect(first?.releases).toEqual([
      {
        product: 'optiboot',
        version: '1',
        releasedAt: '2026-11-21T00:00:00Z',
        withdrawn: { deniedAt: '2026-11-23T00:00:00Z', reason: 'watchdog' },
      },
    ]);
  });

  it('tells on which devices an image is, and was', async () => {
    await report(buildAt(0).image, 'installed', '1');
    await report(buildAt(0).image, 'refused', '1');
    const before = await ask('pkg:deb/debian/arduino-core-avr');
    expect(before.shipsIn.map((image) => image.devices)).toEqual([
      [{ deviceId: 'dev-1', reportedAt: '2026-11-23T00:00:02.000Z', outcome: 'refused', current: true }],
      [],
    ]);
    await report(buildAt(1).image, 'installed', '2');
    const after = await ask('pkg:deb/debian/arduino-core-avr');
    expect(after.shipsIn.map((image) => image.devices.map((one) => one.current))).toEqual([[false], [true]]);
  });

  it('refuses what is no package URL', async () => {
    for (const purl of ['gcc', 'pkg:', 'pkg:deb', 'https://x', 'pkg:deb/debian/a\u0000b']) {
      const answer = await running.send('GET', `/api/v1/trace?purl=${encodeURIComponent(purl)}`);
      expect(refusal(answer)).toEqual({ status: 400, code: 'REGISTRY_PURL_MALFORMED' });
    }
    await expect(ask('gcc')).rejects.toMatchObject({ code: 'REGISTRY_PURL_MALFORMED' });
    expect(refusal(await running.send('GET', '/api/v1/trace')).code).toBe('REGISTRY_REQUEST_MALFORMED');
  });

  it('says so when there are more answers than one reply holds', async () => {
    const { database, devices, blobs } = running.registry;
    const tracer = new Tracer(database, devices, new ReleaseRecords(database, blobs), { usesMax: 1 });
    const tooLarge = { code: 'REGISTRY_TRACE_TOO_LARGE' };
    await expect(tracer.trace('pkg:deb/debian/gcc-avr')).rejects.toMatchObject(tooLarge);
    await expect(tracer.trace('pkg:deb/debian/arduino-core-avr')).rejects.toMatchObject(tooLarge);
    expect((await tracer.trace('pkg:deb/debian/gcc-avr@13.2')).builtWith).toHaveLength(1);
  });

  it('refuses an index of releases that cannot be read', async () => {
    const bytes = utf8('{}');
    const metadata = signRole(targetsRole(roleVersion + 1, { 'packs/optiboot/releases.json': bytes }), [
      running.releasesKey,
    ]);
    const answer = await running.publish('releases-optiboot', metadata, [bytes]);
    expect(refusal(answer)).toEqual({ status: 400, code: 'RELEASE_INDEX_MALFORMED' });
  });
});
