// SPDX-License-Identifier: Apache-2.0
// `waybill serve` as a process: starts without any offline key, says what is wrong when it cannot, stops when told, and has
// what it acknowledged after it was killed.

import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { makeDataFolder } from '../registry/running-registry.ts';
import { LoopbackIssuer } from '../registry/trust/loopback-issuer.ts';
import { sha256 } from '../registry/tuf-house.ts';
import { say, waybill } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
let issuer: LoopbackIssuer;
let made: Awaited<ReturnType<typeof makeDataFolder>>;
const started: ChildProcess[] = [];
beforeEach(async () => {
  issuer = await LoopbackIssuer.start();
  made = await makeDataFolder(issuer.url, { logLevel: 'info' });
  // What the server needs is in the data folder alone.
  await rm(made.offline, { recursive: true });
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
    }
  }
  await issuer.close();
  await rm(made.home, { recursive: true });
});

interface Serving {
  readonly child: ChildProcess;
  readonly said: () => { readonly out: string; readonly err: string };
  readonly ended: Promise<number | null>;
}

function serve(folder = made.dataFolder, ...more: string[]): Serving {
  const child = spawn(process.execPath, [WAYBILL, 'serve', folder, ...more], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  const said = { out: '', err: '' };
  child.stdout?.on('data', (chunk) => {
    said.out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    said.err += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, said: () => said, ended };
}

async function ready(serving: Serving): Promise<Serving> {
  await expect.poll(() => serving.said().out, { timeout: 20_000 }).toContain('ready at');
  return serving;
}

async function signedBundle(subject: string): Promise<Uint8Array> {
  const signingConfig = await readFile(join(made.dataFolder, 'trust', 'signing_config.v0.2.json'));
  const statement = formatStatement({
    subjects: [{ name: 'x', sha256: subject }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  });
  const identity = { token: () => issuer.token() } as never;
  return signStatement(statement, { signingConfig: new Uint8Array(signingConfig), identity });
}

describe('serve', () => {
  it('serves without offline keys, prints its address, and stops when told', {
    timeout: 60_000,
  }, async () => {
    const serving = await ready(serve());
    expect(serving.said().out).toBe(`waybill serve: ready at ${made.url}\n`);
    const health = await fetch(`${made.url}/healthz`);
    expect(await health.json()).toEqual({ status: 'ok' });
    expect(health.headers.get('x-content-type-options')).toBe('nosniff');
    expect(health.headers.get('content-security-policy')).toContain("default-src 'none'");
    const second = serve();
    expect(await second.ended).toBe(75);
    expect(second.said().err).toContain('REGISTRY_DATA_LOCKED');
    expect(second.said().err).toContain('`waybill rotate` or `waybill fsck`');
    // Another process that would only read is kept out too.
    const check = await waybill(['fsck', made.dataFolder], made.home);
    expect(check).toMatchObject({ code: 75, err: expect.stringContaining('REGISTRY_DATA_LOCKED') });
    // Without TLS there is nothing that this signal could have read again; it ends nothing either.
    serving.child.kill('SIGHUP');
    await expect.poll(() => serving.said().err).toContain('SIGHUP changes nothing');
    expect(serving.said().err).not.toContain('certificate and key read again');
    serving.child.kill('SIGTERM');
    expect(await serving.ended).toBe(0);
    await expect(fetch(`${made.url}/healthz`)).rejects.toThrow();
  });

  it('does not start behind what it published, and says what to do', { timeout: 60_000 }, async () => {
    const db = join(made.dataFolder, 'state', 'db');
    const stop = async (serving: Serving) => {
      serving.child.kill('SIGTERM');
      await serving.ended;
    };
    await stop(await ready(serve()));
    await cp(db, join(made.home, 'copy'), { recursive: true });
    const serving = await ready(serve());
    // A certificate and its signature: an entry in each log.
    await signedBundle(sha256('one'));
    await stop(serving);
    await rm(db, { recursive: true });
    await cp(join(made.home, 'copy'), db, { recursive: true });
    const refused = serve();
    expect(await refused.ended).toBe(1);
    expect(refused.said().err).toMatch(/^waybill: LOG_STORE_BEHIND: .*published size 1, got one of size 0\n/);
    expect(refused.said().err).toContain('Restore the newer state.');
    expect(refused.said().err).toContain('`waybill rotate <folder> log`');
    // The certificate log alone would be noticed too.
    await rm(join(made.dataFolder, 'state', 'heads', 'log.example.example'));
    const again = serve();
    expect(await again.ended).toBe(1);
    expect(again.said().err).toMatch(/^waybill: LOG_STORE_BEHIND: .*"ct\.example\.example"/);
    // Heads on another disk: the one in the data folder means nothing.
    const elsewhere = join(made.home, 'heads');
    const path = join(made.dataFolder, 'config.yaml');
    await writeFile(path, `${await readFile(path, 'utf8')}headFolder: ${elsewhere}\n`);
    // Nor does a folder without heads: both logs have begun, so it takes the word of the operator.
    const headless = serve();
    expect(await headless.ended).toBe(2);
    expect(headless.said().err).toMatch(/^waybill: LOG_HEAD_MISSING: .*"ct\.example\.example"/);
    await mkdir(elsewhere);
    const heads = ['ct.example.example', 'log.example.example'];
    for (const head of heads) await writeFile(join(elsewhere, head), '');
    await stop(await ready(serve()));
    expect(await readdir(elsewhere)).toEqual(heads);
    for (const head of heads) expect((await stat(join(elsewhere, head))).size).toBe(8192);
  });

  it('has what it acknowledged after kill -9', { timeout: 60_000 }, async () => {
    const first = await ready(serve());
    const subject = sha256('survives');
    const bundle = await signedBundle(subject);
    const answer = await fetch(`${made.url}/api/v1/attestations`, {
      method: 'POST',
      body: bundle as never,
    });
    expect(answer.status).toBe(201);
    const blob = await fetch(`${made.url}/api/v1/blobs/${subject}`, { method: 'PUT', body: 'survives' });
    expect(blob.status).toBe(201);
    first.child.kill('SIGKILL');
    await first.ended;
    await ready(serve());
    const kept = await fetch(`${made.url}/api/v1/attestations/${sha256(bundle)}`);
    expect(new Uint8Array(await kept.arrayBuffer())).toEqual(bundle);
    expect(await (await fetch(`${made.url}/api/v1/blobs/${subject}`)).text()).toBe('survives');
  });

  it('keeps tokens out of its log', { timeout: 60_000 }, async () => {
    const serving = await ready(serve());
    const token = await issuer.token();
    await signedBundle(sha256('logged'));
    const enrolment = (await readFile(join(made.dataFolder, 'keys', 'enrolment.token'), 'utf8')).trim();
    for (const authorization of [`Bearer ${token}`, `Bearer ${enrolment}`]) {
      for (const path of ['/api/v1/devices', '/ca/api/v2/signingCert', '/api/v1/attestations', '/nowhere']) {
        const body = JSON.stringify({ credentials: { oidcIdentityToken: token } });
        const headers = { authorization, 'content-type': 'application/json' };
        await fetch(`${made.url}${path}`, { method: 'POST', headers, body });
      }
    }
    await expect.poll(() => serving.said().err).toContain('"route":"unknown","status":404');
    for (const secret of [enrolment, token, token.slice(0, 40), token.slice(-40)]) {
      expect(serving.said().err).not.toContain(secret);
    }
  });

  it('says what is wrong when it cannot start', { timeout: 60_000 }, async () => {
    const asProcess = async (folder: string) => {
      const serving = serve(folder);
      return { code: await serving.ended, ...serving.said() };
    };
    const fails = async (code: string, exit: number, folder = made.dataFolder, run = asProcess) => {
      const said = await run(folder);
      expect(said).toEqual({ code: exit, err: expect.stringContaining(code), out: '' });
      return said.err;
    };
    const failsHere = (code: string, exit: number) =>
      fails(code, exit, made.dataFolder, (folder) => say(['serve', folder]));
    expect(await fails('REGISTRY_DATA_MISSING', 2, join(made.home, 'nowhere'))).toContain('waybill init');
    const blocker = createServer();
    await new Promise<void>((resolve) =>
      blocker.listen(Number(new URL(made.url).port), '127.0.0.1', resolve),
    );
    expect(await fails('REGISTRY_ADDRESS_UNAVAILABLE', 75)).toContain('another process listens there');
    await new Promise((resolve) => blocker.close(resolve));
    const path = join(made.dataFolder, 'config.yaml');
    const config = await readFile(path, 'utf8');
    await writeFile(path, `${config}listn: 1\n`);
    expect(await failsHere('REGISTRY_CONFIG_MALFORMED', 2)).toMatch(/config\.yaml:\d+:\d+/);
    // Of the block for documentation: no machine has it.
    await writeFile(path, config.replace('host: 127.0.0.1', 'host: 192.0.2.1'));
    const foreign = await fails('REGISTRY_ADDRESS_FOREIGN', 75);
    expect(foreign).toContain('expected "192.0.2.1" to be an address of this machine, got EADDRNOTAVAIL');
    expect(foreign).toContain('Correct `listen.host`');
    await writeFile(path, config);
    const token = join(made.dataFolder, 'keys', 'enrolment.token');
    await chmod(token, 0o644);
    expect(await failsHere('CA_KEY_EXPOSED', 2)).toMatch(
      /expected an enrolment token .* got 0644.*chmod 600/s,
    );
    await chmod(token, 0o600);
    await chmod(join(made.dataFolder, 'keys'), 0o777);
    expect(await failsHere('CA_KEY_EXPOSED', 2)).toMatch(/expected a folder of keys.* got 0777.*chmod 700/s);
    await chmod(join(made.dataFolder, 'keys'), 0o755);
    await writeFile(token, 'short\n');
    await failsHere('REGISTRY_DATA_DAMAGED', 1);
    await rm(token);
    await failsHere('REGISTRY_DATA_MISSING', 2);
    await rm(join(made.dataFolder, 'keys', 'tuf-snapshot.pem'));
    await failsHere('REGISTRY_DATA_MISSING', 2);
  });
});
