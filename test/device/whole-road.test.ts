// SPDX-License-Identifier: Apache-2.0
// Whole releases, sound and wrong in one place each. The attacker holds every key that comes before the link that refuses.

import { generateKeyPairSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import type { EvidencePack } from '../../core/release/pack.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import { enrolDevice, makeDevice } from '../../device/enrolment.ts';
import type { DeviceHost } from '../../device/host.ts';
import { nodeFiles, nodeHost } from '../../device/node-host.ts';
import { devicePaths, readActive } from '../../device/state.ts';
import { readStatus } from '../../device/status.ts';
import { updateDevice } from '../../device/update.ts';
import { sbomOf } from '../policy/evidence.ts';
import { hostWith } from './folder.ts';
import { type Casting, Foundry, publish, referenceOf, stepsOf } from './foundry.ts';
import { House, sha256, TOKEN } from './house.ts';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const image = bytes('the image of 8.1.0'.repeat(20_000));
let foundry: Foundry;
let sound: Casting;
let soundPack: EvidencePack;
let house: House;
let folder: string;

beforeAll(async () => {
  foundry = await Foundry.build();
  sound = await foundry.cast('8.1.0', image);
  soundPack = await foundry.gated(sound);
});
afterAll(() => foundry.raze());
beforeEach(async () => {
  house = await House.build();
  house.trust(foundry.trustMaterial());
  folder = await house.device();
});
afterEach(() => house.raze());

/** The update is refused at this link with this code; slot, floor and image stay, the inactive slot holds nothing. */
async function refused(link: string, code: string, host: DeviceHost = nodeHost()): Promise<void> {
  const before = await readStatus(folder, nodeHost());
  const result = await updateDevice(folder, host);
  const [last] = result.links.filter(({ verdict }) => verdict === 'refused');
  expect(last ?? result.outcome).toMatchObject({ link, code });
  const after = await readStatus(folder, nodeHost());
  expect([after.active, after.versionFloor]).toEqual([before.active, before.versionFloor]);
  expect(after.active.intact).toBe(true);
  const idle = await readFile(devicePaths(folder).slot(after.active.slot === 'a' ? 'b' : 'a')).catch(() =>
    Buffer.alloc(0),
  );
  expect(idle.length).toBe(0);
  expect((await house.known()).lastReport).toMatchObject({ outcome: 'refused', code });
}

/** After whatever was refused, the sound release installs. */
async function stillUpdatable(): Promise<void> {
  publish(house, sound, soundPack);
  expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
}

test('a sound release is verified link by link, installed, switched to and reported', async () => {
  publish(house, sound, soundPack);
  const result = await updateDevice(folder, nodeHost());
  expect(result.outcome).toBe('installed');
  expect([...new Set(result.links.map(({ link }) => link))]).toEqual(
    'metadata trust index release pack log signature summary builder chain sbom download slot version switch report'.split(
      ' ',
    ),
  );
  expect(result.links.every(({ verdict }) => verdict === 'ok')).toBe(true);
  expect(await readActive(nodeFiles, folder)).toEqual({
    slot: 'b',
    image: { sha256: sha256(image), version: '8.1.0', sizeBytes: image.length },
    versionFloor: '8.1.0',
    previousSha256: sha256('factory image'),
    reported: true,
    seen: {
      log: {
        origin: expect.any(String),
        size: expect.any(Number),
        rootHash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
      timeMs: expect.any(Number),
    },
  });
  expect(await readFile(devicePaths(folder).slot('b'))).toEqual(Buffer.from(image));
  expect(await readFile(devicePaths(folder).slot('a'), 'utf8')).toBe('factory image');
  expect((await house.known()).lastReport).toMatchObject({
    counter: 1,
    outcome: 'installed',
    imageSha256: sha256(image),
    previousSha256: sha256('factory image'),
    version: '8.1.0',
  });
  expect((await updateDevice(folder, nodeHost())).outcome).toBe('current');
});

test('a device without an image installs its first one, at the floor', async () => {
  folder = `${house.folder}/second`;
  const root = house.forge.files.get('1.root.json') as Uint8Array;
  const settings = { id: 'bench-2', product: 'optiboot', hardwareId: 'atmega328p', versionFloor: '8.1.0' };
  await makeDevice(folder, { ...settings, registryUrl: house.url, root }, nodeHost());
  await enrolDevice(folder, TOKEN, nodeHost());
  publish(house, sound, soundPack);
  expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
  expect((await house.known('bench-2')).lastReport).not.toHaveProperty('previousSha256');
});

describe('the log', () => {
  test('refuses a bundle that it does not hold at that place', async () => {
    const [first, second, ...rest] = soundPack.bundles;
    if (first === undefined || second === undefined) throw new Error('too few bundles');
    publish(house, sound, { ...soundPack, bundles: [first, { ...second, proof: first.proof }, ...rest] });
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    await stillUpdatable();
  });

  test('refuses the checkpoint of another log', async () => {
    const other = await Foundry.build();
    try {
      const foreign = await other.cast('8.1.0', image);
      const summary = await other.asGate(other.summaryOf(foreign), foundry.gateKey);
      publish(house, foreign, await other.pack(foreign, [...foreign.evidence, summary]));
      await refused('log', 'TLOG_NOTE_UNSIGNED');
    } finally {
      await other.raze();
    }
  });
});

describe('signatures', () => {
  test('refuse a bundle without its timestamp, though the log holds its leaf', async () => {
    const bundles = soundPack.bundles.map((packed, i) => {
      if (i !== 0) return packed;
      const json = JSON.parse(Buffer.from(packed.bundle).toString());
      json.verificationMaterial.timestampVerificationData.rfc3161Timestamps = [];
      return { ...packed, bundle: bytes(JSON.stringify(json)) };
    });
    publish(house, sound, { ...soundPack, bundles });
    await refused('signature', 'SIGSTORE_TIMESTAMP_MISSING');
    await stillUpdatable();
  });
});

test('a clock that stands before the evidence is told, and one after the metadata too', async () => {
  publish(house, sound, soundPack);
  await refused('signature', 'PACK_EVIDENCE_FROM_FUTURE', { ...nodeHost(), nowMs: () => 0 });
  await refused('metadata', 'TUF_ROLE_EXPIRED', { ...nodeHost(), nowMs: () => Date.UTC(2100) });
  await stillUpdatable();
});

describe('the summary', () => {
  test('is missed, refused when it failed, and refused by another key', async () => {
    publish(house, sound, await foundry.pack(sound, sound.evidence));
    await refused('summary', 'PACK_SUMMARY_MISSING');
    publish(house, sound, await foundry.gated(sound, { result: 'FAILED' }));
    await refused('summary', 'PACK_SUMMARY_FAILED');
    const stolen = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const forged = await foundry.asGate(foundry.summaryOf(sound), stolen);
    publish(house, sound, await foundry.pack(sound, [...sound.evidence, forged]));
    await refused('log', 'PACK_SUMMARY_KEY');
    const json = JSON.parse(Buffer.from(forged).toString());
    const { hint } = JSON.parse(Buffer.from(soundPack.bundles.at(-1)?.bundle ?? []).toString())
      .verificationMaterial.publicKey;
    json.verificationMaterial.publicKey.hint = hint;
    publish(house, sound, await foundry.pack(sound, [...sound.evidence, bytes(JSON.stringify(json))]));
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    const minted = await foundry.asCi(parseBundle(soundPack.bundles.at(-1)?.bundle ?? bytes('')).payload);
    publish(house, sound, await foundry.pack(sound, [...sound.evidence, minted]));
    await refused('summary', 'PACK_SUMMARY_KEY');
    await stillUpdatable();
  });

  test('covers the pack, no more and no less', async () => {
    const withheld = soundPack.bundles.filter((_, i) => i !== 2).map(({ bundle }) => bundle);
    publish(house, sound, await foundry.pack(sound, withheld));
    await refused('summary', 'PACK_SUMMARY_INPUTS');
    const twice = [...soundPack.bundles, ...soundPack.bundles.slice(0, 1)];
    publish(house, sound, { ...soundPack, bundles: twice });
    await refused('pack', 'PACK_MALFORMED');
  });

  test('covers nothing that nobody here can judge', async () => {
    const predicate = { attester: 'someone', attribute: 'tested' };
    const subjects = [{ name: 'optiboot.bin', sha256: sha256(image) }];
    const predicateType = 'https://in-toto.io/attestation/scai/v0.3';
    const scai = await foundry.asCi({ subjects, predicateType, predicate });
    const casting = { ...sound, evidence: [...sound.evidence, scai] };
    publish(house, casting, await foundry.gated(casting));
    await refused('summary', 'INTOTO_PREDICATE_UNKNOWN');
    await stillUpdatable();
  });
});

describe('with the gate passing everything, a device itself refuses', () => {
  /** Lets the gate pass a release whose evidence was changed. */
  async function offerPassed(change: Partial<Casting>): Promise<void> {
    const casting = { ...sound, ...change };
    publish(house, casting, await foundry.gated(casting));
  }
  const [compile, link] = stepsOf('8.1.0', image);
  const others = (i: number) => sound.evidence.filter((_, k) => k !== i);
  const signed = (provenance: typeof compile) => foundry.asCi(buildStepProvenance(provenance));

  test('a builder that is not paired with the identity, or only claims to be', async () => {
    const stranger = await signed({ ...compile, builderId: 'https://waybill.example/builders/other' });
    await offerPassed({ evidence: [...others(0), stranger] });
    await refused('builder', 'CHAIN_BUILDER_NOT_TRUSTED');
    const byKey = await foundry.asGate(buildStepProvenance(compile));
    await offerPassed({ evidence: [...others(0), byKey] });
    await refused('builder', 'CHAIN_BUILDER_NOT_TRUSTED');
  });

  test('a step that was not hermetic', async () => {
    const open = await signed({ ...compile, sandbox: { ...compile.sandbox, hermetic: false } });
    await offerPassed({ evidence: [...others(0), open] });
    await refused('builder', 'CHAIN_STEP_NOT_HERMETIC');
  });

  test('a chain with a step missing, and one that does not lead to the image', async () => {
    await offerPassed({ evidence: others(0) });
    await refused('chain', 'CHAIN_STEP_MISSING');
    const elsewhere = await signed({
      ...link,
      products: [{ name: 'optiboot.bin', sha256: sha256('other') }],
    });
    await offerPassed({ evidence: [...others(1), elsewhere] });
    await refused('chain', 'CHAIN_IMAGE_NOT_PRODUCED');
  });

  test('an SBOM that is missing, exchanged, or about something else', async () => {
    await offerPassed({ evidence: others(2) });
    await refused('sbom', 'SBOM_REFERENCE_MISSING');
    publish(house, sound, { ...soundPack, bodies: [] });
    await refused('sbom', 'PACK_SBOM_MISSING');
    const exchanged = { ...sound, sbom: sbomOf(sha256('other')) };
    publish(
      house,
      exchanged,
      await foundry.pack(
        exchanged,
        soundPack.bundles.map(({ bundle }) => bundle),
      ),
    );
    await refused('sbom', 'SBOM_DIGEST_MISMATCH');
    const reference = await foundry.asCi(referenceOf(image, exchanged.sbom));
    await offerPassed({ sbom: exchanged.sbom, evidence: [...others(2), reference] });
    await refused('sbom', 'SBOM_NOT_BOUND');
    await stillUpdatable();
  });

  test('an older release under new metadata', async () => {
    publish(house, sound, soundPack);
    expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
    const older = await foundry.cast('8.0.9', bytes('the image of 8.0.9'));
    publish(house, older, await foundry.gated(older));
    await refused('version', 'UPDATE_VERSION_FLOOR');
    const same = await foundry.cast('8.1', bytes('another image of 8.1'));
    publish(house, same, await foundry.gated(same));
    await refused('version', 'UPDATE_VERSION_FLOOR');
  });
});

describe('the image', () => {
  const flipped = Uint8Array.from(image, (byte, i) => (i === 1234 ? byte ^ 1 : byte));

  test('with one byte flipped in the repository', async () => {
    publish(house, sound, soundPack);
    const name = [...house.forge.files.keys()].find((path) => path.endsWith('optiboot-8.1.0.bin')) as string;
    house.forge.files.set(name, flipped);
    await refused('download', 'UPDATE_IMAGE_MISMATCH');
    house.forge.files.set(name, Uint8Array.from([...image, 0]));
    await refused('download', 'UPDATE_IMAGE_TOO_LONG');
    await stillUpdatable();
  });

  test('with one byte flipped in the slot after it was written', async () => {
    publish(house, sound, soundPack);
    const { files } = hostWith({
      openSlot: async (path) => {
        const slot = await nodeFiles.openSlot(path);
        const finish = async () => {
          await slot.finish();
          if ((await readFile(path)).length === image.length) {
            const again = await nodeFiles.openSlot(path);
            await again.write(flipped);
            await again.finish();
          }
        };
        return { ...slot, finish };
      },
    });
    await refused('slot', 'SLOT_READBACK_MISMATCH', { ...nodeHost(), files });
    await stillUpdatable();
  });

  test('that cannot be downloaded now gives no verdict', async () => {
    publish(house, sound, soundPack);
    const name = [...house.forge.files.keys()].find((path) => path.endsWith('optiboot-8.1.0.bin')) as string;
    house.forge.files.delete(name);
    const before = await readStatus(folder, nodeHost());
    await expect(updateDevice(folder, nodeHost())).rejects.toEqual(
      expect.objectContaining({ code: 'UPDATE_DOWNLOAD_INTERRUPTED' }),
    );
    expect(await readStatus(folder, nodeHost())).toEqual(before);
  });
});

test('a cut at any write of the folder leaves a device that runs one whole image and can be updated', async () => {
  publish(house, sound, soundPack);
  for (let n = 1; ; n++) {
    let writes = 0;
    const { files } = hostWith({
      write: async (path, content, mode) => {
        if (++writes === n) throw new Error('power cut');
        await nodeFiles.write(path, content, mode);
      },
    });
    const outcome = await updateDevice(folder, { ...nodeHost(), files }).then(
      (result) => result.outcome,
      (failure: Error) => failure.message,
    );
    const status = await readStatus(folder, nodeHost());
    expect(status.active.intact).toBe(true);
    expect(status.versionFloor).toBe(status.active.version);
    if (outcome !== 'power cut') break;
  }
  expect((await updateDevice(folder, nodeHost())).outcome).toBe('current');
  expect((await house.known()).lastReport).toMatchObject({ outcome: 'installed', version: '8.1.0' });
});
