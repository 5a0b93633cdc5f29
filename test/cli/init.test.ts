// SPDX-License-Identifier: Apache-2.0
// `waybill init`: what it makes, and that it makes everything or nothing.

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { type InitInputs, init } from '../../cli/init.ts';
import { main } from '../../cli/main.ts';
import { readConfigFile } from '../../cli/serve.ts';
import { portableCrypto } from '../../core/crypto.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { readRolePublicKey } from '../../release/open-key.ts';
import { roleKey } from '../../release/role-metadata.ts';
import { noteSigner, witnessSigner } from '../core/tlog/note-signers.ts';
import { say } from './command-line.ts';

const homes: string[] = [];
let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-init-'));
  homes.push(home);
});
afterAll(() => Promise.all(homes.map((folder) => rm(folder, { recursive: true }))));

const inputs = (change: Partial<InitInputs> = {}): InitInputs => ({
  folder: join(home, 'data'),
  offline: join(home, 'offline'),
  url: 'http://127.0.0.1:8410',
  org: 'acme.example',
  rootKeys: 3,
  rootThreshold: 2,
  ...change,
});
const modeOf = async (...path: string[]) => (await stat(join(home, ...path))).mode & 0o777;

describe('init', () => {
  it('makes a data folder and, apart from it, the offline keys, all of them private', async () => {
    const done = await init(inputs());
    expect(done.offlineKeys.map((path) => path.slice(home.length))).toEqual([
      '/offline/ca-root.pem',
      '/offline/root-1.pem',
      '/offline/root-2.pem',
      '/offline/root-3.pem',
      '/offline/targets-1.pem',
      '/offline/tsa-root.pem',
    ]);
    expect(await readdir(home)).toEqual(['data', 'offline']);
    const keys = await readdir(join(home, 'data', 'keys'));
    expect(keys).toEqual([
      'ca-intermediate.pem',
      'ct.pem',
      'enrolment.token',
      'log.pem',
      'tsa.pem',
      'tuf-snapshot.pem',
      'tuf-timestamp.pem',
    ]);
    for (const name of keys) expect([name, await modeOf('data', 'keys', name)]).toEqual([name, 0o600]);
    for (const path of done.offlineKeys) expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect([await modeOf('data'), await modeOf('offline')]).toEqual([0o700, 0o700]);
    const root = JSON.parse(await readFile(done.rootPath, 'utf8')).signed;
    expect([root.version, root.roles.root.keyids.length, root.roles.root.threshold]).toEqual([1, 3, 2]);
    // The public half beside each names its key to the officers.
    const idOf = async (name: string) => roleKey(await readRolePublicKey(join(home, 'offline', name))).keyId;
    const ids = [await idOf('root-1.pub'), await idOf('root-2.pub'), await idOf('root-3.pub')];
    expect(ids).toEqual(root.roles.root.keyids);
    expect([await idOf('targets-1.pub')]).toEqual(root.roles.targets.keyids);
    const policy = parseLogPolicy(
      new Uint8Array(await readFile(join(home, 'data', 'trust', 'tlog-policy'))),
      portableCrypto,
    );
    expect(policy.logs.map((log) => log.key.name)).toEqual(['log.acme.example']);
    expect(policy.quorum).toBe('none');
  });

  it('writes a config.yaml that serve reads', async () => {
    await init(inputs());
    expect(await readConfigFile(join(home, 'data'))).toMatchObject({
      listen: { host: '127.0.0.1', port: 8410 },
      url: 'http://127.0.0.1:8410',
      org: 'acme.example',
      issuers: [],
      keys: [],
    });
    await init(
      inputs({ folder: join(home, 'tls'), offline: join(home, 'off2'), url: 'https://waybill.example' }),
    );
    const behindTls = await readConfigFile(join(home, 'tls'));
    expect(behindTls.listen).toEqual({ host: '127.0.0.1', port: 8410 });
    await init(inputs({ folder: join(home, 'six'), offline: join(home, 'off6'), url: 'http://[::1]:8410' }));
    expect((await readConfigFile(join(home, 'six'))).listen).toEqual({ host: '::1', port: 8410 });
  });

  it('takes witnesses from a file into the log policy, each with its address, and logs from nowhere', async () => {
    const { vkey } = witnessSigner('w.example/1');
    const file = join(home, 'witnesses');
    const refused = async (text: string, code: string) => {
      await writeFile(file, text);
      await expect(init(inputs({ witnesses: file }))).rejects.toMatchObject({ code });
      expect(await readdir(home)).toEqual(['witnesses']);
    };
    await refused(`witness w1 ${vkey}\nquorum w1\n`, 'CLI_USAGE');
    await refused(`witness w1 ${vkey} ftp://w.example\nquorum w1\n`, 'CLI_USAGE');
    await refused(`log ${noteSigner('log.example').vkey}\nquorum none\n`, 'CLI_USAGE');
    await refused(`witness w1 ${vkey} http://w.example\n`, 'TLOG_POLICY_MALFORMED');
    await writeFile(file, 'keys:\n');
    await expect(init(inputs({ witnesses: file }))).rejects.toMatchObject({ at: `${file}: line 1` });
    const text = `witness w1 ${vkey} https://w.example/1\ngroup g any w1\nquorum g\n`;
    await writeFile(file, text);
    const { logKey } = await init(inputs({ witnesses: file }));
    const policy = await readFile(join(home, 'data', 'trust', 'tlog-policy'), 'utf8');
    expect(policy).toBe(`log ${logKey} http://127.0.0.1:8410/log\n${text.replace('any', '1')}`);
  });

  it('shows in config.yaml an entry that works once it is no comment any more', async () => {
    await init(inputs());
    const path = join(home, 'data', 'config.yaml');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(/^# (issuers:| {2}.*)$/gm, '$1'));
    const { issuers } = await readConfigFile(join(home, 'data'));
    expect(issuers.map(({ kind }) => kind.name)).toEqual(['github-actions']);
  });

  it('takes issuers from a file, and refuses those that would let in anybody', async () => {
    const issuers = join(home, 'issuers.yaml');
    const entry = (require: string) =>
      `- url: https://token.actions.githubusercontent.com\n  kind: github-actions\n  audience: waybill\n  require:\n    ${require}\n`;
    await writeFile(issuers, entry('ref: refs/heads/main'));
    await expect(init(inputs({ issuers }))).rejects.toMatchObject({ code: 'OIDC_CONFIG_UNRESTRICTED' });
    expect(await readdir(home)).toEqual(['issuers.yaml']);
    await writeFile(issuers, entry('repository_id: 1001'));
    await init(inputs({ issuers }));
    const { issuers: read } = await readConfigFile(join(home, 'data'));
    expect(read[0]?.require).toEqual(new Map([['repository_id', '1001']]));
  });

  it('fills empty folders and refuses others, and folders inside each other', async () => {
    await mkdir(join(home, 'data'));
    await mkdir(join(home, 'offline'));
    await init(inputs());
    const notEmpty = { code: 'REGISTRY_FOLDER_NOT_EMPTY' };
    await expect(init(inputs())).rejects.toMatchObject(notEmpty);
    await expect(init(inputs({ folder: join(home, 'new') }))).rejects.toMatchObject(notEmpty);
    await writeFile(join(home, 'file'), '');
    await expect(init(inputs({ folder: join(home, 'file') }))).rejects.toMatchObject(notEmpty);
    const nested = { code: 'REGISTRY_FOLDERS_NESTED' };
    await expect(init(inputs({ offline: join(home, 'data', 'offline') }))).rejects.toMatchObject(nested);
    await expect(init(inputs({ folder: join(home, 'offline', 'data') }))).rejects.toMatchObject(nested);
    await expect(init(inputs({ offline: join(home, 'data') }))).rejects.toMatchObject(nested);
    await expect(
      init(inputs({ folder: join(home, 'x'), offline: join(home, '..x') })),
    ).resolves.toBeDefined();
  });

  it('leaves nothing behind when it fails or is cancelled', async () => {
    const ceremony = init(inputs({ rootKeys: 2, rootThreshold: 3 }));
    await expect(ceremony).rejects.toMatchObject({ code: 'CEREMONY_THRESHOLD_INVALID' });
    const cancelled = init(inputs({ signal: AbortSignal.abort(new Error('stop')) }));
    await expect(cancelled).rejects.toThrow('stop');
    await writeFile(join(home, 'plain'), '');
    const unwritable = init(inputs({ folder: join(home, 'plain', 'data') }));
    await expect(unwritable).rejects.toMatchObject({
      code: expect.stringMatching(/FOLDER_NOT_EMPTY|UNWRITABLE/),
    });
    expect(await readdir(home)).toEqual(['plain']);
  });

  it('asks who it is for, unless it is for this machine alone, and says what follows', async () => {
    const run = (url: string, ...more: string[]) =>
      say(['init', join(home, 'd'), '--offline', join(home, 'o'), '--url', url, ...more]);
    for (const url of ['https://waybill.acme.example', 'https://192.0.2.1']) {
      const refused = await run(url);
      expect(refused).toMatchObject({ code: 2, out: '' });
      expect(refused.err).toContain('CLI_USAGE: expected --org, such as acme.example: it names logs');
    }
    expect(await readdir(home)).toEqual([]);
    const made = await run('https://waybill.acme.example', '--org', 'acme.example');
    expect(made.code).toBe(0);
    expect(made.out).toContain(
      'Its logs are log.acme.example and ct.acme.example; these names cannot be changed later.\n',
    );
    expect(made.out).toContain(
      '`waybill serve` speaks plain HTTP at 127.0.0.1:8410. For https://waybill.acme.example, put a proxy with TLS before it',
    );
    expect(made.out).not.toContain('must take that away');
    expect(made.out).not.toContain('no --org');
    for (const name of await readdir(join(home, 'd'))) {
      expect(made.out).toMatch(new RegExp(`^  ${name}/? +\\w`, 'm'));
    }
    expect((await readConfigFile(join(home, 'd'))).listen).toEqual({ host: '127.0.0.1', port: 8410 });
    await rm(home, { recursive: true });
    const below = await run('https://acme.example/waybill/', '--org', 'acme.example');
    expect(below.out).toContain('Clients ask below "/waybill", where `waybill serve` has nothing: a proxy');
    expect((await readConfigFile(join(home, 'd'))).url).toBe('https://acme.example/waybill');
    for (const url of ['http://localhost:8410', 'http://[::1]:8410', 'http://127.8.8.8']) {
      await rm(home, { recursive: true });
      const trial = await run(url);
      expect(trial.out).toContain('Its logs are log.waybill.example and ct.waybill.example');
      expect(trial.out).toContain('They came from no --org: good for trying out.');
      expect(trial.out).not.toContain('plain HTTP');
    }
    await rm(home, { recursive: true });
    const { out } = await run('http://127.0.0.1:1', '--org', 'Acme Ltd', '--json');
    expect(JSON.parse(out)).toMatchObject({
      logs: { log: 'log.acme-ltd.example', ct: 'ct.acme-ltd.example' },
    });
  });

  it('says which offline keys are not encrypted, and how many of them must sign', async () => {
    const run = (name: string, ...more: string[]) =>
      say([
        ...[
          'init',
          join(home, name),
          '--offline',
          join(home, `${name}-off`),
          '--url',
          'http://127.0.0.1:8410',
        ],
        ...more,
      ]);
    const plain = await run('plain', '--root-keys', '4', '--root-threshold', '3', '--targets-keys', '2');
    expect(plain.out).toContain('needs signatures by 3 of 4 keys, a new targets by 1 of 2.\n');
    expect(plain.out).toMatch(/They are not encrypted: [\s\S]*--passphrase-file/);
    // An officer's own key changes nothing for those that are made.
    const root = ['--root-key', join(home, 'plain-off', 'root-1.pem'), '--root-threshold', '1'];
    const { unencrypted, offlineKeys, thresholds } = JSON.parse((await run('own', ...root, '--json')).out);
    expect(unencrypted).toEqual(
      ['ca-root', 'targets-1', 'tsa-root'].map((name) => join(home, 'own-off', `${name}.pem`)),
    );
    expect(unencrypted).toEqual(offlineKeys);
    expect(thresholds).toEqual({ root: { threshold: 1, keys: 1 }, targets: { threshold: 1, keys: 1 } });
    await writeFile(join(home, 'passphrase'), 'correct horse battery staple\n', { mode: 0o600 });
    const sealed = await run('sealed', '--passphrase-file', join(home, 'passphrase'));
    expect(sealed.out).toContain('by 2 of 3 keys');
    expect(sealed.out).not.toContain('not encrypted');
    const both = await run('both', ...root, '--root-keys', '4');
    expect(both).toMatchObject({
      code: 2,
      err: expect.stringContaining('CLI_USAGE: expected --root-keys, to'),
    });
    expect(await readdir(home)).not.toContain('both');
  });

  it('names what an init that was killed left for the same places', async () => {
    const left = ['data.0123abcd.new', 'offline.0123abcd.new'];
    for (const name of [...left, 'data2.0123abcd.new', 'data.new', 'data.x.0123abcd.new']) {
      await mkdir(join(home, name));
    }
    const words = [
      'init',
      join(home, 'data'),
      '--offline',
      join(home, 'offline'),
      '--url',
      'http://127.0.0.1:1',
    ];
    const { out } = await say(words);
    const said = out.split('\n').filter((line) => line.startsWith('An init that was killed left '));
    expect(said).toEqual(left.map((name) => expect.stringContaining(`left ${join(home, name)}, with keys`)));
    await rm(join(home, 'data'), { recursive: true });
    await rm(join(home, 'offline'), { recursive: true });
    const { leftBehind } = JSON.parse((await say([...words, '--json'])).out);
    expect(leftBehind).toEqual(left.map((name) => join(home, name)));
  });

  it('says on the command line what is wrong with its options', async () => {
    const run = (...more: string[]) =>
      main(['node', 'waybill', 'init', join(home, 'd'), '--offline', join(home, 'o'), ...more], '0.0.0');
    for (const url of ['nonsense', 'http://user@127.0.0.1', 'http://127.0.0.1/#a', 'http://127.0.0.1:0']) {
      expect(await run('--url', url)).toBe(2);
    }
    const saidOf = (url: string) =>
      say(['init', join(home, 'd'), '--offline', join(home, 'o'), '--url', url, '--org', 'acme.example']);
    expect((await saidOf('https://acme.example/?a=b')).err).toContain('without user, query and fragment');
    // Nobody could sign there, and `waybill tuf update` would refuse its trust files.
    for (const url of ['http://waybill.acme.example', 'http://registry:8410', 'http://192.0.2.1']) {
      const { code, err } = await saidOf(url);
      expect([code, err]).toEqual([2, expect.stringContaining('expected --url to be an https address')]);
    }
    for (const path of ['/tuf', '/api/v1/', '/log2', '/waybill/ca']) {
      const { code, err } = await saidOf(`https://acme.example${path}`);
      const base = path.startsWith('/waybill') ? 'https://acme.example/waybill' : 'https://acme.example';
      expect([code, err]).toEqual([2, expect.stringContaining(`here "${base}", got `)]);
    }
    for (const org of ['', ' ', 'a\nb', 'a ', 'x'.repeat(65)]) {
      expect(await run('--url', 'http://127.0.0.1:1', '--org', org)).toBe(2);
    }
    const asAddress = [
      '--offline',
      join(home, 'o'),
      '--url',
      'http://127.0.0.1:1',
      '--org',
      'http://acme.example',
    ];
    expect(await say(['init', join(home, 'd'), ...asAddress])).toMatchObject({
      code: 2,
      err: expect.stringContaining('a name or a domain, here "acme.example", got the address'),
    });
    expect(await run('--url', 'http://127.0.0.1:1', '--root-keys', '0')).toBe(2);
    const words = ['--offline', join(home, 'o'), '--url', 'http://127.0.0.1:1', '--root-keys', '1'];
    const { err } = await say(['init', join(home, 'd'), ...words]);
    expect(err).toMatch(/got threshold 2 with 1 key\n.*--root-threshold/);
    expect(await run()).toBe(2);
    expect(await readdir(home)).toEqual([]);
  });
});
