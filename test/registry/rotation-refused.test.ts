// SPDX-License-Identifier: Apache-2.0
// What a rotation refuses, what it finishes after it was broken off, and what is left of a shard that takes no more entries.

import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { retire, rotate } from '../../registry/rotation.ts';
import type { Service } from '../../registry/trust/instances.ts';
import { openKey, serviceNames } from '../../registry/trust/services.ts';
import { newSigner } from '../../registry/trust/signer.ts';
import {
  endOlder,
  formatTrustedRoot,
  instancesOf,
  readTrustedRoot,
} from '../../registry/trust/trust-changes.ts';
import { createWitness } from '../../registry/witness/witness-folder.ts';
import { proveInclusion } from '../../release/inclusion.ts';
import { Registry } from '../../release/registry.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';
import { RunningRegistry, refusal } from './running-registry.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

const trustFile = (name: string): string => join(registry.dataFolder, 'trust', name);
const readTrust = async (name: string) => new Uint8Array(await readFile(trustFile(name)));
const rootKey = (service: Service) => openKey(join(registry.offline, `${service}-root.pem`));

async function publish(files: Record<string, Uint8Array>) {
  return registry.publish('targets', await registry.nextTargets(files), Object.values(files));
}

async function publishAll(changed: readonly string[]) {
  const files: Record<string, Uint8Array> = {};
  for (const name of changed) files[name] = await readTrust(name);
  return publish(files);
}

const SUBJECT = 'ab'.repeat(32);
let n = 0;

/** A bundle about always the same subject, signed where a signing configuration says. */
function sign(signingConfig: Uint8Array): Promise<Uint8Array> {
  const statement = formatStatement({
    predicateType: 'https://waybill.example/predicates/rotation',
    subjects: [{ name: 'artifact', sha256: SUBJECT }],
    predicate: { n: n++ },
  });
  const identity = { token: () => registry.issuer.token() };
  return signStatement(statement, { signingConfig, identity: identity as never });
}

describe('refused, and nothing is changed', () => {
  test.each([
    [
      'the key of another root',
      'TRUST_ROOT_KEY_WRONG',
      async () => ({ service: 'ca' as const, rootKey: await rootKey('tsa') }),
    ],
    [
      'a key made for the purpose',
      'TRUST_ROOT_KEY_WRONG',
      async () => ({ service: 'tsa' as const, rootKey: newSigner().signer }),
    ],
  ] as const)('%s', async (_name, code, of) => {
    const before = [await readdir(join(registry.dataFolder, 'keys')), await readTrust('trusted_root.json')];
    expect(await codeOfAsync(rotate(registry.rotationOptions(), await of()))).toBe(code);
    expect([await readdir(join(registry.dataFolder, 'keys')), await readTrust('trusted_root.json')]).toEqual(
      before,
    );
  });

  test('a new root where an offline key of that name is', async () => {
    await writeFile(join(registry.offline, 'ca-root-2.pem'), 'kept');
    const of = { service: 'ca', newRootFolder: registry.offline } as const;
    expect(await codeOfAsync(rotate(registry.rotationOptions(), of))).toBe('CA_FILES_EXIST');
    expect(await readdir(join(registry.dataFolder, 'keys'))).not.toContain('ca-intermediate-2.pem');
    expect(await readdir(join(registry.dataFolder, 'trust'))).not.toContain('ca-chain-2.pem');
    expect(await readFile(join(registry.offline, 'ca-root-2.pem'), 'utf8')).toBe('kept');
    await rm(join(registry.offline, 'ca-root-2.pem'));
  });

  test('to retire what has no successor, or one that is not published', async () => {
    expect(await codeOfAsync(retire(registry.rotationOptions(), 'ct'))).toBe('TRUST_RETIRE_EARLY');
    await rotate(registry.rotationOptions(), { service: 'ct' });
    expect(await codeOfAsync(retire(registry.rotationOptions(), 'ct'))).toBe('TRUST_RETIRE_EARLY');
  });

  test.each(['ca', 'ct', 'log', 'tsa'] as const)(
    'a key of %s after one that is not published',
    async (service) => {
      // A copy: the folder of the registry goes on as it is.
      const dataFolder = join(registry.home, `early-${service}`);
      await cp(registry.dataFolder, dataFolder, { recursive: true });
      const copy = { ...registry.rotationOptions(), dataFolder };
      const of =
        service === 'ca' || service === 'tsa' ? { service, rootKey: await rootKey(service) } : { service };
      // The test before made a key of ct.
      if (service !== 'ct') expect(await rotate(copy, of)).not.toHaveProperty('unpublished');
      const folders = ['keys', 'trust'].map((name) => join(dataFolder, name));
      const before = await Promise.all(folders.map((folder) => readdir(folder)));
      expect(await codeOfAsync(rotate(copy, of))).toBe('TRUST_ROTATE_EARLY');
      expect(await Promise.all(folders.map((folder) => readdir(folder)))).toEqual(before);
      const stolen = await rotate(copy, of, Date.now());
      expect(stolen).toMatchObject({ instance: 3, unpublished: 2 });
    },
  );

  test('a trusted root that lacks what is published', async () => {
    await registry.restart();
    expect((await publishAll(['trusted_root.json'])).status).toBe(201);
    const kept = await readTrust('trusted_root.json');
    const root = readTrustedRoot(kept);
    const [first] = instancesOf(root, 'ct', serviceNames('example'));
    await writeFile(trustFile('trusted_root.json'), formatTrustedRoot({ ...root, ctlogs: [first ?? {}] }));
    expect(await codeOfAsync(rotate(registry.rotationOptions(), { service: 'ct' }))).toBe(
      'TRUST_ROOT_BEHIND',
    );
    await writeFile(trustFile('trusted_root.json'), kept);
  });

  test('to publish a trusted root from before the rotation: the key before would sign again', async () => {
    const root = readTrustedRoot(await readTrust('trusted_root.json'));
    const [first = {}] = instancesOf(root, 'ct', serviceNames('example'));
    const inForce = registry.registry.services.ctLog();
    const answer = await publish({ 'trusted_root.json': formatTrustedRoot({ ...root, ctlogs: [first] }) });
    expect(refusal(answer)).toEqual({ status: 422, code: 'TRUST_ROOT_BEHIND' });
    expect(registry.registry.services.ctLog()).toBe(inForce);
    // Their order means nothing.
    const turned = { ...root, ctlogs: [...(root.ctlogs as never[])].reverse() };
    expect((await publish({ 'trusted_root.json': formatTrustedRoot(turned) })).status).toBe(201);
    expect(registry.registry.services.ctLog()).toBe(inForce);
    expect((await publishAll(['trusted_root.json'])).status).toBe(201);
  });

  test('trust material that cannot be read', async () => {
    const kept = await readTrust('signing_config.v0.2.json');
    await writeFile(trustFile('signing_config.v0.2.json'), '{}');
    expect(await codeOfAsync(rotate(registry.rotationOptions(), { service: 'log' }))).toBe(
      'CA_FILES_UNREADABLE',
    );
    await writeFile(trustFile('signing_config.v0.2.json'), kept);
  });
});

describe('a new shard of the signature log', () => {
  const BEHIND = { status: 422, code: 'TRUST_CONFIG_BEHIND' };
  let old: { readonly config: Uint8Array; readonly policy: Uint8Array; readonly checkpoint: string };
  let changed: readonly string[];

  test('a rotation that was broken off after the key is finished with that key', async () => {
    const [config, policy] = [await readTrust('signing_config.v0.2.json'), await readTrust('tlog-policy')];
    const keyPath = join(registry.dataFolder, 'keys', 'log-2.pem');
    // The test before left the key, since the signing configuration could not be read.
    const key = await readFile(keyPath);
    const trustedRoot = await readTrust('trusted_root.json');
    const rotated = await rotate(registry.rotationOptions(), { service: 'log' });
    expect(rotated).toMatchObject({ instance: 2, keys: [] });
    expect(rotated.logKey).toMatch(/^log2\.example\.example\+/);
    expect(await readFile(keyPath)).toEqual(key);
    // Broken off again, before its last write: finished without anything twice.
    await writeFile(trustFile('trusted_root.json'), trustedRoot);
    expect((await rotate(registry.rotationOptions(), { service: 'log' })).keys).toEqual([]);
    const { rekorTlogUrls } = JSON.parse(String(Buffer.from(await readTrust('signing_config.v0.2.json'))));
    expect(rekorTlogUrls.map(({ url }: { url: string }) => url)).toEqual([`${registry.url}/log2`]);
    changed = rotated.changed;
    expect([...changed].sort()).toEqual(['signing_config.v0.2.json', 'tlog-policy', 'trusted_root.json']);
    old = { config, policy, checkpoint: '' };
  });

  test('takes no entries before it is published, and the old one none after', async () => {
    await registry.restart();
    const next = await readTrust('signing_config.v0.2.json');
    await expect(sign(next)).rejects.toThrow();
    expect((await registry.submit(await sign(old.config))).status).toBe(201);
    const post = (prefix: string) =>
      registry.send('POST', `${prefix}/api/v2/log/entries`, '{}', { 'content-type': 'application/json' });
    expect(refusal(await post('/log2'))).toEqual({ status: 409, code: 'LOG_SHARD_INACTIVE' });
    expect(refusal(await post('/log'))).toEqual({ status: 400, code: 'LOG_REQUEST_MALFORMED' });
    const { bytes } = await registry.send('GET', '/log/checkpoint');
    old = { ...old, checkpoint: Buffer.from(bytes).toString() };
    // The policy alone harms nobody: it names both.
    const [root, config, policy] = ['trusted_root.json', 'signing_config.v0.2.json', 'tlog-policy'];
    for (const files of [[root], [config], [root, policy], [root, config], [config, policy]] as string[][]) {
      expect([files, refusal(await publishAll(files))]).toEqual([files, BEHIND]);
    }
    expect(refusal(await post('/log2'))).toEqual({ status: 409, code: 'LOG_SHARD_INACTIVE' });
    expect((await publishAll(changed)).status).toBe(201);
    for (const file of [{ 'tlog-policy': old.policy }, { 'signing_config.v0.2.json': old.config }]) {
      expect(refusal(await publish(file))).toEqual(BEHIND);
    }
    expect(refusal(await publish({ 'signing_config.v0.2.json': utf8('{}') }))).toEqual(BEHIND);
    expect(refusal(await post('/log'))).toEqual({ status: 409, code: 'LOG_SHARD_INACTIVE' });
    expect(refusal(await post('/log2'))).toEqual({ status: 400, code: 'LOG_REQUEST_MALFORMED' });
    await expect(sign(old.config)).rejects.toThrow();
  });

  test('has its own origin, key and tree; the old one stays readable, frozen', async () => {
    for (let i = 0; i < 2; i++) {
      expect((await registry.submit(await sign(await readTrust('signing_config.v0.2.json')))).status).toBe(
        201,
      );
    }
    await registry.restart();
    const checkpoint = async (prefix: string) =>
      Buffer.from((await registry.send('GET', `${prefix}/checkpoint`)).bytes).toString();
    expect(await checkpoint('/log')).toBe(old.checkpoint);
    expect(await checkpoint('/log2')).toMatch(/^log2\.example\.example\n2\n/);
    for (const path of [
      '/log/tile/entries/000.p/1',
      '/log/tile/0/000.p/1',
      '/log2/tile/0/000.p/2',
      '/ct2/checkpoint',
    ]) {
      expect((await registry.send('GET', path)).status).toBe(200);
    }
    expect((await registry.send('GET', '/log2/api/v2/proof?index=1')).status).toBe(200);
    expect((await registry.send('GET', '/log3/checkpoint')).status).toBe(404);
  });

  test('what is released is proved in the shard that holds it', async () => {
    const bundle = await sign(await readTrust('signing_config.v0.2.json'));
    const trustedRoot = await readTrust('trusted_root.json');
    const verified = bothVerifiers({ trustedRoot, keys: [] }).verify(bundle);
    const policy = parseLogPolicy(await readTrust('tlog-policy'), nodeCrypto);
    const kept = [{ bytes: bundle, verified }];
    const proved = await proveInclusion(new Registry(registry.url), policy, kept, nodeCrypto);
    expect(proved.checkpoint).toMatch(/^log2\.example\.example\n3\n/);
  });

  test('what was let in is in the order of the shards, then of their entries', async () => {
    const { json } = await registry.send('GET', `/api/v1/attestations?subject=${SUBJECT}`);
    const places = (json as { attestations: { bundle: string }[] }).attestations.map(({ bundle }) => {
      const [entry] = JSON.parse(bundle).verificationMaterial.tlogEntries;
      const [origin] = entry.inclusionProof.checkpoint.envelope.split('\n');
      return `${origin} ${entry.logIndex ?? 0}`;
    });
    expect(places).toEqual(['log.example.example 0', 'log2.example.example 0', 'log2.example.example 1']);
  });

  test('the log policy has both logs, each with its address', async () => {
    const { logs, quorum } = parseLogPolicy(await readTrust('tlog-policy'), nodeCrypto);
    const line = ({ key, url }: (typeof logs)[number]) => [key.name, url];
    expect(logs.map(line)).toEqual([
      ['log.example.example', `${registry.url}/log`],
      ['log2.example.example', `${registry.url}/log2`],
    ]);
    expect(quorum).toBe('none');
  });

  test('a stolen key: its shard leaves a log policy without witnesses, and its period ends when it was stolen', async () => {
    const { tlogs } = readTrustedRoot(await readTrust('trusted_root.json'));
    const [{ publicKey: first }] = tlogs as never as [{ publicKey: { validFor: { start: string } } }];
    const stolenSinceMs = Date.parse(first.validFor.start);
    const files = async () =>
      Promise.all(['keys', 'trust'].map((name) => readdir(join(registry.dataFolder, name))));
    const before = await files();
    // Before there was a key nobody can have stolen it.
    const tooEarly = rotate(registry.rotationOptions(), { service: 'log' }, stolenSinceMs - 1000);
    await expect(tooEarly).rejects.toMatchObject({
      code: 'TRUST_STOLEN_EARLY',
      message: expect.stringContaining(`expected a time from ${first.validFor.start} on, `),
    });
    expect(await files()).toEqual(before);
    const { logKey } = await rotate(registry.rotationOptions(), { service: 'log' }, stolenSinceMs);
    const { logs } = parseLogPolicy(await readTrust('tlog-policy'), nodeCrypto);
    expect(logs.map(({ key }) => key.name)).toEqual(['log3.example.example']);
    expect(logKey).toMatch(/^log3\./);
    const periodsOf = readTrustedRoot(await readTrust('trusted_root.json'));
    const periods = instancesOf(periodsOf, 'log', serviceNames('example')).map(
      ({ publicKey }) => (publicKey as { validFor: { end?: string } }).validFor.end,
    );
    expect(periods).toEqual([first.validFor.start, first.validFor.start, undefined]);
  });

  test('a stolen key whose shard has witnesses: the policy keeps it, since they cosign no fork of it', async () => {
    const vkey = await createWitness(join(registry.home, 'w1'), 'w1.example');
    const lines = Buffer.from(await readTrust('tlog-policy')).toString();
    const witnessed = lines.replace('quorum none', `# who looks on\nwitness w1 ${vkey}\nquorum w1`);
    await writeFile(trustFile('tlog-policy'), witnessed);
    await rotate(registry.rotationOptions(), { service: 'log' }, Date.now());
    const text = Buffer.from(await readTrust('tlog-policy')).toString();
    const { logs, quorum } = parseLogPolicy(utf8(text), nodeCrypto);
    expect(logs.map(({ key }) => key.name)).toEqual(['log3.example.example', 'log4.example.example']);
    expect([quorum, text.includes('# who looks on')]).toEqual(['w1', true]);
  });
});

describe('published, but not for now', () => {
  test('nothing is signed with keys whose period has ended, and a certificate of such an authority writes nothing', async () => {
    await registry.restart();
    const { registry: running } = registry;
    const of = { service: 'ca', rootKey: await rootKey('ca') } as const;
    await rotate(registry.rotationOptions(), of);
    await registry.restart();
    expect(running.services.caChains()).toHaveLength(1);
    const names = serviceNames('example');
    const root = readTrustedRoot(await readTrust('trusted_root.json'));
    const stolen = endOlder(root, 'ca', names, Date.parse('2026-01-31T12:00:00Z'));
    // Of the two only the one that has ended is published.
    const without = { ...stolen, certificateAuthorities: instancesOf(stolen, 'ca', names).slice(0, 1) };
    const published = { ...without, tlogs: (stolen.tlogs as never[]).slice(0, 2) };
    expect((await publish({ 'trusted_root.json': formatTrustedRoot(published) })).status).toBe(201);
    expect(registry.registry.services.caChains()).toHaveLength(0);
    const answer = await registry.send('POST', '/ca/api/v2/signingCert', await signingRequest(), {
      'content-type': 'application/json',
    });
    expect(refusal(answer)).toEqual({ status: 503, code: 'TRUST_KEY_UNPUBLISHED' });
  });
});

async function signingRequest(): Promise<string> {
  const { signer } = newSigner();
  const sub = 'repo:example/firmware:ref:refs/heads/main';
  const content = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(signer.spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
  const proofOfPossession = Buffer.from(signer.sign(utf8(sub))).toString('base64');
  const publicKeyRequest = { publicKey: { algorithm: 'ECDSA', content }, proofOfPossession };
  return JSON.stringify({
    credentials: { oidcIdentityToken: await registry.issuer.token() },
    publicKeyRequest,
  });
}
