// SPDX-License-Identifier: Apache-2.0
// Logs that get shards while they are watched: new ones are followed from their first entry, older ones for ever, and none goes without a word.
// Each test goes on with the registry as the one before left it.

import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { readConfigFile } from '../../../cli/serve.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseTrustedRoot, type TrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatVerifierKey } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { listen } from '../../../registry/listen.ts';
import { checkForkProof } from '../../../registry/monitor/fork-proof.ts';
import { shardsOf, shardUrl } from '../../../registry/monitor/shards.ts';
import { MONITOR } from '../../../registry/monitor-faults.ts';
import { retire, rotate } from '../../../registry/rotation.ts';
import { buildServer, openRegistry } from '../../../registry/server.ts';
import { shardNameOf } from '../../../registry/trust/instances.ts';
import { readPublishedTarget } from '../../../registry/tuf/published-target.ts';
import { witnessSigner } from '../../core/tlog/note-signers.ts';
import { freePort, RunningRegistry } from '../running-registry.ts';
import { temporaryFolder } from '../witness/running-witness.ts';
import { GRACE_MS, runOf, STALE_MS, signInRun, watch } from './watching.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(() => registry.close());

/** Publishes the trust material of the data folder. */
async function publish() {
  const files: Record<string, Uint8Array> = {};
  for (const name of ['trusted_root.json', 'signing_config.v0.2.json', 'tlog-policy']) {
    files[name] = new Uint8Array(await readFile(join(registry.dataFolder, 'trust', name)));
  }
  const answer = await registry.publish('targets', await registry.nextTargets(files), Object.values(files));
  expect(answer.status).toBe(201);
}

const published = async () => ({
  policy: parseLogPolicy(await readPublishedTarget(registry.dataFolder, 'tlog-policy'), nodeCrypto),
  trustedRoot: parseTrustedRoot(await readPublishedTarget(registry.dataFolder, 'trusted_root.json')),
});

let runs = 1;
/** A run of the CI that was started, signed and submitted. */
async function build(watching: { start: (run: string) => Promise<void> }) {
  const run_id = String(runs++);
  await watching.start(runOf(run_id));
  const signingConfig = await readPublishedTarget(registry.dataFolder, 'signing_config.v0.2.json');
  const answer = await registry.submit(await signInRun(registry, { run_id }, signingConfig));
  expect(answer.status).toBe(201);
}

const calm = { alarms: [], open: [], pending: 0, failures: {} };
const sizes = (logs: readonly { origin: string; size: string }[]) =>
  logs.map(({ origin, size }) => `${origin.replace('.example.example', '')} ${size}`).join(', ');

/** Serves a copy of a data folder, as somebody who stole it. */
async function serveCopy(dataFolder: string): Promise<string> {
  const config = {
    ...(await readConfigFile(dataFolder)),
    listen: { host: '127.0.0.1', port: await freePort() },
  };
  const app = await buildServer(await openRegistry({ dataFolder, config, clock: Date.now }));
  onTestFinished(() => app.close());
  return listen(app, config.listen);
}

test('both logs get shards under the monitor; then the retired ones fork', { timeout: 120_000 }, async () => {
  const thief = join(await temporaryFolder(), 'data');
  let oldUrl = registry.url;
  const isOld = (origin: string) => /^(log|ct)\./.test(origin);
  const urlOf = (origin: string) => shardUrl(isOld(origin) ? oldUrl : registry.url, origin);
  const watching = await watch(registry, { trust: published, urlOf });
  await build(watching);
  await registry.restart(() => cp(registry.dataFolder, thief, { recursive: true }));
  await build(watching);
  const before = await watching.round();
  expect(before).toMatchObject(calm);
  expect(sizes(before.logs)).toBe('log 2, ct 2');

  // A build whose certificate is in the older log, and its signature in the newer one.
  for (const service of ['log', 'ct'] as const) {
    await rotate(registry.rotationOptions(), { service });
    await registry.restart();
    expect(await watching.round()).toMatchObject(calm);
    await publish();
    await build(watching);
  }
  await build(watching);
  const after = await watching.round();
  watching.time.skewMs = 2 * GRACE_MS;
  expect(after).toMatchObject(calm);
  expect(sizes(after.logs)).toBe('log 2, log2 3, ct 3, ct2 2');

  for (const service of ['log', 'ct'] as const) await retire(registry.rotationOptions(), service);
  await publish();
  await build(watching);
  const retired = await watching.round();
  expect(retired).toMatchObject(calm);
  expect(sizes(retired.logs)).toBe('log 2, log2 4, ct 3, ct2 3');

  // With the keys of the retired logs, from before: another second entry, and more.
  oldUrl = await serveCopy(thief);
  const config = Buffer.from(await readPublishedTarget(thief, 'signing_config.v0.2.json')).toString();
  const stolen = utf8(config.replaceAll(registry.url, oldUrl));
  for (let i = 0; i < 3; i++) await signInRun(registry, { run_id: '1' }, stolen);
  const { alarms, logs } = await watching.round();
  expect(alarms).toMatchObject([
    { kind: 'forked', log: 'certificates', origin: 'ct.example.example' },
    { kind: 'forked', log: 'signatures', origin: 'log.example.example' },
  ]);
  expect(logs).toEqual(retired.logs);
  const shards = shardsOf(await published());
  for (const { id, origin } of alarms) {
    const proof = new Uint8Array(await readFile(join(watching.folder, 'alarms', `${id}.proof.json`)));
    const { verify } = shards.find((shard) => shard.origin === origin) as (typeof shards)[number];
    const { older, newer } = checkForkProof(proof, verify, nodeCrypto);
    expect([older.size, newer.size]).toEqual(origin?.startsWith('ct') ? [3n, 4n] : [2n, 4n]);
  }
});

test('a log that is named no more is an alarm, each time, and so is another key of it', async () => {
  const named: { change: (root: TrustedRoot) => TrustedRoot } = { change: (root) => root };
  const trust = async () => {
    const { policy, trustedRoot } = await published();
    return { policy, trustedRoot: named.change(trustedRoot) };
  };
  const first = await watch(registry, { trust });
  const { logs } = await first.round();
  expect(logs.map(({ origin }) => origin)).toEqual(
    ['log', 'log2', 'ct', 'ct2'].map((name) => `${name}.example.example`),
  );
  await first.close();

  // Noticed after a restart, too.
  const watching = await watch(registry, { trust, folder: first.folder });
  const vanished = async () =>
    (await watching.round()).alarms.map(({ kind, log, origin }) => `${kind} ${log} ${origin}`);
  const without = (root: TrustedRoot): TrustedRoot => ({
    ...root,
    signatureLogs: root.signatureLogs.slice(1),
    certificateLogs: root.certificateLogs.slice(0, 1),
  });
  const gone = ['vanished certificates ct2.example.example', 'vanished signatures log.example.example'];
  for (let times = 0; times < 2; times++) {
    named.change = without;
    expect((await vanished()).sort()).toEqual(gone);
    expect(await vanished()).toEqual([]);
    named.change = (root) => root;
    expect(await vanished()).toEqual([]);
    // Each is named since another time.
    watching.time.skewMs += 1000;
  }
  named.change = (root) => {
    const [old, newest] = root.signatureLogs as [never, (typeof root.signatureLogs)[number]];
    const { publicKey } = old as (typeof root.signatureLogs)[number];
    return { ...root, signatureLogs: [old, { ...newest, publicKey }] };
  };
  expect(await vanished()).toEqual(['vanished signatures log2.example.example']);
});

test('a trusted root without a log of the registry leaves nothing unwatched in silence', async () => {
  const named = { hasCertificates: true };
  const trust = async () => {
    const { policy, trustedRoot } = await published();
    return {
      policy,
      trustedRoot: named.hasCertificates ? trustedRoot : { ...trustedRoot, certificateLogs: [] },
    };
  };
  const watching = await watch(registry, { trust });
  await watching.round();
  named.hasCertificates = false;
  const { failures, alarms } = await watching.round();
  expect(failures.trust).toContain('MONITOR_LOG_UNNAMED: expected ct.<domain>');
  expect(alarms.filter(({ kind }) => kind === 'vanished')).toHaveLength(2);
});

test('trust material that cannot be read is an alarm once it lasts, for a monitor that never had it, too', async () => {
  const trust = async () => {
    throw MONITOR.unavailable('MONITOR_LOG_UNREACHABLE', 'no answer');
  };
  const never = await watch(registry, { trust });
  expect((await never.round()).alarms).toEqual([]);
  never.time.skewMs = STALE_MS + 60_000;
  expect((await never.round()).alarms).toMatchObject([
    { kind: 'stale', message: expect.stringMatching(/^the trust material .*no answer$/) },
  ]);
  expect((await never.round()).alarms).toEqual([]);

  // Who had it goes on with what was named then; the logs are followed, the trust material is stale.
  let isThere = true;
  const lost = await watch(registry, { trust: () => (isThere ? published() : trust()) });
  await lost.round();
  isThere = false;
  lost.time.skewMs = STALE_MS + 60_000;
  const stale = (await lost.round()).alarms.filter(({ kind }) => kind === 'stale');
  expect(stale.map(({ message, origin }) => [origin, message.slice(0, 18)])).toEqual([
    [undefined, 'the trust material'],
  ]);
});

test('which logs are the registry’s own, and whom to believe of each', async () => {
  const { policy, trustedRoot } = await published();
  const [log] = trustedRoot.signatureLogs as [(typeof trustedRoot.signatureLogs)[number]];
  const others = ['log9.other.example', 'rekor.example.example', 'log02.example.example', 'log'];
  const mixed: TrustedRoot = {
    ...trustedRoot,
    signatureLogs: [...trustedRoot.signatureLogs, log, ...others.map((origin) => ({ ...log, origin }))],
  };
  const origins = (root: TrustedRoot) => shardsOf({ policy, trustedRoot: root }).map(({ origin }) => origin);
  expect(origins(mixed)).toEqual(origins(trustedRoot));
  expect(shardUrl('http://x/base', 'log2.example.example')).toBe('http://x/base/log2');
  expect(['ct', 'ct1.a', 'ct12.a', 'cta.a', 'log.a', 'ct2.'].map((o) => shardNameOf('ct', o))).toEqual([
    undefined,
    undefined,
    'ct12',
    undefined,
    undefined,
    'ct2',
  ]);

  const noteOf = async (name: string) =>
    Buffer.from((await registry.send('GET', `/${name}/checkpoint`)).bytes).toString();
  const of = (name: string, given = { policy, trustedRoot }) =>
    shardsOf(given).find(({ origin }) => origin === `${name}.example.example`) as ReturnType<
      typeof shardsOf
    >[number];
  for (const name of ['log', 'log2', 'ct', 'ct2']) {
    expect(of(name).verify(await noteOf(name)).origin).toBe(`${name}.example.example`);
  }
  const fault = (code: string) => expect.objectContaining({ code });
  const [oldNote, oldHead] = [await noteOf('log'), await noteOf('ct')];
  expect(() => of('log2').verify(oldNote)).toThrow(fault('TLOG_NOTE_UNSIGNED'));
  expect(() => of('ct2').verify(oldHead)).toThrow(fault('TLOG_NOTE_UNSIGNED'));
  // The key of one log under the name of another.
  const ct = trustedRoot.certificateLogs.map((each) => ({ ...each, origin: 'ct3.example.example' }));
  expect(() =>
    of('ct3', { policy, trustedRoot: { ...trustedRoot, certificateLogs: ct.slice(0, 1) } }).verify(oldHead),
  ).toThrow(fault('TLOG_CHECKPOINT_ORIGIN'));

  // Witnesses are asked for the logs of the policy, and for no log that it leaves out.
  const { vkey } = witnessSigner('w1.example');
  const [{ key }] = policy.logs as [(typeof policy.logs)[number]];
  const strict = parseLogPolicy(
    utf8(`log ${formatVerifierKey(key)}\nwitness w1 ${vkey}\nquorum w1\n`),
    nodeCrypto,
  );
  expect(() => of('log', { policy: strict, trustedRoot }).verify(oldNote)).toThrow(
    fault('TLOG_QUORUM_UNMET'),
  );
  expect(of('log2', { policy: strict, trustedRoot }).verify(await noteOf('log2')).witnesses).toBe('none');
});

test('a certificate that was read ahead of what a log signed is in no log yet', {
  timeout: 60_000,
}, async () => {
  const thief = join(await temporaryFolder(), 'data');
  await registry.restart(() => cp(registry.dataFolder, thief, { recursive: true }));
  const url = await serveCopy(thief);
  const first = await watch(registry, { trust: published });
  const run_id = String(runs++);
  const config = Buffer.from(await registry.signingConfig()).toString();
  const stolen = utf8(config.replace(`${registry.url}/ca`, `${url}/ca`));
  await registry.submit(await signInRun(registry, { run_id }, stolen));
  await first.round();
  await first.close();
  /** Writes down that the newer certificate log has every certificate that a signature waits for, at this place. */
  const plant = async (index: number) => {
    const state = new Level<string, string>(join(first.folder, 'state'), { valueEncoding: 'utf8' });
    for await (const [, value] of state.iterator({ gte: 'pending/signatures/', lt: 'pending/signatures0' })) {
      const { maker } = JSON.parse(value);
      const origin = 'ct2.example.example';
      const key = `certificate/${maker.loggedAs}/${origin}/${index.toString(16).padStart(16, '0')}`;
      await state.put(key, JSON.stringify({ log: 'certificates', origin, index: String(index) }));
    }
    await state.close();
  };
  const look = async (folder: string, urlOf = (origin: string) => shardUrl(registry.url, origin)) => {
    const watching = await watch(registry, { trust: published, folder, urlOf });
    for (let run = 1; run < runs; run++) await watching.start(runOf(String(run)));
    watching.time.skewMs = GRACE_MS + 60_000;
    const { alarms } = await watching.round();
    await watching.close();
    return alarms.map(({ kind, reasons }) => [kind, reasons]);
  };
  const copy = join(await temporaryFolder(), 'state');
  await plant(1000);
  // While one of the certificate logs is out of reach, it may be in that.
  const lacking = (origin: string) => shardUrl(registry.url, origin.replace(/^ct\./, 'nowhere.'));
  expect(await look(first.folder, lacking)).toEqual([]);
  await cp(first.folder, copy, { recursive: true });
  expect(await look(copy)).toEqual([['signature', ['the certificate is in no certificate log']]]);
  await plant(0);
  expect(await look(first.folder)).toEqual([]);
});
