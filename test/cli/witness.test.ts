// SPDX-License-Identifier: Apache-2.0
// `waybill witness` as a user runs it: made, told of a log, served, stopped.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { PrivateAuthority } from '../registry/http/certificates.ts';
import { temporaryFolder } from '../registry/witness/running-witness.ts';
import { ORIGIN, witnessedLog } from '../registry/witness/witnessed-log.ts';
import { waybill } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const log = witnessedLog();

/** Starts `waybill witness serve` and waits for its address. */
async function serve(
  folder: string,
  ...more: readonly string[]
): Promise<{ child: ChildProcess; url: string; logged: () => string }> {
  const argv = [WAYBILL, 'witness', 'serve', folder, '--port', '0', '--json', ...more];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let logged = '';
  child.stderr?.on('data', (chunk) => {
    logged += chunk;
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  await expect.poll(() => said, { timeout: 20_000 }).toMatch(/\}\n$/);
  const { address, origins, pid } = JSON.parse(said);
  expect({ origins, pid }).toEqual({ origins: [ORIGIN], pid: child.pid });
  return { child, url: address, logged: () => logged };
}

test('from nothing to cosignatures, over a kill and a restart', { timeout: 120_000 }, async () => {
  const home = await temporaryFolder();
  const made = await waybill(['witness', 'init', 'w1', '--name', 'witness.example/w1', '--json'], home);
  expect(made.code).toBe(0);
  const { vkey, policyLine } = JSON.parse(made.out);
  expect(await readFile(join(home, 'w1', 'vkey'), 'utf8')).toBe(`${vkey}\n`);
  const policy = parseLogPolicy(
    utf8(`${policyLine.replace('<url>', 'http://127.0.0.1:1')}\nquorum witness.example/w1\n`),
    nodeCrypto,
  );
  expect(policy.witnesses).toMatchObject([{ name: 'witness.example/w1', url: 'http://127.0.0.1:1' }]);

  expect(await waybill(['witness', 'add', 'w1', log.vkey], home)).toMatchObject({
    code: 0,
    out: `w1 witnesses ${ORIGIN}\n`,
  });
  expect((await waybill(['witness', 'add', 'w1', log.vkey], home)).err).toContain('WITNESS_LOG_KNOWN');

  const first = await serve(join(home, 'w1'));
  const post = (url: string, body: string) => fetch(`${url}/add-checkpoint`, { method: 'POST', body });
  expect((await post(first.url, log.request(0n, 5n))).status).toBe(200);
  const locked = await waybill(['witness', 'serve', 'w1', '--port', '0'], home);
  expect(locked).toMatchObject({ code: 75, out: '' });
  expect(locked.err).toContain('WITNESS_DATA_LOCKED');
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');

  const second = await serve(join(home, 'w1'));
  const late = await post(second.url, log.request(0n, 9n));
  expect([late.status, await late.text()]).toEqual([409, '5\n']);
  expect((await post(second.url, log.request(5n, 9n))).status).toBe(200);
  const port = new URL(second.url).port;
  const other = await waybill(['witness', 'init', 'w2', '--name', 'w2'], home);
  expect(other.out).toMatch(/witness w2 w2\+[0-9a-f]{8}\+\S+ <url>/);
  const taken = await waybill(['witness', 'serve', 'w2', '--port', port], home);
  expect(taken.code).toBe(75);
  expect(taken.err).toContain('REGISTRY_ADDRESS_UNAVAILABLE');
  second.child.kill('SIGHUP');
  await expect.poll(second.logged, { timeout: 10_000 }).toContain('SIGHUP changes nothing');
  expect(second.logged()).not.toContain('certificate and key read again');
  second.child.kill('SIGTERM');
  expect(await once(second.child, 'exit')).toEqual([0, null]);
});

/** Asks over TLS, on a connection of its own; returns the answer and the serial number of the certificate. */
async function ask(url: string, ca: Buffer, body?: string): Promise<{ status: number; serial: string }> {
  return new Promise((resolve, reject) => {
    const options = { ca, agent: false, method: body === undefined ? 'GET' : 'POST' } as const;
    const asking = request(url, options, (response) => {
      const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate();
      response.resume().on('end', () => resolve({ status: response.statusCode ?? 0, serial: serialNumber }));
    });
    asking.on('error', reject);
    asking.end(body);
  });
}

test('over TLS of its own, with a certificate that is renewed while it runs', {
  timeout: 120_000,
}, async () => {
  const home = await temporaryFolder();
  await waybill(['witness', 'init', 'w1', '--name', 'witness.example/w1'], home);
  await waybill(['witness', 'add', 'w1', log.vkey], home);
  const authority = await PrivateAuthority.make(join(home, 'tls'));
  const ca = await readFile(authority.path);
  const [certificate, key] = [join(home, 'certificate.pem'), join(home, 'key.pem')];
  const use = async (name: string) => {
    const made = await authority.issue(name, 'serverAuth');
    await rename(made.certificate, certificate);
    await rename(made.key, key);
  };
  await use('one');
  const argv = ['witness', 'serve', 'w1', '--port', '0', '--tls-cert', certificate];
  expect((await waybill(argv, home)).err).toContain('CLI_USAGE');
  await chmod(key, 0o644);
  expect((await waybill([...argv, '--tls-key', key], home)).err).toContain('REGISTRY_TLS_KEY_EXPOSED');
  await chmod(key, 0o600);

  const { child, url, logged } = await serve(
    join(home, 'w1'),
    ...['--tls-cert', certificate, '--tls-key', key],
  );
  expect(url).toMatch(/^https:/);
  expect(await ask(`${url}/add-checkpoint`, ca, log.request(0n, 5n))).toEqual({ status: 200, serial: '01' });
  await expect(fetch(url.replace('https:', 'http:'))).rejects.toThrow();
  await use('two');
  child.kill('SIGHUP');
  await expect.poll(logged, { timeout: 10_000 }).toContain('read again');
  expect(await ask(`${url}/healthz`, ca)).toEqual({ status: 200, serial: '02' });
  await writeFile(key, 'nonsense');
  child.kill('SIGHUP');
  await expect.poll(logged, { timeout: 10_000 }).toContain('REGISTRY_TLS_UNREADABLE');
  expect(await ask(`${url}/add-checkpoint`, ca, log.request(5n, 9n))).toEqual({ status: 200, serial: '02' });
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test('mistakes are told, with their exit codes, and leave nothing', { timeout: 60_000 }, async () => {
  const home = await temporaryFolder();
  const cases = [
    [['init', 'w', '--name', 'a b'], 2, 'WITNESS_NAME_MALFORMED'],
    [['serve', 'w', '--port', '1'], 2, 'WITNESS_DATA_MISSING'],
    [['serve', 'w', '--port', '65536'], 2, 'CLI_USAGE'],
    [['add', 'w', log.vkey], 2, 'WITNESS_DATA_MISSING'],
  ] as const;
  for (const [argv, code, fault] of cases) {
    const run = await waybill(['witness', ...argv], home);
    expect([run.code, run.out]).toEqual([code, '']);
    expect(run.err).toContain(fault);
  }
  expect((await readdir(home)).filter((name) => !name.startsWith('.'))).toEqual([]);
});
