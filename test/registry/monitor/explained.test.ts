// SPDX-License-Identifier: Apache-2.0
// What our identities and keys signed, and who started it: through the real services of a registry, with the thief's beside it.

import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { readConfigFile } from '../../../cli/serve.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { listen } from '../../../registry/listen.ts';
import { acknowledge } from '../../../registry/monitor/alarms.ts';
import { RegistryDocuments } from '../../../registry/monitor/documents.ts';
import { buildServer, openRegistry } from '../../../registry/server.ts';
import { freePort, RunningRegistry } from '../running-registry.ts';
import { temporaryFolder } from '../witness/running-witness.ts';
import { GRACE_MS, IDENTITY, newStatement, runOf, STALE_MS, signInRun, watch } from './watching.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
  expect((await registry.addProduct()).status).toBe(201);
});
afterAll(() => registry.close());

let runs = 1000;
const newRun = () => String(runs++);

/** A monitor that has nothing to say of what earlier tests left. */
async function calm(change: Parameters<typeof watch>[1] = {}) {
  const watching = await watch(registry, change);
  await watching.round();
  watching.time.skewMs = 2 * GRACE_MS;
  for (const id of (await watching.round()).open) await acknowledge(watching.folder, id, Date.now());
  watching.time.skewMs = 0;
  return watching;
}

describe('explained', () => {
  test('what a started build signed and submitted, however late it is looked at', async () => {
    const watching = await calm();
    const run = newRun();
    await watching.start(runOf(run));
    await registry.submit(await signInRun(registry, { run_id: run }));
    watching.time.skewMs = 2 * GRACE_MS;
    expect(await watching.round()).toMatchObject({ alarms: [], open: [], pending: 0, failures: {} });
  });

  test('others may sign what they like, and a list may name how ours begin', async () => {
    const issuer = registry.issuer.url;
    const others = { identities: [{ issuer, name: { whole: `${IDENTITY}x` } }], keys: [] };
    const prefix = { identities: [{ issuer, name: { prefix: 'https://github.com/example/' } }], keys: [] };
    await signInRun(registry, { run_id: newRun() });
    expect(await (await watch(registry, { list: others })).round()).toMatchObject({ pending: 0, foreign: 0 });
    expect((await (await watch(registry, { list: prefix })).round()).pending).toBeGreaterThan(0);
  });

  test('a build may be listed after it signed, and a document come after its entry', async () => {
    const watching = await calm();
    const run = newRun();
    const bundle = await signInRun(registry, { run_id: run });
    // The certificate and the signature, each.
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 2 });
    await watching.start(runOf(run));
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 1 });
    await registry.submit(bundle);
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 0 });
  });

  test('what the gate decided', async () => {
    const watching = await calm();
    const bundle = await registry.signAsGate(newStatement());
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 1 });
    await writeFile(join(watching.decisionsPath, 'release.sigstore.json'), bundle);
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 0 });
  });
});

describe('alarms', () => {
  test('a run that nobody started: the certificate and what it signed, once each', async () => {
    const watching = await calm();
    const run = newRun();
    await registry.submit(await signInRun(registry, { run_id: run }));
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 2 });
    watching.time.skewMs = GRACE_MS + 60_000;
    const { alarms, open, pending } = await watching.round();
    const reasons = [
      expect.stringContaining(`runs/${run}/attempts/1\\" is not in the list`.replaceAll('\\', '')),
    ];
    expect(alarms).toMatchObject([
      { kind: 'certificate', log: 'certificates', reasons },
      { kind: 'signature', log: 'signatures', reasons },
    ]);
    expect(pending).toBe(0);
    const ids = alarms.map(({ id }) => id);
    expect(open).toEqual(expect.arrayContaining(ids));
    const filed = JSON.parse(await readFile(join(watching.folder, 'alarms', `${ids[1]}.json`), 'utf8'));
    expect(filed).toEqual(alarms[1]);
    expect(filed.sighting).toMatchObject({ maker: { identity: IDENTITY } });

    expect(await watching.round()).toMatchObject({ alarms: [], open });
    for (const id of ids) await acknowledge(watching.folder, id, Date.now());
    expect((await watching.round()).open).toHaveLength(open.length - 2);
    await expect(acknowledge(watching.folder, '../x', 0)).rejects.toMatchObject({
      code: 'MONITOR_ALARM_UNKNOWN',
    });
  });

  test('the run was started at another commit', async () => {
    const watching = await calm();
    const run = newRun();
    await watching.start(runOf(run), 'f'.repeat(40));
    await registry.submit(await signInRun(registry, { run_id: run }));
    watching.time.skewMs = GRACE_MS + 60_000;
    const { alarms } = await watching.round();
    expect(alarms.map(({ reasons }) => reasons?.join())).toEqual(
      Array(2).fill(expect.stringContaining('was started at')),
    );
  });

  test('a token stolen from a run of ours: nobody submitted what it signed', async () => {
    const watching = await calm();
    const run = newRun();
    await watching.start(runOf(run));
    await signInRun(registry, { run_id: run });
    watching.time.skewMs = GRACE_MS + 60_000;
    const { alarms } = await watching.round();
    expect(alarms).toMatchObject([
      { kind: 'signature', reasons: ['the store holds no document of this entry'] },
    ]);
  });

  test.each([
    ['another document', newStatement(), newStatement()],
    // Signed twice: the digest is the same, the entry is not.
    ['the same document as it was signed in another entry', ...Array(2).fill(newStatement())],
  ])('a store that shows %s in its place', async (_, shown, signed) => {
    const watching = await calm();
    await watching.close();
    const run = newRun();
    const other = await signInRun(registry, { run_id: run }, undefined, shown);
    let bundle = Buffer.from(other).toString();
    const server = createServer((_request, response) => {
      const attestations = ['{}', bundle].map((each) => ({ sha256: '', bundle: each }));
      response.end(JSON.stringify({ attestations }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const documents = new RegistryDocuments(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const lied = await watch(registry, { folder: watching.folder, documents });
    await lied.start(runOf(run));
    // Explained with what is shown; and then not.
    expect((await lied.round()).pending).toBe(0);
    const own = await signInRun(registry, { run_id: run }, undefined, signed);
    expect((await lied.round()).pending).toBe(1);
    const truth = Buffer.from(own).toString();
    // The leaf of the entry beside a document that was never signed in it.
    const material = JSON.parse(truth).verificationMaterial;
    bundle = JSON.stringify({ ...JSON.parse(bundle), verificationMaterial: material });
    const isShown = shown === signed;
    expect((await lied.round()).pending).toBe(isShown ? 0 : 1);
    if (isShown) return;
    lied.time.skewMs = GRACE_MS + 60_000;
    expect((await lied.round()).alarms).toMatchObject([
      { kind: 'signature', reasons: [expect.stringContaining('the store')] },
    ]);
  });

  test('our name, vouched for by another issuer', async () => {
    const identities = [{ issuer: 'https://issuer.example', name: { whole: IDENTITY } }];
    const run = newRun();
    const watching = await watch(registry, { list: { identities, keys: [] } });
    await watching.start(runOf(run));
    await registry.submit(await signInRun(registry, { run_id: run }));
    watching.time.skewMs = GRACE_MS + 60_000;
    const about = (await watching.round()).alarms.filter(({ sighting }) =>
      JSON.stringify(sighting).includes(`runs/${run}/`),
    );
    expect(about).toHaveLength(2);
    for (const { reasons } of about)
      expect(reasons).toEqual([expect.stringContaining('is not the one that vouches')]);
  });

  test('the stolen key of the gate signs what no gate decided', async () => {
    const watching = await calm();
    await registry.submit(await registry.signAsGate(newStatement()));
    await watching.round();
    watching.time.skewMs = GRACE_MS + 60_000;
    expect((await watching.round()).alarms).toMatchObject([
      {
        kind: 'signature',
        sighting: { maker: { kind: 'key', name: 'gate' } },
        message: expect.stringContaining('no decision'),
      },
    ]);
  });

  test('the stolen authority keeps its certificates out of the certificate log', async () => {
    const thief = join(await temporaryFolder(), 'data');
    await registry.restart(() => cp(registry.dataFolder, thief, { recursive: true }));
    const watching = await calm();
    const run = newRun();
    await watching.start(runOf(run));
    const config = {
      ...(await readConfigFile(thief)),
      listen: { host: '127.0.0.1', port: await freePort() },
    };
    const app = await buildServer(await openRegistry({ dataFolder: thief, config, clock: Date.now }));
    const url = await listen(app, config.listen);
    onTestFinished(() => app.close());
    const services = Buffer.from(await registry.signingConfig()).toString();
    const stolen = utf8(services.replace(`${registry.url}/ca`, `${url}/ca`));
    expect(Buffer.from(stolen).toString()).not.toBe(services);
    const bundle = await signInRun(registry, { run_id: run }, stolen);
    expect((await registry.submit(bundle)).status).toBe(201);
    watching.time.skewMs = GRACE_MS + 60_000;
    expect((await watching.round()).alarms).toMatchObject([
      { kind: 'signature', reasons: ['the certificate is in no certificate log'] },
    ]);
  });
});

describe('what is not told yet', () => {
  test('without the certificate log what it alone can tell is no alarm and is not forgotten; what is known to be missing is one', async () => {
    const urlOf = (origin: string) => `${registry.url}/${origin.startsWith('ct.') ? 'nowhere' : 'log'}`;
    const before = await calm();
    await before.close();
    const watching = await watch(registry, { urlOf, folder: before.folder });
    const run = newRun();
    await watching.start(runOf(run));
    await registry.submit(await signInRun(registry, { run_id: run }));
    watching.time.skewMs = GRACE_MS + 60_000;
    expect(await watching.round()).toMatchObject({
      alarms: [],
      pending: 1,
      failures: {
        'ct.example.example': expect.stringContaining('MONITOR_LOG_UNREADABLE'),
        explanations: expect.stringContaining('MONITOR_LOG_UNREACHABLE'),
      },
    });
    await registry.submit(await signInRun(registry, { run_id: newRun() }));
    expect(await watching.round()).toMatchObject({
      alarms: [{ reasons: [expect.stringContaining('is not in the list')] }],
      pending: 1,
    });
  });

  test('a question that stays unanswered: an alarm of its own for that entry, which is asked about on', async () => {
    const hidden = { index: '', status: 503, body: '' };
    const server = createServer(async (request, response) => {
      const [, index = ''] = /by-leaf\/(\d+)$/.exec(request.url ?? '') ?? [];
      if (index === hidden.index) response.writeHead(hidden.status).end(hidden.body);
      else response.end(await (await fetch(`${registry.url}${request.url}`)).text());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const documents = new RegistryDocuments(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const watching = await calm({ documents });
    const run = newRun();
    await watching.start(runOf(run));
    await registry.submit(await signInRun(registry, { run_id: run }));
    const thief = await signInRun(registry, { run_id: run });
    const [entry] = JSON.parse(Buffer.from(thief).toString()).verificationMaterial.tlogEntries;
    hidden.index = String(entry.logIndex);
    // Nothing is known to be missing yet: no alarm after the pause alone.
    watching.time.skewMs = GRACE_MS + 60_000;
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 1 });
    watching.time.skewMs = GRACE_MS + STALE_MS + 60_000;
    expect(await watching.round()).toMatchObject({
      alarms: [
        {
          kind: 'unanswered',
          message: expect.stringMatching(
            /^signature of .* at index \d+ .* cannot be explained: .*status 503/,
          ),
          sighting: { index: hidden.index },
        },
      ],
      pending: 1,
    });
    // Once, and it is not forgotten for it.
    expect(await watching.round()).toMatchObject({ alarms: [], pending: 1 });
    Object.assign(hidden, { status: 200, body: '{"attestations":[]}' });
    expect(await watching.round()).toMatchObject({
      alarms: [{ kind: 'signature', reasons: ['the store holds no document of this entry'] }],
      pending: 0,
    });
  }, 60_000);

  test('few questions are open at once, since each may be answered with megabytes', async () => {
    let [open, most] = [0, 0];
    const server = createServer(async (_, response) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 50));
      open--;
      response.end('{"attestations":[]}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const documents = new RegistryDocuments(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const watching = await calm({ documents });
    const run = newRun();
    await watching.start(runOf(run));
    await Promise.all(Array.from({ length: 10 }, () => signInRun(registry, { run_id: run })));
    most = 0;
    expect((await watching.round()).pending).toBe(10);
    expect(most).toBe(4);
  }, 60_000);

  test.each<[string, number, string]>([
    ['nothing', 200, ''],
    ['null', 200, 'null'],
    ['no list', 200, '{"attestations":null}'],
    ['a list of anything', 200, '{"attestations":[null,5,"x",[],{"bundle":null},{"bundle":"null"}]}'],
    ['that there is no such thing', 404, ''],
    ['an error', 500, '{}'],
  ])('a store that answers %s hides no run that nobody started', async (_, status, body) => {
    const watching = await calm();
    await watching.close();
    const server = createServer((_request, response) => void response.writeHead(status).end(body));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const documents = new RegistryDocuments(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const lied = await watch(registry, { folder: watching.folder, documents });
    await signInRun(registry, { run_id: newRun() });
    lied.time.skewMs = GRACE_MS + 60_000;
    expect((await lied.round()).alarms).toMatchObject([
      { kind: 'certificate' },
      { kind: 'signature', reasons: expect.arrayContaining([expect.stringContaining('is not in the list')]) },
    ]);
  });

  test('a list of builds with a mistake: a start refuses it, a round says so and goes on', async () => {
    const watching = await calm();
    const builds = await readFile(watching.buildsPath);
    await rm(watching.buildsPath);
    expect((await watching.round()).failures).toMatchObject({
      builds: expect.stringContaining('MONITOR_EVIDENCE_MISSING'),
    });
    await writeFile(watching.buildsPath, builds);
    // Half a line is not there yet.
    await watching.appendToBuilds('{"run":');
    expect((await watching.round()).failures).toEqual({});
    await watching.appendToBuilds('5}\n');
    expect((await watching.round()).failures).toMatchObject({
      builds: expect.stringContaining('MONITOR_BUILDS_MALFORMED'),
    });
    await writeFile(join(watching.decisionsPath, 'x.json'), '{}');
    expect((await watching.round()).failures).toMatchObject({
      decisions: expect.stringContaining('MONITOR_DECISION_MALFORMED'),
    });
  });

  test('two monitors do not share a folder', async () => {
    const watching = await watch(registry);
    await expect(watch(registry, { folder: watching.folder })).rejects.toMatchObject({
      code: 'MONITOR_STATE_LOCKED',
    });
    expect(await readdir(watching.folder)).toContain('state');
  });
});
