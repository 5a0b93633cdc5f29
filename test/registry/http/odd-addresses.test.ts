// SPDX-License-Identifier: Apache-2.0
// Addresses that are spelt otherwise than documented, methods nobody asked for, and what clients may wish for and do not get: ranges,
// conditions, endless use of one connection.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RunningRegistry, refusal } from '../running-registry.ts';
import { sha256 } from '../tuf-house.ts';
import { answerOn, getRaw, open } from './raw-requests.ts';

let running: RunningRegistry;
const THING = Buffer.from('the thing');
beforeAll(async () => {
  running = await RunningRegistry.start();
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256(THING) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  expect((await running.submit(await running.sign(statement))).status).toBe(201);
  expect((await running.putBlob(new Uint8Array(THING))).status).toBe(201);
});
afterAll(() => running.close());

const get = (target: string, method?: string) => getRaw(running.url, target, method);

describe('tiles have one address', () => {
  const STRANGE = [
    '../checkpoint',
    '..%2fcheckpoint',
    '%2e%2e/checkpoint',
    '%2e%2e%2fcheckpoint',
    '..\\checkpoint',
    './0/000',
    '/0/000',
    '0//000.p/1',
    '0/000.p//1',
    '0/000.p/1/',
    '0/000/',
    '0%2f000.p%2f1',
    '0/000%2ep/1',
    '%30/000.p/1',
    '0/%30%30%30.p/1',
    '00/000.p/1',
    '0/0.p/1',
    '0/00.p/1',
    '0/0000.p/1',
    '0/x000/000.p/1',
    '0/x001/0.p/1',
    '0/x001/x000.p/1',
    '0/X001/000',
    '0/001/000',
    '0/x001x000/000',
    `0/${'x999/'.repeat(7)}999`,
    `0/${'x001/'.repeat(100)}000`,
    '64/000',
    '63/000',
    '-1/000',
    '+0/000.p/1',
    '0x0/000.p/1',
    '0/000.p/0',
    '0/000.p/256',
    '0/000.p/257',
    '0/000.p/01',
    '0/000.p/-1',
    '0/000.p/1.p/1',
    '0/000.P/1',
    '0/000.p',
    '0/000.p/',
    '0/000.p/1;a',
    '0/000.p/1#a',
    '0/000.p/1%00',
    '0/000.p/1%0a',
    '0/000.p/%zz',
    '0/000.p/1%',
    '0/\u00b9',
    'entries',
    'entries/',
    'entries/0',
    'entries/000.p/0',
    'entries/000.p/256',
    'Entries/000.p/1',
    '',
    '0',
    '0/',
  ];
  test.each(['/log', '/log/api/v2', '/ct'])('%s', async (base) => {
    for (const path of STRANGE) {
      const { status, count } = await get(`${base}/tile/${path}`);
      expect([path, status === 404 || status === 400 ? 'refused' : status, count]).toEqual([
        path,
        'refused',
        1,
      ]);
    }
    const own = base === '/ct' ? 'data' : 'entries';
    for (const path of ['0/000.p/1', `${own}/000.p/1`]) {
      expect((await get(`${base}/tile/${path}`)).status).toBe(200);
      // As a proxy is asked, which every server must understand [RFC9112 §3.2.2].
      expect((await get(`${running.url}${base}/tile/${path}`)).status).toBe(200);
      expect((await get(`${running.url}${base}/tile/${path}%30`)).status).toBe(404);
    }
    const other = base === '/ct' ? 'entries' : 'data';
    expect((await get(`${base}/tile/${other}/000.p/1`)).status).toBe(404);
  });
});

test('other files are reached by no spelling', async () => {
  const KEY = 'PRIVATE KEY';
  const below = ['keys/ca-intermediate.pem', 'config.yaml', 'keys%2fca-intermediate.pem'];
  for (const base of [
    '/tuf/',
    '/tuf/targets/',
    '/api/v1/blobs/',
    '/api/v1/attestations/',
    '/log/tile/',
    '/ct/issuer/',
    '/',
  ]) {
    for (const up of ['../', '..%2f', '%2e%2e/', '%252e%252e/', '..%5c', '....//', '%c0%ae%c0%ae/', '/../']) {
      for (const file of below) {
        const { status, text } = await get(`${base}${up}${up}${file}`);
        expect([base, up, [400, 404].includes(status)]).toEqual([base, up, true]);
        expect(text).not.toContain(KEY);
      }
    }
  }
});

test('an address is spelt one way', async () => {
  for (const path of [
    '/healthz/',
    '//healthz',
    '/./healthz',
    '/HEALTHZ',
    '/healthz%00',
    '/healthz;a',
    '/%68ealthz/',
    '/tuf//timestamp.json',
  ]) {
    expect([path, (await get(path)).status]).toEqual([path, 404]);
  }
  // The form that proxies are sent, which every server takes, and what is no address.
  expect((await get('http://elsewhere.example/healthz')).status).toBe(200);
  for (const target of ['*', 'healthz', '\\healthz'])
    expect([400, 404]).toContain((await get(target)).status);
});

test('methods that no route takes are refused everywhere, and HEAD says what GET would', async () => {
  const document = (await running.send('GET', '/openapi.json')).json as unknown as {
    paths: Record<string, Record<string, unknown>>;
  };
  for (const [path, methods] of Object.entries(document.paths)) {
    const target = path.replace(/\{[^}]*\}/g, sha256(THING));
    for (const method of [
      'OPTIONS',
      'TRACE',
      'PATCH',
      'DELETE',
      'PUT',
      'POST',
      'GET',
      'HEAD',
      'PROPFIND',
      'PURGE',
    ]) {
      const known = [...Object.keys(methods), ...('get' in methods ? ['head'] : [])];
      if (known.includes(method.toLowerCase())) continue;
      const answer = await get(target, method);
      expect([method, target, answer.status]).toEqual([method, target, 404]);
    }
    if (!('get' in methods)) continue;
    const [head, whole] = [await get(target, 'HEAD'), await get(target)];
    expect([target, head.status]).toEqual([target, whole.status]);
    expect(head.text.slice(head.text.indexOf('\r\n\r\n'))).toBe('\r\n\r\n');
    const length = /content-length: (\d+)/i;
    if (whole.status === 200)
      expect([target, length.exec(head.text)?.[1]]).toEqual([target, length.exec(whole.text)?.[1]]);
  }
  expect((await get('elsewhere.example:443', 'CONNECT')).text).toBe('');
});

test('ranges and conditions change nothing: an answer is whole or a refusal', async () => {
  const path = `/api/v1/blobs/${sha256(THING)}`;
  for (const headers of [
    { range: 'bytes=0-1' },
    { range: 'bytes=5-1' },
    { range: `bytes=${'0-0,'.repeat(1000)}0-0` },
    { 'if-none-match': '*' },
    { 'if-match': '"x"' },
    { 'if-modified-since': new Date().toUTCString() },
    { 'if-range': '"x"', range: 'bytes=0-1' },
  ]) {
    const answer = await running.send('GET', path, undefined, headers as Record<string, string>);
    expect([answer.status, Buffer.from(answer.bytes).toString()]).toEqual([200, 'the thing']);
  }
  const expecting = await running
    .send('GET', '/healthz', undefined, { upgrade: 'h2c' })
    .catch(() => undefined);
  expect(expecting?.status ?? 200).toBe(200);
  const socket = open(running.url);
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n');
  expect((await answerOn(socket)).status).toBe(417);
});

test('many requests on one connection, sent at once, are answered in order', async () => {
  const socket = open(running.url);
  const wanted = 500;
  for (let i = 1; i < wanted; i++) socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const answer = await answerOn(socket);
  expect(answer.count).toBe(wanted);
  expect(answer.text.endsWith('{"status":"ready"}')).toBe(true);
});

test('a query is read strictly', async () => {
  const digest = sha256(THING);
  for (const query of [
    '',
    '?subject=',
    `?subject=${digest}&subject=${digest}`,
    `?subject=${digest.toUpperCase()}`,
    `?subject=${digest}&a=1`,
    '?subject[]=a',
  ]) {
    const answer = await running.send('GET', `/api/v1/attestations${query}`);
    expect([query, refusal(answer)]).toEqual([query, { status: 400, code: 'REGISTRY_REQUEST_MALFORMED' }]);
  }
});
