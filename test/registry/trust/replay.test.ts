// SPDX-License-Identifier: Apache-2.0
// A token that was used stays with the key it was used for [docs/spec/trust-services.md §Replayed tokens].

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { cp, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleToJSON } from '@sigstore/bundle';
import { DSSEBundleBuilder, FulcioSigner } from '@sigstore/sign';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { TokenMemory } from '../../../registry/ca/token-memory.ts';
import { Database } from '../../../registry/store/database.ts';
import { RunningRegistry } from '../running-registry.ts';
import { CLAIMS, LoopbackIssuer } from './loopback-issuer.ts';
import { entryFor, startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
/** Signs with ECDSA, whose signatures have a second value that verifies. */
let ecdsa: LoopbackIssuer;
beforeAll(async () => {
  ecdsa = await LoopbackIssuer.start('one', 'ES256');
  server = await startTrustServer((url) => [
    entryFor(url),
    { ...entryFor(url), require: { repository_id: '3003' }, reuse: 'any-key' },
    entryFor(ecdsa.url),
  ]);
});
afterAll(async () => {
  await server.close();
  await ecdsa.close();
});
beforeEach(() => {
  server.time.skewMs = 0;
});

interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}
const newKey = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function ask(
  token: string,
  key: KeyPair,
  signer = key.privateKey,
  url = server.url,
): Promise<number | string> {
  const response = await fetch(`${url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      credentials: { oidcIdentityToken: token },
      publicKeyRequest: {
        publicKey: { content: key.publicKey.export({ type: 'spki', format: 'pem' }) },
        proofOfPossession: sign('sha256', Buffer.from(String(CLAIMS.sub)), signer).toString('base64'),
      },
    }),
  });
  const { error } = (await response.json()) as { error?: { code: string } };
  return error?.code ?? response.status;
}

describe('a token over the server', () => {
  test('is good again for the same key, as clients that try again send it, and for no other', async () => {
    const token = await server.issuer.token();
    const [own, another] = [newKey(), newKey()];
    expect(await ask(token, own)).toBe(200);
    expect(await ask(token, own)).toBe(200);
    expect(await ask(token, another)).toBe('OIDC_TOKEN_REPLAYED');
    expect(await ask(token, own)).toBe(200);
  });

  test('sent at once with many keys gets certificates for one', async () => {
    const token = await server.issuer.token();
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(token, newKey())));
    expect(answers.filter((answer) => answer === 200)).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'OIDC_TOKEN_REPLAYED')).toHaveLength(7);
  });

  test('is not spent by whoever cannot prove a key', async () => {
    const token = await server.issuer.token();
    const [own, another] = [newKey(), newKey()];
    expect(await ask(token, another, own.privateKey)).toBe('CA_PROOF_WRONG');
    expect(await ask(token, own)).toBe(200);
  });

  test('is the same with the other value of its signature', async () => {
    const token = await ecdsa.token();
    const [header, body, signature = ''] = token.split('.');
    const bytes = Buffer.from(signature, 'base64url');
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const s = order - BigInt(`0x${bytes.toString('hex', 32)}`);
    bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex');
    const twin = `${header}.${body}.${bytes.toString('base64url')}`;
    expect(twin).not.toBe(token);
    const own = newKey();
    expect(await ask(twin, own)).toBe(200);
    expect(await ask(token, newKey())).toBe('OIDC_TOKEN_REPLAYED');
    expect(await ask(token, own)).toBe(200);
  });

  test('serves several keys where its entry says so', async () => {
    const token = await server.issuer.token({ repository_id: '3003' });
    expect(await ask(token, newKey())).toBe(200);
    expect(await ask(token, newKey())).toBe(200);
  });

  test('is fresh for each signature of the client of the field, many at once', async () => {
    const sign = async () => {
      const signer = new FulcioSigner({
        fulcioBaseURL: `${server.url}/ca`,
        identityProvider: { getToken: () => server.issuer.token() },
      });
      const builder = new DSSEBundleBuilder({ signer, witnesses: [] });
      return bundleToJSON(await builder.create({ type: 'text/plain', data: Buffer.from('x') }));
    };
    const bundles = await Promise.all(Array.from({ length: 6 }, sign));
    expect(
      new Set(bundles.map(({ verificationMaterial }) => JSON.stringify(verificationMaterial))).size,
    ).toBe(6);
  });
});

/** A database of its own, which can be opened again as after a restart. */
async function reopenable() {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-tokens-'));
  let database = await Database.open(folder);
  onTestFinished(async () => {
    await database.close();
    await rm(folder, { recursive: true });
  });
  return {
    database: () => database,
    reopen: async () => {
      await database.close();
      database = await Database.open(folder);
      return database;
    },
    /** A write as any other part of the registry makes it. */
    write: () => database.write([{ table: 'release', key: ['x'], value: {} }]),
    rows: async () => {
      const keys: string[] = [];
      for await (const [[minute = '', id = '']] of database.rowsOf('token')) keys.push(`${minute} ${id}`);
      return keys;
    },
  };
}

describe('the memory of tokens', () => {
  const spki = (n: number): Uint8Array => Uint8Array.of(n);
  const replayed = expect.objectContaining({ code: 'OIDC_TOKEN_REPLAYED' });

  test('forgets a token when it has expired, not before', async () => {
    let nowS = 6000;
    const { database } = await reopenable();
    const memory = await TokenMemory.open(database(), () => nowS * 1000, 2);
    memory.bind({ id: 'a', expiresS: 6310 }, spki(1));
    memory.bind({ id: 'b', expiresS: 6610.5 }, spki(1));
    nowS = 6310;
    expect(() => memory.bind({ id: 'a', expiresS: 6310 }, spki(2))).toThrow(replayed);
    nowS = 6610;
    expect(() => memory.bind({ id: 'b', expiresS: 6610.5 }, spki(2))).toThrow(replayed);
    expect(memory.size).toBe(1);
    nowS = 6700;
    memory.bind({ id: 'c', expiresS: 7000 }, spki(1));
    expect(memory.size).toBe(1);
  });

  test('refuses new tokens when it is full of valid ones, and never forgets one of them', async () => {
    let nowS = 6000;
    const { database } = await reopenable();
    const memory = await TokenMemory.open(database(), () => nowS * 1000, 2);
    memory.bind({ id: 'a', expiresS: 6310 }, spki(1));
    memory.bind({ id: 'b', expiresS: 6310 }, spki(2));
    expect(() => memory.bind({ id: 'c', expiresS: 6310 }, spki(3))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKENS_TOO_MANY' }),
    );
    memory.bind({ id: 'b', expiresS: 6310 }, spki(2));
    expect(() => memory.bind({ id: 'a', expiresS: 6310 }, spki(3))).toThrow(replayed);
    nowS = 6400;
    memory.bind({ id: 'c', expiresS: 6700 }, spki(3));
    expect(memory.size).toBe(1);
  });

  test('outlives a restart with the next write, makes none itself, and stays as small as it is', async () => {
    let nowS = 6000;
    const { database, reopen, write, rows } = await reopenable();
    const first = await TokenMemory.open(database(), () => nowS * 1000);
    for (const id of ['a', 'b', 'c']) first.bind({ id, expiresS: 6310 }, spki(1));
    expect(await rows()).toEqual([]);
    await write();
    expect(await rows()).toEqual(['105 61', '105 62', '105 63']);
    const second = await TokenMemory.open(await reopen(), () => nowS * 1000, 3);
    expect(second.size).toBe(3);
    expect(() => second.bind({ id: 'a', expiresS: 6310 }, spki(2))).toThrow(replayed);
    second.bind({ id: 'a', expiresS: 6310 }, spki(1));
    // What was remembered before counts against the bound, until it has expired; then it goes as others come.
    expect(() => second.bind({ id: 'd', expiresS: 6700 }, spki(1))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKENS_TOO_MANY' }),
    );
    nowS = 6400;
    second.bind({ id: 'd', expiresS: 6700 }, spki(1));
    await write();
    expect(await rows()).toHaveLength(2);
    second.bind({ id: 'e', expiresS: 6700 }, spki(1));
    await write();
    expect(await rows()).toEqual(['111 64', '111 65']);
  });

  test('is not begun anew over rows that cannot be read', async () => {
    const { database } = await reopenable();
    await database().write([{ table: 'token', key: ['105', '61'], value: Uint8Array.of(1) }]);
    await expect(TokenMemory.open(database(), () => 0)).rejects.toMatchObject({
      code: 'REGISTRY_DATA_DAMAGED',
    });
  });
});

test("a token that a registry took for one key is no other key's after a restart, not even where the power went", async () => {
  const running = await RunningRegistry.start();
  onTestFinished(() => running.close());
  const token = await running.issuer.token();
  const [own, another] = [newKey(), newKey()];
  expect(await ask(token, own, own.privateKey, running.url)).toBe(200);
  // What is on disk at the moment of the answer, and nothing that closing might add.
  const copy = join(running.home, 'copy');
  await cp(join(running.dataFolder, 'state', 'db'), copy, { recursive: true });
  await rm(join(copy, 'LOCK'), { force: true });
  await running.restart(async () => {
    await rm(join(running.dataFolder, 'state', 'db'), { recursive: true });
    await rename(copy, join(running.dataFolder, 'state', 'db'));
  });
  expect(await ask(token, another, another.privateKey, running.url)).toBe('OIDC_TOKEN_REPLAYED');
  expect(await ask(token, own, own.privateKey, running.url)).toBe(200);
});
