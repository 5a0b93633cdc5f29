// SPDX-License-Identifier: Apache-2.0
// Attacks A44, A45, A48 and A49 on a device whose attacker holds every key that comes before the link that refuses: proofs, trees,
// documents that mean two things, and the clock. A46 is core's (test/core/tlog/merkle.test.ts), A50 is in tuf-power-cut.test.ts.

import { generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { portableCrypto } from '../../core/crypto.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { type EvidencePack, formatPack } from '../../core/release/pack.ts';
import { formatReleaseIndex } from '../../core/release/release-index.ts';
import { formatCheckpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { ED25519_NOTE, formatNote, formatVerifierKey, noteKeyId, parseNote } from '../../core/tlog/note.ts';
import type { DeviceHost } from '../../device/host.ts';
import { nodeHost } from '../../device/node-host.ts';
import { readStatus } from '../../device/status.ts';
import { updateDevice } from '../../device/update.ts';
import { type Casting, Foundry, publish } from './foundry.ts';
import { devicePolicy, House, INDEX, listed, OWN } from './house.ts';

const image = utf8('the image of 8.1.0'.repeat(1000));
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

/** Refused at this link with this code, reported so, the active slot untouched; and what is sound still installs. */
async function refused(link: string, code: string, host: DeviceHost = nodeHost()): Promise<void> {
  const before = await readStatus(folder, nodeHost());
  const result = await updateDevice(folder, host);
  expect(result.links.find(({ verdict }) => verdict === 'refused')).toMatchObject({ link, code });
  const after = await readStatus(folder, nodeHost());
  expect([after.active, after.versionFloor]).toEqual([before.active, before.versionFloor]);
  expect((await house.known()).lastReport).toMatchObject({ outcome: 'refused', code });
}

async function recovers(): Promise<void> {
  house.trust(foundry.trustMaterial());
  publish(house, sound, soundPack);
  expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
}

/** Someone who signs notes as a log or a witness does. */
function noteSigner(name: string, type = ED25519_NOTE) {
  const { privateKey, publicKey: pair } = generateKeyPairSync('ed25519');
  const publicKey = new Uint8Array(pair.export({ type: 'spki', format: 'der' }).subarray(-32));
  const keyId = noteKeyId(name, type, publicKey, portableCrypto);
  return {
    vkey: formatVerifierKey({ name, keyId, type, publicKey }),
    sign: (text: string) => ({
      name,
      keyId,
      signature: new Uint8Array(sign(null, Buffer.from(text), privateKey)),
    }),
  };
}

describe('A44, a log proof with one part changed', () => {
  const bend = (
    change: (first: EvidencePack['bundles'][number]) => Partial<EvidencePack['bundles'][number]>,
  ) => {
    const [first, ...rest] = soundPack.bundles as [EvidencePack['bundles'][number]];
    publish(house, sound, { ...soundPack, bundles: [{ ...first, ...change(first) }, ...rest] });
  };

  test('is refused: another leaf, another place, a path of another length', async () => {
    bend(({ leafIndex }) => ({ leafIndex: leafIndex + 1n }));
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    bend(() => ({ leafIndex: 1_000_000n }));
    await refused('log', 'TLOG_INDEX_OUTSIDE_TREE');
    bend(({ proof }) => ({ proof: proof.slice(1) }));
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    bend(({ proof }) => ({ proof: [...proof, new Uint8Array(32)] }));
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    bend(({ proof }) => ({ proof: proof.map((hash, i) => (i === 0 ? hash.map((byte) => byte ^ 1) : hash)) }));
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    await recovers();
  });

  test('is refused: a checkpoint of another origin, by a key of the policy', async () => {
    const other = noteSigner('other.example');
    const policy = foundry.trustMaterial()['tlog-policy'] as Uint8Array;
    house.trust({ 'tlog-policy': utf8(`log ${other.vkey}\n${Buffer.from(policy)}`) });
    const { text } = parseNote(soundPack.checkpoint);
    const checkpoint = formatNote({ text, signatures: [other.sign(text)] });
    publish(house, sound, { ...soundPack, checkpoint });
    await refused('log', 'TLOG_CHECKPOINT_ORIGIN');
    await recovers();
  });
});

describe('A45, a tree for this device alone', () => {
  const policyText = () => Buffer.from(foundry.trustMaterial()['tlog-policy'] as Uint8Array).toString();

  test('is refused while the policy wants witnesses, whoever signed', async () => {
    const witnesses = ['w1', 'w2'].map((name) => ({ name, ...noteSigner(name, 4) }));
    const lines = witnesses.map(({ name, vkey }) => `witness ${name} ${vkey}\n`).join('');
    const policy = policyText().replace('quorum none', `${lines}group both all w1 w2\nquorum both`);
    house.trust({ 'tlog-policy': utf8(policy) });
    publish(house, sound, soundPack);
    await refused('log', 'TLOG_POLICY_QUORUM_UNSUPPORTED');
    await recovers();
  });

  test('and one witness under two names is none', async () => {
    const [one, same] = ['w1', 'w2'].map((name) => `witness ${name} `);
    const { vkey } = noteSigner('w', 4);
    const policy = policyText().replace(
      'quorum none',
      `${one}${vkey}\n${same}${vkey}\ngroup g any w1 w2\nquorum g`,
    );
    house.trust({ 'tlog-policy': utf8(policy) });
    publish(house, sound, soundPack);
    await refused('trust', 'TLOG_POLICY_MALFORMED');
    await recovers();
  });

  test('is refused if it is signed by anybody but the log', async () => {
    const { origin, size } = parseCheckpoint(parseNote(soundPack.checkpoint).text);
    const text = formatCheckpoint({ origin, size, rootHash: new Uint8Array(32), extensions: [] });
    const forged = formatNote({ text, signatures: [noteSigner(origin).sign(text)] });
    publish(house, sound, { ...soundPack, checkpoint: forged });
    await refused('log', 'TLOG_NOTE_UNSIGNED');
    const moved = formatNote({ text, signatures: parseNote(soundPack.checkpoint).signatures });
    publish(house, sound, { ...soundPack, checkpoint: moved });
    await refused('log', 'TLOG_NOTE_SIGNATURE');
    await recovers();
  });
});

describe('A48, documents that mean two things', () => {
  const twice = (bytes: Uint8Array) =>
    utf8(Buffer.from(bytes).toString().replace('{', '{"product":"other",'));
  const prototype = (bytes: Uint8Array) =>
    utf8(Buffer.from(bytes).toString().replace('{', '{"__proto__":{},'));
  const surrogate = (bytes: Uint8Array) =>
    utf8(Buffer.from(bytes).toString().replace('"optiboot"', '"\\ud800"'));

  test('an index, signed as it is', async () => {
    for (const change of [twice, prototype, surrogate]) {
      const index = { product: 'optiboot', releases: [listed('8.1.0', image, utf8('pack'))], denials: [] };
      house.forge.addTarget(OWN, INDEX, change(formatReleaseIndex(index)));
      house.forge.publish(OWN);
      await refused('index', 'RELEASE_INDEX_MALFORMED');
    }
    await recovers();
  });

  test('a device policy, signed as it is', async () => {
    for (const change of [twice, prototype, surrogate]) {
      house.trust({ 'device-policy/optiboot.json': change(devicePolicy()) });
      await refused('trust', 'DEVICE_POLICY_MALFORMED');
    }
    await recovers();
  });

  test('a pack, and base64 that can be written in two ways', async () => {
    const offer = (pack: Uint8Array): void => {
      const release = listed('8.1.0', image, pack);
      house.offer({ releases: [release] }, { [release.image.name]: image, [release.pack.name]: pack });
    };
    const pack = formatPack(soundPack);
    for (const change of [twice, prototype, surrogate]) {
      offer(change(pack));
      await refused('pack', 'PACK_MALFORMED');
    }
    // The last letter before the padding holds bits that mean nothing.
    const [first, ...rest] = soundPack.bundles as [EvidencePack['bundles'][number]];
    const bundle = JSON.parse(Buffer.from(first.bundle).toString());
    const { payload } = bundle.dsseEnvelope;
    bundle.dsseEnvelope.payload = payload.endsWith('=')
      ? payload.replace(/(.)(=+)$/, (_: string, last: string, end: string) => `${nextLetter(last)}${end}`)
      : `${payload} `;
    publish(house, sound, {
      ...soundPack,
      bundles: [{ ...first, bundle: utf8(JSON.stringify(bundle)) }, ...rest],
    });
    await refused('log', 'SIGSTORE_BUNDLE_MALFORMED');
    await recovers();
  });

  test('a payload type that is another than was signed', async () => {
    const [first, ...rest] = soundPack.bundles as [EvidencePack['bundles'][number]];
    const bundle = JSON.parse(Buffer.from(first.bundle).toString());
    bundle.dsseEnvelope.payloadType = 'application/vnd.other+json';
    publish(house, sound, {
      ...soundPack,
      bundles: [{ ...first, bundle: utf8(JSON.stringify(bundle)) }, ...rest],
    });
    // The log holds the digest over the type as well.
    await refused('log', 'TLOG_INCLUSION_MISMATCH');
    await recovers();
  });
});

/** The letter of base64 after this one. */
function nextLetter(letter: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return alphabet.charAt((alphabet.indexOf(letter) + 1) % 64);
}

describe('A49, the clock', () => {
  test('of 1970 and of 2100 are told, and spoil nothing', async () => {
    publish(house, sound, soundPack);
    await refused('signature', 'PACK_EVIDENCE_FROM_FUTURE', { ...nodeHost(), nowMs: () => 0 });
    await refused('metadata', 'TUF_ROLE_EXPIRED', { ...nodeHost(), nowMs: () => Date.UTC(2100) });
    await recovers();
  });

  test.each([
    ['forward', Date.UTC(2100)],
    ['back', 0],
  ])('that jumps %s in the middle of an update is not looked at again', async (_, later) => {
    publish(house, sound, soundPack);
    const times = [Date.now()];
    const { outcome } = await updateDevice(folder, { ...nodeHost(), nowMs: () => times.pop() ?? later });
    expect(outcome).toBe('installed');
    // What it has seen by then is not unseen because of the jump.
    expect((await updateDevice(folder, nodeHost())).outcome).toBe('current');
  });

  test('that was set back does not bring older metadata back', async () => {
    publish(house, sound, soundPack);
    const before = new Map(house.forge.files);
    await recovers();
    for (const [path, bytes] of before) house.forge.files.set(path, bytes);
    await refused('metadata', 'TUF_VERSION_ROLLBACK', { ...nodeHost(), nowMs: () => 0 });
  });
});
