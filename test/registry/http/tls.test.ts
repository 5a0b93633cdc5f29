// SPDX-License-Identifier: Apache-2.0
// The registry over TLS with a certificate of a private authority: our own commands work, certificates are renewed while it runs, and
// clients without a certificate get no further than they may.

import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { CommandLine } from '../../../examples/demo/command-line.ts';
import { type DemoIssuer, startIssuer } from '../../../examples/demo/oidc-issuer.ts';
import { freePort, stop } from '../../../examples/demo/processes.ts';
import { readTlsFiles } from '../../../registry/http/tls-files.ts';
import { planBuild, removeBuild, writeBuild } from '../../attest/build-folder.ts';
import { entryFor } from '../trust/trust-server.ts';
import { PrivateAuthority } from './certificates.ts';

let home: string;
let data: string;
let url: string;
let cli: CommandLine;
let authority: PrivateAuthority;
let issuer: DemoIssuer;
let server: { readonly child: ChildProcess; readonly said: () => string };
const tlsFile = (name: string) => join(data, 'tls', name);

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-tls-'));
  data = join(home, 'data');
  url = `https://127.0.0.1:${await freePort()}`;
  cli = new CommandLine({ PATH: process.env.PATH ?? '', XDG_STATE_HOME: join(home, 'state') });
  await cli.must(['init', data, '--offline', join(home, 'offline'), '--url', url, '--org', 'example']);
  authority = await PrivateAuthority.make(tlsFile(''));
  issuer = await startIssuer();
  await use('server-1');
  server = await serve({});
}, 60_000);
afterAll(async () => {
  await stop(server.child);
  await issuer.close();
  await rm(home, { recursive: true });
});

/** Puts a new certificate and its key where config.yaml names them. */
async function use(name: string): Promise<void> {
  const { certificate, key } = await authority.issue(name, 'serverAuth');
  await copyFile(certificate, tlsFile('next.pem'));
  await rename(key, tlsFile('key.pem'));
  await rename(tlsFile('next.pem'), tlsFile('certificate.pem'));
}

/** Starts `waybill serve` with more members of `listen.tls`. */
async function serve(tls: Record<string, string>) {
  const path = join(data, 'config.yaml');
  const config = parse(await readFile(path, 'utf8'));
  config.listen = {
    host: '127.0.0.1',
    port: Number(new URL(url).port),
    tls: { certificate: 'tls/certificate.pem', key: 'tls/key.pem', ...tls },
  };
  config.issuers = [entryFor(issuer.url)];
  await writeFile(path, stringify(config));
  const child = cli.start(['serve', data]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  }
  for (let i = 0; i < 400 && !said.includes('ready at'); i++) {
    if (child.exitCode !== null) throw new Error(said);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { child, said: () => said };
}

interface Told {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly text: string;
}

/** Asks over TLS, with a client certificate if there is one. */
async function ask(path: string, options: Record<string, unknown> = {}): Promise<Told> {
  const ca = await readFile(authority.path);
  return new Promise((resolve, reject) => {
    const asking = request(`${url}${path}`, { ca, agent: false, ...options }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
      response.on('error', reject);
    });
    asking.on('error', reject);
    asking.end();
  });
}

const trusting = () => ({ NODE_EXTRA_CA_CERTS: authority.path });

test('HSTS, TLS 1.2 at least, and nothing for whoever speaks plain HTTP', async () => {
  const health = await ask('/healthz');
  expect([health.status, health.headers['strict-transport-security']]).toEqual([200, 'max-age=31536000']);
  expect((await ask('/healthz', { maxVersion: 'TLSv1.2' })).status).toBe(200);
  await expect(
    ask('/healthz', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
  ).rejects.toThrow(/version|protocol|EPROTO/i);
  await expect(fetch(url.replace('https', 'http'))).rejects.toThrow();
  await expect(ask('/healthz', { ca: undefined })).rejects.toThrow(/verify|self-signed|issuer/);
});

test('our own commands work with a private authority, and say why they do not without', {
  timeout: 120_000,
}, async () => {
  const folder = await writeBuild(planBuild());
  const root = join(data, 'root.json');
  const attest = ['attest', folder, '--registry', url, '--root', root, '--json'];
  const token = { WAYBILL_ID_TOKEN: await issuer.token() };
  const done = await cli.run(attest, { env: { ...token, ...trusting() } });
  expect([done.exitCode, done.stderr.includes('waybill:')]).toEqual([0, false]);
  const trace = ['trace', 'pkg:deb/debian/gcc-avr', '--registry', url, '--json'];
  const traced = await cli.must(trace, { env: trusting() });
  expect((traced.json as { builtWith: unknown[] }).builtWith).not.toEqual([]);
  const device = join(home, 'device');
  const made = ['device', 'init', device, '--root', root, '--registry', url, '--product', 'optiboot'];
  await cli.must([...made, '--hardware-id', 'uno-r3', '--version-floor', '1.0.0'], { env: trusting() });
  const enrolment = ['device', 'enrol', device, '--token-file', join(data, 'keys', 'enrolment.token')];
  await cli.must(enrolment, { env: trusting() });
  for (const [command, env] of [
    [attest, token],
    [trace, {}],
    [enrolment, {}],
  ] as const) {
    const outcome = await cli.run(command, { env });
    expect([command[0], outcome.exitCode]).toEqual([command[0], 75]);
    expect(outcome.stderr).toMatch(/UNABLE_TO_VERIFY|SELF_SIGNED|unable to verify|self-signed/);
  }
  const plain = url.replace('https', 'http');
  for (const command of [
    ['trace', 'pkg:deb/debian/gcc-avr', '--registry', plain],
    ['tuf', 'status', plain, '--root', root],
  ]) {
    const outcome = await cli.run(command);
    expect([command[0], outcome.exitCode]).toEqual([command[0], 75]);
    expect(outcome.stderr).toMatch(/UND_ERR_SOCKET.*UND_ERR_SOCKET, that an http address may be https/s);
  }
  await removeBuild(folder);
});

test('SIGHUP takes a renewed certificate; open connections go on, and a bad one changes nothing', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const serialOf = async (more: Record<string, unknown> = {}) => {
    const ca = await readFile(authority.path);
    const socket: TLSSocket = connectTls({ port: Number(new URL(url).port), host: '127.0.0.1', ca, ...more });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  expect((await ask('/healthz', { agent })).status).toBe(200);
  expect(server.said()).toContain(`waybill serve: ready at ${url}\n`);
  expect(server.said()).not.toContain('http://127.0.0.1');
  const before = await serialOf();
  await use('server-2');
  server.child.kill('SIGHUP');
  await expect.poll(() => server.said()).toContain('certificate and key read again');
  const after = await serialOf();
  expect(after).not.toBe(before);
  // The old connection is the one that is used again.
  const again = await ask('/healthz', { agent });
  expect([again.status, Object.values(agent.freeSockets).flat().length]).toEqual([200, 1]);
  agent.destroy();
  await chmod(tlsFile('key.pem'), 0o640);
  server.child.kill('SIGHUP');
  await expect.poll(() => server.said()).toContain('REGISTRY_TLS_KEY_EXPOSED');
  expect(server.said()).not.toContain('    at ');
  await chmod(tlsFile('key.pem'), 0o600);
  expect(await serialOf()).toBe(after);
});

test('our own commands show the certificate that the environment names, to a server that demands one of all', {
  timeout: 180_000,
}, async () => {
  await stop(server.child);
  server = await serve({ clientAuthorities: 'tls/ca.pem' });
  const { certificate, key } = await authority.issue('machine', 'clientAuth');
  const shown = { WAYBILL_CLIENT_CERT: certificate, WAYBILL_CLIENT_KEY: key };
  const folder = await writeBuild(planBuild());
  const root = join(data, 'root.json');
  const device = join(home, 'certified-device');
  const targets = join(home, 'offline', 'targets-1.pem');
  const policy = join(home, 'tlog-policy');
  const watch = join(home, 'watch.yaml');
  await writeFile(
    policy,
    `# with a line more\n${await readFile(join(data, 'trust', 'tlog-policy'), 'utf8')}`,
  );
  await writeFile(watch, 'identities:\n  - issuer: https://issuer.example\n    identity: nobody\n');
  await writeFile(join(home, 'builds.jsonl'), '');
  const commands = [
    ['attest', folder, '--registry', url, '--root', root, '--json'],
    ['trace', 'pkg:deb/debian/gcc-avr', '--registry', url, '--json'],
    ['device', 'enrol', device, '--token-file', join(data, 'keys', 'enrolment.token')],
    ['device', 'update', device],
    ['tuf', 'status', url, '--root', root, '--json'],
    ['tuf', 'update', url, '--root', root, '--log-policy', policy, '--key', targets],
    [
      'monitor',
      'run',
      join(home, 'monitor'),
      '--registry',
      url,
      '--watch',
      watch,
      '--root',
      root,
      '--once',
    ].concat(...[['--builds', join(home, 'builds.jsonl'), '--json']]),
  ];
  const made = ['device', 'init', device, '--root', root, '--registry', url, '--product', 'optiboot'];
  await cli.must([...made, '--hardware-id', 'uno-r3', '--version-floor', '1.0.0'], {
    env: { ...trusting(), ...shown },
  });
  const without = await cli.run(commands[1] as string[], { env: trusting() });
  expect(without.exitCode).toBe(75);
  for (const command of commands) {
    const name = command.slice(0, 2).join(' ');
    const token = { WAYBILL_ID_TOKEN: await issuer.token() };
    const done = await cli.run(command, { env: { ...token, ...trusting(), ...shown } });
    // The device has no release yet: that it is told so is enough.
    const expected = name === 'device update' ? /no release|TUF_|nothing/i : /^/;
    expect([name, done.exitCode === 75, done.stdout + done.stderr]).toEqual([
      name,
      false,
      expect.stringMatching(expected),
    ]);
    if (name !== 'device update') expect([name, done.exitCode, done.stderr]).toEqual([name, 0, done.stderr]);
  }
  for (const [more, code] of [
    [{ WAYBILL_CLIENT_KEY: '' }, 'CLI_USAGE'],
    [{ WAYBILL_CLIENT_KEY: join(home, 'nowhere') }, 'REGISTRY_TLS_UNREADABLE'],
    [{ WAYBILL_CLIENT_KEY: tlsFile('key.pem') }, 'REGISTRY_TLS_MISMATCH'],
  ] as const) {
    const outcome = await cli.run(['trace', 'pkg:a/b', '--registry', url], { env: { ...shown, ...more } });
    expect([outcome.exitCode, outcome.stderr]).toEqual([2, expect.stringContaining(code)]);
  }
  await removeBuild(folder);
});

test('large bodies show it too, which are sent in another way', async () => {
  const { certificate, key } = await authority.issue('large', 'clientAuth');
  const at = (path: string) => new URL(`../../../${path}`, import.meta.url).href;
  const script = `
    const { showClientCertificate } = await import('${at('cli/client-certificate.ts')}');
    const { exchange } = await import('${at('attest/exchange.ts')}');
    await showClientCertificate(process.env);
    const bytes = new Uint8Array(3);
    const body = { sizeBytes: 3, open: async function* () { yield bytes; } };
    const { status } = await exchange('${url}/api/v1/blobs/${'00'.repeat(32)}', { method: 'PUT', body });
    console.log(status);`;
  const run = (env: Record<string, string>) =>
    promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
      env: { PATH: process.env.PATH ?? '', ...trusting(), ...env },
    });
  const shown = { WAYBILL_CLIENT_CERT: certificate, WAYBILL_CLIENT_KEY: key };
  // Nobody named the blob: that is the registry's word, behind the handshake.
  expect((await run(shown)).stdout).toBe('403\n');
  expect((await run({})).stdout).toBe('0\n');
});

test('mutual TLS: for all, or for all but public reads', { timeout: 60_000 }, async () => {
  const client = await authority.issue('client', 'clientAuth');
  const foreign = await (await PrivateAuthority.make(join(home, 'foreign'))).issue('client', 'clientAuth');
  const identityOf = async ({ certificate, key }: typeof client) => ({
    cert: await readFile(certificate),
    key: await readFile(key),
  });
  const certified = await identityOf(client);
  const stranger = await identityOf(foreign);
  const again = async (tls: Record<string, string>) => {
    await stop(server.child);
    server = await serve({ clientAuthorities: 'tls/ca.pem', ...tls });
  };

  await again({});
  expect((await ask('/healthz', certified)).status).toBe(200);
  for (const none of [{}, stranger]) await expect(ask('/healthz', none)).rejects.toThrow();

  // Shards are read by the same people as the logs before them.
  for (const service of ['ct', 'log']) await cli.must(['rotate', data, service]);
  await again({ requireClientCertificate: 'except-public-reads' });
  const open = [
    '/healthz',
    '/readyz',
    '/tuf/timestamp.json',
    '/log/checkpoint',
    '/ca/api/v2/trustBundle',
    '/ct/checkpoint',
    '/ct2/checkpoint',
    '/log2/checkpoint',
  ];
  for (const path of open) expect([path, (await ask(path)).status]).toEqual([path, 200]);
  const closed = [
    ['GET', '/api/v1/devices'],
    ['GET', '/openapi.json'],
    ['GET', '/nowhere'],
    ['GET', '/api/v1/trace?purl=pkg:a/b'],
    ['POST', '/ca/api/v2/signingCert'],
    ['POST', '/log/api/v2/log/entries'],
    ['POST', '/log2/api/v2/log/entries'],
    ['POST', '/tsa/api/v1/timestamp'],
    ['PUT', '/api/v1/tuf/root'],
    ['OPTIONS', '/tuf/timestamp.json'],
  ] as const;
  for (const [method, path] of closed) {
    for (const none of [{}, stranger]) {
      const { status, text } = await ask(path, { method, ...none });
      expect([method, path, status]).toEqual([method, path, 403]);
      expect(text).toContain('REGISTRY_CLIENT_UNCERTIFIED');
    }
  }
  expect((await ask('/api/v1/devices', certified)).status).toBe(200);
});

test('files that cannot be used are refused by name', async () => {
  const refused = (tls: object, code: string) =>
    expect(
      readTlsFiles(data, { certificate: 'tls/certificate.pem', key: 'tls/key.pem', ...tls }),
    ).rejects.toMatchObject({ code });
  expect(await readTlsFiles(data, { certificate: 'tls/certificate.pem', key: 'tls/key.pem' })).toMatchObject({
    minVersion: 'TLSv1.2',
  });
  await refused({ certificate: 'tls/nowhere.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ certificate: 'tls/key.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ key: 'tls/nowhere.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ key: 'tls' }, 'REGISTRY_TLS_KEY_EXPOSED');
  await refused({ clientAuthorities: 'tls/key.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await writeFile(tlsFile('bent.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', {
    mode: 0o600,
  });
  await refused({ certificate: 'tls/bent.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ clientAuthorities: 'tls/bent.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ key: 'tls/bent.pem' }, 'REGISTRY_TLS_UNREADABLE');
  await refused({ key: 'tls/ca.key' }, 'REGISTRY_TLS_MISMATCH');
  for (const mode of [0o604, 0o640, 0o620, 0o601]) {
    await chmod(tlsFile('key.pem'), mode);
    await refused({}, 'REGISTRY_TLS_KEY_EXPOSED');
  }
  await chmod(tlsFile('key.pem'), 0o400);
  await readTlsFiles(data, { certificate: 'tls/certificate.pem', key: 'tls/key.pem' });
});
