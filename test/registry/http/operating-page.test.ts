// SPDX-License-Identifier: Apache-2.0
// The examples of docs/operating.md work: settings are read, figures exist, and nginx as it is written there passes everything on.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { openYaml } from '../../../cli/files.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { readConfig } from '../../../registry/config.ts';
import { freePort, RunningRegistry } from '../running-registry.ts';
import { sha256 } from '../tuf-house.ts';
import { PrivateAuthority } from './certificates.ts';

const page = await readFile('docs/operating.md', 'utf8');
const blocks = (kind: string, text = page) =>
  [...text.matchAll(new RegExp(`\`\`\`${kind}\n([^\`]*)\`\`\``, 'g'))].map(([, block = '']) => block);

test('each piece of config.yaml is one that the server takes', async () => {
  const spec = await readFile('docs/spec/registry-api.md', 'utf8');
  const pieces = [...blocks('yaml'), ...blocks('yaml', spec)];
  expect(pieces.length).toBeGreaterThan(5);
  for (const piece of pieces) {
    const base = { listen: { host: 'x', port: 1 }, url: 'https://x', org: 'example' };
    const whole = stringify({ ...base, ...parse(piece) });
    expect(() => readConfig(openYaml('config.yaml', utf8(whole)))).not.toThrow();
  }
});

test('each figure that an alarm or the specification names is there', { timeout: 60_000 }, async () => {
  const port = await freePort();
  const running = await RunningRegistry.start({ metrics: { host: '127.0.0.1', port } });
  onTestFinished(() => running.close());
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const spec = await readFile('docs/spec/registry-api.md', 'utf8');
  const named = [...`${page}${spec}`.matchAll(/\b(waybill|process|nodejs)_[a-z0-9_]*[a-z0-9]\b(?!_)/g)].map(
    ([name]) => name.replace(/_bucket$/, ''),
  );
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((name) => !known.has(name) && name !== 'nodejs_eventloop_lag')).toEqual([]);
});

const NGINX = '/usr/sbin/nginx';

test('nginx, as the page has it, is a proxy that the registry can live behind', {
  timeout: 60_000,
}, async (context) => {
  if (!existsSync(NGINX)) return context.skip('nginx is not installed');
  const home = await mkdtemp(join(tmpdir(), 'waybill-nginx-'));
  const authority = await PrivateAuthority.make(join(home, 'tls'));
  const { certificate, key } = await authority.issue('proxy', 'serverAuth');
  const running = await RunningRegistry.start({
    limits: { costlyPerMinute: 2, trustedProxies: ['127.0.0.1'] },
  });
  const port = await freePort();
  const [server = ''] = blocks('nginx');
  const here = server
    .replace('listen 443', `listen 127.0.0.1:${port}`)
    .replace('http://127.0.0.1:8410', running.url)
    .replace('/etc/ssl/waybill.pem', certificate)
    .replace('/etc/ssl/waybill.key', key);
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${home}/${name};`,
  );
  const config = `daemon off; pid ${home}/pid; error_log ${home}/error.log;\nevents {}\nhttp { access_log off; ${places.join(' ')}\n${here} }\n`;
  await writeFile(join(home, 'nginx.conf'), config);
  const proxy = spawn(NGINX, ['-p', home, '-c', join(home, 'nginx.conf')], { stdio: 'ignore' });
  onTestFinished(async () => {
    proxy.kill('SIGTERM');
    await new Promise((resolve) => (proxy.exitCode === null ? proxy.once('exit', resolve) : resolve(0)));
    await running.close();
    await rm(home, { recursive: true });
  });
  const ca = await readFile(authority.path);
  const ask = (path: string, method = 'GET', body?: Uint8Array, headers: Record<string, string> = {}) =>
    new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path, method, ca, headers, agent: false };
      const asking = request(options, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
      });
      asking.on('error', reject);
      asking.end(body);
    });
  await expect
    .poll(
      () =>
        ask('/readyz').then(
          ({ status }) => status,
          () => 0,
        ),
      { timeout: 10_000 },
    )
    .toBe(200);
  const health = await ask('/healthz');
  expect(health.headers).toMatchObject({ 'strict-transport-security': 'max-age=31536000' });
  // The proxy's own id of the request.
  expect(health.headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/);
  // A tile by its own spelling, and by another.
  expect((await ask('/ct/tile/0/..%2f000')).status).toBe(404);
  const bytes = new Uint8Array(3_000_000).fill(7);
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256(bytes) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  expect((await running.submit(await running.sign(statement))).status).toBe(201);
  const tile = await ask('/log/tile/0/000.p/1');
  expect([tile.status, tile.headers['cache-control']]).toEqual([200, 'public, max-age=31536000, immutable']);
  expect((await ask('/log/tile/0/000%2ep/1')).status).toBe(404);
  expect((await ask(`/api/v1/blobs/${sha256(bytes)}`, 'PUT', bytes)).status).toBe(201);
  expect((await ask(`/api/v1/blobs/${sha256(bytes)}`)).text.length).toBe(bytes.length);
  // One client behind the proxy has its limit, whatever it says of itself.
  const limited: number[] = [];
  for (let i = 0; i < 3; i++) {
    limited.push(
      (await ask('/api/v1/devices', 'GET', undefined, { 'x-forwarded-for': `192.0.2.${i}` })).status,
    );
  }
  expect(limited).toEqual([200, 200, 429]);
});
