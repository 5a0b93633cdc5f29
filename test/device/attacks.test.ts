// SPDX-License-Identifier: Apache-2.0
// Attacks A44 to A49 on a device whose attacker holds every key that comes before the link that refuses: proofs, trees,
// documents that mean two things, and the clock. A50 is in tuf-power-cut.test.ts.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { portableCrypto } from '../../core/crypto.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { type EvidencePack, formatPack } from '../../core/release/pack.ts';
import { formatReleaseIndex } from '../../core/release/release-index.ts';
import { formatCheckpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import {
  hashLeaf,
  hashNode,
  hashPart,
  inclusionParts,
  type TreeNode,
  treeRoot,
} from '../../core/tlog/merkle.ts';
import { formatNote, type NoteSignature, parseNote } from '../../core/tlog/note.ts';
import type { DeviceHost } from '../../device/host.ts';
import { nodeHost } from '../../device/node-host.ts';
import { readStatus } from '../../device/status.ts';
import { updateDevice } from '../../device/update.ts';
import { noteSigner, seededKey, witnessSigner } from '../core/tlog/note-signers.ts';
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

/** The foundry's log policy, which asks for no witness. */
function policyText(): string {
  return Buffer.from(foundry.trustMaterial()['tlog-policy'] as Uint8Array).toString();
}

const w1 = witnessSigner('w1.example');
const w2 = witnessSigner('w2.example');
const evil = noteSigner('evil.example');
const nowS = () => Math.floor(Date.now() / 1000);

/** The policy with a second log, whose key the attacker has, two witnesses, and these rules. */
function witnessed(rules: string): string {
  const lines = `log ${evil.vkey}\nwitness w1 ${w1.vkey}\nwitness w2 ${w2.vkey}\n${rules}`;
  return policyText().replace('quorum none', lines);
}

/** A tree of nothing but the pack's own entries, by a log whose key the attacker has. */
function forgeTree(pack: EvidencePack, log = evil) {
  const hashes = pack.bundles.map(({ bundle }) => {
    const [entry] = JSON.parse(Buffer.from(bundle).toString()).verificationMaterial.tlogEntries;
    return hashLeaf(new Uint8Array(Buffer.from(entry.canonicalizedBody, 'base64')), portableCrypto);
  });
  const read = ({ level, index }: TreeNode): Uint8Array =>
    level === 0
      ? (hashes[Number(index)] as Uint8Array)
      : hashNode(
          read({ level: level - 1, index: index * 2n }),
          read({ level: level - 1, index: index * 2n + 1n }),
          portableCrypto,
        );
  const size = BigInt(hashes.length);
  const rootHash = treeRoot(size, read, portableCrypto);
  const text = formatCheckpoint({ origin: log.key.name, size, rootHash, extensions: [] });
  const bundles = pack.bundles.map(({ bundle }, i) => {
    const parts = inclusionParts(BigInt(i), size);
    return {
      bundle,
      leafIndex: BigInt(i),
      proof: parts.map((part) => hashPart(part, read, portableCrypto)),
    };
  });
  const signedWith = (...lines: NoteSignature[]) =>
    formatNote({ text, signatures: [log.sign(text), ...lines] });
  return { text, pack: { ...pack, bundles }, signedWith };
}

describe('A45, a tree for this device alone', () => {
  test('is refused without the witnesses that the policy asks for, though log and one witness signed it', async () => {
    const forged = forgeTree(soundPack);
    const one = w1.cosign(forged.text, nowS());
    const offer = (...lines: NoteSignature[]) =>
      publish(house, sound, { ...forged.pack, checkpoint: forged.signedWith(...lines) });
    house.trust({ 'tlog-policy': utf8(witnessed('group both all w1 w2\nquorum both')) });
    offer();
    await refused('log', 'TLOG_QUORUM_UNMET');
    offer(one, one);
    await refused('log', 'TLOG_QUORUM_UNMET');
    // Those that the other witness gave for the tree that everybody sees.
    const { text } = parseNote(soundPack.checkpoint);
    offer(one, w2.cosign(text, nowS()));
    await refused('log', 'TLOG_NOTE_SIGNATURE');
    // Nothing else is wrong with it: where the second witness falls for it as well, so does the device.
    offer(one, w2.cosign(forged.text, nowS()));
    const result = await updateDevice(folder, nodeHost());
    expect(result.outcome).toBe('installed');
    const details = result.links.filter(({ link }) => link === 'log').map(({ detail }) => detail);
    expect(details).toHaveLength(soundPack.bundles.length);
    for (const detail of details) expect(detail).toMatch(/ in "evil\.example", witnesses "w1", "w2"$/);
  });

  test('and one witness under two names is none, whatever its keys are called', async () => {
    const same = witnessSigner('w1-again.example', seededKey('w1.example'));
    for (const vkey of [w1.vkey, same.vkey]) {
      const lines = `witness w1 ${w1.vkey}\nwitness again ${vkey}\ngroup g all w1 again\nquorum g`;
      house.trust({ 'tlog-policy': utf8(policyText().replace('quorum none', lines)) });
      publish(house, sound, soundPack);
      await refused('trust', 'TLOG_POLICY_MALFORMED');
    }
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

describe('A46, a log that is not what it was', () => {
  test('is refused by a device that has seen more of it, or another of the same size', async () => {
    const { origin, size } = parseCheckpoint(parseNote(soundPack.checkpoint).text);
    await recovers();
    const stolen = noteSigner(origin);
    house.trust({ 'tlog-policy': utf8(`log ${stolen.vkey}\n${policyText()}`) });
    const next = await foundry.cast('8.2.0', utf8('the image of 8.2.0'));
    const nextPack = await foundry.gated(next);
    const { pack, signedWith } = forgeTree(nextPack, stolen);
    expect(BigInt(pack.bundles.length)).toBeLessThanOrEqual(size);
    publish(house, next, { ...pack, checkpoint: signedWith() });
    await refused('log', 'UPDATE_LOG_INCONSISTENT');
    publish(house, next, nextPack);
    expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
  });
});

describe('A47, a checkpoint that was true once', () => {
  const DAY_S = 86_400;
  const asking = (rules: string, witnesses: unknown) =>
    house.trust({ ...foundry.trustMaterial({ witnesses }), 'tlog-policy': utf8(witnessed(rules)) });
  const offer = (...ages: readonly number[]): void => {
    const { text, signatures } = parseNote(soundPack.checkpoint);
    const lines = ages.map((age, i) => [w1, w2][i]?.cosign(text, nowS() - age) as NoteSignature);
    publish(house, sound, {
      ...soundPack,
      checkpoint: formatNote({ text, signatures: [...signatures, ...lines] }),
    });
  };

  test('is refused once too few of its cosignatures are as young as the device policy asks', async () => {
    asking('group both all w1 w2\nquorum both', { checkpointAgeMaxDays: 30 });
    offer(31 * DAY_S, 31 * DAY_S);
    await refused('log', 'TLOG_CHECKPOINT_STALE');
    offer(0, 31 * DAY_S);
    await refused('log', 'TLOG_CHECKPOINT_STALE');
    offer(0, 29 * DAY_S);
    expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
  });

  test('is taken at any age where the device policy says so', async () => {
    asking('group both all w1 w2\nquorum both', { checkpointAgeMaxDays: 'none' });
    offer(4000 * DAY_S, 4000 * DAY_S);
    expect((await updateDevice(folder, nodeHost())).outcome).toBe('installed');
  });

  test('is refused with no witness at all, where the device policy does not allow that', async () => {
    house.trust(foundry.trustMaterial({ witnesses: { checkpointAgeMaxDays: 'none' } }));
    publish(house, sound, soundPack);
    await refused('log', 'TLOG_QUORUM_ABSENT');
    await recovers();
  });

  test('shows a clock that stands before it (A49)', async () => {
    asking('quorum w1', 'none');
    offer(-2 * DAY_S);
    await refused('log', 'TLOG_COSIGNATURE_FUTURE');
    offer(0);
    await refused('log', 'TLOG_COSIGNATURE_FUTURE', { ...nodeHost(), nowMs: () => 0 });
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
    await refused('metadata', 'UPDATE_CLOCK_BEHIND', { ...nodeHost(), nowMs: () => 0 });
    await refused('metadata', 'TUF_VERSION_ROLLBACK');
  });
});
