// SPDX-License-Identifier: Apache-2.0
// For tests of control groups: steps in them, and builders in a group, as a user or among process numbers of their own.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import type { TestContext } from 'vitest';
import { probeLimits } from '../../builder/control-group.ts';
import { type Delegation, findDelegation } from '../../builder/delegation.ts';
import { runInSandbox, type SandboxRun } from '../../builder/sandbox.ts';

export const MEBIBYTE = 1024 * 1024;
/** Debian's `nobody`, who has no file anywhere, and no control group. */
export const NOBODY = 65534;
export const isRoot = process.getuid?.() === 0;
export const base = mkdtempSync(join(tmpdir(), 'waybill-groups-'));
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

/** Makes what the tests of a file start from. */
export async function prepare(): Promise<void> {
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
}
export const clear = (): void => rmSync(base, { recursive: true, force: true });

/** What was delegated to the tests; skips a test where nothing was. */
export function delegated(context: TestContext): Delegation {
  const found = possible ? findDelegation() : undefined;
  if (found === undefined) return context.skip('no control group for memory and processes may be made here');
  return found;
}

/** The root of a hierarchy of version 2 that nobody else manages; skips a test where there is none. */
export function wholeHierarchy(context: TestContext): string {
  const { version, memory } = delegated(context);
  if (version === 1 || existsSync(join(memory, 'cgroup.type')))
    return context.skip('no hierarchy of version 2 to ourselves');
  return memory;
}

/** Groups of this process, or of another. */
export const groupsOf = ({ memory, pids }: Delegation, pid = process.pid): string[] =>
  [memory, pids].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => new RegExp(`^waybill-\\d+-${pid}-`).test(name))
      .map((name) => join(folder, name)),
  );

let runs = 0;
/** A run of a shell command under a control group, in folders of its own. */
export function runOf(command: string, more: Partial<SandboxRun>): SandboxRun {
  const work = join(base, `work-${++runs}`);
  const materials = join(base, `materials-${runs}`);
  for (const folder of [work, materials]) mkdirSync(folder);
  return {
    ...{ root, work, materials, command: ['/bin/sh', '-c', command] },
    ...{ environment: [], sourceDateEpoch: 0, timeoutMs: 60_000, boundBy: 'cgroup' },
    ...more,
  };
}
export const run = (command: string, more: Partial<SandboxRun> = {}) => runInSandbox(runOf(command, more));

interface Start {
  readonly uid?: number;
  readonly groups?: readonly string[];
  readonly before?: readonly string[];
  readonly stdin?: 'pipe';
}

/** Starts Node with a script that has the builder's exports: in groups, as another user, behind other words. */
export function start(script: string, how: Start = {}) {
  const from = (name: string) => JSON.stringify(join(modules, `${name}.mjs`));
  const text = `
    import { runInSandbox } from ${from('sandbox')};
    import { ControlGroup, probeLimits } from ${from('control-group')};
    import { findDelegation } from ${from('delegation')};
    import { probeSandbox } from ${from('preflight')};
    const told = (failure) => console.log(failure.code, failure.message);
    ${script}`;
  const { uid, groups = [], before = [], stdin = 'ignore' } = how;
  const become = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  const words = [...become, ...before, node, '--input-type=module', '-e', text];
  const enter = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
  return spawn('/bin/sh', ['-e', '-c', enter, 'sh', ...groups, '--', ...words], {
    ...{ cwd: '/', stdio: [stdin, 'pipe', 'inherit'] },
    env: { PATH: process.env.PATH, HOME: base },
  });
}

export async function outputOf(child: ChildProcess): Promise<string> {
  let shown = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
  });
  await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  return shown.trim();
}

/** Waits for the first line of the step, by when it is in its group. */
export const begun = (more: Partial<SandboxRun> = {}) => {
  let begin: () => void = () => {};
  const started = new Promise<void>((resolve) => {
    begin = resolve;
  });
  return { ...more, started, onLog: () => begin() };
};

/** A command that holds that much memory for some seconds. */
export const holding = (mebibytes: number): string => `perl -e 'vec($x, ${mebibytes} << 20, 8) = 1; sleep 5'`;
