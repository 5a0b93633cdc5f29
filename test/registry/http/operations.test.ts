// SPDX-License-Identifier: Apache-2.0
// What an operator sees of a registry: figures, readiness and why it lacks, one line a request; and what clients see of its limits.

import { type ChildProcess, spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import { readConfigFile } from '../../../cli/serve.ts';
import { listen } from '../../../registry/listen.ts';
import { buildServer, openRegistry } from '../../../registry/server.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { WitnessFolder } from '../../../registry/witness/witness-folder.ts';
import { dsseRequest, keyed } from '../log/log-server.ts';
import { freePort, makeDataFolder, RunningRegistry, refusal } from '../running-registry.ts';
import { LoopbackIssuer } from '../trust/loopback-issuer.ts';
import { sha256 } from '../tuf-house.ts';
import { runWitness, witnessFolder } from '../witness/running-witness.ts';
import { answerOn, open } from './raw-requests.ts';

const WAYBILL = fileURLToPath(new URL('../../../cli/waybill.js', import.meta.url));
const YEAR_MS = 365.25 * 86_400_000;

async function start(config: Record<string, unknown> = {}): Promise<RunningRegistry> {
  const running = await RunningRegistry.start(config);
  onTestFinished(() => running.close());
  return running;
}

async function figuresAt(port: number): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8',
  ]);
  const lines = (await response.text()).trim().split('\n');
  // [Prometheus-exposition-0.0.4]: comments, and names with labels and a value.
  const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$/;
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [, name = '', value = ''] = sample.exec(line) ?? [];
        expect([line, name === '']).toEqual([line, false]);
        return [name, Number(value)] as const;
      }),
  );
}

test('figures tell what was asked, refused, issued and logged, on a listener of their own', {
  timeout: 60_000,
}, async () => {
  const port = await freePort();
  const { signer } = newSigner();
  const keys = [{ name: 'test', publicKey: Buffer.from(signer.spki).toString('base64') }];
  const running = await start({ metrics: { host: '127.0.0.1', port }, keys });
  const { turns } = running.registry;
  const answered = vi.spyOn(turns, 'answered');
  vi.spyOn(turns, 'waitingCount', 'get').mockReturnValue(7);
  expect(refusal(await running.send('GET', '/metrics'))).toEqual({
    status: 404,
    code: 'REGISTRY_REQUEST_UNKNOWN',
  });
  const body = JSON.stringify(dsseRequest('one', signer, keyed(signer.spki)).request);
  const json = { 'content-type': 'application/json' };
  expect((await running.send('POST', '/log/api/v2/log/entries', body, json)).status).toBe(201);
  // A certificate, a timestamp, an entry, an attestation.
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256('thing') }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  expect((await running.submit(await running.sign(statement))).status).toBe(201);
  for (let i = 0; i < 3; i++) await running.send('GET', '/api/v1/devices/secret-name');
  const figures = await figuresAt(port);
  const of = (name: string) => figures.get(name);
  const requests = 'waybill_http_request_duration_seconds_count';
  expect(of(`${requests}{method="POST",route="/log/api/v2/log/entries",status="201"}`)).toBe(2);
  expect(of(`${requests}{method="GET",route="/api/v1/devices/:id",status="404"}`)).toBe(3);
  expect(of('waybill_http_refusals_total{code="DEVICE_UNKNOWN"}')).toBe(3);
  // There before the first, so that its rate shows.
  for (const code of ['REGISTRY_INTERNAL', 'SIGNER_UNREACHABLE']) {
    expect(of(`waybill_http_refusals_total{code="${code}"}`)).toBe(0);
  }
  expect(of('waybill_certificates_issued_total')).toBe(1);
  expect(of('waybill_timestamps_issued_total')).toBe(1);
  expect(of('waybill_log_size{log="log.example.example"}')).toBe(2);
  expect(of('waybill_log_size{log="ct.example.example"}')).toBe(1);
  expect(of('waybill_log_cosigned_size{log="log.example.example"}')).toBe(2);
  expect(of('waybill_log_waiting{log="log.example.example"}')).toBe(0);
  expect([of('waybill_log_connections_waiting'), answered.mock.calls.length]).toEqual([7, 2]);
  expect(of('waybill_log_batch_entries_sum{log="log.example.example"}')).toBe(2);
  expect(of('waybill_log_commit_duration_seconds_count{log="ct.example.example"}')).toBe(1);
  expect(of('waybill_log_checkpoint_age_seconds{log="log.example.example"}')).toBeLessThan(30);
  expect(of('waybill_ready')).toBe(1);
  for (const role of ['root', 'targets', 'snapshot', 'timestamp']) {
    expect(of(`waybill_tuf_role_expiry_seconds{role="${role}"}`)).toBeGreaterThan(3600);
  }
  expect(of('process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
  expect(figures.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
  expect([...figures.keys()].join('\n')).not.toContain('secret-name');
  running.skewTo(30 * YEAR_MS);
  const later = await figuresAt(port);
  expect(later.get('waybill_ready')).toBe(0);
  expect(later.get('waybill_tuf_role_expiry_seconds{role="root"}')).toBeLessThan(0);
  // Probes are on it too, and nothing else.
  expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(503);
  expect((await fetch(`http://127.0.0.1:${port}/tuf/timestamp.json`)).status).toBe(404);
  await running.restart();
  expect((await figuresAt(port)).get('waybill_ready')).toBe(0);
});

test('figures tell which witness cosigns and which does not', { timeout: 60_000 }, async () => {
  const issuer = await LoopbackIssuer.start();
  const [up, down] = [await freePort(), await freePort()];
  const [one, two] = [await witnessFolder([], 'w1.example'), await witnessFolder([], 'w2.example')];
  const policy = [
    `witness w1 ${one.vkey} http://127.0.0.1:${up}`,
    `witness w2 ${two.vkey} http://127.0.0.1:${down}`,
    'quorum w1',
  ];
  const file = join(one.folder, '..', 'policy');
  await writeFile(file, `${policy.join('\n')}\n`);
  const metrics = { host: '127.0.0.1', port: await freePort() };
  const made = await makeDataFolder(issuer.url, { metrics }, file);
  const config = await readConfigFile(made.dataFolder);
  // Cosignatures have whole seconds, and the keys of the registry begin now.
  const signedMs = Math.floor(Date.now() / 1000) * 1000;
  const registry = await openRegistry({
    dataFolder: made.dataFolder,
    config,
    clock: () => signedMs + 60_000,
  });
  const held = await WitnessFolder.open(one.folder);
  await held.addLog(registry.services.log().log.verifierKey);
  await held.close();
  const witness = await runWitness(one, undefined, up);
  witness.clock.ms = signedMs;
  const app = await buildServer(registry);
  await listen(app, config.listen);
  onTestFinished(async () => {
    await app.close();
    await issuer.close();
    await rm(made.home, { recursive: true });
  });
  const figure = async (name: string) => (await figuresAt(metrics.port)).get(name);
  await expect
    .poll(() => figure('waybill_witness_cosignature_age_seconds{log="log.example.example",witness="w1"}'))
    .toBe(60);
  expect(
    await figure('waybill_witness_cosignature_age_seconds{log="log.example.example",witness="w2"}'),
  ).toBeUndefined();
  expect(
    await figure('waybill_witness_failures_total{log="log.example.example",witness="w2"}'),
  ).toBeGreaterThan(0);
  expect(await figure('waybill_witness_failures_total{log="log.example.example",witness="w1"}')).toBe(0);
});

test('whoever hung up before it was taken up leaves nothing behind', { timeout: 60_000 }, async () => {
  const { url, text } = await serve({});
  const { port } = new URL(url);
  const many = 'GET /log/checkpoint HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1200);
  for (let i = 0; i < 20; i++) {
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => undefined);
    await new Promise((resolve) =>
      socket.write(many, () => {
        socket.resetAndDestroy();
        resolve(undefined);
      }),
    );
  }
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(text()).not.toContain('unforeseen failure');
});

test('readiness names each reason for which it lacks', async () => {
  const running = await start();
  const codes = async () => {
    const answer = await running.send('GET', '/readyz');
    const { status, reasons = [] } = answer.json as {
      status: string;
      reasons?: { code: string; message: string }[];
    };
    expect([answer.status, status]).toEqual(reasons.length === 0 ? [200, 'ready'] : [503, 'unready']);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    return reasons.map(({ code }) => code);
  };
  expect(await codes()).toEqual([]);
  running.skewTo(2 * 86_400_000);
  expect(await codes()).toEqual(['REGISTRY_ROLE_EXPIRED']);
  running.skewTo(60 * 86_400_000);
  expect(await codes()).toEqual(['REGISTRY_ROLE_EXPIRED', 'REGISTRY_ROLE_EXPIRED']);
  running.skewTo(-YEAR_MS);
  // No key is trusted before its time in the trusted root: authority, timestamps and both logs have none.
  expect(await codes()).toEqual(Array(4).fill('TRUST_KEY_UNPUBLISHED'));
  running.skewTo(10 * YEAR_MS - 5 * 60_000);
  // A leaf would outlive the authority; a timestamp is of this moment.
  expect((await codes()).filter((code) => code === 'CA_CHAIN_NOT_VALID')).toHaveLength(1);
  running.skewTo(0);
  await running.registry.services.ctLog().tiles.close();
  expect(await codes()).toEqual(['LOG_CLOSED']);
  await running.registry.services.log().log.close();
  expect(await codes()).toEqual(['LOG_CLOSED', 'LOG_CLOSED']);
  // The process is alive all the while.
  expect((await running.send('GET', '/healthz')).status).toBe(200);
});

/** `waybill serve` over a new data folder; `lines` are those of its log. */
async function serve(config: Record<string, unknown>, witnesses?: string) {
  const issuer = await LoopbackIssuer.start();
  const made = await makeDataFolder(issuer.url, { logLevel: 'info', ...config }, witnesses);
  const child: ChildProcess = spawn(process.execPath, [WAYBILL, 'serve', made.dataFolder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout?.on('data', (chunk) => {
    said.out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    said.err += chunk;
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await issuer.close();
    await rm(made.home, { recursive: true });
  });
  await expect.poll(() => said.out, { timeout: 20_000 }).toContain('ready at');
  const lines = () =>
    said.err
      .trim()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { url: made.url, issuer, lines, text: () => said.err };
}

test('one line a request, without what the client put into it', { timeout: 60_000 }, async () => {
  const { url, lines, text } = await serve({ limits: { trustedProxies: ['127.0.0.1'] } });
  const secret = 'c2VjcmV0LXRva2Vu';
  const ask = (path: string, init: RequestInit = {}) => fetch(`${url}${path}`, init);
  const headers = {
    'x-request-id': 'proxy-made.1',
    'x-forwarded-for': '198.51.100.9, 192.0.2.1',
    authorization: secret,
  };
  const done = await ask(`/ca/api/v2/configuration?token=${secret}`, { headers });
  expect(done.headers.get('x-request-id')).toBe('proxy-made.1');
  await ask(`/api/v1/devices/${secret}`, {
    headers: { cookie: secret, 'x-request-id': 'no spaces, please' },
  });
  await ask(`/${secret}?${secret}`, { method: 'POST', body: secret });
  await ask('/healthz');
  await ask('/log/api/v2/log/entries', {
    method: 'POST',
    body: secret,
    headers: { 'content-type': 'application/json' },
  });
  const answered = () => lines().filter(({ msg }) => msg === 'answered');
  await expect.poll(() => answered().length).toBe(4);
  const length = Buffer.byteLength(await (await ask('/ca/api/v2/configuration')).text());
  expect(answered().slice(0, 4)).toEqual([
    {
      level: 30,
      time: expect.any(Number),
      reqId: 'proxy-made.1',
      method: 'GET',
      route: '/ca/api/v2/configuration',
      status: 200,
      ms: expect.any(Number),
      bytes: length,
      client: '192.0.2.1',
      msg: 'answered',
    },
    expect.objectContaining({
      route: '/api/v1/devices/:id',
      status: 404,
      code: 'DEVICE_UNKNOWN',
      client: '127.0.0.1',
      reqId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    }),
    expect.objectContaining({
      method: 'POST',
      route: 'unknown',
      status: 404,
      code: 'REGISTRY_REQUEST_UNKNOWN',
    }),
    expect.objectContaining({ route: '/log/api/v2/log/entries', status: 400, code: 'LOG_REQUEST_MALFORMED' }),
  ]);
  // Nothing else was said, and nothing of it.
  expect(lines().filter(({ msg, level }) => msg !== 'answered' && Number(level) >= 40)).toEqual([]);
  expect(text()).not.toContain(secret);
});

test('what is unavailable is told by code, message and cause, without a stack', {
  timeout: 60_000,
}, async () => {
  const witness = await witnessFolder([], 'w.example');
  const policy = join(witness.folder, '..', 'policy');
  await writeFile(policy, `witness w ${witness.vkey} http://127.0.0.1:${await freePort()}\nquorum w\n`);
  const { url, issuer, lines, text } = await serve({}, policy);
  const oidcIdentityToken = await issuer.token();
  const publicKey = { content: 'looked at only once the token counts' };
  await issuer.close();
  expect((await fetch(`${url}/log/checkpoint`)).status).toBe(503);
  const asked = await fetch(`${url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      credentials: { oidcIdentityToken },
      publicKeyRequest: { publicKey, proofOfPossession: 'MEQ=' },
    }),
  });
  expect([asked.status, await asked.text()]).toEqual([503, expect.stringContaining('OIDC_ISSUER')]);
  const told = () => lines().filter(({ msg }) => msg === 'unavailable');
  await expect.poll(() => told().length).toBe(2);
  const line = { level: 40, time: expect.any(Number), reqId: expect.any(String), msg: 'unavailable' };
  expect(told()).toEqual([
    { ...line, code: 'LOG_QUORUM_PENDING', message: 'expected a checkpoint with the quorum, got none yet' },
    {
      ...line,
      code: 'OIDC_ISSUER_UNREACHABLE',
      message: 'expected the discovery document of the issuer, could not get it',
      cause: 'fetch failed',
    },
  ]);
  expect(text()).not.toContain('    at ');
  expect(text()).not.toContain(oidcIdentityToken);
});

test('clients are told apart by address, behind a trusted proxy and nowhere else', async () => {
  const limited = { requestsPerMinute: 1000, costlyPerMinute: 2 };
  const trusting = await start({ limits: { ...limited, trustedProxies: ['127.0.0.0/8'] } });
  const ask = async (running: RunningRegistry, client: string, path = '/api/v1/devices') =>
    (await running.send('GET', path, undefined, { 'x-forwarded-for': client })).status;
  const three = async (running: RunningRegistry, ...clients: readonly string[]) => {
    const statuses: number[] = [];
    for (const client of clients) statuses.push(await ask(running, client));
    return statuses;
  };
  expect(await three(trusting, '192.0.2.1', '192.0.2.1', '192.0.2.1')).toEqual([200, 200, 429]);
  expect(await three(trusting, '192.0.2.2', '192.0.2.3', '192.0.2.4')).toEqual([200, 200, 200]);
  // What a client says before the proxy appended its address does not count.
  expect(await three(trusting, '9.9.9.9, 192.0.2.5', '9.9.9.8, 192.0.2.5', '9.9.9.7, 192.0.2.5')).toEqual([
    200, 200, 429,
  ]);
  // One IPv6 client has a whole /64.
  expect(await three(trusting, '2001:db8::1', '2001:db8::2', '2001:db8::3')).toEqual([200, 200, 429]);
  // Endpoints are counted apart, and reads are not costly.
  expect(await ask(trusting, '192.0.2.1', '/api/v1/trace?purl=pkg:deb/a/b')).toBe(200);
  for (let i = 0; i < 5; i++) expect(await ask(trusting, '192.0.2.1', '/tuf/timestamp.json')).toBe(200);
  const plain = await start({ limits: limited });
  expect(await three(plain, '192.0.2.1', '192.0.2.2', '192.0.2.3')).toEqual([200, 200, 429]);
});

test('what costs is limited at each endpoint that checks, signs or writes', async () => {
  const running = await start({ limits: { costlyPerMinute: 1 } });
  for (const [method, path] of [
    ['POST', '/ca/api/v2/signingCert'],
    ['POST', '/tsa/api/v1/timestamp'],
    ['POST', '/log/api/v2/log/entries'],
    ['POST', '/api/v1/attestations'],
    ['PUT', `/api/v1/blobs/${'00'.repeat(32)}`],
    ['PUT', '/api/v1/tuf/targets'],
    ['POST', '/api/v1/devices'],
    ['POST', '/api/v1/devices/a/reports'],
    ['GET', '/api/v1/devices'],
    ['GET', '/api/v1/attestations'],
    ['GET', '/api/v1/trace'],
  ] as const) {
    const first = await running.send(method, path);
    expect([path, first.status === 429]).toEqual([path, false]);
    const second = await running.send(method, path);
    expect([path, refusal(second)]).toEqual([path, { status: 429, code: 'REGISTRY_REQUEST_RATE' }]);
    expect(second.headers.get('retry-after')).toMatch(/^\d+$/);
  }
});

test('the addresses of one endpoint share one allowance', async () => {
  for (const [first, second] of [
    [
      ['POST', '/ca/api/v2/signingCert'],
      ['POST', '/api/v2/signingCert'],
    ],
    [
      ['GET', '/api/v1/devices'],
      ['HEAD', '/api/v1/devices'],
    ],
  ] as const) {
    const running = await start({ limits: { costlyPerMinute: 2 } });
    const ask = async ([method, path]: readonly [string, string]) =>
      (await running.send(method, path)).status;
    expect([await ask(first), await ask(second)]).not.toContain(429);
    expect([await ask(first), await ask(second)]).toEqual([429, 429]);
  }
});

function closeAll(sockets: readonly ReturnType<typeof open>[]): void {
  for (const socket of sockets) socket.destroy();
}

/** True once the other side has closed a connection, within a second. */
function isClosed(socket: ReturnType<typeof open>): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve(true));
    socket.resume();
    setTimeout(() => resolve(false), 1000);
  });
}

test('connections are limited, in all and of one client', async () => {
  for (const [limits, most] of [
    [{ connections: 3 }, 3],
    [{ connectionsPerClient: 2 }, 2],
  ] as const) {
    const port = await freePort();
    const running = await start({ limits, metrics: { host: '127.0.0.1', port } });
    const sockets = Array.from({ length: most }, () => open(running.url));
    onTestFinished(() => closeAll(sockets));
    expect(await Promise.all(sockets.map(isClosed))).toEqual(sockets.map(() => false));
    const oneMore = open(running.url);
    expect(await isClosed(oneMore)).toBe(true);
    expect((await figuresAt(port)).get('waybill_http_connections_dropped_total')).toBe(1);
    expect((await figuresAt(port)).get('waybill_http_connections')).toBe(most);
    sockets[0]?.destroy();
    await expect
      .poll(async () => (await running.send('GET', '/healthz').catch(() => undefined))?.status)
      .toBe(200);
  }
  // Connections of a proxy are many clients'.
  const running = await start({ limits: { connectionsPerClient: 1, trustedProxies: ['127.0.0.1'] } });
  const sockets = [open(running.url), open(running.url)];
  onTestFinished(() => closeAll(sockets));
  expect(await Promise.all(sockets.map(isClosed))).toEqual([false, false]);
});

test('who takes a large answer too slowly is cut off', { timeout: 60_000 }, async () => {
  const running = await start({ limits: { answerTimeoutMs: 5000 } });
  const bytes = new Uint8Array(24 * 1024 * 1024);
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256(bytes) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  await running.submit(await running.sign(statement));
  expect((await running.putBlob(bytes)).status).toBe(201);
  const socket = connect({ port: Number(new URL(running.url).port), host: '127.0.0.1' });
  socket.on('error', () => undefined);
  onTestFinished(() => closeAll([socket]));
  socket.write(`GET /api/v1/blobs/${sha256(bytes)} HTTP/1.1\r\nHost: x\r\n\r\n`);
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
    // A little now and then, so that the connection is never silent.
    socket.pause();
    setTimeout(() => socket.resume(), 100);
  });
  const startMs = performance.now();
  await new Promise((resolve) => socket.once('close', resolve));
  expect(received).toBeLessThan(bytes.length);
  expect(performance.now() - startMs).toBeLessThan(30_000);
  // What comes behind the request is not answered in the middle of it.
  const garbled = open(running.url);
  garbled.write(`GET /api/v1/blobs/${sha256(bytes)} HTTP/1.1\r\nHost: x\r\n\r\n`);
  garbled.once('data', () => garbled.write('garbage\r\n\r\n'));
  expect((await answerOn(garbled)).count).toBe(1);
  // Who is quick gets the whole of it.
  expect((await running.send('GET', `/api/v1/blobs/${sha256(bytes)}`)).bytes.length).toBe(bytes.length);
});

test('a metrics listener that cannot be had is a reason not to start', async () => {
  const running = await start();
  const issuer = await LoopbackIssuer.start();
  const taken = Number(new URL(running.url).port);
  const made = await makeDataFolder(issuer.url, { metrics: { host: '127.0.0.1', port: taken } });
  onTestFinished(async () => {
    await issuer.close();
    await rm(made.home, { recursive: true });
  });
  const config = await readConfigFile(made.dataFolder);
  const registry = await openRegistry({ dataFolder: made.dataFolder, config, clock: Date.now });
  const app = await buildServer(registry);
  await expect(listen(app, config.listen)).rejects.toMatchObject({ code: 'REGISTRY_ADDRESS_UNAVAILABLE' });
  await app.close();
});
