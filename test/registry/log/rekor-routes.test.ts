// SPDX-License-Identifier: Apache-2.0
// The log over HTTP: both request forms give one leaf; writers, signatures and requests that do not fit are refused with their
// code and leave no trace; reads are as tlog-tiles says.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { verifyCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { parseEntryBundle } from '../../../core/tlog/entry-bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseVerifierKey } from '../../../core/tlog/note.ts';
import { checkLogProof } from '../../../core/tlog/proof.ts';
import { createLogKey, logId, logVerifierKey, openLogKey } from '../../../registry/log/log-key.ts';
import { SignatureLog } from '../../../registry/log/signature-log.ts';
import { Writers } from '../../../registry/log/writers.ts';
import {
  authorityConstraints,
  extendedKeyUsage,
  keyUsage,
  OID,
} from '../../../registry/trust/certificate.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { codeOf, codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder } from './log-folder.ts';
import {
  base64,
  certified,
  dsseRequest,
  HOUR_MS,
  hashedRequest,
  keyed,
  type LogServer,
  type Reply,
  startLogServer,
  TestAuthority,
  TYPE,
} from './log-server.ts';
import { ORIGIN } from './numbered-entry.ts';

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest();
const digestOf = (payload: string) => sha256(preAuthEncoding(TYPE, Buffer.from(payload)));

/** Checks the reply as a verifier would that knows only the log's key. */
function checkReply({ log }: LogServer, body: Reply): { index: bigint; leaf: Uint8Array; size: bigint } {
  const leaf = new Uint8Array(Buffer.from(body.canonicalizedBody ?? '', 'base64'));
  const index = BigInt(body.logIndex ?? '');
  const { size } = checkLogProof(
    {
      leaf,
      index,
      proof: (body.inclusionProof?.hashes ?? []).map((hash) => new Uint8Array(Buffer.from(hash, 'base64'))),
      checkpoint: body.inclusionProof?.checkpoint.envelope ?? '',
      policy: parseLogPolicy(utf8(`log ${log.verifierKey}\nquorum none\n`), portableCrypto),
    },
    portableCrypto,
  );
  return { index, leaf, size };
}

async function certifiedWriter(server: LogServer) {
  const { signer } = newSigner();
  const certificate = await server.authority.issue(signer.spki);
  return { signer, certificate, verifier: certified(certificate) };
}

describe('writing', () => {
  test('both forms give the one leaf; the second is answered with the first index', async () => {
    const server = await startLogServer();
    const { signer, certificate, verifier } = await certifiedWriter(server);
    const { request, signature } = dsseRequest('one', signer, verifier);
    const first = await server.post(request);
    expect(first.status).toBe(201);
    const { index, leaf, size } = checkReply(server, first.body);
    const digest = digestOf('one');
    expect([index, size]).toEqual([0n, 1n]);
    expect(leaf).toEqual(
      formatHashedRekord({
        digest,
        signature,
        verifier: { certificate },
        keyDetails: 'PKIX_ECDSA_P256_SHA_256',
      }),
    );
    await server.post(dsseRequest('two', signer, verifier).request);
    const again = await server.post(hashedRequest(digest, signature, verifier));
    expect(again.status).toBe(201);
    expect(checkReply(server, again.body)).toEqual({ index: 0n, leaf, size: 2n });
    expect((await server.post(request)).body).toEqual(again.body);
  });

  test('the reply has every member that clients read', async () => {
    const server = await startLogServer();
    const { signer, verifier } = await certifiedWriter(server);
    const { body } = await server.post(dsseRequest('one', signer, verifier).request);
    expect(body).toEqual({
      logIndex: '0',
      logId: { keyId: base64(server.log.logId) },
      kindVersion: { kind: 'hashedrekord', version: '0.0.2' },
      integratedTime: '0',
      inclusionProof: {
        logIndex: '0',
        rootHash: base64(server.log.tiles.checkpoint().rootHash),
        treeSize: '1',
        hashes: [],
        checkpoint: { envelope: server.log.tiles.checkpoint().note },
      },
      canonicalizedBody: body.canonicalizedBody,
    });
  });

  test('a listed key writes without a certificate, under either name, to one leaf', async () => {
    const server = await startLogServer();
    const { listed } = server;
    const { request, signature } = dsseRequest('one', listed, keyed(listed.spki));
    const { leaf } = checkReply(server, (await server.post(request)).body);
    const digest = digestOf('one');
    const verifier = { publicKey: listed.spki };
    expect(leaf).toEqual(
      formatHashedRekord({ digest, signature, verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' }),
    );
    const managed = await server.post(hashedRequest(digest, signature, certified(listed.spki)));
    expect(checkReply(server, managed.body)).toEqual({ index: 0n, leaf, size: 1n });
  });

  test('protobuf JSON may give the number of a key kind', async () => {
    const server = await startLogServer();
    const { request } = dsseRequest('one', server.listed, keyed(server.listed.spki));
    Object.assign(request.dsseRequestV002.verifiers[0] ?? {}, { keyDetails: 5 });
    expect((await server.post(request)).status).toBe(201);
  });

  test('100 at once get 100 indexes and proofs', async () => {
    const server = await startLogServer();
    const { signer, verifier } = await certifiedWriter(server);
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, n) => server.post(dsseRequest(`${n}`, signer, verifier).request)),
    );
    expect(new Set(replies.map(({ body }) => checkReply(server, body).index)).size).toBe(100);
  });
});

describe('refused, with nothing logged', () => {
  const refusals: [string, number, string, (server: LogServer) => unknown][] = [
    [
      'LOG_SIGNATURE_WRONG',
      422,
      'a signature by another key',
      async (server) =>
        dsseRequest('x', newSigner().signer, (await certifiedWriter(server)).verifier).request,
    ],
    [
      'LOG_SIGNATURE_WRONG',
      422,
      'a signature over another payload',
      async (server) => {
        const { signer, verifier } = await certifiedWriter(server);
        const { request } = dsseRequest('x', signer, verifier);
        request.dsseRequestV002.envelope.payload = Buffer.from('y').toString('base64');
        return request;
      },
    ],
    [
      'LOG_SIGNATURE_WRONG',
      422,
      'a signature over another digest',
      async (server) => {
        const { signer, verifier } = await certifiedWriter(server);
        return hashedRequest(digestOf('y'), dsseRequest('x', signer, verifier).signature, verifier);
      },
    ],
    [
      'LOG_SIGNATURE_WRONG',
      422,
      'bytes that are no signature',
      ({ listed }) => hashedRequest(digestOf('x'), Uint8Array.of(1, 2, 3), keyed(listed.spki)),
    ],
    [
      'LOG_WRITER_UNLISTED',
      403,
      'a key that is not listed',
      () => {
        const { signer } = newSigner();
        return dsseRequest('x', signer, keyed(signer.spki)).request;
      },
    ],
    [
      'LOG_WRITER_UNLISTED',
      403,
      'a key that is not listed, as a certificate',
      () => {
        const { signer } = newSigner();
        return dsseRequest('x', signer, certified(signer.spki)).request;
      },
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'a certificate of another authority of the same name',
      async () => {
        const { signer } = newSigner();
        const foreign = await TestAuthority.make('ours');
        return dsseRequest('x', signer, certified(await foreign.issue(signer.spki))).request;
      },
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'the authority itself',
      ({ authority }) =>
        dsseRequest('x', newSigner().signer, certified(authority.chain[0] as Uint8Array)).request,
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'a certificate for timestamps',
      async ({ authority }) => {
        const { signer } = newSigner();
        const extensions = [keyUsage('digitalSignature'), extendedKeyUsage(OID.timeStamping)];
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { extensions })))
          .request;
      },
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'a certificate for nothing in particular',
      async ({ authority }) => {
        const { signer } = newSigner();
        const extensions = [keyUsage('digitalSignature')];
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { extensions })))
          .request;
      },
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'a code-signing certificate that is an authority',
      async ({ authority }) => {
        const { signer } = newSigner();
        const extensions = [authorityConstraints(0), extendedKeyUsage(OID.codeSigning)];
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { extensions })))
          .request;
      },
    ],
    [
      'LOG_CERTIFICATE_EXPIRED',
      403,
      'a certificate that has ended',
      async ({ authority }) => {
        const { signer } = newSigner();
        const notAfterMs = Date.now() - 2000;
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { notAfterMs })))
          .request;
      },
    ],
    [
      'LOG_CERTIFICATE_EXPIRED',
      403,
      'a certificate that has not begun',
      async ({ authority }) => {
        const { signer } = newSigner();
        const notBeforeMs = Date.now() + 60_000;
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { notBeforeMs })))
          .request;
      },
    ],
    [
      'LOG_KEY_UNSUPPORTED',
      400,
      'a certificate for a P-384 key',
      async ({ authority }) => {
        const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
        const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
        return dsseRequest('x', newSigner().signer, certified(await authority.issue(spki))).request;
      },
    ],
    [
      'LOG_KEY_UNSUPPORTED',
      400,
      'an Ed25519 key',
      () => {
        const { publicKey } = generateKeyPairSync('ed25519');
        const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
        return dsseRequest('x', newSigner().signer, keyed(spki)).request;
      },
    ],
    [
      'LOG_KEY_UNSUPPORTED',
      400,
      'a point that is not on the curve',
      ({ listed }) => {
        const spki = listed.spki.map((byte, i) => (i === 90 ? byte ^ 1 : byte));
        return dsseRequest('x', listed, keyed(spki)).request;
      },
    ],
    [
      'LOG_KEY_UNSUPPORTED',
      400,
      'another kind of signature',
      ({ listed }) => {
        const { request } = dsseRequest('x', listed, keyed(listed.spki));
        Object.assign(request.dsseRequestV002.verifiers[0] ?? {}, { keyDetails: 'PKIX_ED25519' });
        return request;
      },
    ],
    [
      'LOG_CERTIFICATE_MALFORMED',
      400,
      'a certificate with a byte behind it',
      async (server) => {
        const { signer, certificate } = await certifiedWriter(server);
        return dsseRequest('x', signer, certified(Buffer.concat([certificate, Buffer.of(0)]))).request;
      },
    ],
    [
      'LOG_CERTIFICATE_MALFORMED',
      400,
      'bytes that are no certificate',
      ({ listed }) => dsseRequest('x', listed, certified(Uint8Array.of(0x30, 0))).request,
    ],
  ];
  test.each(refusals)('%s (%i): %s', async (code, status, _what, makeRequest) => {
    const server = await startLogServer();
    const reply = await server.post(await makeRequest(server));
    expect(reply.body.error?.code).toBe(code);
    expect(reply.status).toBe(status);
    expect(reply.body.message).toContain(code);
    expect(server.log.tiles.checkpoint().size).toBe(0n);
  });

  test('LOG_CERTIFICATE_EXPIRED: a leaf that is valid under an authority that is not', async () => {
    const ended = await TestAuthority.make('ended', Date.now() - 60_000);
    const server = await startLogServer([ended.chain]);
    const { signer } = newSigner();
    const reply = await server.post(
      dsseRequest('x', signer, certified(await ended.issue(signer.spki))).request,
    );
    expect(reply.body.error?.code).toBe('LOG_CERTIFICATE_EXPIRED');
    server.time.skewMs = -HOUR_MS / 2;
    const earlier = await ended.issue(signer.spki, { notBeforeMs: Date.now() - HOUR_MS });
    expect((await server.post(dsseRequest('x', signer, certified(earlier)).request)).status).toBe(201);
  });

  test('LOG_REQUEST_MALFORMED: whatever is not one of the two forms', async () => {
    const server = await startLogServer();
    const { request, signature } = dsseRequest('x', server.listed, keyed(server.listed.spki));
    const { envelope, verifiers } = request.dsseRequestV002;
    const hashed = hashedRequest(digestOf('x'), signature, keyed(server.listed.spki));
    const malformed: unknown[] = [
      '',
      '{',
      '[]',
      '{}',
      '{"a":1}',
      { ...request, ...hashed },
      { dsseRequestV002: { envelope } },
      { dsseRequestV002: { envelope, verifiers: [] } },
      { dsseRequestV002: { envelope, verifiers: [...verifiers, ...verifiers] } },
      { dsseRequestV002: { envelope: { ...envelope, signatures: [] }, verifiers } },
      {
        dsseRequestV002: {
          envelope: { ...envelope, signatures: [...envelope.signatures, ...envelope.signatures] },
          verifiers,
        },
      },
      { dsseRequestV002: { envelope: { ...envelope, payload: 'a' }, verifiers } },
      { dsseRequestV002: { envelope: { ...envelope, payload: 'ab==' }, verifiers } },
      { dsseRequestV002: { envelope: { ...envelope, extra: 1 }, verifiers } },
      { dsseRequestV002: { envelope, verifiers: [{ ...verifiers[0], ...certified(server.listed.spki) }] } },
      { dsseRequestV002: { envelope, verifiers: [{ keyDetails: 'PKIX_ECDSA_P256_SHA_256' }] } },
      JSON.stringify(hashed).replace('"digest":"', '"digest":"AA'),
      JSON.stringify(hashed).replace('"digest":', '"digest":"","digest":'),
    ];
    for (const body of malformed) {
      const reply = await server.post(body);
      expect([reply.body.error?.code, reply.status]).toEqual(['LOG_REQUEST_MALFORMED', 400]);
    }
    expect((await server.post(request, 'text/plain')).body.error?.code).toBe('LOG_REQUEST_MALFORMED');
    expect(server.log.tiles.checkpoint().size).toBe(0n);
  });

  test('LOG_REQUEST_TOO_LARGE: before it is read', async () => {
    const server = await startLogServer();
    const reply = await server.post(' '.repeat(1024 * 1024 + 1));
    expect([reply.body.error?.code, reply.status]).toEqual(['LOG_REQUEST_TOO_LARGE', 413]);
  });

  test('LOG_ENTRY_SIZE: a certificate that no leaf can hold', async () => {
    const server = await startLogServer();
    const { signer } = newSigner();
    const extensions = [
      keyUsage('digitalSignature'),
      extendedKeyUsage(OID.codeSigning),
      { oid: '1.3.6.1.4.1.57264.1.99', value: new Uint8Array(60_000) },
    ];
    const certificate = await server.authority.issue(signer.spki, { extensions });
    const reply = await server.post(dsseRequest('x', signer, certified(certificate)).request);
    expect([reply.body.error?.code, reply.status]).toEqual(['LOG_ENTRY_SIZE', 413]);
  });

  test('LOG_CLOSED: while it shuts down, to be tried again', async () => {
    const server = await startLogServer();
    await server.log.close();
    const reply = await server.post(dsseRequest('x', server.listed, keyed(server.listed.spki)).request);
    expect([reply.body.error?.code, reply.status]).toEqual(['LOG_CLOSED', 503]);
  });
});

describe('reading', () => {
  const get = (server: LogServer, path: string, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/log${path}`, { headers: { 'accept-encoding': 'identity', ...headers } });

  async function filledServer(count: number): Promise<LogServer> {
    const server = await startLogServer();
    const digests = Array.from({ length: count }, (_, n) => sha256(Buffer.from(`${n}`)));
    const verifier = { publicKey: server.listed.spki };
    const keyDetails = 'PKIX_ECDSA_P256_SHA_256';
    await Promise.all(
      digests.map((digest) => server.log.add({ digest, signature: Uint8Array.of(1), verifier, keyDetails })),
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

  test.each([
    ['/tile/0/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/0/000.p/4', 'LOG_TILE_UNKNOWN'],
    ['/tile/1/000.p/1', 'LOG_TILE_UNKNOWN'],
    ['/tile/63/x999/999', 'LOG_TILE_UNKNOWN'],
    ['/tile/data/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/entries/000', 'LOG_TILE_UNKNOWN'],
    ['/tile/0/000.p/0', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/000.p/256', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/%30%30%30.p/3', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/x000/000.p/3', 'TLOG_PATH_MALFORMED'],
    ['/tile/64/000', 'TLOG_PATH_MALFORMED'],
    ['/tile/0/..%2f000', 'TLOG_PATH_MALFORMED'],
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

describe('keys and authorities', () => {
  test('the key file is private, made once, and gives the names that clients know the log by', async () => {
    const folder = await newFolder();
    const publicKey = await createLogKey({ folder });
    expect((await stat(join(folder, 'keys/log.pem'))).mode & 0o777).toBe(0o600);
    expect(await codeOfAsync(createLogKey({ folder }))).toBe('CA_FILES_EXIST');
    const key = await openLogKey({ folder });
    expect(key.publicKey).toEqual(publicKey);
    const text = utf8('text');
    expect(portableCrypto.verifyEd25519(publicKey, text, key.sign(text))).toBe(true);
    const { keyId } = parseVerifierKey(logVerifierKey(ORIGIN, publicKey), portableCrypto);
    expect(Buffer.from(logId(ORIGIN, publicKey)).toString('hex').startsWith(keyId)).toBe(true);
    expect(logId(ORIGIN, publicKey)).toHaveLength(32);
  });

  test('a key file of another kind is refused without a word of what is in it', async () => {
    const folder = await newFolder();
    await createLogKey({ folder });
    for (const text of ['SECRET', newSigner().pem]) {
      await writeFile(join(folder, 'keys/log.pem'), text);
      const failure = await openLogKey({ folder }).catch(
        (error: unknown) => error as Error & { code: string },
      );
      expect(failure).toMatchObject({ code: 'LOG_KEY_UNREADABLE' });
      expect(String((failure as Error).message)).not.toContain('SECRET');
    }
  });

  test('a store is opened by the key that signed it, and by no other', async () => {
    const folder = await newFolder();
    await createLogKey({ folder });
    const db = new Level(join(folder, 'state'));
    const open = async () =>
      SignatureLog.open({ db, origin: ORIGIN, key: await openLogKey({ folder }), clock: Date.now });
    await (await open()).close();
    await (await open()).close();
    const other = await newFolder();
    await createLogKey({ folder: other });
    const key = await openLogKey({ folder: other });
    expect(await codeOfAsync(SignatureLog.open({ db, origin: ORIGIN, key, clock: Date.now }))).toBe(
      'LOG_STORE_ORIGIN',
    );
    await (await open()).close();
    await db.close();
  });

  test('authorities are whole chains', async () => {
    const [one, two] = [await TestAuthority.make('one'), await TestAuthority.make('two')];
    const [intermediate, root] = one.chain as [Uint8Array, Uint8Array];
    const leaf = await one.issue(newSigner().signer.spki);
    const rules = { isListedKey: () => false, clock: Date.now };
    const make = (...chain: Uint8Array[]) => codeOf(() => new Writers({ ...rules, authorities: [chain] }));
    expect(make(intermediate, root)).toBe('accepted');
    const bad = [
      [],
      [intermediate],
      [root, intermediate],
      [intermediate, two.chain[1] as Uint8Array],
      [leaf, intermediate, root],
      [Uint8Array.of(1)],
    ];
    expect(bad.map((chain) => make(...chain))).toEqual(bad.map(() => 'LOG_AUTHORITY_MALFORMED'));
  });
});
