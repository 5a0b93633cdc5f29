// SPDX-License-Identifier: Apache-2.0
// Reading the log over HTTP: tiles, bundles, checkpoints and proofs as tlog-tiles says, one spelling each.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { verifyCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { parseEntryBundle } from '../../../core/tlog/entry-bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseVerifierKey } from '../../../core/tlog/note.ts';
import { checkLogProof } from '../../../core/tlog/proof.ts';
import { dsseRequest, keyed, type LogServer, type Reply, startLogServer } from './log-server.ts';
import { ORIGIN } from './numbered-entry.ts';

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest();

describe('reading', () => {
  const get = (server: LogServer, path: string, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/log${path}`, { headers: { 'accept-encoding': 'identity', ...headers } });

  async function filledServer(count: number): Promise<LogServer> {
    const server = await startLogServer();
    const digests = Array.from({ length: count }, (_, n) => sha256(Buffer.from(`${n}`)));
    const verifier = { publicKey: server.listed.spki };
    const keyDetails = 'PKIX_ECDSA_P256_SHA_256';
    await Promise.all(
      digests.map((digest) =>
        server.log.add(formatHashedRekord({ digest, signature: Uint8Array.of(1), verifier, keyDetails })),
      ),
    );
    return server;
  }

  test('checkpoint, tiles and bundles, at the prefix and below api/v2, with their headers', async () => {
    const server = await filledServer(260);
    const key = parseVerifierKey(server.log.verifierKey, portableCrypto);
    for (const below of ['', '/api/v2']) {
      const checkpoint = await get(server, `${below}/checkpoint`);
      expect(checkpoint.headers.get('content-type')).toBe('text/plain; charset=utf-8');
      expect(checkpoint.headers.get('cache-control')).toBe('no-cache');
      const log = { origin: ORIGIN, keys: [key] };
      expect(verifyCheckpoint(await checkpoint.text(), log, portableCrypto).size).toBe(260n);
      const tile = await get(server, `${below}/tile/0/000`);
      expect(tile.headers.get('content-type')).toBe('application/octet-stream');
      expect(tile.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      const hashes = Buffer.from(await tile.arrayBuffer());
      const bundle = await get(server, `${below}/tile/entries/000`);
      const entries = parseEntryBundle(new Uint8Array(await bundle.arrayBuffer()));
      expect(Buffer.concat(entries.map((entry) => hashLeaf(entry, portableCrypto)))).toEqual(hashes);
      expect((await (await get(server, `${below}/tile/1/000.p/1`)).arrayBuffer()).byteLength).toBe(32);
      expect((await (await get(server, `${below}/tile/0/001.p/4`)).arrayBuffer()).byteLength).toBe(128);
    }
  });

  test('bundles are compressed for those who say that they read gzip', async () => {
    const server = await filledServer(3);
    const plain = Buffer.from(await (await get(server, '/tile/entries/000.p/3')).arrayBuffer());
    const packed = await get(server, '/tile/entries/000.p/3', { 'accept-encoding': 'deflate, gzip;q=0.5' });
    expect([packed.headers.get('content-encoding'), packed.headers.get('vary')]).toEqual([
      'gzip',
      'accept-encoding',
    ]);
    // fetch has unpacked it already.
    expect(Buffer.from(await packed.arrayBuffer())).toEqual(plain);
    const refused = await get(server, '/tile/entries/000.p/3', { 'accept-encoding': 'gzip;q=0, br' });
    expect(refused.headers.get('content-encoding')).toBeNull();
  });

  test('a crowd that reads gzip leaves threads to the database', async () => {
    const server = await filledServer(256);
    const plain = Buffer.from(await (await get(server, '/tile/entries/000')).arrayBuffer());
    const asked = Array.from({ length: 40 }, () =>
      get(server, '/tile/entries/000', { 'accept-encoding': 'gzip' }),
    );
    const encodings = new Set<string | null>();
    for (const reply of await Promise.all(asked)) {
      encodings.add(reply.headers.get('content-encoding'));
      expect(Buffer.from(await reply.arrayBuffer())).toEqual(plain);
    }
    expect([...encodings].sort()).toEqual(['gzip', null]);
  });

  test.each([
    ['/ch%65ckpoint', 'REGISTRY_REQUEST_UNKNOWN'],
    ['/api/v2/pr%6Fof?index=0', 'REGISTRY_REQUEST_UNKNOWN'],
    ['/tile/0/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/0/000.p/4', 'LOG_TILE_UNKNOWN'],
    ['/tile/1/000.p/1', 'LOG_TILE_UNKNOWN'],
    ['/tile/63/x999/999', 'LOG_TILE_UNKNOWN'],
    ['/tile/data/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/entries/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/0/000.p/0', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/000.p/256', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/%30%30%30.p/3', 'REGISTRY_REQUEST_UNKNOWN'],
    ['/tile/0/x000/000.p/3', 'TLOG_PATH_MALFORMED'],
    ['/tile/64/000', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/..%2f000', 'REGISTRY_REQUEST_UNKNOWN'],
    ['/api/v2/tile/00/000', 'TLOG_PATH_MALFORMED'],
    ['/api/v2/proof?index=3', 'TLOG_INDEX_OUTSIDE_TREE'],
    ['/api/v2/proof?index=0&size=4', 'LOG_SIZE_UNPUBLISHED'],
    ['/api/v2/proof?index=0&size=2', 'LOG_SIZE_UNPUBLISHED'],
  ])('%s is not there: %s', async (path, code) => {
    const server = await filledServer(3);
    const reply = await get(server, path);
    expect([reply.status, ((await reply.json()) as Reply).error?.code]).toEqual([404, code]);
    expect(reply.headers.get('cache-control')).toBe('no-store');
  });

  test('a proof of any leaf in any published checkpoint', async () => {
    const server = await startLogServer();
    const policy = parseLogPolicy(utf8(`log ${server.log.verifierKey}\nquorum none\n`), portableCrypto);
    for (let n = 0; n < 4; n++) {
      const { request } = dsseRequest(`${n}`, server.listed, keyed(server.listed.spki));
      expect((await server.post(request)).status).toBe(201);
    }
    for (const [index, size] of [
      [0, 1],
      [1, 3],
      [3, undefined],
      [0, 4],
    ] as const) {
      const query = `index=${index}${size === undefined ? '' : `&size=${size}`}`;
      const reply = await get(server, `/api/v2/proof?${query}`);
      const proof = (await reply.json()) as {
        index: number;
        size: number;
        hashes: string[];
        checkpoint: string;
      };
      expect([proof.index, proof.size]).toEqual([index, size ?? 4]);
      const claim = {
        leaf: (await server.log.tiles.leafBytes(BigInt(index))) ?? new Uint8Array(),
        index: BigInt(index),
        proof: proof.hashes.map((hash) => new Uint8Array(Buffer.from(hash, 'base64'))),
        checkpoint: proof.checkpoint,
        policy,
      };
      expect(checkLogProof(claim, portableCrypto).size).toBe(BigInt(proof.size));
    }
  });

  test.each(['', 'index=', 'index=-1', 'index=01', 'index=1e3', 'index=0&size=x', 'index=0&index=1'])(
    'a proof asked for by %j is refused',
    async (query) => {
      const server = await filledServer(1);
      const reply = await get(server, `/api/v2/proof?${query}`);
      expect([reply.status, ((await reply.json()) as Reply).error?.code]).toEqual([
        400,
        'LOG_REQUEST_MALFORMED',
      ]);
    },
  );
});
