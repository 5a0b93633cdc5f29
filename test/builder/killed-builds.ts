// SPDX-License-Identifier: Apache-2.0
// Rounds of `waybill build`, two at once on one cache, killed with SIGKILL at random moments; after each round the next build must
// be as if nothing had happened.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { build } from '../../builder/build.ts';
import { faultsOfCache, faultsOfOutput, leftoversOf, readOutput, type SmallBuild } from './small-build.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
/** Time for the processes of a killed builder to be gone. */
const DEATH_TIMEOUT_MS = 20_000;

/** What a round finds in the cache: how far a build gets before it is killed depends on it. */
const STARTS = {
  'an empty cache': () => true,
  'a cache without trees': (path: string) => path === 'roots',
  'a cache without steps': (path: string) => path === 'steps',
  'a full cache': () => false,
} as const;
type Start = keyof typeof STARTS;

/** How builders ended, over all rounds. */
export interface Ends {
  killed: number;
  finished: number;
}

/** Runs rounds and asserts after each. Throws at the first that leaves something wrong, naming the start and the moments. */
export async function runKillRounds(small: SmallBuild, rounds: number): Promise<Ends> {
  const cache = join(small.folder, 'cache', 'waybill');
  const durationMs = {} as Record<Start, number>;
  const ends: Ends = { killed: 0, finished: 0 };
  const starts = Object.keys(STARTS) as Start[];
  for (const start of starts) {
    prepare(cache, start);
    const begun = performance.now();
    await Promise.all([1, 2].map((i) => endOf(startBuilder(small, `undisturbed-${i}`)))).then((codes) =>
      expect(codes).toEqual([0, 0]),
    );
    durationMs[start] = performance.now() - begun;
    removeOutputs(small);
  }
  for (let round = 0; round < rounds; round++) {
    const start = starts[round % starts.length] as Start;
    prepare(cache, start);
    await killRound(small, cache, start, durationMs[start], ends);
  }
  return ends;
}

function prepare(cache: string, start: Start): void {
  if (!existsSync(cache)) return;
  for (const name of readdirSync(cache))
    if (STARTS[start](name)) rmSync(join(cache, name), { recursive: true, force: true });
}

async function killRound(
  small: SmallBuild,
  cache: string,
  start: Start,
  durationMs: number,
  ends: Ends,
): Promise<void> {
  // The second may live: then it must not notice how the first died.
  const moments = [moment(durationMs), Math.random() < 0.5 ? moment(durationMs) : undefined];
  const builders = moments.map((_, i) => startBuilder(small, `out-${i}`));
  const codes = await Promise.all(builders.map((builder, i) => endOf(builder, moments[i])));
  const what = `${start}, killed after ${moments.map((ms) => (ms === undefined ? 'never' : `${Math.round(ms)} ms`)).join(' and ')}`;
  for (const code of codes) ends[code === 'SIGKILL' ? 'killed' : 'finished']++;
  expect(
    codes.every((code, i) => code === 0 || (code === 'SIGKILL' && moments[i] !== undefined)),
    `${what}: ${codes}`,
  ).toBe(true);
  const outs = codes.map((_, i) => join(small.folder, 'outs', `out-${i}`));
  for (const [i, out] of outs.entries()) {
    expect([what, faultsOfOutput(out, small.expected)]).toEqual([what, []]);
    if (codes[i] === 0) expect([what, existsSync(out)]).toEqual([what, true]);
  }
  await expectNoProcess(small.folder, what);
  const next = join(small.folder, 'outs/next');
  await build({ ...small.request, cache, out: next });
  expect([what, readOutput(next)]).toEqual([what, small.expected]);
  expect([what, faultsOfCache(cache)]).toEqual([what, []]);
  removeOutputs(small);
  for (const path of leftoversOf(join(small.folder, 'outs'), cache))
    rmSync(join(cache, path), { recursive: true, force: true });
}

/** Any moment of a build's life but its first quarter, in which Node loads it. */
function moment(durationMs: number): number {
  return durationMs * (0.25 + 0.75 * Math.random());
}

/** The command, on the small build; it dies with nobody. */
export function startBuilder(small: SmallBuild, out: string): ChildProcess {
  const words = ['build', '--out', join('outs', out), '--builder-id', small.request.builderId];
  const environment = {
    XDG_CACHE_HOME: join(small.folder, 'cache'),
    WAYBILL_MIRROR: small.mirror,
    // Most of a short life would go into loading otherwise.
    NODE_COMPILE_CACHE: join(small.folder, 'compiled'),
  };
  return spawn(process.execPath, [WAYBILL, ...words], {
    cwd: small.folder,
    env: { ...process.env, ...environment },
    stdio: 'ignore',
  });
}

/** Its exit code, or the signal that ended it; killed when its moment comes. */
async function endOf(builder: ChildProcess, killAfterMs?: number): Promise<number | NodeJS.Signals | null> {
  const timer =
    killAfterMs === undefined ? undefined : setTimeout(() => builder.kill('SIGKILL'), killAfterMs);
  const code = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    builder.once('error', reject);
    builder.once('exit', (code, signal) => resolve(code ?? signal));
  });
  clearTimeout(timer);
  return code;
}

/** A builder's death is that of its sandboxes and tools. */
async function expectNoProcess(folder: string, what: string): Promise<void> {
  const until = performance.now() + DEATH_TIMEOUT_MS;
  let found = processesAbout(folder);
  while (found.length > 0 && performance.now() < until) {
    await sleep(50);
    found = processesAbout(folder);
  }
  expect([what, found]).toEqual([what, []]);
}

/** Command lines of processes that name a folder there, or see one mounted. */
function processesAbout(folder: string): string[] {
  const read = (path: string) => {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      // It has just ended, or is another user's.
      return '';
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map((pid) => ({ words: read(`/proc/${pid}/cmdline`), mounts: read(`/proc/${pid}/mountinfo`) }))
    .filter(({ words, mounts }) => words.includes(folder) || mounts.includes(folder))
    .map(({ words }) => words.replaceAll('\0', ' ').trim());
}

function removeOutputs(small: SmallBuild): void {
  const outs = join(small.folder, 'outs');
  for (const name of readdirSync(outs)) rmSync(join(outs, name), { recursive: true, force: true });
}
