// SPDX-License-Identifier: Apache-2.0
// config.yaml is read strictly, and limits hold.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openYaml } from '../../cli/files.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { readConfig } from '../../registry/config.ts';
import { DEFAULT_LIMITS } from '../../registry/config-limits.ts';
import { STORE } from '../../registry/store-faults.ts';
import { newP256, RunningRegistry, refusal } from './running-registry.ts';

const BASE = 'listen: {host: 127.0.0.1, port: 8410}\nurl: http://127.0.0.1:8410/\norg: example\n';
const read = (text: string) =>
  readConfig(
    openYaml('config.yaml', utf8(text), (message, at) =>
      STORE.reject('REGISTRY_CONFIG_MALFORMED', message, { at }),
    ),
  );

describe('config.yaml', () => {
  it('is short', () => {
    expect(read(BASE)).toEqual({
      listen: { host: '127.0.0.1', port: 8410 },
      url: 'http://127.0.0.1:8410',
      org: 'example',
      issuers: [],
      keys: [],
      limits: DEFAULT_LIMITS,
      logLevel: 'info',
    });
  });

  it('lists keys and limits', () => {
    const { spki } = newP256();
    const key = `keys:\n  - name: gate\n    publicKey: ${Buffer.from(spki).toString('base64')}\n`;
    const limits = 'limits: {blobSizeBytes: 5, diskReserveBytes: 0, requestsPerMinute: none}\n';
    const config = read(BASE + key + limits);
    expect(config.keys).toEqual([spki]);
    expect(config.limits).toEqual({
      ...DEFAULT_LIMITS,
      blobSizeBytes: 5,
      diskReserveBytes: 0,
      requestsPerMinute: undefined,
      costlyPerMinute: undefined,
      wrongSignaturesPerMinute: undefined,
    });
  });

  it('says who is a client behind a proxy', () => {
    const { trustedProxies } = read(
      `${BASE}limits: {trustedProxies: [192.0.2.7, 10.1.0.0/16, '2001:db8::/64']}\n`,
    ).limits;
    const trusted = ['192.0.2.7', '::ffff:192.0.2.7', '10.1.255.1', '2001:db8::5'];
    expect(trusted.map((address) => trustedProxies.includes(address))).toEqual(trusted.map(() => true));
    const others = ['192.0.2.8', '10.2.0.1', '2001:db8:0:1::5', '', 'x', undefined];
    expect(others.map((address) => trustedProxies.includes(address))).toEqual(others.map(() => false));
  });

  it('serves TLS, and asks for client certificates of all where nothing else is said', () => {
    const https = BASE.replace('url: http:', 'url: https:');
    const tls = (more: string) =>
      read(https.replace('8410}', `8410, tls: {certificate: a, key: b${more}}}`)).listen.tls;
    expect(tls('')).toEqual({ certificate: 'a', key: 'b' });
    expect(tls(', clientAuthorities: c')).toMatchObject({ requireClientCertificate: 'always' });
    const relaxed = ', clientAuthorities: c, requireClientCertificate: except-public-reads';
    expect(tls(relaxed)).toMatchObject({ requireClientCertificate: 'except-public-reads' });
    expect(() => tls(', requireClientCertificate: always')).toThrow('clientAuthorities');
    expect(() => tls(', clientAuthorities: c, requireClientCertificate: never')).toThrow('expected');
    expect(() => tls(', clientAuthorites: c')).toThrow('unknown member');
    expect(() => read(BASE.replace('8410}', '8410, tls: {certificate: a, key: b}}'))).toThrow(
      'https address',
    );
  });

  it.each([
    ['listen: {host: x}\nurl: http://x\norg: y\n', 'port'],
    [`${BASE}limit: {}\n`, 'unknown member'],
    [`${BASE}limits: {blobSizeBytes: 0}\n`, 'whole number'],
    [`${BASE}limits: {diskReserveBytes: -1}\n`, 'whole number'],
    [`${BASE}limits: {requestsPerMinute: 0}\n`, 'whole number'],
    [`${BASE}limits: {costlyPerMinute: 0}\n`, 'whole number'],
    [`${BASE}limits: {wrongSignaturesPerMinute: 0}\n`, 'whole number'],
    [`${BASE}limits: {connections: 0}\n`, 'whole number'],
    [`${BASE}limits: {trustedProxies: []}\n`, 'at least one'],
    [`${BASE}limits: {trustedProxies: [proxy.example]}\n`, 'IP address'],
    [`${BASE}limits: {trustedProxies: [192.0.2.0/33]}\n`, 'IP address'],
    [`${BASE}limits: {trustedProxies: [0.0.0.0/0]}\n`, 'not of every address'],
    [`${BASE}metrics: {port: 1}\n`, 'host'],
    [`${BASE}logLevel: loud\n`, 'expected'],
    [`${BASE}issuers: []\n`, 'at least one'],
    [`${BASE}keys: [{name: a, publicKey: '*'}]\n`, 'base64'],
    [BASE.replace('http://127.0.0.1:8410/', 'ftp://x'), 'base address'],
    [BASE.replace('8410/', '8410/?q'), 'base address'],
    [BASE.replace('127.0.0.1:8410/', 'me:pw@x/'), 'base address'],
  ])('refuses %j', (text, said) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'REGISTRY_CONFIG_MALFORMED' }));
    expect(() => read(text)).toThrow(said);
  });

  it('refuses a listed key that no bundle could be signed with', () => {
    const text = `${BASE}keys: [{name: a, publicKey: AAAA}]\n`;
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'REGISTRY_KEY_UNSUITABLE' }));
  });
});

describe('the server', () => {
  let running: RunningRegistry;
  beforeAll(async () => {
    running = await RunningRegistry.start({ limits: { requestsPerMinute: 3 } });
  });
  afterAll(() => running.close());

  it('knows its endpoints, and one client may ask so often', async () => {
    const unknown = await running.send('GET', '/api/v1/nothing');
    expect(refusal(unknown)).toEqual({ status: 404, code: 'REGISTRY_REQUEST_UNKNOWN' });
    expect((unknown.json as { error: object }).error).toEqual({
      code: 'REGISTRY_REQUEST_UNKNOWN',
      message: expect.any(String),
      remedy: expect.any(String),
    });
    // What is not there counts too.
    for (let i = 0; i < 2; i++) expect((await running.send('GET', '/healthz')).status).toBe(200);
    const limited = await running.send('GET', '/healthz');
    expect(refusal(limited)).toEqual({ status: 429, code: 'REGISTRY_REQUEST_RATE' });
    expect(limited.headers.get('retry-after')).toMatch(/^\d+$/);
  });

  it('says in its own words that a path cannot be read', async () => {
    await running.restart();
    for (const path of ['/log/tile/%zz', `/tuf/${'a'.repeat(600)}`]) {
      const answer = await running.send('GET', path);
      expect(refusal(answer)).toEqual({ status: 400, code: 'REGISTRY_REQUEST_MALFORMED' });
      expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  it('does not show what failed inside', async () => {
    await running.restart();
    const path = '/api/v1/devices/dev-1';
    const { database } = running.registry;
    const original = database.json.bind(database);
    database.json = () => Promise.reject(new Error('secret inner text'));
    const answer = await running.send('GET', path);
    database.json = original;
    expect(refusal(answer)).toEqual({ status: 500, code: 'REGISTRY_INTERNAL' });
    expect(Buffer.from(answer.bytes).toString()).not.toContain('secret');
    expect(Buffer.from(answer.bytes).toString()).toContain(answer.headers.get('x-request-id') ?? '?');
  });
});
