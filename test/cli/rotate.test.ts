// SPDX-License-Identifier: Apache-2.0
// What docs/rotation.md tells people to type about the keys of the services is typed here, in its order: rotation, `waybill serve` anew,
// publication. What was signed before and after is verified by core and the field's verifier against the trusted root that TUF publishes.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { openTrust } from '../../cli/trust.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { codeOf } from '../core/tlog/refusal.ts';
import { makeDataFolder } from '../registry/running-registry.ts';
import { LoopbackIssuer } from '../registry/trust/loopback-issuer.ts';
import { shellLinesOf } from '../tidy/markdown.ts';
import { say, waybill } from './command-line.ts';
import { typeOnTerminal } from './on-a-terminal.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const PAGE = new URL('../../docs/rotation.md', import.meta.url);

/** The lines of each section from the one about all services on. */
const LINES = new Map(
  (await readFile(PAGE, 'utf8'))
    .split(/^## /m)
    .map((text) => [text.split('\n', 1)[0] ?? '', shellLinesOf(text)]),
);
const TITLES = [...LINES.keys()];
const BY_TITLE = [...LINES].slice(TITLES.indexOf('Keys of the services'));
/** What comes after each rotation. */
const [SERVE = '', PUBLISH = '', ...MORE] = BY_TITLE.shift()?.[1] ?? [];
const SERVICES = BY_TITLE.map(([title, lines]) => {
  const [, service = ''] = /^waybill rotate registry ([a-z]+)/.exec(lines[0] ?? '') ?? [];
  const [publish = PUBLISH] = lines.filter((line) => line.startsWith('waybill tuf update '));
  return { title, service, publish, lines: lines.filter((line) => line !== publish) };
});
const PASSPHRASE = 'correct horse battery staple';

let issuer: LoopbackIssuer;
let made: Awaited<ReturnType<typeof makeDataFolder>>;
let server: ChildProcess;
let n = 0;

beforeAll(async () => {
  issuer = await LoopbackIssuer.start();
  made = await makeDataFolder(issuer.url);
  // The page's names for what is there.
  await symlink('data', join(made.home, 'registry'));
  await symlink('data/root.json', join(made.home, 'root.json'));
  process.env.XDG_STATE_HOME = join(made.home, '.state');
  process.chdir(made.home);
  server = await serve();
  // What is signed is later than the second in which the keys began.
  await wait(1000);
}, 60_000);
const checkout = process.cwd();
afterAll(async () => {
  process.chdir(checkout);
  server.kill('SIGKILL');
  await issuer.close();
  await rm(made.home, { recursive: true });
});

async function serve(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [WAYBILL, ...SERVE.split(' ').slice(1)], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
      if (said.includes('ready at')) resolve();
    });
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return child;
}

async function restart(): Promise<void> {
  const ended = once(server, 'exit');
  server.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  server = await serve();
}

/** The trust of somebody who has nothing but root.json, a newcomer each time. */
const trust = () =>
  openTrust({
    registryUrl: made.url,
    rootPath: join(made.dataFolder, 'root.json'),
    stateFolder: join(made.home, `state-${n++}`),
  });

async function sign(): Promise<Uint8Array> {
  const subjects = [{ name: 'x', sha256: (n++).toString(16).padStart(64, '0') }];
  const statement = { subjects, predicateType: 'https://waybill.example/predicates/rotation', predicate: {} };
  const identity = { token: () => issuer.token() } as never;
  const signingConfig = await (await trust()).signingConfig();
  return signStatement(formatStatement(statement), { signingConfig, identity });
}

/** `accepted`, or the code with which both verifiers together refuse. */
async function verdict(bundle: Uint8Array): Promise<string> {
  const trustedRoot = await (await trust()).trustedRoot();
  return codeOf(() => bothVerifiers({ trustedRoot, keys: [] }).verify(bundle));
}

/** The page's time of a theft: here, when the registry was made. */
async function sinceTheBeginning(line: string): Promise<string> {
  const { tlogs } = JSON.parse(await readFile(join(made.dataFolder, 'trust', 'trusted_root.json'), 'utf8'));
  return line.replace('2026-01-31T12:00:00Z', tlogs[0].publicKey.validFor.start);
}

/** Types a line of the page; where an offline key may be under a passphrase, at a terminal. */
async function type(line: string): Promise<void> {
  const here = (await sinceTheBeginning(line)).replace('http://127.0.0.1:8410', made.url);
  if (here.includes(' --offline ')) {
    const { code, shown } = await typeOnTerminal(here, made.home, PASSPHRASE);
    expect({ line, code }, shown).toEqual({ line, code: 0 });
    return;
  }
  const { code, err } = await say(here.split(' ').slice(1));
  expect({ line, code }, err).toEqual({ line, code: 0 });
}

test('the page has every rotation that there is, and no line that is not typed', () => {
  expect([SERVE, MORE]).toEqual(['waybill serve registry', []]);
  expect(PUBLISH).toMatch(/^waybill tuf update /);
  expect(SERVICES.map(({ service }) => service)).toEqual(['ca', 'ct', 'log', 'tsa']);
  for (const { service, lines } of SERVICES) {
    expect(lines.filter((line) => !line.startsWith(`waybill rotate registry ${service}`))).toEqual([]);
    const text = lines.join('\n');
    expect(text).toContain(' --retire');
    expect(text).toContain(' --stolen-since ');
    if (service === 'ca' || service === 'tsa') {
      expect(text).toContain(` ${service}-root --offline offline --encrypt`);
    }
  }
});

const REFUSED: Readonly<Record<string, string>> = {
  ca: 'X509_ISSUER_UNKNOWN',
  ct: 'X509_SCT_LOG_UNKNOWN',
  log: 'SIGSTORE_LOG_PERIOD',
  tsa: 'TIMESTAMP_AUTHORITY_UNKNOWN',
};

describe.each(SERVICES)('$title', ({ service, lines, publish }) => {
  test(lines.join('; '), { timeout: 180_000 }, async () => {
    const bundles = [await sign()];
    for (const line of lines) {
      await type(line);
      if (!line.includes('--retire')) await restart();
      // It ends periods in the trusted root alone.
      await type(line.includes('--retire') ? PUBLISH : publish);
      if (line.includes('--retire')) {
        const again = await say(line.split(' ').slice(1));
        expect(again.out).toMatch(/^Older keys of the .* already end at \S+Z, nothing to do\n$/);
      }
      const after = await sign();
      expect(await verdict(after)).toBe('accepted');
      const isStolen = line.includes('--stolen-since');
      for (const before of bundles) {
        expect(await verdict(before)).toBe(isStolen ? REFUSED[service] : 'accepted');
      }
      if (isStolen) bundles.length = 0;
      bundles.push(after);
    }
  });
});

test('what is printed says what to do next', { timeout: 60_000 }, async () => {
  const { code, out } = await waybill(['rotate', made.dataFolder, 'log'], made.home);
  expect(code).toBe(0);
  const [key] = /log-[0-9]+\.pem/.exec(out) ?? [];
  expect(out).toContain(`  made     ${join(made.dataFolder, 'keys', key ?? '?')}\n`);
  expect(out).toContain(`start \`waybill serve ${made.dataFolder}\` anew`);
  const trustFolder = join(made.dataFolder, 'trust');
  expect(out.replace(/ \\\n +/g, ' ')).toContain(
    `waybill tuf update ${made.url} --root ${join(made.dataFolder, 'root.json')} --key <targets key> ` +
      `--signing-config ${join(trustFolder, 'signing_config.v0.2.json')} --log-policy ${join(trustFolder, 'tlog-policy')} ` +
      `--trusted-root ${join(trustFolder, 'trusted_root.json')}\n`,
  );
  expect(out).toContain(`waybill rotate ${made.dataFolder} log --retire\n`);
  // Typed again by mistake, nothing more is made; a thief is not waited for.
  const again = await waybill(['rotate', made.dataFolder, 'log'], made.home);
  expect([again.code, again.out]).toEqual([2, '']);
  expect(again.err).toContain('TRUST_ROTATE_EARLY');
  const stolen = `rotate ${made.dataFolder} log --stolen-since 2026-01-31T12:00:00Z`;
  const early = await waybill(stolen.replace('2026', '2016').split(' '), made.home);
  expect([early.code, early.out]).toEqual([2, '']);
  expect(early.err).toMatch(
    /TRUST_STOLEN_EARLY: expected a time from \S+Z on, .* "log" .*, got 2016-01-31T12:00:00Z/,
  );
  const { out: said } = await waybill((await sinceTheBeginning(stolen)).split(' '), made.home);
  expect(said).toMatch(/^ {2}Key [0-9]+ was never published: it ends too, and signs nothing\.$/m);
});

test('a new root key is encrypted if asked for, and opened with its passphrase', {
  timeout: 60_000,
}, async () => {
  const passphrase = join(made.home, 'passphrase');
  await writeFile(passphrase, 'correct horse battery staple\n', { mode: 0o600 });
  const rotate = (...words: string[]) => say(['rotate', made.dataFolder, ...words]);
  const root = await rotate('ca-root', '--offline', made.offline, '--passphrase-file', passphrase, '--json');
  expect(root.code).toBe(0);
  const [rootPath = ''] = (JSON.parse(root.out) as { keys: string[] }).keys;
  expect(await readFile(rootPath, 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
  expect((await stat(rootPath)).mode & 0o777).toBe(0o600);
  await restart();
  await type(SERVICES.find(({ service }) => service === 'log')?.publish ?? '');
  const without = await rotate('ca', '--offline', made.offline);
  expect(without.err).toContain('CEREMONY_PASSPHRASE_MISSING');
  const { code } = await rotate('ca', '--offline', made.offline, '--passphrase-file', passphrase);
  expect(code).toBe(0);
});

describe('wrong usage ends with exit code 2', () => {
  test.each([
    [['gate'], 'expected one of ca, ca-root, ct, log, tsa, tsa-root, got "gate"'],
    [['tsa'], 'with its offline root key or folder'],
    [['ct', '--offline', 'x'], 'without offline keys'],
    [['ca', '--retire', '--offline', 'x'], 'expected --retire alone'],
    [['ct', '--retire', '--stolen-since', '2026-01-31T12:00:00Z'], 'expected --retire alone'],
    [['ct', '--stolen-since', 'yesterday'], 'expected --stolen-since to be a time in UTC'],
    [['ct', '--stolen-since', '2026-01-31T12:00:00+02:00'], 'a time in UTC, with Z at its end, such as'],
    [['ct', '--stolen-since', '2999-01-31T12:00:00Z'], 'expected --stolen-since to be a time in the past'],
  ])('%j', async (words, message) => {
    const said = await say(['rotate', made.dataFolder, ...words]);
    expect(said.code).toBe(2);
    expect(said.err).toContain('CLI_USAGE');
    expect(said.err).toContain(message);
  });

  test('an offline folder without the key, and a key of another kind', async () => {
    const missing = await say(['rotate', made.dataFolder, 'tsa', '--offline', made.home]);
    expect(missing).toMatchObject({ code: 2 });
    expect(missing.err).toContain('CEREMONY_KEY_UNREADABLE');
    const foreign = join(made.offline, 'targets-1.pem');
    const wrong = await say(['rotate', made.dataFolder, 'tsa', '--offline', foreign]);
    expect(wrong).toMatchObject({ code: 2 });
    expect(wrong.err).toContain('CEREMONY_KEY_UNSUITABLE');
    expect(wrong.err).toContain('ca-root.pem or tsa-root.pem');
  });

  test('no data folder', async () => {
    const said = await say(['rotate', made.home, 'ct']);
    expect(said.err).toContain('REGISTRY_DATA_MISSING');
  });
});
