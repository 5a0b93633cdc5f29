// SPDX-License-Identifier: Apache-2.0
// Control groups of steps: what they bound, that nothing is left of them, and where they may be made. Real groups, in whichever version
// this machine has; the file runs on version 2 in a Linux of its own: test/long/control-group-v2.test.ts.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest';
import { ControlGroup, probeLimits } from '../../builder/control-group.ts';
import { type Delegation, findDelegation } from '../../builder/delegation.ts';
import { probeSandbox } from '../../builder/preflight.ts';
import { runInSandbox, type SandboxRun } from '../../builder/sandbox.ts';

const MEBIBYTE = 1024 * 1024;
/** Debian's `nobody`, who has no file anywhere, and no control group. */
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const base = mkdtempSync(join(tmpdir(), 'waybill-groups-'));
const root = join(base, 'root');
// Copies: root's checkout may be closed to an ordinary user.
const node = join(base, 'node');
const modules = join(base, 'modules');
let possible = false;

/** Host programs and what they need, as a root. */
function makeRoot(): void {
  for (const name of ['bin', 'proc', 'dev', 'tmp', 'build', 'materials', 'etc'])
    mkdirSync(join(root, name), { recursive: true });
  for (const program of ['dash', 'head', 'perl', 'sleep']) {
    const path = execFileSync('/bin/sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim();
    const needs = execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
    for (const [, library = ''] of needs) execFileSync('cp', ['-L', '--parents', library, root]);
    execFileSync('cp', ['-L', path, join(root, 'bin', program)]);
  }
  symlinkSync('dash', join(root, 'bin/sh'));
}

beforeAll(async () => {
  chmodSync(base, 0o755);
  makeRoot();
  copyFileSync(process.execPath, node);
  const source = (name: string) => fileURLToPath(new URL(`../../builder/${name}.ts`, import.meta.url));
  buildSync({
    entryPoints: ['sandbox', 'control-group', 'delegation', 'preflight'].map(source),
    ...{ outdir: modules, outExtension: { '.js': '.mjs' } },
    ...{ bundle: true, platform: 'node', format: 'esm' },
  });
  possible = (await probeLimits()) === 'cgroup';
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** What was delegated to the tests; skips a test where nothing was. */
function delegated(context: TestContext): Delegation {
  const found = possible ? findDelegation() : undefined;
  if (found === undefined) return context.skip('no control group for memory and processes may be made here');
  return found;
}

/** The root of a hierarchy of version 2 that nobody else manages; skips a test where there is none. */
function wholeHierarchy(context: TestContext): string {
  const { version, memory } = delegated(context);
  if (version === 1 || existsSync(join(memory, 'cgroup.type')))
    return context.skip('no hierarchy of version 2 to ourselves');
  return memory;
}

/** Groups of this process, or of another. */
const groupsOf = ({ memory, pids }: Delegation, pid = process.pid): string[] =>
  [memory, pids].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => new RegExp(`^waybill-\\d+-${pid}-`).test(name))
      .map((name) => join(folder, name)),
  );

let runs = 0;
function runOf(command: string, more: Partial<SandboxRun>): SandboxRun {
  const work = join(base, `work-${++runs}`);
  const materials = join(base, `materials-${runs}`);
  for (const folder of [work, materials]) mkdirSync(folder);
  return {
    ...{ root, work, materials, command: ['/bin/sh', '-c', command] },
    ...{ environment: [], sourceDateEpoch: 0, timeoutMs: 60_000, boundBy: 'cgroup' },
    ...more,
  };
}
const run = (command: string, more: Partial<SandboxRun> = {}) => runInSandbox(runOf(command, more));

/** Starts Node with a script that has the builder's exports: in groups, as another user, behind other words. */
function start(
  script: string,
  how: { uid?: number; groups?: readonly string[]; before?: readonly string[] } = {},
) {
  const from = (name: string) => JSON.stringify(join(modules, `${name}.mjs`));
  const text = `
    import { runInSandbox } from ${from('sandbox')};
    import { ControlGroup, probeLimits } from ${from('control-group')};
    import { findDelegation } from ${from('delegation')};
    import { probeSandbox } from ${from('preflight')};
    const told = (failure) => console.log(failure.code, failure.message);
    ${script}`;
  const { uid, groups = [], before = [] } = how;
  const become = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  const words = [...become, ...before, node, '--input-type=module', '-e', text];
  const enter = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
  return spawn('/bin/sh', ['-e', '-c', enter, 'sh', ...groups, '--', ...words], {
    ...{ cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] },
    env: { PATH: process.env.PATH, HOME: base },
  });
}

async function outputOf(child: ChildProcess): Promise<string> {
  let shown = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
  });
  await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  return shown.trim();
}

/** Waits for the first line of the step, by when it is in its group. */
const begun = (more: Partial<SandboxRun> = {}) => {
  let begin: () => void = () => {};
  const started = new Promise<void>((resolve) => {
    begin = resolve;
  });
  return { ...more, started, onLog: () => begin() };
};

/** Holds that much memory for some seconds. */
const HOLD = (mebibytes: number) => `perl -e 'vec($x, ${mebibytes} << 20, 8) = 1; sleep 5'`;

/** Says how much address space a process may reserve, and how many there may be. */
const saysLimit = (name: string) => `perl -ne 'print $1 if /^Max ${name} +(\\S+)/' /proc/self/limits`;
const RESERVES = saysLimit('address space');

describe('under a control group', () => {
  test('the memory of all processes together is bounded, and each may reserve what it likes', async (context) => {
    delegated(context);
    const together = `for i in 1 2 3 4; do ${HOLD(24)} & done; wait; ${RESERVES}`;
    const bounds = { memorySizeBytesMax: 64 * MEBIBYTE };
    expect(await run(together, bounds)).toMatchObject({ exitCode: undefined, over: 'memory' });
    // Each of them alone keeps to it.
    expect(await run(`${HOLD(24)}; ${RESERVES}`, bounds)).toMatchObject({ exitCode: 0, log: 'unlimited' });
    const each = await run(together, { ...bounds, boundBy: 'rlimits' });
    expect(each).toMatchObject({ exitCode: 0, log: String(64 * MEBIBYTE) });
  });

  test('a step whose process was killed for memory has failed, whatever it says itself', async (context) => {
    delegated(context);
    const result = await run(`${HOLD(100)}; exit 0`, { memorySizeBytesMax: 64 * MEBIBYTE });
    expect(result).toMatchObject({ exitCode: undefined, over: 'memory' });
    // Not waited for to its end.
    const startedMs = performance.now();
    await run(`${HOLD(100)}; sleep 50`, { memorySizeBytesMax: 64 * MEBIBYTE });
    expect(performance.now() - startedMs).toBeLessThan(40_000);
  });

  test('files in memory count', async (context) => {
    delegated(context);
    const bounds = { memorySizeBytesMax: 64 * MEBIBYTE };
    expect((await run('head -c 99999999 /dev/zero >/tmp/f', bounds)).over).toBe('memory');
    expect((await run('head -c 20000000 /dev/zero >/tmp/f', bounds)).exitCode).toBe(0);
  });

  test('the size of a file, and core dumps, are bounded as ever', async (context) => {
    delegated(context);
    const { exitCode, log } = await run('ulimit -c; head -c 2000000 /dev/zero >f', {
      fileSizeBytesMax: 1 << 20,
    });
    expect(log).toMatch(/^0\n/);
    expect(exitCode).not.toBe(0);
  });

  test('processes are bounded to the very number', async (context) => {
    delegated(context);
    const threeMore = 'sleep 1 & sleep 1 & sleep 1 & echo made; wait';
    expect(await run(threeMore, { processesMax: 4 })).toEqual({ exitCode: 0, log: 'made\n' });
    const { exitCode, log } = await run(threeMore, { processesMax: 3 });
    expect(exitCode).not.toBe(0);
    expect(log).toMatch(/Cannot fork/);
    expect(log).not.toMatch(/made/);
  });

  test('a step that forks without end is held at its bound, and is gone when it is stopped', async (context) => {
    const place = delegated(context);
    const stop = new AbortController();
    const { started, ...more } = begun({ processesMax: 40, signal: stop.signal });
    const ended = run(`echo up; perl -e 'while (1) { fork }'`, more);
    await Promise.race([started, ended]);
    const [group = ''] = groupsOf(place).filter((path) => existsSync(join(path, 'pids.current')));
    const count = () => Number(readFileSync(join(group, 'pids.current'), 'utf8'));
    // With the two of the sandbox itself.
    await vi.waitFor(() => expect(count()).toBe(42), { timeout: 50_000 });
    for (let looks = 0; looks < 20; looks++) {
      expect(count()).toBeLessThanOrEqual(42);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    stop.abort(new Error('stop'));
    await expect(ended).rejects.toThrow('stop');
    expect(groupsOf(place)).toEqual([]);
  });

  test('a step sees nothing of it, and no file system of control groups', async (context) => {
    delegated(context);
    const { log } = await run('for f in cgroup mountinfo; do head -n 999 /proc/self/$f; done');
    expect(log).toMatch(/^0::\/$/m);
    expect(log).not.toMatch(/waybill-\d|- cgroup/);
  });

  test('it is told if the bounds did not stay in force', async (context) => {
    const place = delegated(context);
    const { started, ...more } = begun();
    const ended = run('echo up; sleep 1', more);
    await started;
    for (const group of groupsOf(place)) {
      const file = join(group, 'pids.max');
      if (existsSync(file)) writeFileSync(file, 'max');
    }
    await expect(ended).rejects.toMatchObject({
      code: 'SANDBOX_GROUP_FAILED',
      message: expect.stringMatching(/pids\.max .* to stay "514", got "max"/),
    });
    expect(groupsOf(place)).toEqual([]);
  });

  test('a bound around the builder is not the fault of the step', async (context) => {
    const around = makeAround(delegated(context), 'waybill-test-around', 400 * MEBIBYTE);
    try {
      const asked = runOf(`${HOLD(600)}`, {});
      const script = `await runInSandbox(${JSON.stringify(asked)}).then((r) => console.log(JSON.stringify(r)), told)`;
      expect(await outputOf(start(script, { groups: around.enter }))).toMatch(/^SANDBOX_MEMORY_EXHAUSTED /);
    } finally {
      around.remove();
    }
  });
});

/** A group with a bound, and where a builder in it would be. */
function makeAround({ version, memory }: Delegation, name: string, memorySizeBytesMax: number) {
  const group = join(memory, name);
  mkdirSync(group);
  const made = [group];
  if (version === 1) writeFileSync(join(group, 'memory.limit_in_bytes'), String(memorySizeBytesMax));
  else {
    writeFileSync(join(group, 'memory.max'), String(memorySizeBytesMax));
    writeFileSync(join(group, 'cgroup.subtree_control'), '+memory +pids');
    made.unshift(join(group, 'builder'));
    mkdirSync(join(group, 'builder'));
  }
  const [enter = ''] = made;
  return { group, enter: [enter], remove: () => made.map((path) => rmdirSync(path)) };
}

describe('nothing is left of a control group', () => {
  test.for<[string, string, Partial<SandboxRun>]>([
    ['a step that ended', 'exit 0', {}],
    ['a step that left processes', 'sleep 50 & sleep 50 & exit 0', {}],
    ['a step that took too long', 'sleep 50', { timeoutMs: 500 }],
    ['a sandbox that never began', 'true', { root: '/nonexistent' }],
    ['a step that asked for too many CPUs', 'true', { cpus: 1024 }],
  ])('after %s', async ([, command, more], context) => {
    const place = delegated(context);
    await run(command, more).catch(() => undefined);
    expect(groupsOf(place)).toEqual([]);
  });

  test('after a cancelled step', async (context) => {
    const place = delegated(context);
    const stop = new AbortController();
    const onLog = () => stop.abort(new Error('stop'));
    await expect(run('echo up; sleep 50', { signal: stop.signal, onLog })).rejects.toThrow('stop');
    expect(groupsOf(place)).toEqual([]);
  });

  test('after a killed builder, once another one has swept; of living builders all stays', async (context) => {
    const place = delegated(context);
    const asked = JSON.stringify(runOf('echo up; sleep 50', {}));
    const builder = start(`await runInSandbox({ ...${asked}, onLog: () => console.log('up') });`);
    await new Promise((resolve) => builder.stdout?.once('data', resolve));
    const ofBuilder = groupsOf(place, builder.pid);
    expect(ofBuilder.length).toBeGreaterThan(0);
    await ControlGroup.sweep();
    expect(groupsOf(place, builder.pid)).toEqual(ofBuilder);
    builder.kill('SIGKILL');
    await new Promise((resolve) => builder.on('close', resolve));
    expect(groupsOf(place, builder.pid)).toEqual(ofBuilder);
    await ControlGroup.sweep();
    expect(groupsOf(place, builder.pid)).toEqual([]);
  });

  test('but a sweep that sees process numbers of another kind lets all be', async (context) => {
    const place = delegated(context);
    if (!isRoot) return context.skip('not root');
    const script = `
      const group = ControlGroup.make({ memorySizeBytesMax: 1 << 26, processesMax: 4 });
      await ControlGroup.sweep();
      group.checkInForce();
      await group.remove();
      console.log('kept');`;
    // Numbers of its own, and the /proc of the host.
    expect(await outputOf(start(script, { before: ['unshare', '--pid', '--fork'] }))).toBe('kept');
    expect(readdirSync(place.memory).filter((name) => /^waybill-\d+-1-/.test(name))).toEqual([]);
  });

  test('nor is anything left of the trial before a build', async (context) => {
    const place = delegated(context);
    expect((await probeSandbox()).limits).toBe('cgroup');
    expect(groupsOf(place)).toEqual([]);
  });
});

describe('without delegation', () => {
  test('an ordinary user builds under limits of each process, and no step does so by luck', async (context) => {
    if (!isRoot) context.skip('not root, which can become a user to whom nothing was delegated');
    const place = join(base, 'ordinary');
    for (const path of [place, join(place, 'w'), join(place, 'm')]) {
      mkdirSync(path);
      chownSync(path, NOBODY, NOBODY);
    }
    const asked = runOf(`${RESERVES}; echo; ${saysLimit('processes')}`, {
      work: join(place, 'w'),
      materials: join(place, 'm'),
    });
    const script = `
      console.log((await probeSandbox()).limits);
      const run = ${JSON.stringify({ ...asked, memorySizeBytesMax: 64 * MEBIBYTE })};
      console.log((await runInSandbox({ ...run, boundBy: 'rlimits' })).log);
      await runInSandbox(run).catch(told);`;
    expect(await outputOf(start(script, { uid: NOBODY }))).toMatch(
      /^rlimits\n67108864\n513\nSANDBOX_GROUP_FAILED expected a place for a control group, got none$/,
    );
  });
});

/** Runs in a group of a hierarchy of version 2 that the test has to itself: where may groups of steps be made? */
describe('in version 2 a group is made', () => {
  const made: string[] = [];
  const make = (path: string, files: Readonly<Record<string, string>> = {}, owner = 0): string => {
    mkdirSync(path);
    made.unshift(path);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    if (owner === 0) return path;
    for (const file of ['', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'])
      chownSync(join(path, file), owner, owner);
    return path;
  };
  afterEach(() => {
    for (const path of made.splice(0)) rmdirSync(path);
  });
  const SHARED = { 'cgroup.subtree_control': '+memory +pids' };
  const where = (group: string, uid?: number): Promise<string> => {
    const script = `console.log(findDelegation()?.memory, await probeLimits());`;
    return outputOf(start(script, { ...(uid === undefined ? {} : { uid }), groups: [group] }));
  };

  test('beside a builder that is in a group, and in the root if that is where it is', async (context) => {
    const top = wholeHierarchy(context);
    expect(findDelegation()).toEqual({ version: 2, memory: top, pids: top });
    const inner = make(join(make(join(top, 'a')), 'b'));
    expect(await where(inner)).toBe(`${top}/a cgroup`);
    expect(readFileSync(join(top, 'a/cgroup.subtree_control'), 'utf8')).toMatch(/memory pids/);
  });

  test('below the nearest group that has no processes of its own', async (context) => {
    const top = wholeHierarchy(context);
    const inner = make(join(make(join(top, 'a')), 'b'));
    const neighbour = start('await new Promise((resolve) => setTimeout(resolve, 60000))', {
      groups: [join(top, 'a')],
    });
    try {
      await vi.waitFor(() => expect(readFileSync(join(top, 'a/cgroup.procs'), 'utf8')).not.toBe(''));
      expect(await where(inner)).toBe(`${top} cgroup`);
    } finally {
      neighbour.kill('SIGKILL');
      await new Promise((resolve) => neighbour.on('close', resolve));
    }
  });

  test('where an ordinary user may write, and not above', async (context) => {
    const top = wholeHierarchy(context);
    const given = make(join(make(join(top, 'a'), SHARED), 'given'), {}, NOBODY);
    expect(await where(given, NOBODY)).toBe('undefined rlimits');
    expect(await where(make(join(given, 'b'), {}, NOBODY), NOBODY)).toBe(`${given} cgroup`);
  });

  test('not above the systemd unit that the builder is in', async (context) => {
    const top = wholeHierarchy(context);
    const unit = make(join(make(join(top, 'system.slice'), SHARED), 'ci.service'));
    expect(await where(unit)).toBe('undefined rlimits');
    expect(await where(make(join(unit, 'main')))).toBe(`${unit} cgroup`);
  });

  test.for(['memory.max', 'memory.high'])(
    'not outside a bound that is around the builder: %s',
    async (file, context) => {
      const top = wholeHierarchy(context);
      const outer = make(join(top, 'a'), SHARED);
      expect(await where(make(join(outer, 'free')))).toBe(`${outer} cgroup`);
      expect(await where(make(join(outer, 'bound'), { [file]: '900000000' }))).toBe('undefined rlimits');
    },
  );
});
