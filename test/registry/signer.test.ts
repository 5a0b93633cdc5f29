// SPDX-License-Identifier: Apache-2.0
// Keys of the services in signers of their own, over real sockets: all work, each signs its own kind of data alone, and one that is gone
// makes its service unavailable without leaving anything half done.

import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { treeHead } from '../../registry/ct/structures.ts';
import { Metrics } from '../../registry/http/metrics.ts';
import { rotate } from '../../registry/rotation.ts';
import { guardOf, type Purpose } from '../../registry/signer/purpose.ts';
import { connectSigner, openSigner } from '../../registry/signer/signer-client.ts';
import { buildSignerServer, type HeldKey, listenAtSocket } from '../../registry/signer/signer-server.ts';
import { TreeMemory } from '../../registry/signer/tree-memory.ts';
import { keyPath, type Service, signerPath } from '../../registry/trust/instances.ts';
import { openKey } from '../../registry/trust/services.ts';
import { newSigner, signerFromEd25519Pem, signerFromPem } from '../../registry/trust/signer.ts';
import { readPublishedTarget } from '../../registry/tuf/published-target.ts';
import { codeOf, codeOfAsync } from '../core/tlog/refusal.ts';
import { RunningRegistry, refusal } from './running-registry.ts';

const SERVICES = ['ca', 'ct', 'log', 'tsa'] as const;
const ORIGIN = 'log.example.example';
const purposeOf = (service: Service): Purpose =>
  service === 'log' ? { service, origin: ORIGIN } : ({ service } as Purpose);

/** What each signer was asked to sign, the last of each kind. */
const seen = new Map<Service, Uint8Array[]>();

async function startSigner(service: Service, key: HeldKey, socket: string): Promise<FastifyInstance> {
  const spied: HeldKey = {
    spki: key.spki,
    sign: (data) => {
      seen.set(service, [...(seen.get(service) ?? []), data]);
      return key.sign(data);
    },
  };
  const app = buildSignerServer({
    purpose: purposeOf(service),
    key: spied,
    trees: TreeMemory.forgetful(),
    logLevel: 'silent',
  });
  await listenAtSocket(app, socket);
  return app;
}

async function heldKey(service: Service, path: string): Promise<HeldKey> {
  const pem = await readFile(path, 'utf8');
  return (service === 'log' ? signerFromEd25519Pem(pem) : signerFromPem(pem)) as HeldKey;
}

function newEd25519(): HeldKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  return signerFromEd25519Pem(String(privateKey.export({ type: 'pkcs8', format: 'pem' }))) as HeldKey;
}

describe('a registry without keys of its services', () => {
  let registry: RunningRegistry;
  let apart: string;
  const signers = new Map<Service, FastifyInstance>();
  const socket = (service: Service): string => join(apart, `${service}.sock`);
  const start = async (service: Service) =>
    signers.set(
      service,
      await startSigner(service, await heldKey(service, join(apart, `${service}.pem`)), socket(service)),
    );

  beforeAll(async () => {
    registry = await RunningRegistry.start();
    apart = await mkdtemp(join(tmpdir(), 'waybill-signers-'));
    await registry.restart(async () => {
      for (const service of SERVICES) {
        await rename(keyPath(registry.dataFolder, service), join(apart, `${service}.pem`));
        await writeFile(signerPath(registry.dataFolder, service), `${socket(service)}\n`);
        await start(service);
      }
    });
  });
  afterAll(async () => {
    await registry.close();
    for (const signer of signers.values()) await signer.close();
    await rm(apart, { recursive: true });
  });

  const statement = (n: number) =>
    formatStatement({
      predicateType: 'https://waybill.example/predicates/signer',
      subjects: [{ name: 'x', sha256: n.toString(16).padStart(64, '0') }],
      predicate: {},
    });

  test('signs through them; nobody else may use their sockets', async () => {
    const bundle = await registry.sign(statement(1));
    const trustedRoot = await readPublishedTarget(registry.dataFolder, 'trusted_root.json');
    bothVerifiers({ trustedRoot, keys: [] }).verify(bundle);
    expect((await registry.submit(bundle)).status).toBe(201);
    for (const service of SERVICES) {
      expect(seen.get(service)?.length).toBeGreaterThan(0);
      expect((await stat(socket(service))).mode & 0o777).toBe(0o660);
    }
  });

  test.each([
    [
      'tsa',
      '/tsa/api/v1/timestamp',
      { artifactHash: Buffer.alloc(32).toString('base64'), hashAlgorithm: 'sha256' },
    ],
  ] as const)('%s: unavailable while its signer is gone, and back with it', async (service, path, body) => {
    await signers.get(service)?.close();
    const ask = () =>
      registry.send('POST', path, JSON.stringify(body), { 'content-type': 'application/json' });
    const answer = await ask();
    expect(refusal(answer)).toEqual({ status: 503, code: 'SIGNER_UNREACHABLE' });
    expect((answer.json as { message: string }).message).toContain('SIGNER_UNREACHABLE');
    // Where it should be is for the server's log alone.
    expect(JSON.stringify(answer.json)).not.toContain('.sock');
    await expect(connectSigner(socket(service), service)).rejects.toMatchObject({
      cause: { message: expect.stringContaining(socket(service)) },
    });
    await start(service);
    expect((await ask()).status).toBe(201);
  });

  test.each(SERVICES)('%s: without its signer the registry is not ready', async (service) => {
    const ready = async () => {
      // A signer is asked once a second.
      await new Promise((resolve) => setTimeout(resolve, 1100));
      const { status, json } = await registry.send('GET', '/readyz');
      return { status, ...(json as { readonly reasons?: unknown }) };
    };
    expect(await ready()).toMatchObject({ status: 'ready' });
    const key = signers.get(service);
    await key?.close();
    const away = [
      { code: 'SIGNER_UNREACHABLE', message: `expected the signer of ${service} to answer: ENOENT` },
    ];
    expect(await ready()).toEqual({ status: 'unready', reasons: away });
    const { text } = await new Metrics(registry.registry, async () => 0).text();
    expect(text).toContain('waybill_ready 0\n');
    const other = service === 'log' ? newEd25519() : (signerFromPem(newSigner().pem) as HeldKey);
    signers.set(service, await startSigner(service, other, socket(service)));
    const wrong = [{ code: 'SIGNER_ANSWER_WRONG', message: expect.stringContaining('got another key') }];
    expect(await ready()).toEqual({ status: 'unready', reasons: wrong });
    await signers.get(service)?.close();
    await start(service);
    expect(await ready()).toMatchObject({ status: 'ready' });
  });

  test.each(['ca', 'ct', 'log'] as const)('%s: nothing is logged in part', async (service) => {
    const sizes = async () => {
      const { ct, log } = registry.registry.services.held;
      return [ct[0]?.tiles.checkpoint().size, log[0]?.log.tiles.checkpoint().size];
    };
    const before = await sizes();
    await signers.get(service)?.close();
    await expect(registry.sign(statement(2))).rejects.toThrow(/SIGNER_UNREACHABLE|503/);
    expect((await sizes())[1]).toBe(before[1]);
    if (service !== 'log') expect((await sizes())[0]).toBe(before[0]);
    await start(service);
    const bundle = await registry.sign(statement(3));
    expect((await registry.submit(bundle)).status).toBe(201);
    await registry.restart();
    const trustedRoot = await readPublishedTarget(registry.dataFolder, 'trusted_root.json');
    bothVerifiers({ trustedRoot, keys: [] }).verify(bundle);
  });

  test('a server whose user may not use the socket is told that, not that nobody listens', async () => {
    const module = join(import.meta.dirname, '../../registry/signer/signer-client.ts');
    // Its owner, but for root, is kept out as well.
    await chmod(socket('tsa'), 0);
    const script = `
      const { connectSigner } = await import(${JSON.stringify(module)});
      if (process.getuid() === 0) process.setuid(65534);
      await connectSigner(${JSON.stringify(socket('tsa'))}, 'tsa').catch(({ code, message, row }) =>
        console.log(JSON.stringify({ code, message, remedy: row.remedy })));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    await chmod(socket('tsa'), 0o660);
    expect(JSON.parse(stdout)).toEqual({
      code: 'SIGNER_UNREACHABLE',
      message:
        'expected the signer of tsa to answer: EACCES, the user of this process may not use its socket',
      remedy: expect.stringMatching(/EACCES, put the user of the server into the group of the socket/),
    });
  });

  test('does not start without them, nor with a key beside a signer', async () => {
    await signers.get('tsa')?.close();
    await expect(openSigner(registry.dataFolder, 'tsa', 1)).rejects.toMatchObject({
      code: 'SIGNER_UNREACHABLE',
    });
    await start('tsa');
    await writeFile(keyPath(registry.dataFolder, 'tsa'), newSigner().pem);
    expect(await codeOfAsync(openSigner(registry.dataFolder, 'tsa', 1))).toBe('CA_FILES_UNREADABLE');
    await rm(keyPath(registry.dataFolder, 'tsa'));
    await writeFile(signerPath(registry.dataFolder, 'tsa'), 'tsa.sock\n');
    expect(await codeOfAsync(openSigner(registry.dataFolder, 'tsa', 1))).toBe('CA_FILES_UNREADABLE');
    await writeFile(signerPath(registry.dataFolder, 'tsa'), `${socket('tsa')}\n`);
    await chmod(signerPath(registry.dataFolder, 'tsa'), 0o666);
    expect(await codeOfAsync(openSigner(registry.dataFolder, 'tsa', 1))).toBe('CA_KEY_EXPOSED');
    await chmod(signerPath(registry.dataFolder, 'tsa'), 0o644);
    expect((await openSigner(registry.dataFolder, 'tsa', 1))?.spki).toBeDefined();
  });

  test('a key that a signer has is rotated to: its certificate is issued, no key is made', async () => {
    const pem = newSigner().pem;
    const path = join(apart, 'tsa-2.sock');
    const second = await startSigner('tsa', signerFromPem(pem) as HeldKey, path);
    onTestFinished(() => second.close());
    await writeFile(signerPath(registry.dataFolder, 'tsa', 2), `${path}\n`);
    const rootKey = await openKey(join(registry.offline, 'tsa-root.pem'));
    const { dataFolder, url } = registry;
    const rotated = await rotate(
      { dataFolder, org: 'example', url, nowMs: Date.now() },
      { service: 'tsa', rootKey },
    );
    expect(rotated).toMatchObject({ instance: 2, keys: [], signer: expect.stringContaining('-2.signer') });
    await registry.restart();
    expect(registry.registry.services.held.tsa[1]?.certificate.spki).toEqual(signerFromPem(pem)?.spki);
    await registry.restart(async () => {
      await rm(signerPath(dataFolder, 'tsa', 2));
      await rm(join(dataFolder, 'trust', 'tsa-chain-2.pem'));
    });
  });

  test('a shard whose key a signer has begins once `waybill rotate` knows of it, not before', async () => {
    const { dataFolder, url } = registry;
    const key = newEd25519();
    const app = buildSignerServer({
      purpose: { service: 'log', origin: 'log2.example.example' },
      key,
      trees: TreeMemory.forgetful(),
      logLevel: 'silent',
    });
    onTestFinished(() => app.close());
    const path = join(apart, 'log-2.sock');
    await listenAtSocket(app, path);
    const early = registry.restart(() => writeFile(signerPath(dataFolder, 'log', 2), `${path}\n`));
    await expect(early).rejects.toMatchObject({
      code: 'LOG_HEAD_MISSING',
      row: { remedy: expect.stringMatching(/finish `waybill rotate` first/) },
    });
    const before = await readFile(join(dataFolder, 'trust', 'trusted_root.json'));
    const rotated = await rotate({ dataFolder, org: 'example', url, nowMs: Date.now() }, { service: 'log' });
    expect(rotated).toMatchObject({ instance: 2, keys: [], signer: expect.stringContaining('-2.signer') });
    await registry.restart();
    expect(registry.registry.services.held.log[1]?.log.tiles.checkpoint().size).toBe(0n);

    // A rotation that was broken off before it wrote the trusted root is finished after a start: the log began, and gets no second mark.
    const rotateAgain = async (headFolder?: string) => {
      await writeFile(join(dataFolder, 'trust', 'trusted_root.json'), before);
      await rotate({ dataFolder, org: 'example', url, headFolder, nowMs: Date.now() }, { service: 'log' });
      return readdir(join(dataFolder, 'unbegun'));
    };
    expect(await rotateAgain()).toEqual([]);
    // Neither its head can be looked at now, nor, while the server runs, its rows.
    await expect(rotateAgain(join(apart, 'nowhere'))).rejects.toMatchObject({
      code: 'REGISTRY_DATA_LOCKED',
    });
    const heads = join(dataFolder, 'state', 'heads');
    await registry.restart(async () => {
      await rename(heads, join(apart, 'heads'));
      // Its rows alone tell that it began.
      expect(await rotateAgain()).toEqual([]);
      await rename(join(dataFolder, 'state', 'db'), join(apart, 'db'));
      expect(await rotateAgain(join(apart, 'heads'))).toEqual([]);
      expect(await rotateAgain()).toEqual(['log2']);
      await rename(join(apart, 'heads'), heads);
      await rename(join(apart, 'db'), join(dataFolder, 'state', 'db'));
      await rm(join(dataFolder, 'unbegun', 'log2'));
      await rm(signerPath(dataFolder, 'log', 2));
    });
  });

  test('each signs its own kind of data alone', () => {
    for (const service of SERVICES) {
      for (const other of SERVICES) {
        const guard = guardOf(purposeOf(service), TreeMemory.forgetful());
        for (const data of seen.get(other) ?? []) {
          if (other === service) guard(data);
          else
            expect([service, other, codeOf(() => guard(data))]).toEqual([
              service,
              other,
              'SIGNER_DATA_REFUSED',
            ]);
        }
      }
    }
  });

  test('a certificate of an authority, or of another purpose, or too long, is refused', () => {
    const guard = guardOf({ service: 'ca' }, TreeMemory.forgetful());
    const [tbs] = seen.get('ca') as [Uint8Array];
    const change = (from: string, to: string): Uint8Array => {
      const hex = Buffer.from(tbs).toString('hex');
      expect(hex).toContain(from);
      return new Uint8Array(Buffer.from(hex.replace(from, to), 'hex'));
    };
    guard(tbs);
    // Code signing becomes the signing of timestamps.
    expect(codeOf(() => guard(change('2b06010505070303', '2b06010505070308')))).toBe('SIGNER_DATA_REFUSED');
    // The first digit of the year in which it ends.
    const times = [
      ...Buffer.from(tbs)
        .toString('hex')
        .matchAll(/170d(3\d)(3\d)/g),
    ];
    const at = times[1]?.index ?? 0;
    const hex = Buffer.from(tbs).toString('hex');
    const later = `${hex.slice(0, at + 4)}34${hex.slice(at + 6)}`;
    expect(codeOf(() => guard(new Uint8Array(Buffer.from(later, 'hex'))))).toBe('SIGNER_DATA_REFUSED');
  });

  test.each(['ca', 'ct'] as const)('%s: what was made for another time is refused', (service) => {
    const data = (seen.get(service) ?? []).find(({ length }) => length !== 50) as Uint8Array;
    const at = (minutes: number) =>
      codeOf(() =>
        guardOf(purposeOf(service), TreeMemory.forgetful(), () => Date.now() + minutes * 60_000)(data),
      );
    expect([at(0), at(-4), at(4)]).toEqual(Array(3).fill('accepted'));
    expect([at(-6), at(8), at(-600_000)]).toEqual(Array(3).fill('SIGNER_DATA_REFUSED'));
  });
});

describe('logs', () => {
  const checkpoint = (origin: string, size: number) =>
    utf8(`${origin}\n${size}\n${Buffer.alloc(32, size).toString('base64')}\n`);

  test('a checkpoint of another log is not signed, nor one of a tree that shrank', () => {
    const guard = guardOf({ service: 'log', origin: ORIGIN }, TreeMemory.forgetful());
    expect(codeOf(() => guard(checkpoint('log2.example.example', 5)))).toBe('SIGNER_DATA_REFUSED');
    expect(codeOf(() => guard(checkpoint(`\ufeff${ORIGIN}`, 5)))).toBe('SIGNER_DATA_REFUSED');
    guard(checkpoint(ORIGIN, 5));
    guard(checkpoint(ORIGIN, 5));
    expect(codeOf(() => guard(checkpoint(ORIGIN, 4)))).toBe('SIGNER_DATA_REFUSED');
    guard(checkpoint(ORIGIN, 6));
  });

  test('a tree head that shrank is not signed', () => {
    const guard = guardOf({ service: 'ct' }, TreeMemory.forgetful());
    guard(treeHead(1, 5n, new Uint8Array(32)));
    expect(codeOf(() => guard(treeHead(2, 4n, new Uint8Array(32))))).toBe('SIGNER_DATA_REFUSED');
    // The same tree at another time is; another one of its size is a fork.
    guard(treeHead(2, 5n, new Uint8Array(32)));
    expect(codeOf(() => guard(treeHead(2, 5n, new Uint8Array(32).fill(1))))).toBe('SIGNER_DATA_REFUSED');
  });

  test.each(SERVICES.map((service) => [service]))(
    '%s: nothing, or a byte too much, is not signed',
    (service) => {
      expect(codeOf(() => guardOf(purposeOf(service), TreeMemory.forgetful())(new Uint8Array()))).toBe(
        'SIGNER_DATA_REFUSED',
      );
      for (const data of seen.get(service) ?? []) {
        const longer = new Uint8Array([...data, 0]);
        // The entry of a precertificate ends in a vector whose length nothing here reads.
        if (service === 'ct' && data.length !== 50) continue;
        expect(codeOf(() => guardOf(purposeOf(service), TreeMemory.forgetful())(longer))).toBe(
          'SIGNER_DATA_REFUSED',
        );
      }
    },
  );
});

describe('over the socket', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waybill-signer-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('another key after a restart is noticed, as are another service and data it refuses', async () => {
    const path = join(folder, 'tsa.sock');
    const first = await startSigner('tsa', newSigner().signer, path);
    const signer = await connectSigner(path, 'tsa');
    const [attributes] = seen.get('tsa') as [Uint8Array];
    expect((await signer.sign(attributes)).length).toBeGreaterThan(60);
    await expect(signer.sign(utf8('hello'))).rejects.toMatchObject({
      code: 'SIGNER_ANSWER_WRONG',
      message: expect.stringContaining('status 403, code SIGNER_DATA_REFUSED'),
    });
    expect(await codeOfAsync(signer.sign(new Uint8Array(70_000)))).toBe('SIGNER_ANSWER_WRONG');
    expect(await codeOfAsync(connectSigner(path, 'ca'))).toBe('SIGNER_ANSWER_WRONG');
    await first.close();
    expect(await codeOfAsync(signer.sign(attributes))).toBe('SIGNER_UNREACHABLE');
    const second = await startSigner('tsa', newSigner().signer, path);
    onTestFinished(() => second.close());
    expect(await codeOfAsync(signer.sign(attributes))).toBe('SIGNER_ANSWER_WRONG');
  });

  test('a key of another kind than the service signs with is noticed', async () => {
    const path = join(folder, 'log.sock');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const signer = await startSigner('log', signerFromPem(pem) as HeldKey, path);
    onTestFinished(() => signer.close());
    expect(await codeOfAsync(connectSigner(path, 'log'))).toBe('SIGNER_ANSWER_WRONG');
  });

  test('who begins a request and does not end it is sent away', { timeout: 20_000 }, async () => {
    const path = join(folder, 'slow.sock');
    const signer = await startSigner('tsa', newSigner().signer, path);
    onTestFinished(() => signer.close());
    const head = 'POST /tsa/sign HTTP/1.1\r\nHost: x\r\n';
    const whole = `${head}Content-Type: application/octet-stream\r\nContent-Length: 9\r\n\r\nab`;
    const startedMs = performance.now();
    await Promise.all(
      ['', head, whole].map(async (begun) => {
        const socket = connect(path, () => socket.write(begun));
        socket.resume();
        await once(socket, 'close');
      }),
    );
    expect(performance.now() - startedMs).toBeLessThan(15_000);
  });

  test('a socket in use, and a file in its place, are left alone; a socket of nobody is replaced', async () => {
    const path = join(folder, 'used.sock');
    const first = await startSigner('tsa', newSigner().signer, path);
    expect(await codeOfAsync(startSigner('tsa', newSigner().signer, path))).toBe('SIGNER_SOCKET_UNUSABLE');
    await connectSigner(path, 'tsa');
    await first.close();
    await writeFile(join(folder, 'file'), 'kept');
    expect(await codeOfAsync(startSigner('tsa', newSigner().signer, join(folder, 'file')))).toBe(
      'SIGNER_SOCKET_UNUSABLE',
    );
    expect(await readFile(join(folder, 'file'), 'utf8')).toBe('kept');
    await expect(startSigner('tsa', newSigner().signer, join(folder, 'nowhere', 'tsa.sock'))).rejects.toThrow(
      'its folder is not there',
    );
  });
});
