// SPDX-License-Identifier: Apache-2.0
// Root file systems and the sandbox: what a step sees, what it can reach, and what is left of it.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { hostname, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fetchPackages } from '../../builder/fetch.ts';
import { lockInputs } from '../../builder/lock.ts';
import { debianInputs, type LockedPackage } from '../../builder/lock-file.ts';
import { readControl } from '../../builder/package-control.ts';
import { joinPackages, openRoot, type StepRoot } from '../../builder/root.ts';
import { runInSandbox, type SandboxRun } from '../../builder/sandbox.ts';
import { ContentStore } from '../../builder/store.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-sandbox-'));
const cache = join(base, 'cache');
const store = new ContentStore(cache);
let archive: Archive;
let packages: readonly LockedPackage[];
let root: StepRoot;

const lockedOf = async (names: readonly string[]) => {
  const definition = readYaml(yamlOver(archive, stepYaml('true'), { packages: names }));
  const lock = await lockInputs(definition, { folder: '/', mirror: archive.url });
  return joinPackages(debianInputs(lock).map((input) => input.packages));
};
const open = (entries: readonly LockedPackage[]) =>
  openRoot(entries, {
    cache,
    store,
    fetch: async (wanted) => {
      await fetchPackages(store, wanted, { mirrorOf: async () => archive.url });
    },
  });

beforeAll(async () => {
  archive = makeArchive([
    TOOLBOX,
    { name: 'base-files', links: { run: 'usr/run' }, files: { 'usr/run/a': '' } },
    { name: 'rival', files: { 'bin/dash': 'mine' } },
    { name: 'merged', files: { 'usr/sbin/tool': 'x' } },
    { name: 'escape', links: { 'opt/out': base } },
    { name: 'escapee', files: { 'opt/out/escaped': 'x' } },
  ]);
  packages = await lockedOf(['toolbox']);
  root = await open(packages);
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

let runs = 0;
/** Runs a shell command in a sandbox over the toolbox. */
async function run(command: string, more: Partial<SandboxRun> = {}) {
  const work = join(base, `work-${++runs}`);
  const materials = join(base, `materials-${runs}`);
  for (const folder of [work, materials]) mkdirSync(folder);
  const result = await runInSandbox({
    root: root.folder,
    work,
    materials,
    command: ['/bin/sh', '-c', command],
    environment: [],
    sourceDateEpoch: 1_700_000_000,
    timeoutMs: 20_000,
    fileSizeBytesMax: 1 << 20,
    ...more,
  });
  return { ...result, work };
}
const say = async (command: string) => (await run(command)).log.trim();

describe('a root', () => {
  test('holds the packages alone, with the places to mount on and one user', () => {
    expect(readdirSync(root.folder).filter((name) => !['lib', 'lib64', 'usr'].includes(name))).toEqual(
      ['bin', 'build', 'dev', 'etc', 'inputs', 'materials', 'proc', 'sbin', 'tmp'].filter((name) =>
        existsSync(join(root.folder, name)),
      ),
    );
    expect(readdirSync(join(root.folder, 'etc'))).toEqual(['group', 'hosts', 'passwd']);
    expect(root.owners.get('bin/dash')?.name).toBe('toolbox');
  });

  test('says of each package what its file says, out of the cache as well', async () => {
    const { name, sha256 } = packages.find((entry) => entry.name === 'toolbox') as LockedPackage;
    const bytes = readFileSync(store.path(sha256));
    const told = await readControl(store.path(sha256));
    expect(told.source).toContain(name);
    const known = { control: told, sha512: createHash('sha512').update(bytes).digest('hex') };
    expect(root.records.get(sha256)).toEqual(known);
    const fetch = () => Promise.reject(new Error('not from the cache'));
    expect((await openRoot(packages, { cache, store, fetch })).records.get(sha256)).toEqual(known);
  });

  test('is taken from the cache, unless it was touched there', async () => {
    const requests: string[] = [];
    const again = () =>
      openRoot(packages, {
        cache,
        store,
        fetch: async () => {
          requests.push('fetch');
        },
      });
    await again();
    expect(requests).toEqual([]);
    for (const change of [
      () => writeFileSync(join(root.folder, 'etc/hosts'), '127.0.0.1 evil'),
      () => writeFileSync(join(root.folder, 'bin/added'), 'x'),
      () => rmSync(join(root.folder, 'etc/group')),
      () => chmodSync(join(root.folder, 'bin/dash'), 0o777),
      () => writeFileSync(join(root.folder, '../index.json'), '{'),
    ]) {
      requests.length = 0;
      change();
      await again();
      expect(requests).toEqual(['fetch']);
    }
    expect(readFileSync(join(root.folder, 'etc/hosts'), 'utf8')).toBe('127.0.0.1 localhost waybill\n');
  });

  test('is not made of a package that changed in the store', async () => {
    const merged = await lockedOf(['merged']);
    const [entry] = merged as [LockedPackage];
    const rotten = openRoot(merged, {
      cache,
      store,
      fetch: async () => {
        mkdirSync(join(store.path(entry.sha256), '..'), { recursive: true });
        writeFileSync(store.path(entry.sha256), 'rotten');
      },
    });
    await expect(rotten).rejects.toMatchObject({ code: 'SANDBOX_ROOT_UNPACKABLE' });
    expect((await open(merged)).owners.size).toBe(1);
    // Damaged ones are set aside for the sweep.
    const unfinished = readdirSync(join(cache, 'roots')).filter((name) => /^new-.*(?<!-old)$/.test(name));
    expect(unfinished).toEqual([]);
  });

  test('of packages merged under /usr has the links of a merged /usr', async () => {
    const made = await open(await lockedOf(['merged']));
    expect(readFileSync(join(made.folder, 'sbin/tool'), 'utf8')).toBe('x');
  });

  test('keeps links to folders that packages bring', async () => {
    const made = await open(await lockedOf(['base-files']));
    expect(readFileSync(join(made.folder, 'run/a'), 'utf8')).toBe('');
  });

  test('has each file from one package, and each package in one version', async () => {
    await expect(open(await lockedOf(['toolbox', 'rival']))).rejects.toMatchObject({
      code: 'SANDBOX_ROOT_CONFLICT',
    });
    const [entry] = packages as [LockedPackage];
    expect(() => joinPackages([packages, [{ ...entry, sha256: 'other' }]])).toThrow(
      expect.objectContaining({ code: 'SANDBOX_ROOT_CONFLICT' }),
    );
    expect(joinPackages([packages, packages])).toEqual(packages);
  });

  test('is not a way out: a link of one package leads no other package onto the host', async () => {
    await expect(open(await lockedOf(['escape', 'escapee']))).rejects.toMatchObject({
      code: 'SANDBOX_ROOT_UNPACKABLE',
    });
    expect(existsSync(join(base, 'escaped'))).toBe(false);
  });

  test('is the same whoever unpacks it: no privileged bits, no time of day', async () => {
    const listing = execFileSync('find', [root.folder, '-newermt', '2026-06-01', '-o', '-perm', '/7000'], {
      encoding: 'utf8',
    });
    expect(listing).toBe('');
  });
});

describe('a step sees', () => {
  test('a fixed user, host, time zone, locale, umask, folder and environment', async () => {
    expect(
      await say(
        'id; whoami; uname -n; pwd; umask; env | sort; cat /etc/passwd; echo $$ >/dev/null; ls -di /build >/dev/null',
      ),
    ).toBe(
      [
        'uid=1000(build) gid=1000(build) groups=1000(build)',
        'build',
        'waybill',
        '/build',
        '0022',
        'HOME=/build',
        'LC_ALL=C',
        'LOGNAME=build',
        'PATH=/usr/bin:/bin:/usr/sbin:/sbin',
        'PWD=/build',
        'SOURCE_DATE_EPOCH=1700000000',
        'TMPDIR=/tmp',
        'TZ=UTC',
        'USER=build',
        'build:x:1000:1000:build:/build:/bin/sh',
      ].join('\n'),
    );
  });

  test('a machine without a past and without a make, but for the kernel’s release', async () => {
    const read = (names: string) => say(`cd /proc && cat ${names}`);
    expect(await read('uptime loadavg version sys/kernel/random/boot_id')).toBe(
      [
        '1.00 1.00',
        '0.00 0.00 0.00 1/1 1',
        'Linux version 0.0.0 (build@waybill) #1 SMP',
        '00000000-0000-4000-8000-000000000000',
      ].join('\n'),
    );
    expect(await read('meminfo')).toMatch(/^MemTotal: +4194304 kB\n/);
    expect(await read('stat')).toContain('\nbtime 1700000000\n');
    expect(await read('cmdline partitions interrupts vmstat swaps')).toBe('');
    expect(await say('uname -r')).toBe(release());
  });

  test('its own variables, but cannot replace the fixed ones', async () => {
    const result = await run('echo $V $PATH', {
      environment: [
        ['V', 'a b'],
        ['PATH', '/evil'],
      ],
    });
    expect(result.log.trim()).toBe('a b /usr/bin:/bin:/usr/sbin:/sbin');
  });

  test('no host file, name, process or environment, not even through its first process', async () => {
    process.env.WAYBILL_TEST_SECRET = 'hush';
    const inherited = await say('cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; ls /proc; cat /etc/hosts');
    delete process.env.WAYBILL_TEST_SECRET;
    for (const secret of ['hush', hostname(), base, process.cwd(), process.env.HOME ?? '/root', 'vitest']) {
      // A host named `vm` says nothing by turning up in another word.
      expect(inherited.includes(secret) && secret.length > 3 ? secret : 'nothing').toBe('nothing');
    }
    const seen = await say('ls -a / /etc /home /root /var /run /sys');
    for (const path of ['/home', '/root', '/var', '/run', '/sys']) {
      expect(seen).toContain(`cannot access '${path}': No such file or directory`);
    }
  });

  test('no descriptor that somebody left open to us', async () => {
    // A shell leaves descriptor 9 open to a file of the host, as CI runners do.
    const probe = `
      import { runInSandbox } from ${JSON.stringify(new URL('../../builder/sandbox.ts', import.meta.url).href)};
      import { mkdirSync } from 'node:fs';
      for (const f of ['w', 'm']) mkdirSync(${JSON.stringify(base)} + '/fd-' + f);
      const r = await runInSandbox({ root: ${JSON.stringify(root.folder)}, work: ${JSON.stringify(base)} + '/fd-w',
        materials: ${JSON.stringify(base)} + '/fd-m', command: ['/bin/sh', '-c', 'cat <&9; ls -l /proc/self/fd /proc/1/fd'],
        environment: [], sourceDateEpoch: 0, timeoutMs: 9000, fileSizeBytesMax: 1e6 });
      console.log(r.log);`;
    const secret = join(base, 'secret');
    writeFileSync(secret, 'the token');
    const shown = execFileSync(
      '/bin/bash',
      ['-c', 'exec "$0" --input-type=module -e "$1" 9<"$2" 99<"$2"', process.execPath, probe, secret],
      { encoding: 'utf8' },
    );
    expect(shown).toContain('/dev/null');
    expect(shown).not.toContain('the token');
    expect(shown).not.toContain(secret);
  });

  test('no network but its own loopback', async () => {
    const server = createServer((socket) => socket.end('host'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const shown = await say(
      `bash -c 'cat </dev/tcp/127.0.0.1/${port}'; bash -c 'cat </dev/tcp/192.0.2.1/80'; cat /proc/net/dev; cat /proc/net/unix`,
    );
    server.close();
    expect(shown).toContain('Connection refused');
    expect(shown).toContain('Network is unreachable');
    expect(shown).not.toMatch(/\bhost\b/);
    expect(shown).not.toMatch(/eth0|ens\d|wlan|@\//);
  });

  test('devices of no consequence', async () => {
    const seen = (await say('ls /dev')).split('\n');
    expect(
      seen.filter(
        (name) => !['core', 'fd', 'stderr', 'stdin', 'stdout', 'pts', 'shm', 'console'].includes(name),
      ),
    ).toEqual(['full', 'null', 'ptmx', 'random', 'tty', 'urandom', 'zero']);
    expect(await say('mknod d c 1 3; mknod b b 8 0')).toMatch(
      /Operation not permitted[\s\S]*Operation not permitted/,
    );
  });

  test('an empty standard input, and standard output that can be opened again', async () => {
    expect(await say('cat; echo one >/dev/stdout; echo two >/dev/stderr; echo three | tee /dev/stderr')).toBe(
      'one\ntwo\nthree\nthree',
    );
  });
});

describe('a step cannot', () => {
  test.each([
    ['write to its root', 'touch /bin/x /etc/passwd', /Read-only file system/],
    ['write to its materials', 'touch /materials/x', /Read-only file system/],
    ['rename the host', 'echo x >/proc/sys/kernel/hostname', /Read-only file system|Permission denied/],
    // As root's process it would own these: the kernel runs what core_pattern names, outside any sandbox.
    [
      'set the core pattern',
      'cat /dev/null >>/proc/sys/kernel/core_pattern',
      /Read-only file system|Permission denied/,
    ],
    ['reach the keys of the kernel', 'cat /dev/null >>/proc/sysrq-trigger', /cannot create/],
    [
      'make a user namespace',
      'unshare -U true && echo made',
      /unshare: .*(?:No space left|Operation not permitted)/,
    ],
    ['unmount or remount', 'unshare -m true && echo made', /Operation not permitted/],
    ['write a file past its limit', 'head -c 2000000 /dev/zero >big', /File size limit|File too large/],
  ])('%s', async (_, command, expected) => {
    const { log } = await run(`${command}; echo "exit $?"`);
    expect(log).toMatch(expected);
    expect(log).not.toMatch(/made|exit 0/);
  });

  test('have a capability or gain a privilege, or do without the filter of its calls', async () => {
    const status = await say('cat /proc/self/status');
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapPrm:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  });

  test('forge its exit code through the status pipe', async () => {
    const result = await run(
      'for n in 3 4 5 6 7 8; do eval "echo \'{ \\"exit-code\\": 0 }\' >&$n"; done; exit 7',
    );
    expect(result.exitCode).toBe(7);
  });

  test('signal or see a process of the host', async () => {
    expect(await say(`kill -9 ${process.pid} 2>&1; echo "exit $?"`)).toMatch(/No such process[\s\S]*exit 1/);
  });
});

describe('a step is bound in', () => {
  test('processes, whoever started it', async () => {
    const { log } = await run('for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo made', {
      processesMax: 6,
    });
    expect(log).toMatch(/Cannot fork/);
    expect(log).not.toContain('made');
  });

  test('memory', async () => {
    const memory = 'a=x; while :; do a=$a$a; done';
    const { log, exitCode } = await run(`bash -c '${memory}'`, { memorySizeBytesMax: 64 << 20 });
    expect(log).toMatch(/cannot allocate/);
    expect(exitCode).not.toBe(0);
  });

  test('all that it writes, in one file or many', async () => {
    const fill = 'i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero >f$i; sleep 0.01; done';
    const result = await run(fill, { workSizeBytesMax: 4 << 20 });
    expect(result).toMatchObject({ exitCode: undefined, over: 'work' });
  });

  test('what is memory although it looks like files', async () => {
    const seen = await say('head -c 900000000 /dev/zero >/dev/shm/big; echo x >/dev/file; ls /dev/file');
    expect(seen).toMatch(/File too large|File size limit|No space left/);
    expect(seen).toMatch(/cannot create \/dev\/file/);
    const shared = await run('for i in 1 2 3 4 5; do head -c 30000000 /dev/zero >/dev/shm/$i; done', {
      fileSizeBytesMax: 1 << 30,
    });
    expect(shared.log).toMatch(/No space left/);
  });

  test('CPUs', async () => {
    const { log } = await run(
      'nproc; cat /proc/cpuinfo /proc/stat; grep Cpus_allowed_list /proc/self/status',
    );
    expect(log).toMatch(/^1\nprocessor\t: 0\nmodel name\t: waybill\n/);
    expect(log).not.toMatch(/processor\t: 1|^cpu1/m);
    await expect(run('true', { cpus: 1024 })).rejects.toMatchObject({ code: 'SANDBOX_CPUS_MISSING' });
  });
});

describe('the end of a step', () => {
  test.each([
    ['exit 0', 0],
    ['exit 3', 3],
    ['kill -9 $$', 137],
    ['nosuchprogram', 127],
  ])('%s', async (command, exitCode) => {
    expect((await run(command)).exitCode).toBe(exitCode);
  });

  test('kills what it left running, however detached, before anything is taken', async () => {
    const { work } = await run(
      'for i in 1 2 3; do setsid sh -c "while :; do echo x >>late; done" >/dev/null 2>&1 & done; sleep 0.05; echo done',
    );
    const size = () => readFileSync(join(work, 'late')).length;
    const before = size();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(size()).toBe(before);
  });

  test('comes when its time is up', async () => {
    const startedMs = performance.now();
    const result = await run('echo started; sleep 60', { timeoutMs: 3000 });
    expect(result.exitCode).toBeUndefined();
    expect(result.log).toBe('started\n');
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });

  test('comes when its time is up before it began, although a tracer stands between', async () => {
    const startedMs = performance.now();
    for (const timeoutMs of [1, 10, 20, 30, 50]) {
      const result = await run('sleep 60', { timeoutMs, trace: join(base, 'trace') });
      expect(result.over).toBe('time');
    }
    expect(performance.now() - startedMs).toBeLessThan(20_000);
  });

  test('comes when it is cancelled', async () => {
    const stop = new AbortController();
    const ended = run('echo started; sleep 60', {
      signal: stop.signal,
      onLog: () => stop.abort(new Error('stop')),
    });
    await expect(ended).rejects.toThrow('stop');
    await expect(run('true', { signal: stop.signal })).rejects.toThrow('stop');
  });

  test('comes when the builder is killed', async () => {
    const script = `
      import { runInSandbox } from ${JSON.stringify(new URL('../../builder/sandbox.ts', import.meta.url).href)};
      import { mkdirSync } from 'node:fs';
      for (const f of ['w', 'm']) mkdirSync(${JSON.stringify(base)} + '/die-' + f);
      await runInSandbox({ root: ${JSON.stringify(root.folder)}, work: ${JSON.stringify(base)} + '/die-w',
        materials: ${JSON.stringify(base)} + '/die-m',
        command: ['/bin/sh', '-c', 'echo x >late; echo up; while :; do echo x >>late; sleep 0.01; done'],
        environment: [], sourceDateEpoch: 0, timeoutMs: 60000, fileSizeBytesMax: 1e6, onLog: () => console.log('up') });`;
    const builder = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => builder.stdout.once('data', resolve));
    builder.kill('SIGKILL');
    const size = () => readFileSync(join(base, 'die-w/late')).length;
    // A busy machine takes its time to kill.
    let before = -1;
    for (let tries = 0; tries < 20 && size() !== before; tries++) {
      before = size();
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(size()).toBe(before);
  });

  test('is told apart from a sandbox that never began', async () => {
    await expect(run('true', { root: '/nonexistent' })).rejects.toMatchObject({
      code: 'SANDBOX_START_FAILED',
    });
  });
});
