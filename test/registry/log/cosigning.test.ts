// SPDX-License-Identifier: Apache-2.0
// The log and its witnesses over real sockets [docs/spec/log.md §Witnesses]: what is published with whom behind it.

import type { RequestListener } from 'node:http';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatSignatureLine, parseNote } from '../../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../../core/tlog/proof.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { Cosigning } from '../../../registry/log/cosigning.ts';
import { witnessSigner } from '../../core/tlog/note-signers.ts';
import { NOW_MS, runWitness } from '../witness/running-witness.ts';
import { pretender, startHouse, TIMES } from './witnessed-house.ts';

const ALL = ['group both all w1 w2', 'quorum both'];

describe('with a quorum of two', () => {
  test('what is published has both behind it, also under load and after a restart of the asking', {
    timeout: 60_000,
  }, async () => {
    const house = await startHouse(2);
    const policy = house.ask(...house.lines, ...ALL);
    house.start();
    expect(await house.proved(await house.append(), policy)).toEqual({ size: 1n, names: ['w1', 'w2'] });
    const indexes = await Promise.all(Array.from({ length: 200 }, () => house.append()));
    for (const index of [indexes[0] as bigint, ...indexes.slice(-3)]) {
      expect((await house.proved(index, policy)).names).toEqual(['w1', 'w2']);
    }
    const last = indexes.reduce((a, b) => (a > b ? a : b));
    expect((await house.proved(last, policy)).size).toBe(last + 1n);
    const { text } = await house.get('/checkpoint');
    expect(verifyWitnessedCheckpoint(text, policy, nodeCrypto).size).toBe(last + 1n);
    // A round that was still to come may have renewed the cosignatures.
    const tree = parseNote(text).text;
    const other = await house.get('/api/v2/checkpoint');
    expect(parseNote(other.text).text).toBe(tree);
    expect(house.reports).toEqual([]);
    await house.cosigning.close();

    // What is known of the witnesses is not kept: the first question of a new start is answered with 409.
    const again = await Cosigning.open({ tiles: house.log.tiles, policy: () => policy });
    expect(parseNote(again.newest().note).text).toBe(tree);
    expect(verifyWitnessedCheckpoint(again.newest().note, policy, nodeCrypto).size).toBe(last + 1n);
    await house.append();
    again.start((what) => house.reports.push(JSON.stringify(what)));
    const next = await again.covering(last + 1n);
    await again.close();
    expect(verifyWitnessedCheckpoint(next.note, policy, nodeCrypto).size).toBe(last + 2n);
    expect(house.reports).toEqual([]);
  });

  test('one is gone: entries are taken, the last cosigned checkpoint stays, newer proofs are told to wait', {
    timeout: 60_000,
  }, async () => {
    const waitMs = 1500;
    const house = await startHouse(2, { ...TIMES, waitMs });
    const policy = house.ask(...house.lines, ...ALL);
    house.start();
    const first = await house.append();
    await house.proved(first, policy);
    const before = await house.get('/checkpoint');
    const [, gone] = house.witnesses;
    await gone?.stop();
    const second = await house.append();
    const beganMs = performance.now();
    const waited = await house.get(`/api/v2/proof?index=${second}`);
    expect([waited.status, waited.code]).toEqual([503, 'LOG_QUORUM_PENDING']);
    expect(performance.now() - beganMs).toBeGreaterThan(waitMs - 100);
    expect(await house.get('/checkpoint')).toEqual(before);
    expect((await house.proved(first, policy)).size).toBe(1n);
    const beyond = await house.get('/api/v2/proof?index=9');
    expect([beyond.status, beyond.code]).toEqual([404, 'TLOG_INDEX_OUTSIDE_TREE']);
    // Once each, not in every round.
    expect(house.reports).toHaveLength(2);
    expect(house.reports[0]).toMatch(/^witness "w2": .*ECONNREFUSED/);
    expect(house.reports[1]).toMatch(/^the quorum: expected the quorum "both" \(2 of 2\)/);

    await runWitness(house.made[1] as never, undefined, Number(new URL(gone?.url ?? '').port));
    expect(await house.proved(second, policy)).toEqual({ size: 2n, names: ['w1', 'w2'] });
    // Each says once that it is over.
    await expect
      .poll(() => house.reports.slice(2).toSorted())
      .toEqual(['the quorum: again', 'witness "w2": again']);
  });

  test('what is shown is kept already: a start after a kill shows no less', async () => {
    const house = await startHouse(2);
    const policy = house.ask(...house.lines, ...ALL);
    const { tiles } = house.log;
    const keep = tiles.keepCosignedNote.bind(tiles);
    let disk: 'whole' | 'broken' = 'whole';
    const shown: (string | undefined)[] = [];
    tiles.keepCosignedNote = async (note) => {
      shown.push((await house.get('/checkpoint')).code);
      if (disk === 'broken') throw new Error('no space left on device');
      await keep(note);
    };
    disk = 'broken';
    house.start();
    await house.append();
    await expect.poll(() => shown.length).toBeGreaterThan(1);
    expect(new Set(shown)).toEqual(new Set(['LOG_QUORUM_PENDING']));
    disk = 'whole';
    expect((await house.proved(0n, policy)).size).toBe(1n);
    expect(parseNote((await tiles.cosignedNote()) ?? '').text).toBe(
      parseNote((await house.get('/checkpoint')).text).text,
    );
  });

  test('before the first quorum there is no checkpoint to show', async () => {
    const house = await startHouse(1, { ...TIMES, waitMs: 500 });
    const nobody = witnessSigner('w2.example').vkey;
    house.ask(...house.lines, `witness w2 ${nobody} ${await pretender((_, reply) => reply.end())}`, ...ALL);
    house.start();
    const answer = await house.get('/checkpoint');
    expect([answer.status, answer.code]).toEqual([503, 'LOG_QUORUM_PENDING']);
  });

  test('a policy that asks for more than the last one: what was cosigned for that one is not enough', async () => {
    const house = await startHouse(2);
    const one = house.ask(house.lines[0] as string, 'quorum w1');
    house.start();
    const index = await house.append();
    expect((await house.proved(index, one)).names).toEqual(['w1']);
    const both = house.ask(...house.lines, ...ALL);
    expect((await house.get('/checkpoint')).code).toBe('LOG_QUORUM_PENDING');
    expect((await house.proved(index, both)).names).toEqual(['w1', 'w2']);
    house.ask('quorum none');
    await house.append();
    expect(parseNote((await house.get('/checkpoint')).text).signatures).toHaveLength(1);
  });
});

describe('a quorum that does without some', () => {
  const any = ['group some any w1 w2', 'quorum some'];

  test('who does not answer holds up nobody for longer than a round', { timeout: 30_000 }, async () => {
    const house = await startHouse(1, { ...TIMES, roundMs: 1000 });
    const silent = `witness w2 ${witnessSigner('w2.example').vkey} ${await pretender(() => undefined)}`;
    const policy = house.ask(...house.lines, silent, ...any);
    house.start();
    const beganMs = performance.now();
    expect((await house.proved(await house.append(), policy)).names).toEqual(['w1']);
    expect(performance.now() - beganMs).toBeLessThan(5000);
    expect(house.reports).toContain('witness "w2": no answer within 1000 ms');
  });

  const liar = witnessSigner('w2.example');
  const line = (signer = liar, text = 'another text') =>
    formatSignatureLine(signer.cosign(text, 1_700_000_000));
  test.each<[string, RequestListener, RegExp]>([
    ['a line over another text', (_, reply) => reply.end(line()), /does not verify/],
    ['a line of another key', (_, reply) => reply.end(line(witnessSigner('w3.example'))), /expected a line/],
    ['no line', (_, reply) => reply.end(), /expected a line/],
    ['no note at all', (_, reply) => reply.end('hello'), /expected/],
    ['bytes that are not UTF-8', (_, reply) => reply.end(Buffer.from([0xff])), /expected UTF-8/],
    ['more than fits', (_, reply) => reply.end('x'.repeat(20_000)), /expected at most 16384 bytes/],
    ['a refusal', (_, reply) => reply.writeHead(403).end('no'), /expected status 200, got 403: "no"/],
    ['a larger size', (_, reply) => reply.writeHead(409).end('99\n'), /it cosigned size 99, this log has 1/],
    ['a size that is none', (_, reply) => reply.writeHead(409).end('1'), /expected a size with status 409/],
    ['a conflict for ever', (_, reply) => reply.writeHead(409).end('1\n'), /expected status 200, got 409/],
  ])('%s is not counted, and the operator is told', async (_, answer, reason) => {
    const house = await startHouse(1);
    const url = await pretender(answer);
    const policy = house.ask(...house.lines, `witness w2 ${liar.vkey} ${url}`, ...any);
    const index = await house.append();
    house.start();
    expect((await house.proved(index, policy)).names).toEqual(['w1']);
    expect(house.reports).toHaveLength(1);
    expect(house.reports[0]).toMatch(reason);
  });

  test('a redirect is not followed, not even to the witness itself', async () => {
    const house = await startHouse(2);
    const location = `${house.witnesses[1]?.url}/add-checkpoint`;
    const url = await pretender((_, reply) => reply.writeHead(307, { location }).end());
    const second = (house.lines[1] as string).replace(/\S+$/, url);
    const policy = house.ask(house.lines[0] as string, second, ...any);
    house.start();
    expect((await house.proved(await house.append(), policy)).names).toEqual(['w1']);
    expect(house.reports).toContainEqual(expect.stringMatching(/^witness "w2": fetch failed/));
  });

  test('a witness without an address is never asked', async () => {
    const house = await startHouse(1);
    const policy = house.ask(...house.lines, `witness w2 ${liar.vkey}`, ...any);
    house.start();
    expect((await house.proved(await house.append(), policy)).names).toEqual(['w1']);
    expect(house.reports[0]).toMatch(/expected an address/);
  });
});

test('cosignatures of a log that stands still are made new', async () => {
  const house = await startHouse(1, { ...TIMES, refreshMs: 200 });
  const policy = house.ask(...house.lines, 'quorum w1');
  house.start();
  const index = await house.append();
  await house.proved(index, policy);
  const first = (await house.get('/checkpoint')).text;
  for (const witness of house.witnesses) witness.clock.ms += 3_600_000;
  await expect.poll(async () => (await house.get('/checkpoint')).text).not.toBe(first);
  const { witnesses } = verifyWitnessedCheckpoint(house.cosigning.newest().note, policy, nodeCrypto);
  expect(witnesses).toMatchObject([{ name: 'w1', timeMs: house.witnesses[0]?.clock.ms }]);
});

test('a witness with a wrong clock is told once, with how far it is off, and that it is right again', async () => {
  const house = await startHouse(1, { ...TIMES, refreshMs: 50 }, () => NOW_MS);
  const policy = house.ask(...house.lines, 'quorum w1');
  const [witness] = house.witnesses;
  const at = async (ms: number) => {
    if (witness !== undefined) witness.clock.ms = ms;
    await expect.poll(() => house.cosigning.witnesses()[0]?.cosignedAtMs).toBe(ms);
  };
  house.start();
  await house.proved(await house.append(), policy);
  await at(NOW_MS + 240_000);
  expect(house.reports).toEqual([]);
  await at(NOW_MS + 7_500_000);
  // Another figure, the same failure.
  await at(NOW_MS + 7_800_000);
  await at(NOW_MS);
  await at(NOW_MS - 86_400_000);
  await at(NOW_MS);
  const clock = 'the clock of witness "w1"';
  await expect
    .poll(() => house.reports)
    .toEqual([
      `${clock}: it is 2 h 5 min ahead`,
      `${clock}: again`,
      `${clock}: it is 1 day behind`,
      `${clock}: again`,
    ]);
});

test('what a witness says of its failure may change, and is told once', async () => {
  const house = await startHouse(1, { ...TIMES, retryMs: 20 });
  let asked = 0;
  const url = await pretender((_, reply) => reply.writeHead(500).end(`failure "${asked++}" of 12`));
  house.ask((house.lines[0] as string).replace(/\S+$/, url), 'quorum w1');
  house.start();
  await expect.poll(() => asked).toBeGreaterThan(10);
  expect(house.reports.filter((report) => report.startsWith('witness'))).toHaveLength(1);
});

test('a policy without this log is told to the operator: nothing of it can be published', async () => {
  const house = await startHouse(1);
  house.inForce.policy = parseLogPolicy(utf8(`${house.lines[0]}\nquorum w1\n`), nodeCrypto);
  house.start();
  expect((await house.get('/checkpoint')).code).toBe('LOG_QUORUM_PENDING');
  await expect
    .poll(() => house.reports)
    .toEqual(['the quorum: the published log policy does not name this log']);
});
