// SPDX-License-Identifier: Apache-2.0
// A builder that is killed takes its sandbox along, whatever that was doing: nothing runs on, and nothing waits for ever.

import { execFileSync, spawn } from 'node:child_process';
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { SandboxRun } from '../../builder/sandbox.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-death-'));
const root = join(base, 'root');
const SANDBOX = new URL('../../builder/sandbox.ts', import.meta.url).href;
/** Longer than a busy machine takes to kill. */
const DEATH_TIMEOUT_MS = 20_000;

beforeAll(() => {
  chmodSync(base, 0o755);
  for (const name of ['bin', 'proc', 'dev', 'tmp', 'build', 'materials', 'etc'])
    mkdirSync(join(root, name), { recursive: true });
  const source = join(base, 'step.c');
  writeFileSync(
    source,
    '#include <fcntl.h>\n#include <unistd.h>\nint main(void) { creat("/build/ran", 0644); return pause(); }\n',
  );
  execFileSync('gcc', ['-static', '-O1', '-o', join(root, 'bin/step'), source]);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** A tool of the builder's that says that it was called and takes its time, if its first argument is such. */
const slowly = (name: string, first: string, said: string) => `#!/bin/sh
case "$1" in
  ${first}) : >${said}; sleep 2 ;;
esac
exec ${execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()} "$@"
`;

/** Processes with a word in their command lines. */
function processesWith(word: string): { pid: number; words: string }[] {
  const read = (pid: string) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    } catch {
      // It has just ended.
      return '';
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid: Number(pid), words: read(pid).replaceAll('\0', ' ') }))
    .filter(({ words }) => words.includes(word));
}

async function until(holds: () => boolean): Promise<void> {
  for (const end = performance.now() + DEATH_TIMEOUT_MS; !holds() && performance.now() < end; )
    await new Promise((resolve) => setTimeout(resolve, 20));
}

const MOMENTS: readonly [
  what: string,
  slow: [tool: string, first: string] | undefined,
  more: Partial<SandboxRun>,
][] = [
  ['before there is a sandbox', ['bwrap', '--args'], {}],
  ['before the step may begin', ['prlimit', '--pid=*'], {}],
  ['while the step runs', undefined, {}],
  ['while the step runs under a tracer', undefined, { trace: join(base, 'trace') }],
];

test.each(MOMENTS)(
  'a builder is killed %s',
  async (_, slow, more) => {
    const own = mkdtempSync(join(base, 'run-'));
    // The user of steps says something, too.
    chmodSync(own, 0o777);
    const [work, materials, tools, said] = ['work', 'materials', 'tools', 'said'].map((name) =>
      join(own, name),
    ) as [string, string, string, string];
    for (const folder of [work, materials, tools]) mkdirSync(folder);
    if (slow !== undefined) writeFileSync(join(tools, slow[0]), slowly(...slow, said), { mode: 0o755 });
    const token = `waybill-death-${process.pid}-${own.slice(-6)}`;
    const run: SandboxRun = {
      ...{ root, work, materials, command: ['/bin/step', token], environment: [], sourceDateEpoch: 0 },
      ...{ timeoutMs: 600_000, ...more },
    };
    const script = `import { runInSandbox } from ${JSON.stringify(SANDBOX)}; await runInSandbox(JSON.parse(process.env.RUN));`;
    const builder = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      env: { ...process.env, PATH: `${tools}:${process.env.PATH}`, RUN: JSON.stringify(run) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    onTestFinished(() => {
      for (const { pid } of processesWith(token)) process.kill(pid, 'SIGKILL');
    });
    const ran = join(work, 'ran');
    await until(() => existsSync(slow === undefined ? ran : said) || builder.exitCode !== null);
    expect(processesWith(token)).not.toEqual([]);
    builder.kill('SIGKILL');
    await until(() => processesWith(token).length === 0);
    expect(processesWith(token)).toEqual([]);
    // All of them are gone: none can begin any more.
    expect(existsSync(ran)).toBe(slow === undefined);
  },
  120_000,
);
