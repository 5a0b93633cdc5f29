// SPDX-License-Identifier: Apache-2.0
// Who is told: a webhook until it takes an alarm, over restarts; and that a log cannot be followed, once that lasts.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { shardUrl } from '../../../registry/monitor/shards.ts';
import { witnessSigner } from '../../core/tlog/note-signers.ts';
import { dsseRequest, keyed, startLogServer } from '../log/log-server.ts';
import { ORIGIN } from '../log/numbered-entry.ts';
import { relay } from '../log/witnessed-house.ts';
import { RunningRegistry } from '../running-registry.ts';
import { runWitness, witnessFolder } from '../witness/running-witness.ts';
import { GRACE_MS, STALE_MS, signInRun, watch } from './watching.ts';

/** The registry's signature log. */
const LOG = 'log.example.example';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(() => registry.close());

/** Takes what it is told to. */
async function startWebhook() {
  const state: { status: number; statusOf?: (id: string) => number } = { status: 200 };
  const taken: { id: string; key: string | undefined }[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    taken.push({ id: JSON.parse(body).id, key: request.headers['idempotency-key'] as string });
    response
      .writeHead(state.statusOf?.(JSON.parse(body).id) ?? state.status, { location: '/elsewhere' })
      .end('x'.repeat(100_000));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { state, taken, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret` };
}

test('a webhook gets each alarm until it takes it, after a restart too', async () => {
  const webhook = await startWebhook();
  await signInRun(registry, { run_id: '666' });
  const first = await watch(registry, { webhook: webhook.url });
  first.time.skewMs = GRACE_MS + 60_000;
  webhook.state.status = 503;
  const { alarms, undelivered, failures } = await first.round();
  const ids = alarms.map(({ id }) => id).sort();
  expect([ids.length, undelivered]).toEqual([2, 2]);
  expect(failures.webhook).toContain('status 503');
  expect(failures.webhook).not.toContain('secret');
  webhook.state.status = 307;
  // Not asked again at once.
  expect((await first.round()).undelivered).toBe(2);
  expect(webhook.taken).toHaveLength(1);
  first.time.skewMs += 2000;
  expect((await first.round()).undelivered).toBe(2);
  expect(webhook.taken).toHaveLength(2);
  await first.close();

  webhook.state.status = 204;
  webhook.taken.length = 0;
  const second = await watch(registry, { folder: first.folder, webhook: webhook.url });
  second.time.skewMs = GRACE_MS + 60_000;
  expect((await second.round()).undelivered).toBe(0);
  expect(webhook.taken.map(({ id }) => id).sort()).toEqual(ids);
  for (const { id, key } of webhook.taken) expect(key).toBe(id);
  await second.round();
  expect(webhook.taken).toHaveLength(2);
});

test('an alarm that the webhook refuses for itself keeps no other back; one that takes none for now is not asked on', async () => {
  const webhook = await startWebhook();
  await signInRun(registry, { run_id: '667' });
  const watching = await watch(registry, { webhook: webhook.url });
  watching.time.skewMs = GRACE_MS + 60_000;
  let refused: string | undefined;
  webhook.state.statusOf = (id) => {
    refused ??= id;
    return refused === id ? 413 : 200;
  };
  const { alarms, undelivered, failures } = await watching.round();
  expect(alarms.length).toBeGreaterThan(1);
  expect(webhook.taken).toHaveLength(alarms.length);
  expect([undelivered, failures.webhook]).toEqual([1, expect.stringContaining('status 413')]);
  webhook.taken.length = 0;
  watching.time.skewMs += 2000;
  expect((await watching.round()).undelivered).toBe(1);
  expect(webhook.taken.map(({ id }) => id)).toEqual([refused]);
});

test('a log that is out of reach is a failure, and an alarm once it lasts, once', {
  timeout: 60_000,
}, async () => {
  const urlOf = (origin: string) => `${registry.url}/${origin.startsWith('ct.') ? 'ct' : 'nowhere'}`;
  const watching = await watch(registry, { urlOf });
  const early = await watching.round();
  expect(early.alarms).toEqual([]);
  expect(early.failures[LOG]).toContain('MONITOR_LOG_UNREADABLE');
  watching.time.skewMs = STALE_MS + 60_000;
  const stale = async () => (await watching.round()).alarms.filter(({ kind }) => kind === 'stale');
  expect(await stale()).toMatchObject([
    { log: 'signatures', message: expect.stringContaining('MONITOR_LOG_UNREADABLE') },
  ]);
  watching.time.skewMs += STALE_MS;
  expect(await stale()).toEqual([]);
});

test('a checkpoint by another key is never followed', async () => {
  const other = await startLogServer();
  const urlOf = (origin: string) => shardUrl(origin.startsWith('ct.') ? registry.url : other.url, origin);
  const { failures, logs } = await (await watch(registry, { urlOf })).round();
  expect(failures[LOG]).toContain('TLOG_NOTE_UNSIGNED');
  expect(logs).toMatchObject([
    { log: 'signatures', size: '0' },
    { log: 'certificates', size: expect.stringMatching(/^[1-9]/) },
  ]);
});

test('cosignatures that grow old are an alarm; a checkpoint without the quorum is not believed', async () => {
  const inForce: { policy: ReturnType<typeof parseLogPolicy> | undefined } = { policy: undefined };
  const times = { roundMs: 5000, graceMs: 5000, retryMs: 100, refreshMs: 600_000, waitMs: 10_000 };
  const { log, cosigning, url } = await startLogServer([], { policy: () => inForce.policy, times });
  const made = await witnessFolder([log.verifierKey], 'w1.example');
  const witness = await runWitness(made);
  witness.clock.ms = Date.now();
  const policyOf = (name: string, vkey: string, address: string) =>
    parseLogPolicy(
      utf8(`log ${log.verifierKey}\nwitness ${name} ${vkey} ${address}\nquorum ${name}\n`),
      nodeCrypto,
    );
  const policy = policyOf('w1.example', made.vkey, witness.url);
  inForce.policy = policy;
  cosigning.start(() => undefined);
  await expect.poll(async () => (await fetch(`${url}/log/checkpoint`)).status, { timeout: 20_000 }).toBe(200);
  const urlOf = (origin: string) => shardUrl(url, origin);
  const watching = await watch(registry, { urlOf, trust: async () => ({ policy, trustedRoot: undefined }) });
  expect(await watching.round()).toMatchObject({ alarms: [], failures: {} });
  watching.time.skewMs = STALE_MS + 60_000;
  expect((await watching.round()).alarms).toMatchObject([
    { kind: 'stale', message: expect.stringContaining('too old: "w1.example"') },
  ]);
  const stranger = policyOf('w2.example', witnessSigner('w2.example').vkey, witness.url);
  const strict = await watch(registry, {
    urlOf,
    trust: async () => ({ policy: stranger, trustedRoot: undefined }),
  });
  expect((await strict.round()).failures[ORIGIN]).toContain('TLOG_QUORUM_UNMET');
});

test('a witness with a wrong clock is one alarm when that begins, one a day while it lasts, and names how far it is off', {
  timeout: 60_000,
}, async () => {
  const inForce: { policy: ReturnType<typeof parseLogPolicy> | undefined } = { policy: undefined };
  // Cosignatures anew all the time.
  const times = { roundMs: 5000, graceMs: 5000, retryMs: 50, refreshMs: 50, waitMs: 10_000 };
  const { log, cosigning, url } = await startLogServer([], { policy: () => inForce.policy, times });
  const made = await witnessFolder([log.verifierKey], 'w1.example');
  const witness = await runWitness(made);
  const skew = { ms: 0 };
  const tick = () => {
    witness.clock.ms = Date.now() + skew.ms;
  };
  const ticking = setInterval(tick, 20);
  onTestFinished(() => clearInterval(ticking));
  tick();
  const policy = parseLogPolicy(
    utf8(`log ${log.verifierKey}\nwitness w1.example ${made.vkey} ${witness.url}\nquorum w1.example\n`),
    nodeCrypto,
  );
  inForce.policy = policy;
  cosigning.start(() => undefined);
  const cosignedMs = async () => {
    const note = await (await fetch(`${url}/log/checkpoint`)).text();
    return note.includes('w1.example') ? cosigning.witnesses()[0]?.cosignedAtMs : undefined;
  };
  const urlOf = (origin: string) => shardUrl(url, origin);
  const trust = async () => ({ policy, trustedRoot: undefined });
  const watching = await watch(registry, { urlOf, trust });
  /** A round after the witness cosigned by a clock that is so far off. */
  const at = async (skewMs: number, monitorSkewMs = 0) => {
    skew.ms = skewMs;
    watching.time.skewMs = monitorSkewMs;
    tick();
    const from = Date.now() + skewMs;
    await expect
      .poll(async () => Math.abs(((await cosignedMs()) ?? 0) - from), { timeout: 20_000 })
      .toBeLessThan(30_000);
    // One second more than what was published: the times are in whole seconds.
    await setTimeout(1200);
    return (await watching.round()).alarms;
  };
  const hour = 3_600_000;
  expect(await at(0)).toEqual([]);
  const ahead = await at(3 * hour);
  expect(ahead).toMatchObject([
    { kind: 'stale', message: expect.stringContaining('the clock of "w1.example" is 3 h ahead') },
  ]);
  // Each cosignature has another time; it is the same alarm, after a restart of the monitor too.
  expect(await at(3 * hour)).toEqual([]);
  expect(await at(3 * hour + 120_000)).toEqual([]);
  expect((await at(27 * hour, 24 * hour + 1000))[0]?.message).toContain(
    'the clock of "w1.example" is 3 h ahead',
  );
  expect(await at(27 * hour, 24 * hour + 1000)).toEqual([]);
  // Well again, then wrong again: that is news.
  expect(await at(0)).toEqual([]);
  expect(await at(3 * hour)).toHaveLength(1);
  expect(await at(0)).toEqual([]);
  const behind = await at(0, 3 * hour);
  expect(behind).toMatchObject([
    { kind: 'stale', message: expect.stringContaining('the clock of "w1.example" is 3 h behind') },
  ]);
  expect(await at(0, 3 * hour)).toEqual([]);
});

test('a slow witness with a wrong clock is one alarm, though not every checkpoint has its line', {
  timeout: 60_000,
}, async () => {
  const inForce: { policy: ReturnType<typeof parseLogPolicy> | undefined } = { policy: undefined };
  const times = { roundMs: 5000, graceMs: 50, retryMs: 100, refreshMs: 600_000, waitMs: 10_000 };
  const { log, cosigning, url, post, listed } = await startLogServer([], {
    policy: () => inForce.policy,
    times,
  });
  const made = await Promise.all(
    ['w1.example', 'w2.example'].map((name) => witnessFolder([log.verifierKey], name)),
  );
  const witnesses = await Promise.all(made.map((each) => runWitness(each)));
  const [prompt, slow] = witnesses;
  const tick = () => {
    for (const witness of witnesses) witness.clock.ms = Date.now() + (witness === slow ? 3 * 3_600_000 : 0);
  };
  const ticking = setInterval(tick, 20);
  onTestFinished(() => clearInterval(ticking));
  tick();
  const far = await relay(slow?.url, () => setTimeout(300));
  const lines = [`w1 ${made[0]?.vkey} ${prompt?.url}`, `w2 ${made[1]?.vkey} ${far}`];
  const text = [
    `log ${log.verifierKey}`,
    ...lines.map((line) => `witness ${line}`),
    'group g any w1 w2',
    'quorum g',
  ];
  const policy = parseLogPolicy(utf8(`${text.join('\n')}\n`), nodeCrypto);
  inForce.policy = policy;
  cosigning.start(() => undefined);
  const urlOf = (origin: string) => shardUrl(url, origin);
  const watching = await watch(registry, { urlOf, trust: async () => ({ policy, trustedRoot: undefined }) });
  const cosigned = async () => (await (await fetch(`${url}/log/checkpoint`)).text()).match(/^— w[12]/gm);
  const alarms: string[] = [];
  const look = async () => alarms.push(...(await watching.round()).alarms.map(({ message }) => message));
  for (let n = 0; n < 3; n++) {
    const { request } = dsseRequest(`statement ${n}`, listed, keyed(listed.spki));
    expect((await post(request)).status).toBe(201);
    await cosigning.covering(BigInt(n));
    // With the prompt one alone, then with both.
    await look();
    await expect.poll(cosigned, { timeout: 10_000 }).toHaveLength(2);
    await look();
  }
  expect(alarms).toEqual([expect.stringContaining('w2')]);
});
