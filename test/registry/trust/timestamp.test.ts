// SPDX-License-Identifier: Apache-2.0
// Timestamps as OpenSSL asks for and verifies them, and what the authority refuses in the protocol's own words.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TimeStampResp } from 'pkijs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { formatPem, joinAuthority } from '../../../registry/trust/authority.ts';
import * as der from '../../../registry/trust/der.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { makeTimestamp, refuseTimestamp } from '../../../registry/tsa/timestamp-authority.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

const run = promisify(execFile);
let server: TrustServer;
let folder: string;
beforeAll(async () => {
  server = await startTrustServer();
  folder = await mkdtemp(join(tmpdir(), 'waybill-tsa-'));
  const [leaf, root] = server.services.tsa.chain as [Uint8Array, Uint8Array];
  await writeFile(join(folder, 'data'), 'some data');
  await writeFile(join(folder, 'leaf.pem'), formatPem(leaf));
  await writeFile(join(folder, 'root.pem'), formatPem(root));
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  server.time.skewMs = 0;
});

const openssl = async (...args: string[]): Promise<string> => {
  const { stdout, stderr } = await run('openssl', args, { cwd: folder });
  return stdout + stderr;
};

async function send(body: Uint8Array | string, type = 'application/timestamp-query') {
  const response = await fetch(`${server.url}/tsa/api/v1/timestamp`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: typeof body === 'string' ? body : new Uint8Array(body),
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, type: response.headers.get('content-type'), bytes };
}

test.each([
  ['certificates and nonce', ['-cert']],
  ['no nonce', ['-cert', '-no_nonce']],
  ['neither', ['-no_nonce']],
  ['the policy named', ['-cert', '-tspolicy', '1.3.6.1.4.1.57264.2']],
])('openssl verifies a reply to a query with %s', async (_name, options) => {
  await openssl('ts', '-query', '-data', 'data', '-sha256', ...options, '-out', 'query.tsq');
  const { status, type, bytes } = await send(await readFile(join(folder, 'query.tsq')));
  expect([status, type]).toEqual([200, 'application/timestamp-reply']);
  await writeFile(join(folder, 'reply.tsr'), bytes);
  const trusted = ['-CAfile', 'root.pem', '-untrusted', 'leaf.pem'];
  const verdict = await openssl('ts', '-verify', '-in', 'reply.tsr', '-queryfile', 'query.tsq', ...trusted);
  expect(verdict).toContain('Verification: OK');
  const text = await openssl('ts', '-reply', '-in', 'reply.tsr', '-text');
  expect(text).toContain('Policy OID: 1.3.6.1.4.1.57264.2');
  expect(text).toContain('Accuracy: 0x01 seconds');
  expect(bytes.length > 1000).toBe(options.includes('-cert'));
});

test('openssl refuses the reply for other data', async () => {
  await openssl('ts', '-query', '-data', 'data', '-sha256', '-cert', '-out', 'query.tsq');
  const { bytes } = await send(await readFile(join(folder, 'query.tsq')));
  await writeFile(join(folder, 'reply.tsr'), bytes);
  await writeFile(join(folder, 'other'), 'other data');
  const verifying = openssl('ts', '-verify', '-in', 'reply.tsr', '-data', 'other', '-CAfile', 'root.pem');
  await expect(verifying).rejects.toThrow(/message imprint mismatch/);
});

const imprint = createHash('sha256').update('some data').digest();
const jsonRequest = (members: object = {}): string =>
  JSON.stringify({ artifactHash: imprint.toString('base64'), hashAlgorithm: 'sha256', ...members });

test('the JSON form answers 201, whole seconds, with certificates and nonce only when asked', async () => {
  const bare = await send(jsonRequest(), 'application/json');
  expect([bare.status, bare.type]).toEqual([201, 'application/timestamp-reply']);
  const text = Buffer.from(bare.bytes).toString('latin1');
  expect(text).toMatch(/\x18\x0f\d{14}Z/);
  const asked = await send(jsonRequest({ certificates: true, nonce: 0x8001 }), 'application/json');
  expect(asked.bytes.length).toBeGreaterThan(bare.bytes.length + 500);
  expect(Buffer.from(asked.bytes).includes(Buffer.from('0203008001', 'hex'))).toBe(true);
  const again = await send(jsonRequest(), 'application/json');
  expect(again.bytes).not.toEqual(bare.bytes);
});

test('certificates are in the order of DER, which some parsers insist on', async () => {
  const { bytes } = await send(jsonRequest({ certificates: true }), 'application/json');
  const sent = Buffer.from(bytes).toString('hex');
  const inOrder = [...server.services.tsa.chain].sort(Buffer.compare);
  const hex = inOrder.map((certificate) => Buffer.from(certificate).toString('hex'));
  expect(sent).toContain(hex.join(''));
});

test('the chain is served as PEM, leaf first', async () => {
  const text = await (await fetch(`${server.url}/tsa/api/v1/timestamp/certchain`)).text();
  expect(text).toBe(server.services.tsa.chain.map(formatPem).join(''));
  const shown = await openssl('x509', '-in', 'leaf.pem', '-noout', '-text');
  expect(shown).toMatch(/Extended Key Usage: critical\s+Time Stamping\n/);
});

test.each([
  ['unknown hash algorithm', { hashAlgorithm: 'sha512' }, 400, 'TSA_HASH_UNSUPPORTED'],
  ['an algorithm of an older age', { hashAlgorithm: 'sha1' }, 400, 'TSA_HASH_UNSUPPORTED'],
  ['a digest of another length', { artifactHash: 'AAAA' }, 400, 'TSA_REQUEST_MALFORMED'],
  ['a digest that is not base64', { artifactHash: '!'.repeat(44) }, 400, 'TSA_REQUEST_MALFORMED'],
  ['no digest', { artifactHash: undefined }, 400, 'TSA_REQUEST_MALFORMED'],
  ['a negative nonce', { nonce: -1 }, 400, 'TSA_REQUEST_MALFORMED'],
  ['another policy', { tsaPolicyOID: '1.2.3' }, 400, 'TSA_POLICY_UNKNOWN'],
  ['oversized', { padding: 'x'.repeat(1000) }, 413, 'TSA_REQUEST_TOO_LARGE'],
])('JSON request refused: %s', async (_name, members, status, code) => {
  const answer = await send(jsonRequest(members), 'application/json');
  expect(answer.status).toBe(status);
  expect(JSON.parse(Buffer.from(answer.bytes).toString())).toMatchObject({ error: { code } });
});

test('a request without body and content type is refused', async () => {
  const answer = await fetch(`${server.url}/tsa/api/v1/timestamp`, { method: 'POST' });
  expect(await answer.json()).toMatchObject({ error: { code: 'TSA_REQUEST_MALFORMED' } });
  expect(answer.status).toBe(400);
});

test('an unknown content type is refused', async () => {
  const answer = await send('x', 'text/plain');
  expect(JSON.parse(Buffer.from(answer.bytes).toString()).error.code).toBe('TSA_REQUEST_MALFORMED');
});

test('a DER query that cannot be granted gets a refusal in DER with the reason', async () => {
  const refusal = async (...options: string[]): Promise<string> => {
    await openssl('ts', '-query', '-data', 'data', ...options, '-out', 'query.tsq');
    const { status, bytes } = await send(await readFile(join(folder, 'query.tsq')));
    expect(status).toBe(400);
    await writeFile(join(folder, 'refusal.tsr'), bytes);
    return openssl('ts', '-reply', '-in', 'refusal.tsr', '-text');
  };
  const badHash = await refusal('-sha512');
  expect(badHash).toContain('Status: Rejected');
  expect(badHash).toContain('TSA_HASH_UNSUPPORTED');
  expect(badHash).toContain('unrecognized or unsupported algorithm identifier');
  const badPolicy = await refusal('-sha256', '-tspolicy', '1.2.3.4');
  expect(badPolicy).toContain('TSA_POLICY_UNKNOWN');
  expect(badPolicy).toContain('the requested TSA policy is not supported');
});

const SHA256 = der.oid('2.16.840.1.101.3.4.2.1');

/** The members of a TimeStampReq written by hand. */
const members = ({ version = 1, parameters = der.tlv(0x05) } = {}): readonly Uint8Array[] => [
  der.small(version),
  der.sequence(der.sequence(SHA256, parameters), der.octetString(new Uint8Array(imprint))),
];
const query = (...tail: Uint8Array[]): Uint8Array => der.sequence(...members(), ...tail);
/** As BER allows it, of no length, up to an end. */
const unending = Buffer.concat([Buffer.of(0x30, 0x80), ...members(), Buffer.of(0, 0)]);

test.each([
  ['nothing', new Uint8Array(), 'TSA_REQUEST_MALFORMED'],
  ['no DER', new Uint8Array([1, 2, 3]), 'TSA_REQUEST_MALFORMED'],
  ['something after the query', der.concat(query(), Uint8Array.of(5, 0)), 'TSA_REQUEST_MALFORMED'],
  ['BER that is not DER', unending, 'TSA_REQUEST_MALFORMED'],
  ['another version', der.sequence(...members({ version: 2 })), 'TSA_REQUEST_MALFORMED'],
  ['a hash with parameters', der.sequence(...members({ parameters: der.small(1) })), 'TSA_REQUEST_MALFORMED'],
  ['a true of another octet', query(der.tlv(0x01, Uint8Array.of(1))), 'TSA_REQUEST_MALFORMED'],
  ['a member too many', query(der.boolean(true), der.small(1)), 'TSA_REQUEST_MALFORMED'],
  ['a list without extensions', query(der.context(0)), 'TSA_REQUEST_MALFORMED'],
  ['a nonce without end', query(der.tlv(0x02, new Uint8Array(33).fill(1))), 'TSA_REQUEST_MALFORMED'],
  ['a nonce with needless zeros', query(der.tlv(0x02, Uint8Array.of(0, 0, 1))), 'TSA_REQUEST_MALFORMED'],
  [
    'an extension',
    query(der.context(0, der.sequence(der.oid('1.2.3'), der.octetString(new Uint8Array(1))))),
    'TSA_EXTENSION_UNSUPPORTED',
  ],
])('DER query refused: %s', async (_name, bytes, code) => {
  const answer = await send(bytes);
  expect(answer.status).toBe(400);
  const text = Buffer.from(answer.bytes).toString('latin1');
  expect(text).toContain(code);
  expect(() => TimeStampResp.fromBER(new Uint8Array(answer.bytes))).not.toThrow();
});

test('an oversized DER query is refused before it is read', async () => {
  const answer = await send(new Uint8Array(9000));
  expect(answer.status).toBe(413);
});

test('a hand-written query with a long nonce is answered with the same nonce', async () => {
  const nonce = der.tlv(0x02, Uint8Array.of(0x80, ...new Uint8Array(19).fill(7)));
  const { status, bytes } = await send(query(nonce));
  expect(status).toBe(200);
  expect(Buffer.from(bytes).includes(Buffer.from(nonce))).toBe(true);
});

test('a hash without parameters is the same hash', async () => {
  const bare = await send(der.sequence(...members({ parameters: new Uint8Array() })));
  expect(bare.status).toBe(200);
});

test('outside the life of its certificate the authority is unavailable', async () => {
  server.time.skewMs = 11 * 366 * 86_400_000;
  const answer = await send(jsonRequest(), 'application/json');
  expect(answer.status).toBe(503);
  expect(JSON.parse(Buffer.from(answer.bytes).toString()).error.code).toBe('CA_CHAIN_NOT_VALID');
  const early = makeTimestamp(
    server.services.tsa,
    { digest: new Uint8Array(imprint), nonce: undefined, withCertificates: false },
    Date.now() - 86_400_000,
  );
  await expect(early).rejects.toMatchObject({ code: 'CA_CHAIN_NOT_VALID' });
});

test('the bit of a refusal stands where the protocol counts it', () => {
  expect(Buffer.from(refuseTimestamp('badAlg', 'x')).toString('hex')).toMatch(/03020780$/);
  expect(Buffer.from(refuseTimestamp('badDataFormat', 'x')).toString('hex')).toMatch(/03020204$/);
  expect(Buffer.from(refuseTimestamp('unacceptedPolicy', 'x')).toString('hex')).toMatch(/0303000001$/);
  expect(Buffer.from(refuseTimestamp('unacceptedExtension', 'x')).toString('hex')).toMatch(/030407000080$/);
});

test('an authority is joined from a key and its own chain only', () => {
  const { chain, signer } = server.services.tsa;
  expect(joinAuthority(signer, chain, 'x').chain).toBe(chain);
  expect(() => joinAuthority(newSigner().signer, chain, 'x')).toThrow(
    expect.objectContaining({ code: 'CA_KEY_MISMATCH' }),
  );
  for (const wrong of [[], [new Uint8Array(3)], [...chain, new Uint8Array(3)]]) {
    expect(() => joinAuthority(signer, wrong, 'x')).toThrow(
      expect.objectContaining({ code: 'CA_FILES_UNREADABLE' }),
    );
  }
});
