// SPDX-License-Identifier: Apache-2.0
// The key of a certificate request: one encoding of one kind of key, proved to be held, whichever of the two forms brings it; and
// what a signing request says of its subject counts for nothing.

import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { fromBER } from 'asn1js';
import { Certificate } from 'pkijs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { provedKey, requestedKey } from '../../../registry/ca/key-to-certify.ts';
import * as der from '../../../registry/trust/der.ts';
import { codeOf } from '../../core/tlog/refusal.ts';
import { CLAIMS } from './loopback-issuer.ts';
import { entryFor, startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer((url) => [
    entryFor(url),
    {
      url,
      audience: 'waybill',
      allowLoopbackHttp: true,
      kind: 'oidc',
      identity: 'email',
      require: { email: 'foo@example.com' },
    },
  ]);
});
afterAll(() => server.close());

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const CHALLENGE = String(CLAIMS.sub);
const GOOD = Buffer.from(publicKey.export({ type: 'spki', format: 'der' }));
/** The 64 octets of the point. */
const POINT = GOOD.subarray(27);

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly leaf: string | undefined;
}

async function ask(token: string, members: object): Promise<Answer> {
  const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ credentials: { oidcIdentityToken: token }, ...members }),
  });
  const body = (await response.json()) as {
    error?: { code: string };
    signedCertificateEmbeddedSct?: { chain: { certificates: string[] } };
  };
  const leaf = body.signedCertificateEmbeddedSct?.chain.certificates[0];
  return { status: response.status, code: body.error?.code, leaf };
}

const pem = (label: string, bytes: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(bytes).toString('base64')}\n-----END ${label}-----\n`;

const withProof = (
  content: string,
  proof: Buffer = sign('sha256', Buffer.from(CHALLENGE), privateKey),
): object => ({
  publicKeyRequest: {
    publicKey: { algorithm: 'ECDSA', content },
    proofOfPossession: proof.toString('base64'),
  },
});

const ECDSA_SHA256 = der.sequence(der.oid('1.2.840.10045.4.3.2'));

/** A PKCS#10 request [RFC2986 §4] with exactly these octets in it. */
function signingRequest(
  spki: Uint8Array,
  key: KeyObject = privateKey,
  more: {
    name?: Uint8Array;
    attributes?: readonly Uint8Array[];
    algorithm?: Uint8Array;
    hash?: string | null;
    version?: number;
    tail?: readonly Uint8Array[];
  } = {},
): object {
  const info = der.sequence(
    der.small(more.version ?? 0),
    more.name ?? der.sequence(),
    spki,
    ...(more.tail ?? [der.context(0, ...(more.attributes ?? []))]),
  );
  const signature = sign(more.hash === undefined ? 'sha256' : more.hash, Buffer.from(info), key);
  const request = der.sequence(info, more.algorithm ?? ECDSA_SHA256, der.bitString(signature));
  return {
    certificateSigningRequest: Buffer.from(pem('CERTIFICATE REQUEST', request)).toString('base64'),
  };
}

const EC = der.oid('1.2.840.10045.2.1');
const P256 = der.oid('1.2.840.10045.3.1.7');
const spkiOf = (algorithm: readonly Uint8Array[], point: Uint8Array): Buffer =>
  Buffer.from(der.sequence(der.sequence(...algorithm), der.bitString(point)));
const point = (form: number, bytes: Uint8Array = POINT): Buffer => Buffer.concat([Buffer.of(form), bytes]);
const changed = (change: (bytes: Buffer) => void): Buffer => {
  const bytes = Buffer.from(GOOD);
  change(bytes);
  return bytes;
};
const exported = (key: KeyObject): Buffer => Buffer.from(key.export({ type: 'spki', format: 'der' }));
const explicitOf = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' });
const ecOn = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const sm2 = ecOn('SM2');
const p384 = ecOn('P-384');
const koblitz = ecOn('secp256k1');
const odd = (POINT[63] as number) % 2;

/** Every encoding but the one; the key with which a signing request for it is signed, where that is another. */
const TRICKS: readonly (readonly [string, Uint8Array, KeyObject?])[] = [
  ['a compressed point', spkiOf([EC, P256], point(2 + odd, POINT.subarray(0, 32)))],
  ['a hybrid point', spkiOf([EC, P256], point(6 + odd))],
  ['the point at infinity', spkiOf([EC, P256], Buffer.of(0))],
  ['a point of another form', spkiOf([EC, P256], point(5))],
  ['a point off the curve', changed((bytes) => bytes.writeUInt8((bytes.readUInt8(90) + 1) % 256, 90))],
  ['a point of zeros', spkiOf([EC, P256], point(4, Buffer.alloc(64)))],
  ['a coordinate beyond the field', spkiOf([EC, P256], point(4, Buffer.alloc(64, 0xff)))],
  ['explicit parameters', exported(explicitOf.publicKey), explicitOf.privateKey],
  ['no parameters', spkiOf([EC], point(4))],
  ['NULL for parameters', spkiOf([EC, der.tlv(0x05)], point(4))],
  ['parameters twice', spkiOf([EC, P256, P256], point(4))],
  ['the name of a key agreement', spkiOf([der.oid('1.3.132.1.12'), P256], point(4))],
  ['the name of another curve', spkiOf([EC, der.oid('1.3.132.0.10')], point(4))],
  ['an octet after the point', spkiOf([EC, P256], Buffer.concat([point(4), Buffer.of(0)]))],
  ['an octet too few', spkiOf([EC, P256], point(4, POINT.subarray(0, 63)))],
  [
    'a member after the key',
    Buffer.from(der.sequence(GOOD.subarray(2, 23), GOOD.subarray(23), der.tlv(0x05))),
  ],
  ['unused bits in the key', changed((bytes) => bytes.writeUInt8(1, 25))],
  ['a curve of the same size', exported(sm2.publicKey), sm2.privateKey],
  ['a Koblitz curve', exported(koblitz.publicKey), koblitz.privateKey],
  ['P-384', exported(p384.publicKey), p384.privateKey],
  ['RSA', exported(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)],
  ['Ed25519', exported(generateKeyPairSync('ed25519').publicKey)],
  ['X25519', exported(generateKeyPairSync('x25519').publicKey)],
];

describe('a key alone, with its proof', () => {
  test('is certified in its one encoding', async () => {
    const { status, leaf = '' } = await ask(await server.issuer.token(), withProof(pem('PUBLIC KEY', GOOD)));
    expect(status).toBe(200);
    expect(new X509Certificate(leaf).publicKey.export({ type: 'spki', format: 'der' })).toEqual(GOOD);
  });

  test.each(TRICKS.map(([name, spki]) => [name, spki] as const))(
    'is refused with %s',
    async (_name, spki) => {
      const answer = await ask(await server.issuer.token(), withProof(pem('PUBLIC KEY', spki)));
      expect(answer).toMatchObject({ status: 400, code: 'CA_KEY_UNSUPPORTED' });
    },
  );

  test.each([
    ['an octet after it', pem('PUBLIC KEY', Buffer.concat([GOOD, Buffer.of(0)]))],
    [
      'a length in more octets',
      pem('PUBLIC KEY', Buffer.concat([Buffer.of(0x30, 0x81, 0x59), GOOD.subarray(2)])),
    ],
    [
      'a length without end',
      pem('PUBLIC KEY', Buffer.concat([Buffer.of(0x30, 0x80), GOOD.subarray(2), Buffer.of(0, 0)])),
    ],
    ['another key after it', pem('PUBLIC KEY', GOOD) + pem('PUBLIC KEY', GOOD)],
    ['another label', pem('EC PUBLIC KEY', GOOD)],
    ['a private key', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
    ['text before it', `key:\n${pem('PUBLIC KEY', GOOD)}`],
    ['base64 that is none', '-----BEGIN PUBLIC KEY-----\nMFkw=EwYH\n-----END PUBLIC KEY-----\n'],
    ['nothing inside', '-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n'],
    ['no PEM', GOOD.toString('base64')],
    ['nothing', ''],
  ])('is refused with %s around it', async (_name, content) => {
    const answer = await ask(await server.issuer.token(), withProof(content));
    expect(answer).toMatchObject({ status: 400, code: 'CA_KEY_UNSUPPORTED' });
  });

  test('needs a proof: over this challenge, by this key, with SHA-256, in DER', async () => {
    const token = await server.issuer.token();
    const other = ecOn('P-256');
    const over = (text: string, key: KeyObject = privateKey, hash = 'sha256'): Buffer =>
      sign(hash, Buffer.from(text), key);
    const good = over(CHALLENGE);
    for (const proof of [
      Buffer.alloc(0),
      Buffer.from([0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]),
      over(''),
      over('repo:other/firmware:ref:refs/heads/main'),
      over(`${CHALLENGE} `),
      over(CHALLENGE, other.privateKey),
      over(CHALLENGE, privateKey, 'sha384'),
      sign('sha256', Buffer.from(CHALLENGE), { key: privateKey, dsaEncoding: 'ieee-p1363' }),
      Buffer.concat([good, Buffer.of(0)]),
      good.subarray(0, good.length - 1),
    ]) {
      const answer = await ask(token, withProof(pem('PUBLIC KEY', GOOD), proof));
      expect(answer).toMatchObject({ status: 400, code: 'CA_PROOF_WRONG' });
    }
    const content = pem('PUBLIC KEY', GOOD);
    for (const proofOfPossession of [
      undefined,
      '',
      'AAAA',
      'not base64!',
      good.toString('base64').replace(/^./, '_'),
    ]) {
      const members = { publicKeyRequest: { publicKey: { content }, proofOfPossession } };
      expect(await ask(token, members)).toMatchObject({ status: 400, code: 'CA_PROOF_WRONG' });
    }
    expect(await ask(token, withProof(content, good))).toMatchObject({ status: 200 });
  });
});

describe('a signing request', () => {
  test('is granted for the one encoding', async () => {
    expect(await ask(await server.issuer.token(), signingRequest(GOOD))).toMatchObject({ status: 200 });
  });

  test.each(TRICKS.map(([name, spki, key]) => [name, { spki, key }] as const))(
    'is refused for a key with %s',
    async (_name, { spki, key }) => {
      const answer = await ask(await server.issuer.token(), signingRequest(spki, key));
      // Bits that are unused and set are no DER at all.
      const isDer = spki[25] !== 1 || ((spki[90] as number) & 1) === 0;
      const code = isDer ? 'CA_KEY_UNSUPPORTED' : 'CA_CSR_MALFORMED';
      expect(answer).toMatchObject({ status: 400, code });
    },
  );

  test('signed by another key, or over something else, or with another algorithm', async () => {
    const token = await server.issuer.token();
    const codeOf = async (members: object) => (await ask(token, members)).code;
    const other = ecOn('P-256');
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(await codeOf(signingRequest(GOOD, other.privateKey))).toBe('CA_CSR_SIGNATURE_WRONG');
    expect(await codeOf(signingRequest(GOOD, privateKey, { hash: 'sha384' }))).toBe('CA_CSR_SIGNATURE_WRONG');
    const sha384 = der.sequence(der.oid('1.2.840.10045.4.3.3'));
    expect(await codeOf(signingRequest(GOOD, privateKey, { hash: 'sha384', algorithm: sha384 }))).toBe(
      'CA_CSR_MALFORMED',
    );
    const withRsa = der.sequence(der.oid('1.2.840.113549.1.1.11'), der.tlv(0x05));
    expect(
      await codeOf(signingRequest(exported(rsa.publicKey), rsa.privateKey, { algorithm: withRsa })),
    ).toBe('CA_CSR_MALFORMED');
  });

  test('of another form than the standard has', async () => {
    const token = await server.issuer.token();
    const answerTo = (more: Parameters<typeof signingRequest>[2]) =>
      ask(token, signingRequest(GOOD, privateKey, more));
    const withParameters = der.sequence(der.oid('1.2.840.10045.4.3.2'), der.tlv(0x05));
    for (const more of [
      { version: 1 },
      { algorithm: withParameters },
      { tail: [der.context(0), der.context(0)] },
      { tail: [der.context(1)] },
      { name: der.tlv(0x31) },
    ]) {
      expect(await answerTo(more)).toMatchObject({ status: 400, code: 'CA_CSR_MALFORMED' });
    }
    // Some leave the empty attributes out.
    expect(await answerTo({ tail: [] })).toMatchObject({ status: 200 });
  });

  test('in another wrapping', async () => {
    const token = await server.issuer.token();
    const { certificateSigningRequest } = signingRequest(GOOD) as { certificateSigningRequest: string };
    const text = Buffer.from(certificateSigningRequest, 'base64').toString();
    const bytes = Buffer.from(text.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const code = async (request: string): Promise<string | undefined> =>
      (await ask(token, { certificateSigningRequest: request })).code;
    const wrapped = (label: string, request: Uint8Array) =>
      Buffer.from(pem(label, request)).toString('base64');
    for (const request of [
      text,
      bytes.toString('base64'),
      '',
      '***',
      'bm90aGluZw==',
      wrapped('CERTIFICATE', bytes),
      wrapped('CERTIFICATE REQUEST', Buffer.concat([bytes, Buffer.of(5, 0)])),
      wrapped('CERTIFICATE REQUEST', bytes.subarray(0, -1)),
      wrapped('CERTIFICATE REQUEST', Buffer.alloc(0)),
      wrapped('CERTIFICATE REQUEST', Buffer.from('30'.repeat(4000), 'hex')),
      wrapped('CERTIFICATE REQUEST', Buffer.from('3080'.repeat(4000), 'hex')),
      Buffer.from(text + text).toString('base64'),
    ]) {
      expect(await code(request)).toBe('CA_CSR_MALFORMED');
    }
    expect(await code(wrapped('NEW CERTIFICATE REQUEST', bytes))).toBeUndefined();
  });

  test('and a key at once, or neither', async () => {
    const token = await server.issuer.token();
    const both = { ...signingRequest(GOOD), ...withProof(pem('PUBLIC KEY', GOOD)) };
    expect(await ask(token, both)).toMatchObject({ status: 400, code: 'CA_REQUEST_MALFORMED' });
    expect(await ask(token, {})).toMatchObject({ status: 400, code: 'CA_REQUEST_MALFORMED' });
  });

  test('that asks for somebody else gets what the token says, and nothing that it asks for', async () => {
    const text = (value: string): Uint8Array => der.utf8String(value);
    const attribute = (oid: string, value: Uint8Array): Uint8Array =>
      der.sequence(der.oid(oid), der.tlv(0x31, value));
    const extension = (oid: string, value: Uint8Array): Uint8Array =>
      der.sequence(der.oid(oid), der.octetString(value));
    const name = der.sequence(
      der.tlv(0x31, der.sequence(der.oid('2.5.4.3'), text('root@example.com'))),
      der.tlv(
        0x31,
        der.sequence(der.oid('1.2.840.113549.1.9.1'), der.tlv(0x16, Buffer.from('root@example.com'))),
      ),
    );
    const extensions = der.sequence(
      extension('2.5.29.17', der.sequence(der.contextPrimitive(1, Buffer.from('root@example.com')))),
      extension('2.5.29.19', der.sequence(der.boolean(true))),
      extension('1.3.6.1.4.1.57264.1.8', text('https://token.actions.githubusercontent.com')),
      extension(
        '1.3.6.1.4.1.57264.1.9',
        text('https://github.com/other/firmware/.github/workflows/a.yml@main'),
      ),
    );
    const asked = signingRequest(GOOD, privateKey, {
      name,
      attributes: [attribute('1.2.840.113549.1.9.14', extensions)],
    });
    const token = await server.issuer.sign({
      aud: 'waybill',
      sub: '7',
      email: 'foo@example.com',
      email_verified: true,
    });
    const { status, leaf = '' } = await ask(token, asked);
    expect(status).toBe(200);
    const parsed = new X509Certificate(leaf);
    expect(parsed.subjectAltName).toBe('email:foo@example.com');
    expect(parsed.subject ?? '').toBe('');
    expect(parsed.ca).toBe(false);
    const { extensions: found = [] } = new Certificate({ schema: fromBER(parsed.raw).result });
    const ofFulcio = found.filter(({ extnID }) => extnID.startsWith('1.3.6.1.4.1.57264.'));
    expect(ofFulcio.map(({ extnID }) => extnID)).toEqual(
      ['1', '8', '24'].map((number) => `1.3.6.1.4.1.57264.1.${number}`),
    );
    expect(leaf).not.toContain(Buffer.from('root@example.com').toString('base64').slice(0, 16));
    expect(parsed.raw.includes('root@example.com')).toBe(false);
  });
});

test('a key or request that is white space alone is refused in no time', () => {
  const space = ' '.repeat(30_000);
  const started = performance.now();
  for (const name of ['PUBLIC KEY', 'CERTIFICATE REQUEST']) {
    const pem = `-----BEGIN ${name}-----${space}`;
    expect(codeOf(() => provedKey({ publicKeyPem: pem, proof: '' }, 'x'))).toBe('CA_KEY_UNSUPPORTED');
    expect(codeOf(() => requestedKey(Buffer.from(pem).toString('base64')))).toBe('CA_CSR_MALFORMED');
  }
  expect(performance.now() - started).toBeLessThan(500);
});
