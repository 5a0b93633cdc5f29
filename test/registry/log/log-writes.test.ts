// SPDX-License-Identifier: Apache-2.0
// The log over HTTP: both request forms give one leaf; writers, signatures and requests that do not fit are refused with their
// code and leave no trace.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { checkLogProof } from '../../../core/tlog/proof.ts';
import {
  authorityConstraints,
  extendedKeyUsage,
  keyUsage,
  OID,
} from '../../../registry/trust/certificate.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
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

  test('what is logged is not verified again where that is our own arithmetic', async () => {
    const server = await startLogServer();
    const { signer, certificate, verifier } = await certifiedWriter(server);
    const [digest, signature] = [digestOf('one'), dsseRequest('other', signer, verifier).signature];
    const code = async (body: object) => {
      const reply = await server.post(body);
      return reply.body.error?.code ?? reply.status;
    };
    expect(await code(hashedRequest(digest, signature, verifier))).toBe('LOG_SIGNATURE_WRONG');
    // Nothing but the log itself lets the next one in: the signature is wrong.
    const keyDetails = 'PKIX_ECDSA_P256_SHA_256';
    await server.log.add(formatHashedRekord({ digest, signature, verifier: { certificate }, keyDetails }));
    expect(await code(hashedRequest(digest, signature, verifier))).toBe(201);
    expect(server.log.tiles.checkpoint().size).toBe(1n);
    // Who writes is asked each time.
    server.time.skewMs = HOUR_MS;
    expect(await code(hashedRequest(digest, signature, verifier))).toBe('LOG_CERTIFICATE_EXPIRED');
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
      'a certificate of another authority of the same name, that does not say which key signed it',
      async () => {
        const { signer } = newSigner();
        const foreign = await TestAuthority.make('ours');
        const extensions = [keyUsage('digitalSignature'), extendedKeyUsage(OID.codeSigning)];
        return dsseRequest('x', signer, certified(await foreign.issue(signer.spki, { extensions }))).request;
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
      'a precertificate, which the certificate log shows to everybody',
      async ({ authority }) => {
        const { signer } = newSigner();
        const poison = { oid: OID.ctPoison, critical: true as const, value: Uint8Array.of(5, 0) };
        const extensions = [keyUsage('digitalSignature'), extendedKeyUsage(OID.codeSigning), poison];
        return dsseRequest('x', signer, certified(await authority.issue(signer.spki, { extensions })))
          .request;
      },
    ],
    [
      'LOG_CERTIFICATE_UNTRUSTED',
      403,
      'a certificate whose key may not sign',
      async ({ authority }) => {
        const { signer } = newSigner();
        const extensions = [keyUsage('certificates'), extendedKeyUsage(OID.codeSigning)];
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
      hashedRequest(digestOf('x').subarray(1), signature, keyed(server.listed.spki)),
      JSON.stringify(hashed).replace('"digest":', '"digest":"","digest":'),
    ];
    for (const body of malformed) {
      const reply = await server.post(body);
      expect([reply.body.error?.code, reply.status]).toEqual(['LOG_REQUEST_MALFORMED', 400]);
    }
    expect((await server.post(request, 'text/plain')).body.error?.code).toBe('LOG_REQUEST_MALFORMED');
    // Told before it is parsed.
    const crowded = await server.post({ dsseRequestV002: Array(300).fill(0) });
    expect(crowded.body.error).toMatchObject({
      code: 'LOG_REQUEST_MALFORMED',
      message: expect.stringContaining('at most 256 commas, colons and brackets'),
    });
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
