// SPDX-License-Identifier: Apache-2.0
// Witnesses that hang, are slow, or are called otherwise while they are asked [docs/spec/log.md §Witnesses].

import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { formatSignatureLine, parseNote } from '../../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../../core/tlog/proof.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { Cosigning } from '../../../registry/log/cosigning.ts';
import { witnessSigner } from '../../core/tlog/note-signers.ts';
import { pretender, relay, startHouse, TIMES } from './witnessed-house.ts';

/** As long as a grace is where nothing else uses the machine. */
const BRIEF = { ...TIMES, graceMs: 50 };
const any = ['group some any w1 w2', 'quorum some'];
const moved = (line: string | undefined, url: string) => (line as string).replace(/\S+$/, url);

test('who hangs holds up nobody, and who is late joins what stands still', {
  timeout: 30_000,
}, async () => {
  const house = await startHouse(2, { ...TIMES, roundMs: 20_000, graceMs: 50 });
  const [, second] = house.witnesses;
  const held: (() => void)[] = [];
  // The second witness, behind someone who passes nothing on before he is told to.
  const url = await relay(second?.url, () => new Promise((resolve) => held.push(resolve)));
  const slow = (house.lines[1] as string).replace(/\S+$/, url);
  const policy = house.ask(house.lines[0] as string, slow, ...any);
  house.start();
  const beganMs = performance.now();
  for (let i = 0; i < 5; i++) {
    expect((await house.proved(await house.append(), policy)).names).toEqual(['w1']);
  }
  expect(performance.now() - beganMs).toBeLessThan(10_000);
  // It is not asked anew while it has not answered.
  expect(held).toHaveLength(1);
  const published = async () => {
    const { witnesses, size } = verifyWitnessedCheckpoint(
      (await house.get('/checkpoint')).text,
      policy,
      nodeCrypto,
    );
    return [size, witnesses === 'none' ? [] : witnesses.map(({ name }) => name)];
  };
  // What it was asked first is old by now; it is asked for the newest at once, and then again where it has the size wrong.
  let told = 0;
  const telling = setInterval(() => {
    for (; told < held.length; told++) held[told]?.();
  }, 20);
  onTestFinished(() => clearInterval(telling));
  await expect.poll(published, { timeout: 10_000 }).toEqual([5n, ['w1', 'w2']]);
  expect(parseNote((await house.log.tiles.cosignedNote()) ?? '').signatures).toHaveLength(3);
  expect(house.reports).toEqual([]);
});

test('a quorum that needs the slow one waits for it, and is not told to fail', {
  timeout: 30_000,
}, async () => {
  const house = await startHouse(2, { ...TIMES, roundMs: 20_000, graceMs: 50 });
  const [first, second] = house.witnesses;
  const url = await relay(second?.url, () => setTimeout(500));
  const policy = house.ask(house.lines[0] as string, (house.lines[1] as string).replace(/\S+$/, url), ...any);
  house.start();
  expect((await house.proved(await house.append(), policy)).names).toEqual(['w1']);
  // The slow one is under way when the other goes.
  await first?.stop();
  expect((await house.proved(await house.append(), policy)).names).toEqual(['w2']);
  expect(house.reports.filter((report) => report.startsWith('the quorum'))).toEqual([]);
});

test('a witness that gets another name while it is asked is not said to have seen what was lost', {
  timeout: 30_000,
}, async () => {
  const house = await startHouse(2, BRIEF);
  let asked = 0;
  let atOnce = 0;
  let most = 0;
  const url = await relay(house.witnesses[1]?.url, async () => {
    most = Math.max(most, ++atOnce);
    await setTimeout(asked++ === 0 ? 1200 : 0);
    atOnce--;
  });
  const second = moved(house.lines[1], url);
  house.ask(house.lines[0] as string, second, ...any);
  await house.append();
  house.start();
  await expect.poll(() => asked).toBe(1);
  const renamed = second.replace('witness w2', 'witness w3');
  const policy = house.ask(house.lines[0] as string, renamed, 'group some all w1 w3', 'quorum some');
  const indexes = [await house.append(), await house.append(), await house.append()];
  expect((await house.proved(indexes[2] as bigint, policy)).names).toEqual(['w1', 'w3']);
  expect(most).toBe(1);
  expect(house.reports).toEqual([]);
});

test('what asks for a round while the last one ends gets it', { timeout: 30_000 }, async () => {
  const house = await startHouse(2, BRIEF);
  const slow = moved(house.lines[0], await relay(house.witnesses[0]?.url, () => setTimeout(600)));
  house.ask(slow, 'quorum w1');
  const index = await house.append();
  house.start();
  const waiting = house.get(`/api/v2/proof?index=${index}`);
  await setTimeout(300);
  const beganMs = performance.now();
  house.ask(...(house.lines as [string]), 'group both all w1 w2', 'quorum both');
  expect((await waiting).status).toBe(200);
  expect(performance.now() - beganMs).toBeLessThan(TIMES.waitMs / 2);
});

test('a line stands while its witness is asked for the same checkpoint anew', {
  timeout: 30_000,
}, async () => {
  const house = await startHouse(2, { ...BRIEF, refreshMs: 300 });
  const second = moved(house.lines[1], await relay(house.witnesses[1]?.url, () => setTimeout(200)));
  house.ask(house.lines[0] as string, second, ...any);
  await house.append();
  const kept: number[] = [];
  const keep = house.log.tiles.keepCosignedNote.bind(house.log.tiles);
  house.log.tiles.keepCosignedNote = (note) => {
    kept.push(parseNote(note).signatures.length - 1);
    return keep(note);
  };
  house.start();
  await expect.poll(() => kept.length, { timeout: 10_000 }).toBeGreaterThan(5);
  const full = kept.slice(kept.indexOf(2));
  expect(new Set(full)).toEqual(new Set([2]));
});

test('more witnesses than a note has room for: the quorum is published, and can be read', {
  timeout: 60_000,
}, async () => {
  const house = await startHouse(1, { ...BRIEF, roundMs: 20_000 });
  const signers = Array.from({ length: 70 }, (_, i) => witnessSigner(`x${i}.example`));
  const lines = await Promise.all(
    signers.map(async (signer, i) => {
      const url = await pretender(async (request, reply) => {
        const body = await text(request);
        await setTimeout(i < 40 ? 0 : 500);
        const [, note = ''] = body.split('\n\n');
        reply.end(formatSignatureLine(signer.cosign(`${note}\n`, 1_700_000_000)));
      });
      return `witness x${i} ${signer.vkey} ${url}`;
    }),
  );
  const names = signers.map((_, i) => `x${i}`).join(' ');
  const policy = house.ask(...lines, `group many 20 ${names}`, 'quorum many');
  await house.append();
  house.start();
  const signatureCount = async () => parseNote((await house.get('/checkpoint')).text).signatures.length;
  await expect.poll(async () => (await house.get('/checkpoint')).status, { timeout: 20_000 }).toBe(200);
  await expect.poll(signatureCount, { timeout: 20_000 }).toBe(64);
  expect(verifyWitnessedCheckpoint((await house.get('/checkpoint')).text, policy, nodeCrypto).size).toBe(1n);
  await house.cosigning.close();
  const again = await Cosigning.open({ tiles: house.log.tiles, policy: () => policy });
  expect(again.newest().size).toBe(1n);
});

test('a shard that takes entries no more asks nobody', async () => {
  const house = await startHouse(1);
  const policy = house.ask(...house.lines, 'quorum w1');
  house.start();
  await house.proved(await house.append(), policy);
  await house.log.tiles.close();
  const again = await Cosigning.open({ tiles: house.log.tiles, policy: () => policy });
  await house.witnesses[0]?.stop();
  const reports: unknown[] = [];
  again.start((what) => void reports.push(what));
  await setTimeout(3 * TIMES.retryMs);
  expect(again.witnesses()).toEqual([{ name: 'w1', failureCount: 0 }]);
  expect(again.newest().size).toBe(1n);
  await again.close();
});
