// SPDX-License-Identifier: Apache-2.0
// Malicious steps: each tries to read, reach, leave or change what is not its own, started by root and by an ordinary user.
// What it may leave in an output is in build.test.ts, which calls of the kernel it may make in seccomp.test.ts.

import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const SECRET = 'hush-e3b0c442';
const ABSTRACT = 'waybill-escape';
/** Debian's `nobody`, who has no file anywhere. */
const NOBODY = 65534;
const base = mkdtempSync(join(tmpdir(), 'waybill-escape-'));
const root = join(base, 'root');
const victim = join(base, 'victim');
// Copies: root's checkout may be closed to an ordinary user.
const node = join(base, 'node');
const sandbox = join(base, 'sandbox.mjs');
let abstract: Server;
let files: Server;

/** Host programs and what they need, as a root: what a step brings along is its own affair. */
function makeRoot(): void {
  for (const name of ['bin', 'proc', 'dev', 'tmp', 'build', 'materials', 'etc'])
    mkdirSync(join(root, name), { recursive: true });
  for (const program of [
    'dash',
    'bash',
    'cat',
    'ls',
    'ln',
    'chmod',
    'mknod',
    'setsid',
    'sleep',
    'touch',
    'perl',
    'find',
    'cp',
  ]) {
    const path = execFileSync('/bin/sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim();
    const needs = execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
    for (const [, library = ''] of needs) execFileSync('cp', ['-L', '--parents', library, root]);
    execFileSync('cp', ['-L', path, join(root, 'bin', program)]);
  }
  symlinkSync('dash', join(root, 'bin/sh'));
  const source = fileURLToPath(new URL('system-calls.c', import.meta.url));
  execFileSync('gcc', ['-static', '-O1', '-o', join(root, 'bin/calls'), source]);
}

/** The user whose builder runs the step: root as itself, or an ordinary user, whom root can become. */
const BUILDERS =
  process.getuid?.() === 0 ? (['root', 'an ordinary user'] as const) : (['an ordinary user'] as const);

beforeAll(async () => {
  chmodSync(base, 0o755);
  makeRoot();
  writeFileSync(victim, SECRET, { mode: 0o644 });
  abstract = createServer((socket) => socket.end(SECRET));
  files = createServer((socket) => socket.end(SECRET));
  await new Promise<void>((resolve) => abstract.listen(`\0${ABSTRACT}`, resolve));
  await new Promise<void>((resolve) => files.listen(join(base, 'socket'), resolve));
  copyFileSync(process.execPath, node);
  const source = fileURLToPath(new URL('../../builder/sandbox.ts', import.meta.url));
  buildSync({ entryPoints: [source], outfile: sandbox, bundle: true, platform: 'node', format: 'esm' });
  if (process.getuid?.() !== 0) console.log('not root: only the ordinary user that runs the tests is tried');
});
afterAll(() => {
  abstract.close();
  files.close();
  rmSync(base, { recursive: true, force: true });
});

interface Attempt {
  readonly exitCode: number | undefined;
  readonly over: string | undefined;
  readonly log: string;
  readonly work: string;
}

let attempts = 0;
/** Runs a step in a builder of its own process, with a secret in its environment and memory. */
async function attempt(builder: (typeof BUILDERS)[number], command: string): Promise<Attempt> {
  const place = join(base, `attempt-${++attempts}`);
  const work = join(place, 'work');
  const materials = join(place, 'materials');
  for (const folder of [place, work, materials]) mkdirSync(folder);
  writeFileSync(join(materials, 'input'), 'input');
  const other = builder !== 'root' && process.getuid?.() === 0;
  const [uid, gid] = other ? [NOBODY, NOBODY] : [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  for (const path of [place, work, materials, join(materials, 'input')]) chownSync(path, uid, gid);
  const script = `
    import { runInSandbox } from ${JSON.stringify(sandbox)};
    globalThis.token = ${JSON.stringify(SECRET)};
    const run = JSON.parse(process.argv[1]);
    const result = await runInSandbox(run);
    console.log(JSON.stringify(result));`;
  const run = {
    ...{ root, work, materials, command: ['/bin/sh', '-c', command] },
    ...{ environment: [], sourceDateEpoch: 0, timeoutMs: 10_000 },
  };
  const child = spawn(node, ['--input-type=module', '-e', script, JSON.stringify(run)], {
    ...{ cwd: '/', stdio: ['ignore', 'pipe', 'inherit'], uid, gid },
    env: { PATH: process.env.PATH, ACTIONS_ID_TOKEN_REQUEST_TOKEN: SECRET, HOME: base },
  });
  let shown = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
  });
  await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  return { ...JSON.parse(shown), work };
}

/** What it tries, and what it must say in the end; the secret must not be in its log. */
const TRIES: readonly (readonly [string, string, RegExp])[] = [
  [
    'read a file of the host',
    `cat ${victim} /proc/1/root${victim} /proc/self/cwd/../../victim`,
    /No such file/,
  ],
  ['read the accounts of the host', 'cat /etc/shadow; ls /root /home', /No such file/],
  ['read the environment of the builder', "cat /proc/*/environ | perl -pe 's/\\0/\\n/g'; echo end", /end/],
  [
    'read the command lines around it',
    "cat /proc/*/cmdline | perl -pe 's/\\0/ /g' | perl -ne 'print /input-ty(?=pe=mod)/ ? 1 : 0'",
    /^0*$/,
  ],
  [
    'read the memory of the builder',
    'for p in /proc/[0-9]*; do cat $p/maps | perl -ne "print qq(found) if /node/"; done; for p in 1 2 3; do perl -e "open F, shift or die qq(\\$!); seek F, 4096, 0; read F, \\$x, 9; print \\$x" /proc/$p/mem; done; echo end',
    /end/,
  ],
  [
    'open a socket to the host',
    `bash -c 'exec 3<>/dev/tcp/127.0.0.1/22 && cat <&3'; echo "exit $?"`,
    /exit 1/,
  ],
  [
    'open a socket of a path of the host',
    `perl -e 'socket S, 1, 1, 0 or die; connect S, pack("S a*", 1, "${join(base, 'socket')}") or die "no: $!"; print <S>'`,
    /no: No such file/,
  ],
  [
    'open an abstract socket',
    `perl -e 'socket S, 1, 1, 0 or die; connect S, pack("S a*", 1, "\\0${ABSTRACT}") or die "no: $!"; print <S>'`,
    /no: Connection refused/,
  ],
  [
    'ask for a name',
    `perl -e 'print gethostbyname("example.org") ? "resolved" : "no answer"'; perl -e 'socket S, 2, 2, 0 or die; send S, "x", 0, pack("S n C4 x8", 2, 53, 9, 9, 9, 9) or die "no: $!"'`,
    /no answer[\s\S]*no: Network is unreachable/,
  ],
  [
    'talk to the hypervisor',
    "perl -e 'socket S, 40, 1, 0 or die qq(no: $!)'",
    /no: Address family not supported/,
  ],
  ['trace its parent', 'calls 65,10,1 65,0,0', /^1\n1$/],
  [
    'signal its parent',
    "perl -e 'print kill(9, getppid()) ; print kill(9, $_) for 2..40000' >/build/n; echo end; calls 3e,1,9",
    /^/,
  ],
  [
    'gain a privilege',
    'cp /bin/dash s; chmod u+s s; mknod d b 8 0; perl -e \'$> = 0; print "id $>"\'',
    /not permitted[\s\S]*not permitted[\s\S]*id 1000/,
  ],
  [
    'write to its inputs',
    'touch /bin/dash /materials/input; echo x >>/materials/input; chmod 777 /materials/input; ln /materials/input h; echo x >/bin/new',
    /Read-only file system/,
  ],
  [
    'leave its folder by a link',
    'ln -s / up; cat up/../../victim; echo x >up/etc/passwd',
    /No such file|Read-only/,
  ],
];

describe.each(BUILDERS)('started by %s, a step cannot', (builder) => {
  test.each(TRIES)(
    '%s',
    async (_, command, expected) => {
      const { log, over } = await attempt(builder, `export PATH=/bin; ${command}`);
      expect(log).not.toContain(SECRET);
      expect(log).not.toMatch(/found|resolved/);
      expect(log.trim()).toMatch(expected);
      expect(over).toBeUndefined();
      expect(readFileSync(victim, 'utf8')).toBe(SECRET);
    },
    30_000,
  );

  test('live on after its end', async () => {
    const { work } = await attempt(
      builder,
      'export PATH=/bin; for i in 1 2 3; do setsid sh -c "trap : TERM HUP INT; while :; do echo x >>late; done" >/dev/null 2>&1 & done; sleep 0.1',
    );
    const size = () => readFileSync(join(work, 'late')).length;
    const before = size();
    expect(before).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(size()).toBe(before);
  });

  test('change the root that a later step sees', async () => {
    const listing = () => execFileSync('find', [root, '-printf', '%p %s %m %U\n'], { encoding: 'utf8' });
    const before = listing();
    await attempt(
      builder,
      'export PATH=/bin; find / -xdev -maxdepth 2 -exec touch {} + ; find / -xdev -maxdepth 2 -exec chmod 777 {} + ; for d in / /bin /etc /dev /proc /materials; do echo x >$d/poison; done; ln -s /build/evil /bin/sh2; /bin/calls a5 107',
    );
    expect(listing()).toBe(before);
    expect(existsSync(join(root, 'poison'))).toBe(false);
  });
});
