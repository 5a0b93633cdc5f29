// SPDX-License-Identifier: Apache-2.0
// Tokens made to deceive, by somebody who can have his own signed by an issuer that is accepted, or by one that is not: each differs
// from a good token in one point [RFC8725 §2].

import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLAIMS, LoopbackIssuer } from './loopback-issuer.ts';
import { entryFor, startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
/** Accepted as well, for a repository of its own. */
let other: LoopbackIssuer;
beforeAll(async () => {
  other = await LoopbackIssuer.start('another');
  server = await startTrustServer((url) => [
    entryFor(url),
    { ...entryFor(other.url), stockClients: true, require: { repository_id: '3003' } },
  ]);
});
afterAll(async () => {
  await server.close();
  await other.close();
});

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function ask(token: string): Promise<{ status: number; code: string | undefined }> {
  const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      credentials: { oidcIdentityToken: token },
      publicKeyRequest: {
        publicKey: { content: publicKey.export({ type: 'spki', format: 'pem' }) },
        proofOfPossession: sign('sha256', Buffer.from(String(CLAIMS.sub)), privateKey).toString('base64'),
      },
    }),
  });
  const { error } = (await response.json()) as { error?: { code: string } };
  return { status: response.status, code: error?.code };
}
const codeOf = async (token: string): Promise<string | undefined> => (await ask(token)).code;

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const nowS = (): number => Math.floor(Date.now() / 1000);
const claimsText = (more = ''): string =>
  JSON.stringify({ ...CLAIMS, iss: server.issuer.url, iat: nowS(), exp: nowS() + 300 }).replace(
    /}$/,
    `${more}}`,
  );

test('good tokens of both issuers are granted', async () => {
  expect(await ask(await server.issuer.token())).toEqual({ status: 200, code: undefined });
  expect(await ask(await other.token({ repository_id: '3003' }))).toEqual({ status: 200, code: undefined });
  expect(await codeOf(await server.issuer.signText(claimsText()))).toBeUndefined();
});

describe('algorithms', () => {
  test.each([
    'none',
    'None',
    'NONE',
    'nOnE',
    '',
    'HS256',
    'HS512',
    'RS1',
    'ES256K',
    'dir',
    null,
    ['RS256'],
    5,
  ])('alg %j', async (alg) => {
    const signature = (await server.issuer.token()).split('.')[2];
    const token = `${part({ alg, kid: 'one' })}.${Buffer.from(claimsText()).toString('base64url')}.${signature}`;
    expect(await codeOf(token)).toBe('OIDC_TOKEN_ALGORITHM_REFUSED');
  });

  test('the published key as a shared secret', async () => {
    const pem = await server.issuer.publicKeyPem();
    const signed = `${part({ alg: 'HS256', kid: 'one' })}.${Buffer.from(claimsText()).toString('base64url')}`;
    for (const secret of [pem, pem.trim(), pem.replace(/-----[^-]+-----|\s/g, '')]) {
      const token = `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
      expect(await codeOf(token)).toBe('OIDC_TOKEN_ALGORITHM_REFUSED');
    }
  });
});

describe('keys', () => {
  test('a key that the token brings or points to is not used, nor is anything fetched', async () => {
    let visits = 0;
    const jwks: object[] = [];
    const attacker = createServer((_request, response) => {
      visits++;
      response.end(JSON.stringify({ keys: jwks }));
    });
    await new Promise<void>((resolve) => attacker.listen(0, '127.0.0.1', resolve));
    const address = `http://127.0.0.1:${(attacker.address() as AddressInfo).port}/jwks`;
    const tricks: readonly ((jwk: object) => object)[] = [
      (jwk) => ({ jwk }),
      (jwk) => ({ jwk, kid: undefined }),
      (jwk) => ({ kid: address, jku: address, x: jwks.push(jwk) }),
      () => ({ jku: address }),
      () => ({ x5u: address }),
      () => ({ x5c: ['MIIB'], x5t: 'AAAA' }),
    ];
    for (const trick of tricks) {
      expect(await codeOf(await server.issuer.forgedToken(trick))).toBe('OIDC_TOKEN_SIGNATURE_WRONG');
    }
    expect(visits).toBe(0);
    attacker.close();
  });

  test('the key of another accepted issuer, under its own name and under the right one', async () => {
    const claims = { ...CLAIMS, iss: server.issuer.url };
    expect(await codeOf(await other.sign(claims))).toBe('OIDC_TOKEN_SIGNATURE_WRONG');
    expect(await codeOf(await other.sign(claims, { kid: 'one' }))).toBe('OIDC_TOKEN_SIGNATURE_WRONG');
    expect(await codeOf(await other.sign(claims, { kid: undefined }))).toBe('OIDC_TOKEN_SIGNATURE_WRONG');
  });

  test('an issuer speaks for its own entry alone', async () => {
    expect(await codeOf(await other.token())).toBe('OIDC_TOKEN_IDENTITY_REFUSED');
    expect(await codeOf(await server.issuer.token({ repository_id: '3003' }))).toBe(
      'OIDC_TOKEN_IDENTITY_REFUSED',
    );
  });

  test.each(['two', '../../../../dev/null', "one' OR '1'='1", 'one\u0000'])(
    'a key called %j is not looked for',
    async (kid) => {
      expect(await codeOf(await server.issuer.token({}, { kid }))).toBe('OIDC_TOKEN_SIGNATURE_WRONG');
    },
  );
});

describe('headers', () => {
  test('critical extensions, that of the encoding among them', async () => {
    expect(await codeOf(await server.issuer.token({}, { b64: true, crit: ['b64'] }))).toBe(
      'OIDC_TOKEN_MALFORMED',
    );
    // Signed as RFC 7797 has it, the text of the payload being base64url all the same.
    const header = part({ alg: 'RS256', kid: 'one', crit: [] });
    const [, body, signature] = (await server.issuer.token()).split('.');
    expect(await codeOf(`${header}.${body}.${signature}`)).toBe('OIDC_TOKEN_MALFORMED');
  });

  test('tokens of another type by the same issuer', async () => {
    for (const typ of ['at+jwt', 'application/at+jwt', 'logout+jwt', 'dpop+jwt', 'JWT2', '', 5]) {
      expect(await codeOf(await server.issuer.token({}, { typ }))).toBe('OIDC_TOKEN_MALFORMED');
    }
    for (const typ of [undefined, 'JWT', 'jwt', 'application/jwt']) {
      expect(await codeOf(await server.issuer.token({}, { typ }))).toBeUndefined();
    }
  });

  test('a header that is none, and parts that are not base64url', async () => {
    const [header, body, signature] = (await server.issuer.token()).split('.');
    for (const token of [
      `${part('RS256')}.${body}.${signature}`,
      `${part([])}.${body}.${signature}`,
      `${header}=.${body}.${signature}`,
      `${header}.${body}==.${signature}`,
      `${header}.${body}.${signature}.`,
      `.${body}.${signature}`,
      `${header}..${signature}`,
      '..',
      JSON.stringify({ protected: header, payload: body, signature }),
    ]) {
      expect(await codeOf(token)).toBe('OIDC_TOKEN_MALFORMED');
    }
    expect(await codeOf(`${header}.${body}.***`)).toBe('OIDC_TOKEN_MALFORMED');
  });
});

describe('claims that two readers would read differently', () => {
  test.each([
    ['a member given twice', () => claimsText(',"repository_id":"1001"')],
    ['a member given twice, once in escapes', () => claimsText(',"repository\\u005fid":"1001"')],
    ['a prototype', () => claimsText(',"__proto__":{"repository_id":"1001"}')],
    ['half a character', () => claimsText(',"workflow2":"\\ud800"')],
    ['something after the end', () => `${claimsText()}{}`],
    ['a byte order mark', () => `\ufeff${claimsText()}`],
    ['a list', () => `[${claimsText()}]`],
    ['a depth of 5,000', () => claimsText(`,"deep":${'['.repeat(5000)}${']'.repeat(5000)}`)],
  ])('%s', async (_name, textOf) => {
    expect(await codeOf(await server.issuer.signText(textOf()))).toBe('OIDC_TOKEN_MALFORMED');
  });

  test.each([
    ['a slash', (url: string) => `${url}/`],
    ['a path', (url: string) => `${url}/one`],
    ['a host that goes on', (url: string) => `${url}.evil.example`],
    ['a longer port', (url: string) => `${url}0`],
    ['a query', (url: string) => `${url}?`],
    ['a fragment', (url: string) => `${url}#`],
    ['a user name', (url: string) => url.replace('//', '//one@')],
    ['a host after the user name', (url: string) => `${url}@evil.example`],
    ['a dot after the host', (url: string) => url.replace('0.1:', '0.1.:')],
    ['another spelling of the host', (url: string) => url.replace('127.0.0.1', '0x7f.1')],
    ['another name of the host', (url: string) => url.replace('127.0.0.1', 'localhost')],
    ['digits of another script', (url: string) => url.replace('127', '１２７')],
    ['an escape', (url: string) => url.replace('127', '%3127')],
    ['capital letters', (url: string) => url.toUpperCase()],
    ['another scheme', (url: string) => url.replace('http:', 'https:')],
    ['a space before', (url: string) => ` ${url}`],
    ['a line end after', (url: string) => `${url}\n`],
    ['a character without width', (url: string) => `${url}\u200b`],
    ['an end that C reads', (url: string) => `${url}\u0000.evil.example`],
    ['a list', (url: string) => [url]],
    ['nothing', () => ''],
  ])('an issuer with %s', async (_name, changed) => {
    const token = await server.issuer.token({ iss: changed(server.issuer.url) });
    expect(await ask(token)).toEqual({ status: 401, code: 'OIDC_TOKEN_ISSUER_UNKNOWN' });
  });

  test.each([
    [['waybill', 'elsewhere']],
    [['waybill', 'waybill']],
    [[['waybill']]],
    [[]],
    [{ waybill: true }],
    ['Waybill'],
    ['waybill '],
    ['waybill,elsewhere'],
    ['sigstore'],
    [''],
    [null],
    [undefined],
  ])('audience %j', async (aud) => {
    expect(await codeOf(await server.issuer.token({ aud }))).toBe('OIDC_TOKEN_AUDIENCE_WRONG');
  });

  test('the audience of stock clients counts where it is switched on, one at a time', async () => {
    const codeFor = async (aud: unknown) => codeOf(await other.token({ aud, repository_id: '3003' }));
    expect(await codeFor('sigstore')).toBeUndefined();
    expect(await codeFor(['sigstore'])).toBeUndefined();
    expect(await codeFor('waybill')).toBeUndefined();
    expect(await codeFor(['sigstore', 'waybill'])).toBe('OIDC_TOKEN_AUDIENCE_WRONG');
    expect(await codeFor('sigstore ')).toBe('OIDC_TOKEN_AUDIENCE_WRONG');
    const answer = await (await fetch(`${server.url}/ca/api/v2/configuration`)).json();
    expect(answer).toMatchObject({
      issuers: [
        { issuerUrl: server.issuer.url, audience: 'waybill' },
        { issuerUrl: other.url, audience: 'waybill' },
        { issuerUrl: other.url, audience: 'sigstore' },
      ],
    });
  });

  test.each([
    ['an expiry in words', { exp: String(nowS() + 300) }, 'OIDC_TOKEN_CLAIM_MALFORMED'],
    ['a time of issue in words', { iat: 'now' }, 'OIDC_TOKEN_CLAIM_MALFORMED'],
    ['a start that is null', { nbf: null }, 'OIDC_TOKEN_CLAIM_MALFORMED'],
    ['an expiry in milliseconds of the past', { exp: 0 }, 'OIDC_TOKEN_EXPIRED'],
    ['an expiry before time', { exp: -1 }, 'OIDC_TOKEN_EXPIRED'],
    ['a subject that is a number', { sub: 7 }, 'OIDC_TOKEN_CLAIM_MALFORMED'],
    ['an empty subject', { sub: '' }, 'OIDC_TOKEN_CLAIM_MALFORMED'],
    ['an id inside a list', { repository_id: ['1001'] }, 'OIDC_TOKEN_IDENTITY_REFUSED'],
    ['an id with a space', { repository_id: '1001 ' }, 'OIDC_TOKEN_IDENTITY_REFUSED'],
    ['an id with a zero before it', { repository_id: '01001' }, 'OIDC_TOKEN_IDENTITY_REFUSED'],
    ['a repository in other case', { repository: 'Example/firmware' }, 'OIDC_TOKEN_IDENTITY_REFUSED'],
  ])('%s', async (_name, claims, code) => {
    expect(await codeOf(await server.issuer.token(claims))).toBe(code);
  });
});
