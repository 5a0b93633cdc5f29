// SPDX-License-Identifier: Apache-2.0
// `waybill monitor` as an operator runs it: from a TUF root, in rounds and until it is stopped, killed while it reads; and its mistakes.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { formatHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { logVerifierKey } from '../../registry/log/log-key.ts';
import { EMPTY_NAME, OID } from '../../registry/trust/certificate.ts';
import * as der from '../../registry/trust/der.ts';
import { newSigner } from '../../registry/trust/signer.ts';
import { startLogServer } from '../registry/log/log-server.ts';
import { IDENTITY, runOf, signInRun } from '../registry/monitor/watching.ts';
import { newP256, RunningRegistry } from '../registry/running-registry.ts';
import { CLAIMS } from '../registry/trust/loopback-issuer.ts';
import { sha256 } from '../registry/tuf-house.ts';
import { temporaryFolder } from '../registry/witness/running-witness.ts';
import { say, waybill } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

/** A folder with the operator's files; `arguments` are those of `waybill monitor run`. */
async function operator(registryUrl: string, watched: object, more: readonly string[]) {
  const home = await temporaryFolder();
  await writeFile(join(home, 'watch.yaml'), stringify(watched));
  await writeFile(join(home, 'builds.jsonl'), '');
  await mkdir(join(home, 'decisions'));
  const files = ['--watch', 'watch.yaml', '--decisions', 'decisions'];
  const argv = ['monitor', 'run', 'state', '--registry', registryUrl, ...files, ...more];
  return {
    home,
    argv,
    run: (...last: readonly string[]) => waybill([...argv, ...last], home),
    spawn: (...last: readonly string[]): ChildProcess => {
      const child = spawn(process.execPath, [WAYBILL, ...argv, ...last], {
        cwd: home,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      return child;
    },
  };
}

const linesOf = (out: string) =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

test('from a TUF root: calm, a stolen identity, acknowledged, forked and proven', {
  timeout: 180_000,
}, async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const root = join(registry.dataFolder, 'root.json');
  const identities = [{ issuer: registry.issuer.url, identity: IDENTITY }];
  const house = await operator(registry.url, { identities }, [
    '--root',
    root,
    '--builds',
    'builds.jsonl',
    '--grace',
    '0',
  ]);
  await cp(root, join(house.home, 'root.json'));
  await appendFile(join(house.home, 'builds.jsonl'), `${JSON.stringify({ run: runOf('1') })}\n`);
  await registry.submit(await signInRun(registry, { run_id: '1' }));
  const calm = await house.run('--once');
  expect(calm.code, calm.err).toBe(0);
  expect(calm.out).toMatch(
    /log\.example\.example at 1, ct\.example\.example at 1; 0 open alarms; 0 entries wait/,
  );

  await registry.submit(await signInRun(registry, { run_id: '2' }));
  // Between the first round and the last in this process, in that folder.
  const started = process.cwd();
  onTestFinished(() => process.chdir(started));
  process.chdir(house.home);
  const here = (...last: readonly string[]) => say([...house.argv, ...last]);
  const robbed = await here('--once', '--json');
  expect(robbed.code).toBe(1);
  const alarms = linesOf(robbed.out).flatMap(({ event, alarm }) => (event === 'alarm' ? [alarm] : []));
  expect(alarms.map(({ kind }) => kind)).toEqual(['certificate', 'signature']);
  // Open until somebody has looked at it.
  const open = await here('--once');
  expect(open.code).toBe(1);
  const ids = alarms.map(({ id }) => id).sort();
  expect(open.out).toMatch(
    new RegExp(
      `; 2 open alarms;.*\\n  open: ${ids[0]}\\n  open: ${ids[1]}\\n.*waybill monitor acknowledge state <id>\\n$`,
    ),
  );
  for (const { id } of alarms) {
    expect(await waybill(['monitor', 'acknowledge', 'state', id], house.home)).toMatchObject({
      code: 0,
      out: `acknowledged: ${id}\n`,
    });
  }
  expect((await here('--once')).code).toBe(0);

  const backup = join(house.home, 'backup');
  await registry.restart(() => cp(registry.dataFolder, backup, { recursive: true }));
  await registry.submit(await signInRun(registry, { run_id: '1' }));
  expect((await here('--once')).code).toBe(0);
  await registry.restart(async () => {
    await rm(registry.dataFolder, { recursive: true });
    await cp(backup, registry.dataFolder, { recursive: true });
  });
  await registry.submit(await signInRun(registry, { run_id: '1' }));
  await registry.submit(await signInRun(registry, { run_id: '1' }));
  const forked = await house.run('--once');
  expect(forked.code).toBe(1);
  const named = [...forked.out.matchAll(/^ALARM forked-[0-9a-f]+: .*\b(log|ct)\.example\.example\b/gm)];
  expect(named.map(([, log]) => log).sort()).toEqual(['ct', 'log']);

  const proofs = (await readdir(join(house.home, 'state', 'alarms'))).filter((name) =>
    name.endsWith('.proof.json'),
  );
  const logKey =
    (await readFile(join(registry.dataFolder, 'trust', 'tlog-policy'), 'utf8')).split(' ')[1] ?? '';
  const check = (name: string, ...key: readonly string[]) =>
    waybill(['monitor', 'check-proof', join('state', 'alarms', name), ...key], house.home);
  const verdicts = await Promise.all(proofs.map((name) => check(name, '--log-key', logKey)));
  expect(verdicts.map(({ code }) => code).sort()).toEqual([0, 1]);
  const proven = verdicts.find(({ code }) => code === 0);
  expect(proven?.out).toMatch(
    /^forked: "log.example.example" signed both of these.*\n {2}size 3, root \S+\n {2}size 4, root \S+\n$/,
  );
  const other = proofs[verdicts.findIndex(({ code }) => code === 1)] ?? '';
  expect(verdicts.find(({ code }) => code === 1)?.err).toContain('TLOG_NOTE_UNSIGNED');
  const certificateLog = JSON.parse(
    await readFile(join(registry.dataFolder, 'trust', 'trusted_root.json'), 'utf8'),
  ).ctlogs[0];
  const pem = `-----BEGIN PUBLIC KEY-----\n${certificateLog.publicKey.rawBytes}\n-----END PUBLIC KEY-----\n`;
  await writeFile(join(house.home, 'ct.pem'), pem);
  const json = await check(other, '--certificate-log-key', 'ct.pem', '--json');
  expect(json).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(json.out)).toMatchObject({
    forked: true,
    origin: 'ct.example.example',
    older: { size: '3' },
  });
});

test('GitHub says which runs there were, and a webhook is told of the one that it does not know', {
  timeout: 120_000,
}, async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const told: { readonly kind: string; readonly reasons: readonly string[] }[] = [];
  const [event, path] = ['push', '.github/workflows/ci.yml'];
  const attempt = { id: 1, run_attempt: 1, head_sha: CLAIMS.sha, path, event, repository: { id: 1001 } };
  const outside = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    if (request.method === 'POST') {
      told.push(JSON.parse(body));
      response.writeHead(202).end();
    } else if (request.url === '/api/v3/repos/example/firmware/actions/runs/1/attempts/1') {
      response.end(JSON.stringify(attempt));
    } else response.writeHead(404).end('{"message":"Not Found"}');
  });
  await new Promise<void>((resolve) => outside.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void outside.close());
  const url = `http://127.0.0.1:${(outside.address() as AddressInfo).port}`;
  const identities = [{ issuer: registry.issuer.url, prefix: 'https://github.com/example/' }];
  const root = join(registry.dataFolder, 'root.json');
  const sources = ['--github', `${url}/api/v3/`, '--no-documents', '--webhook', `${url}/hook`];
  const house = await operator(registry.url, { identities }, ['--root', root, ...sources, '--grace', '0']);
  await signInRun(registry, { run_id: '1' });
  expect((await house.run('--once')).code).toBe(0);
  await signInRun(registry, { run_id: '2' });
  expect((await house.run('--once')).code).toBe(1);
  expect(told.map(({ kind }) => kind)).toEqual(['certificate', 'signature']);
  for (const { reasons } of told) expect(reasons).toEqual([expect.stringContaining('GitHub knows no run')]);
});

const COUNT = 10_000;

/** A log of many entries, all but ten by an identity that nobody watches; those by a key that is. */
async function manyEntries() {
  const server = await startLogServer();
  const { signer } = newSigner();
  const watched = newP256();
  const san = 'https://github.com/other/firmware/.github/workflows/build.yml@refs/heads/main';
  const names = der.sequence(der.contextPrimitive(6, Buffer.from(san, 'latin1')));
  const certificate = await server.authority.issue(signer.spki, {
    subject: EMPTY_NAME,
    extensions: [
      { oid: OID.subjectAltName, critical: true, value: names },
      { oid: '1.3.6.1.4.1.57264.1.1', value: Buffer.from('https://issuer.example', 'latin1') },
    ],
  });
  const { sign } = await import('node:crypto');
  const entryOf = (n: number) => {
    const message = Buffer.from(`document ${n}`);
    const digest = new Uint8Array(Buffer.from(sha256(message), 'hex'));
    const keyDetails = 'PKIX_ECDSA_P256_SHA_256' as const;
    return n % (COUNT / 10) === 77
      ? {
          digest,
          signature: new Uint8Array(sign('sha256', message, watched.key)),
          verifier: { publicKey: watched.spki },
          keyDetails,
        }
      : { digest, signature: new Uint8Array(70).fill(n), verifier: { certificate }, keyDetails };
  };
  expect(formatHashedRekord(entryOf(1)).length).toBeGreaterThan(500);
  for (let from = 0; from < COUNT; from += 1000) {
    await Promise.all(
      Array.from({ length: 1000 }, (_, i) => server.log.add(formatHashedRekord(entryOf(from + i)))),
    );
  }
  const publicKey = Buffer.from(watched.spki).toString('base64');
  const more = [
    '--log-key',
    server.log.verifierKey,
    '--builds',
    'builds.jsonl',
    '--grace',
    '0',
    '--no-documents',
  ];
  const identities = [{ issuer: 'https://issuer.example', identity: IDENTITY }];
  return operator(server.url, { identities, keys: [{ name: 'gate', publicKey }] }, more);
}

test('killed while it reads, at its own word and at any moment: it goes on, and tells each alarm', {
  timeout: 180_000,
}, async () => {
  const house = await manyEntries();
  const readAt: number[] = [];
  for (const delayMs of [undefined, 300, 450, 600, undefined, 750]) {
    const child = house.spawn('--once', '--json');
    const ended = once(child, 'exit');
    let said = '';
    child.stdout?.on('data', (chunk) => {
      said += chunk;
      if (delayMs === undefined && said.includes('"progress"')) child.kill('SIGKILL');
    });
    if (delayMs !== undefined) {
      await wait(delayMs);
      child.kill('SIGKILL');
    }
    await ended;
    const first = /"read":"(\d+)"/.exec(said)?.[1];
    if (first !== undefined) readAt.push(Number(first));
  }
  // Never from the beginning again.
  expect(readAt).toEqual([...readAt].sort((a, b) => a - b));
  expect(new Set(readAt).size).toBe(readAt.length);
  const last = await house.run('--once', '--json');
  expect(last.code).toBe(1);
  const round = linesOf(last.out).at(-1);
  expect(round).toMatchObject({
    event: 'round',
    pending: 0,
    foreign: 0,
    failures: {},
    logs: [{ size: String(COUNT) }],
  });
  expect(round.open).toHaveLength(10);
  const files = await readdir(join(house.home, 'state', 'alarms'));
  const indexes = await Promise.all(
    files.map(
      async (name) =>
        JSON.parse(await readFile(join(house.home, 'state', 'alarms', name), 'utf8')).sighting.index,
    ),
  );
  expect(indexes.map(Number).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 10 }, (_, i) => i * 1000 + 77),
  );
});

test('ten thousand entries are read in one go', { timeout: 120_000 }, async () => {
  const house = await manyEntries();
  const startMs = performance.now();
  const { code, out } = await house.run('--once');
  const ms = performance.now() - startMs;
  expect(code).toBe(1);
  expect(out).toContain(`at ${COUNT}; 10 open alarms; 0 entries wait`);
  console.log(
    `monitor: ${COUNT} entries in ${Math.round(ms)} ms with the start of the process, ${Math.round((1000 * COUNT) / ms)}/s`,
  );
  // Far from what is measured, and near what would be noticed.
  expect(ms).toBeLessThan(60_000);
});

test('a monitor runs until it is stopped, and is locked meanwhile', { timeout: 60_000 }, async () => {
  const server = await startLogServer();
  const publicKey = Buffer.from(newP256().spki).toString('base64');
  const key = ['--log-key', server.log.verifierKey];
  const house = await operator(server.url, { keys: [{ name: 'gate', publicKey }] }, key);
  const child = house.spawn('--every', '1');
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  await expect
    .poll(() => said.match(/ at 0; 0 open alarms/g)?.length ?? 0, { timeout: 30_000 })
    .toBeGreaterThan(1);
  const second = await house.run('--once');
  expect(second.code).toBe(75);
  expect(second.err).toContain('MONITOR_STATE_LOCKED');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect((await house.run('--once')).code).toBe(0);
});

test('a registry that is not there is exit code 75', { timeout: 60_000 }, async () => {
  const publicKey = Buffer.from(newP256().spki).toString('base64');
  const vkey = logVerifierKey('log.example', new Uint8Array(32));
  const house = await operator('http://127.0.0.1:1', { keys: [{ name: 'gate', publicKey }] }, [
    '--log-key',
    vkey,
  ]);
  const { code, err, out } = await house.run('--once');
  expect(code).toBe(75);
  expect(err).toMatch(/log\.example: MONITOR_LOG_UNREACHABLE.*\n.*what to do: Nothing to do if it is short/);
  expect(out).toMatch(/log\.example could not be asked; what was read is kept, the next run asks again\n$/);
});

test('a registry that goes away is asked on, and read on where it was', { timeout: 60_000 }, async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const identities = [{ issuer: registry.issuer.url, identity: IDENTITY }];
  const root = join(registry.dataFolder, 'root.json');
  const house = await operator(registry.url, { identities }, ['--root', root, '--builds', 'builds.jsonl']);
  await appendFile(join(house.home, 'builds.jsonl'), `${JSON.stringify({ run: runOf('1') })}\n`);
  const child = house.spawn('--every', '1');
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  const untilSaid = (text: string) => expect.poll(() => said, { timeout: 20_000 }).toContain(text);
  await registry.submit(await signInRun(registry, { run_id: '1' }));
  const sizes =
    'log.example.example at 1, ct.example.example at 1; 0 open alarms; 0 entries wait for their explanation';
  await untilSaid(`${sizes}\n`);
  await registry.restart(() =>
    untilSaid(
      `${sizes}; trust could not be asked; log.example.example could not be asked; ct.example.example could not be asked; ` +
        'what was read is kept, asked again in 1 s\n',
    ),
  );
  said = '';
  await untilSaid(`${sizes}\n`);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  // Which logs there are is said by the trust material.
  await registry.restart(async () => {
    const { code, out } = await house.run('--once');
    expect([code, out]).toEqual([75, expect.stringContaining('Z no log looked at; 0 open alarms')]);
    expect(out).toMatch(/trust could not be asked; what was read is kept, the next run asks again\n$/);
  });
});

test('help says which sources a watch list needs, and how an alarm is named', async () => {
  const text = async (verb: string) => (await say(['monitor', verb, '--help'])).out.replace(/\s+/g, ' ');
  expect(await text('run')).toContain('where the watch list has identities, this or --github is needed');
  expect(await text('run')).toContain('needed where the watch list has keys');
  expect(await text('acknowledge')).toContain(
    'the name of its file in alarms/ of the state folder, without .json',
  );
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'alarms'));
  await writeFile(join(folder, 'alarms', 'stale-1.json'), '{}');
  const asPath = await say(['monitor', 'acknowledge', folder, join('alarms', 'stale-1.json')]);
  expect(asPath).toMatchObject({ code: 2, err: expect.stringContaining('without path and `.json`') });
  expect(await say(['monitor', 'acknowledge', folder, 'stale-1'])).toMatchObject({ code: 0 });
});

test('mistakes are told, with exit code 2', { timeout: 120_000 }, async () => {
  const key = { name: 'gate', publicKey: Buffer.from(newP256().spki).toString('base64') };
  const identity = { issuer: 'https://issuer.example', identity: IDENTITY };
  const vkey = logVerifierKey('log.example', new Uint8Array(32));
  const trust = ['--log-key', vkey];
  const cases: [object, readonly string[], string][] = [
    [{}, trust, 'MONITOR_WATCH_MALFORMED'],
    [{ keys: [] }, trust, 'MONITOR_WATCH_MALFORMED'],
    [{ identities: [{ identity: IDENTITY }] }, trust, 'MONITOR_WATCH_MALFORMED'],
    [{ identities: [{ ...identity, prefix: 'x' }] }, trust, 'MONITOR_WATCH_MALFORMED'],
    [{ keys: [{ ...key, more: 1 }] }, trust, 'MONITOR_WATCH_MALFORMED'],
    [{ identities: [identity] }, trust, 'expected, to watch identities, either --builds or --github'],
    [{ identities: [identity] }, [...trust, '--builds', 'x', '--github'], 'either --builds or --github'],
    [
      { identities: [identity] },
      [...trust, '--builds', 'none.jsonl'],
      'MONITOR_EVIDENCE_MISSING: expected a file of builds at "none.jsonl", got ENOENT',
    ],
    [
      { identities: [identity] },
      [...trust, '--builds', '.'],
      'a file of builds at ".", got something else than a file',
    ],
    [{ keys: [key] }, [], 'either --root or --log-key'],
    [{ keys: [key] }, ['--log-key', 'x'], 'has it: expected name+hash+key, got "x"'],
    [
      { keys: [key] },
      ['--log-key', logVerifierKey('logs.example', new Uint8Array(32))],
      'expected --log-key to be of log.<domain>',
    ],
    [{ keys: [key] }, [...trust, '--every', 'x'], 'expected --every to be a whole number'],
    [{ keys: [key] }, [...trust, '--webhook', 'mailto:x'], 'expected --webhook to be'],
    [
      { keys: [key] },
      [...trust, '--decisions', 'none'],
      'MONITOR_EVIDENCE_MISSING: expected a folder of decisions at "none", got ENOENT',
    ],
  ];
  const started = process.cwd();
  onTestFinished(() => process.chdir(started));
  for (const [watched, argv, message] of cases) {
    const house = await operator('http://127.0.0.1:1', watched, argv);
    process.chdir(house.home);
    const { code, err, out } = await say([...house.argv, '--once']);
    expect([code, out], err).toEqual([2, '']);
    expect(err).toContain(message);
    expect(await readdir(house.home)).not.toContain('state');
  }
});
