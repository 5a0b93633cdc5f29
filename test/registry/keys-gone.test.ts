// SPDX-License-Identifier: Apache-2.0
// Keys that were followed by newer ones, destroyed or with signers that are gone: the registry starts without them and reads what they
// signed, says so, and signs nothing with them. A key that signs, or may sign yet, is needed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { formatHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { fsck } from '../../registry/fsck.ts';
import { rotate } from '../../registry/rotation.ts';
import { keyPath, type Service, signerPath } from '../../registry/trust/instances.ts';
import { openKey } from '../../registry/trust/services.ts';
import { readPublishedTarget } from '../../registry/tuf/published-target.ts';
import { codeOf, codeOfAsync } from '../core/tlog/refusal.ts';
import { RunningRegistry } from './running-registry.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const SERVICES = ['ca', 'ct', 'log', 'tsa'] as const;
let registry: RunningRegistry;
let folder: string;
let apart: string;
let early: Uint8Array;
let n = 0;

async function sign(): Promise<Uint8Array> {
  const subjects = [{ name: 'artifact', sha256: (n++).toString(16).padStart(64, '0') }];
  const predicateType = 'https://example.com/test/v1';
  const signingConfig = await readPublishedTarget(folder, 'signing_config.v0.2.json');
  const identity = { token: () => registry.issuer.token() } as never;
  return signStatement(formatStatement({ subjects, predicateType, predicate: {} }), {
    signingConfig,
    identity,
  });
}

/** Makes the next key of a service. */
async function rotateNow(service: Service) {
  const of =
    service === 'ca' || service === 'tsa'
      ? { service, rootKey: await openKey(join(registry.offline, `${service}-root.pem`)) }
      : { service };
  return rotate({ dataFolder: folder, org: 'example', url: registry.url, nowMs: Date.now() }, of);
}

/** Takes the first key of a service away: a signer has it, which does not run. */
async function takeAway(service: Service, instance = 1): Promise<void> {
  await rename(keyPath(folder, service, instance), join(apart, `${service}-${instance}.pem`));
  await writeFile(signerPath(folder, service, instance), `${join(apart, 'nobody.sock')}\n`);
}
async function giveBack(service: Service, instance = 1): Promise<void> {
  await rm(signerPath(folder, service, instance), { force: true });
  await rename(join(apart, `${service}-${instance}.pem`), keyPath(folder, service, instance));
}

async function findings() {
  const found: unknown[] = [];
  const signal = new AbortController().signal;
  const config = { org: 'example', headFolder: undefined };
  for await (const finding of fsck({ dataFolder: folder, config, signal, progress: () => undefined })) {
    found.push(finding);
  }
  return found;
}

beforeAll(async () => {
  registry = await RunningRegistry.start();
  folder = registry.dataFolder;
  apart = await mkdtemp(join(tmpdir(), 'waybill-keys-'));
  early = await sign();
  expect((await registry.submit(early)).status).toBe(201);
});
afterAll(async () => {
  await registry.close();
  await rm(apart, { recursive: true });
});

test('fsck asks no signer: the public keys are in the trusted root and the certificates', async () => {
  await registry.restart(async () => {
    for (const service of SERVICES) await takeAway(service);
    expect(await findings()).toEqual([]);
    // Another key there is that file's fault, not the log's.
    const path = join(folder, 'trust', 'trusted_root.json');
    const text = await readFile(path, 'utf8');
    const root = JSON.parse(text);
    root.tlogs[0].publicKey.rawBytes = `${root.tlogs[0].publicKey.rawBytes.slice(0, -4)}AAA=`;
    await writeFile(path, JSON.stringify(root));
    expect(await findings()).toMatchObject([{ at: 'trust/trusted_root.json' }]);
    await writeFile(path, text);
    for (const service of SERVICES) await giveBack(service);
  });
});

test('a key that signs, or the only one that could, is needed', async () => {
  for (const service of SERVICES) {
    const refused = registry.restart(() => takeAway(service));
    await expect(refused).rejects.toMatchObject({ code: 'SIGNER_UNREACHABLE' });
    await giveBack(service);
  }
  await registry.restart();
});

test('keys that newer ones follow are needed until those are published; from then on they are not', async () => {
  const changed = new Set<string>();
  for (const service of SERVICES) {
    for (const name of (await rotateNow(service)).changed) changed.add(name);
  }
  await registry.restart();
  for (const service of SERVICES) {
    const refused = registry.restart(() => takeAway(service));
    await expect(refused).rejects.toMatchObject({ code: 'SIGNER_UNREACHABLE' });
    await giveBack(service);
  }
  await registry.restart();
  const files: Record<string, Uint8Array> = {};
  for (const name of changed) files[name] = new Uint8Array(await readFile(join(folder, 'trust', name)));
  const targets = await registry.nextTargets(files);
  expect((await registry.publish('targets', targets, Object.values(files))).status).toBe(201);
  for (const service of ['ca', 'log'] as const) await takeAway(service);
  for (const service of ['ct', 'tsa'] as const) {
    await rename(keyPath(folder, service), join(apart, `${service}-1.pem`));
  }
  await registry.restart(async () => expect(await findings()).toEqual([]));
  expect(registry.registry.keysGone).toEqual([
    { service: 'ca', instance: 1, reason: expect.stringContaining('ca-intermediate.signer') },
    { service: 'tsa', instance: 1, reason: expect.stringContaining('tsa.pem') },
    { service: 'ct', instance: 1, reason: expect.stringContaining('ct.pem') },
    { service: 'log', instance: 1, reason: expect.stringContaining('log.signer') },
  ]);
  expect((await registry.submit(await sign())).status).toBe(201);
  // What the old keys signed is read, and evidence of theirs let in.
  expect((await registry.submit(early)).status).toBeLessThan(300);
  for (const path of ['/log/checkpoint', '/ct/checkpoint', '/log/tile/entries/000.p/1', '/log2/checkpoint']) {
    expect((await registry.send('GET', path)).status).toBe(200);
  }
  expect((await registry.send('GET', '/readyz')).status).toBe(200);
});

test('nothing is signed with a key that is gone', async () => {
  const { ca, ct, log, tsa } = registry.registry.services.held;
  const bytes = new Uint8Array(32);
  for (const signer of [ca[0]?.signer, tsa[0]?.signer]) {
    expect(codeOf(() => signer?.sign(bytes))).toBe('TRUST_KEY_GONE');
  }
  const entry = {
    digest: bytes,
    signature: bytes,
    verifier: { publicKey: bytes },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  } as const;
  const before = [ct[0]?.tiles.checkpoint(), log[0]?.log.tiles.checkpoint()];
  expect(await codeOfAsync(log[0]?.log.add(formatHashedRekord(entry)) as Promise<unknown>)).toBe(
    'TRUST_KEY_GONE',
  );
  const precertificate = { der: bytes, tbs: bytes, chain: [], issuerKeyHash: bytes };
  expect(await codeOfAsync(ct[0]?.add(precertificate, 1) as Promise<unknown>)).toBe('TRUST_KEY_GONE');
  expect([ct[0]?.tiles.checkpoint(), log[0]?.log.tiles.checkpoint()]).toEqual(before);
});

test('a newest key that is gone is not stood in for by an older one', async () => {
  await giveBack('log');
  const refused = registry.restart(() => rename(keyPath(folder, 'log', 2), join(apart, 'log-2.pem')));
  await expect(refused).rejects.toMatchObject({
    code: 'CA_FILES_UNREADABLE',
    message: expect.stringContaining('log-2.pem'),
  });
  await rename(join(apart, 'log-2.pem'), keyPath(folder, 'log', 2));
  await takeAway('log');
  await registry.restart();
});

test('the next key is made although that of the last intermediate is gone', async () => {
  await takeAway('ca', 2);
  expect(await rotateNow('ca')).toMatchObject({ instance: 3 });
  await giveBack('ca', 2);
});

test('the operator is told which keys are not there', async () => {
  const config = join(folder, 'config.yaml');
  await registry.restart(async () => {
    const text = await readFile(config, 'utf8');
    await writeFile(config, text.replace('logLevel: silent', 'logLevel: warn'));
    const child = spawn(process.execPath, [WAYBILL, 'serve', folder], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    child.stdout.once('data', () => child.kill());
    await once(child, 'exit');
    for (const service of SERVICES) expect(said).toContain(`"service":"${service}","instance":1,"reason":"`);
    await writeFile(config, text);
  });
});
