// SPDX-License-Identifier: Apache-2.0
// Control groups of steps: what they bound, and that nothing is left of them. Real groups, in whichever version this machine has; in version
// 2, these tests run in a Linux of their own: test/long/control-group-v2.test.ts.

import { spawn } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ControlGroup, probeLimits } from '../../builder/control-group.ts';
import type { Delegation } from '../../builder/delegation.ts';
import { probeSandbox } from '../../builder/preflight.ts';
import type { SandboxRun } from '../../builder/sandbox.ts';
import {
  base,
  begun,
  clear,
  delegated,
  groupsOf,
  holding,
  isRoot,
  MEBIBYTE,
  NOBODY,
  outputOf,
  prepare,
  run,
  runOf,
  start,
} from './grouped-builders.ts';

beforeAll(prepare);
afterAll(clear);

/** Says how much address space a process may reserve, and how many there may be. */
const saysLimit = (name: string) => `perl -ne 'print $1 if /^Max ${name} +(\\S+)/' /proc/self/limits`;
const RESERVES = saysLimit('address space');

describe('under a control group', () => {
  test('the memory of all processes together is bounded, and each may reserve what it likes', async (context) => {
    delegated(context);
    const together = `for i in 1 2 3 4; do ${holding(24)} & done; wait; ${RESERVES}`;
    const bounds = { memorySizeBytesMax: 64 * MEBIBYTE };
    expect(await run(together, bounds)).toMatchObject({ exitCode: undefined, over: 'memory' });
    // Each of them alone keeps to it.
    expect(await run(`${holding(24)}; ${RESERVES}`, bounds)).toMatchObject({ exitCode: 0, log: 'unlimited' });
    const each = await run(together, { ...bounds, boundBy: 'rlimits' });
    expect(each).toMatchObject({ exitCode: 0, log: String(64 * MEBIBYTE) });
  });

  test('a step whose process was killed for memory has failed, whatever it says itself', async (context) => {
    delegated(context);
    const result = await run(`${holding(100)}; exit 0`, { memorySizeBytesMax: 64 * MEBIBYTE });
    expect(result).toMatchObject({ exitCode: undefined, over: 'memory' });
    // Not waited for to its end.
    const startedMs = performance.now();
    await run(`${holding(100)}; sleep 50`, { memorySizeBytesMax: 64 * MEBIBYTE });
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

  test('swap is closed, where the kernel counts it', async (context) => {
    const place = delegated(context);
    const { started, ...more } = begun({ memorySizeBytesMax: 64 * MEBIBYTE });
    const ended = run('echo up; sleep 1', more);
    await started;
    const says = groupsOf(place).flatMap((group) =>
      readdirSync(group)
        .filter((file) => /^memory\.(?:swap\.max|memsw\.limit_in_bytes|swappiness)$/.test(file))
        .map((file) => `${file} ${readFileSync(join(group, file), 'utf8').trim()}`),
    );
    await ended;
    const closed = [
      'memory.swap.max 0',
      `memory.memsw.limit_in_bytes ${64 * MEBIBYTE}`,
      'memory.swappiness 0',
    ];
    expect(closed).toEqual(expect.arrayContaining(says));
    expect(says.length).toBeGreaterThan(0);
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
      const asked = runOf(`${holding(600)}`, {});
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
    // Its parent never asks how it ended, so that it stays as a zombie.
    const before = ['sh', '-c', '"$@" & echo $!; exec sleep 100', 'sh'];
    const parent = start(`await runInSandbox({ ...${asked}, onLog: () => console.log('up') });`, { before });
    let shown = '';
    parent.stdout?.setEncoding('utf8').on('data', (text: string) => {
      shown += text;
    });
    try {
      await vi.waitFor(() => expect(shown).toMatch(/up/), { timeout: 25_000 });
      const pid = Number(/^\d+/.exec(shown)?.[0]);
      const groups = groupsOf(place, pid);
      expect(groups.length).toBeGreaterThan(0);
      await ControlGroup.sweep();
      expect(groupsOf(place, pid)).toEqual(groups);
      process.kill(pid, 'SIGKILL');
      await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toMatch(/\) Z /));
      // Builds of other tests may be faster.
      await ControlGroup.sweep();
      expect(groupsOf(place, pid)).toEqual([]);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  test('after a killed builder whose processes live on', async (context) => {
    const place = delegated(context);
    const builder = start(`
      const { spawn } = await import('node:child_process');
      const group = ControlGroup.make({ memorySizeBytesMax: 1 << 26, processesMax: 4 });
      const [program, ...words] = [...group.enteringCommand(), 'sh', '-c', 'echo $$; exec sleep 100'];
      spawn(program, words, { stdio: ['ignore', 'inherit', 'ignore'], detached: true });`);
    const pid = await new Promise<number>((resolve) =>
      builder.stdout?.once('data', (shown) => resolve(Number(shown))),
    );
    builder.kill('SIGKILL');
    await new Promise((resolve) => builder.on('exit', resolve));
    await ControlGroup.sweep();
    expect(groupsOf(place, builder.pid)).toEqual([]);
    const state = existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : 'gone';
    expect(state).toMatch(/\) [ZX] |gone/);
  });

  const OWN_NUMBERS = ['unshare', '--pid', '--fork', '--kill-child'];
  const HOLDING = `
    const group = ControlGroup.make({ memorySizeBytesMax: 1 << 26, processesMax: 4 });
    await ControlGroup.sweep();
    group.checkInForce();
    console.log('kept');`;

  test('but a sweep that sees other process numbers lets all be', async (context) => {
    delegated(context);
    if (!isRoot) context.skip('not root');
    // Numbers of its own, and the /proc of the host.
    const script = `${HOLDING} await group.remove();`;
    expect(await outputOf(start(script, { before: OWN_NUMBERS }))).toBe('kept');
  });

  test('but a sweep lets be what is of builders with other process numbers, and kills nobody whom it cannot see', async (context) => {
    const place = delegated(context);
    if (!isRoot) context.skip('not root');
    const script = `${HOLDING} process.stdin.once('data', async () => {
      group.kill();
      console.log('alive');
      process.exit();
    });`;
    const other = start(script, { before: [...OWN_NUMBERS, '--mount-proc'], stdin: 'pipe' });
    const stranger = spawn('sleep', ['100']);
    let shown = '';
    other.stdout?.setEncoding('utf8').on('data', (text: string) => {
      shown += text;
    });
    const groups = () =>
      [place.memory, place.pids].flatMap((folder) =>
        readdirSync(folder)
          .filter((name) => /^waybill-\d+-1-/.test(name))
          .map((name) => join(folder, name)),
      );
    try {
      await vi.waitFor(() => expect(shown).toMatch(/kept/), { timeout: 25_000 });
      await ControlGroup.sweep();
      expect(groups()).not.toEqual([]);
      for (const path of new Set(groups())) writeFileSync(join(path, 'cgroup.procs'), String(stranger.pid));
      other.stdin?.write('\n');
      await new Promise((resolve) => other.on('close', resolve));
      expect(shown).toMatch(/alive/);
    } finally {
      stranger.kill('SIGKILL');
      other.kill('SIGKILL');
      await vi.waitFor(() => {
        for (const path of new Set(groups())) rmdirSync(path);
      });
    }
  });

  test('nor is anything left of the trial before a build', async (context) => {
    const place = delegated(context);
    expect((await probeSandbox()).limits).toBe('cgroup');
    expect(groupsOf(place)).toEqual([]);
    await expect(probeLimits(AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
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
