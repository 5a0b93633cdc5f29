// SPDX-License-Identifier: Apache-2.0
// A hermetic build of 300 small translation units, beside the same command outside any sandbox, under bare bubblewrap, and under strace;
// SBOM, audit, and a build with nothing to do, in the same run.

import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../builder/store.ts';
import { openProject, UNIT_COUNT } from './builder/project.ts';
import { layPackage, runBuild } from './builder/published.ts';
import {
  type Bench,
  openBench,
  runAsStep,
  runBubblewrapped,
  runOutside,
  runTraced,
  type Taken,
} from './builder/ways.ts';
import { type Figure, figure, median, pairedFigure } from './figure.ts';

const ROUNDS = 9;
/** What takes several times as long as the command. */
const LONG_ROUNDS = 2;
const NOTHING_ROUNDS = 9;

/** Figures of the builder. Packages and unpacked roots stay beside Waybill's own cache, so that the next run starts at once. */
export async function bench(): Promise<Figure[]> {
  const base = join(dirname(cacheFolder(process.env, homedir())), 'waybill-bench');
  const project = await openProject(base, say);
  const opened = await openBench(project, say);
  const place = { folder: join(base, 'package'), base };
  await layPackage(place.folder);
  const runs = await measureRuns(opened);
  const bill = await measureBill(opened, place);
  const builds = await measureBuilds(project.path, place);
  return [
    ...stepFigures(runs),
    billFigure(bill, runs),
    ...auditFigures(runs, builds),
    ...buildFigures(runs, builds),
  ];
}

/** The runs of each way; the n-th of one is beside the n-th of the others. */
type Runs = Readonly<
  Record<'outside' | 'bubblewrap' | 'step' | 'clocked' | 'audited' | 'strace', readonly Taken[]>
>;

/** The ways take turns, forth and back, so that a machine that slows down slows all of them. */
async function measureRuns(bench: Bench): Promise<Runs> {
  const ways: { readonly [W in keyof Runs]: () => Promise<Taken> } = {
    outside: () => runOutside(bench),
    bubblewrap: () => runBubblewrapped(bench),
    step: () => runAsStep(bench, { clock: false }),
    clocked: () => runAsStep(bench, { clock: true }),
    audited: () => runAsStep(bench, { clock: true, trace: true }),
    strace: () => runTraced(bench),
  };
  const names = Object.keys(ways) as (keyof Runs)[];
  const taken = Object.fromEntries(names.map((way) => [way, [] as Taken[]])) as Record<keyof Runs, Taken[]>;
  // The first one fills the page cache and does not count.
  await ways.outside();
  for (let round = 1; round <= ROUNDS; round++) {
    say(`round ${round} of ${ROUNDS}`);
    for (const way of round % 2 === 0 ? [...names].reverse() : names) {
      if (way === 'strace' && round > 1) continue;
      if (way === 'audited' && round > LONG_ROUNDS) continue;
      taken[way].push(await ways[way]());
    }
  }
  return taken;
}

/** Where the package is, and the cache. */
interface Place {
  readonly folder: string;
  readonly base: string;
}

/** Milliseconds that the SBOM takes in a new process. */
async function measureBill(bench: Bench, { folder, base }: Place): Promise<number> {
  const kept = join(bench.scratch, 'kept');
  const script = join(import.meta.dirname, 'builder/bill-alone.ts');
  const times: number[] = [];
  try {
    await runAsStep(bench, { clock: true, keep: kept });
    for (let round = 1; round <= ROUNDS; round++) {
      const { stdout } = await promisify(execFile)(process.execPath, [script, base, folder, kept]);
      const { wallMs, proved } = JSON.parse(stdout) as { wallMs: number; proved: number };
      if (proved !== UNIT_COUNT) throw new Error(`expected ${UNIT_COUNT} units in the SBOM, got ${proved}`);
      times.push(wallMs);
    }
  } finally {
    await rm(kept, { recursive: true, force: true });
  }
  return median(times);
}

/** Milliseconds of whole processes. */
interface Builds {
  readonly whole: number;
  readonly audited: number;
  readonly nothing: number;
}

async function measureBuilds(path: string, place: Place): Promise<Builds> {
  const out = join(place.base, 'out');
  const once = async (...args: string[]) => {
    await rm(out, { recursive: true, force: true });
    await mkdir(dirname(out), { recursive: true });
    return runBuild(place, path, '--out', out, ...args);
  };
  const builds: Record<keyof Builds, number[]> = { whole: [], audited: [], nothing: [] };
  // Fills the cache of steps.
  await once();
  for (let round = 1; round <= LONG_ROUNDS; round++) {
    say(`whole builds, round ${round} of ${LONG_ROUNDS}`);
    builds.whole.push((await once('--no-cache')).wallMs);
    builds.audited.push((await once('--audit')).wallMs);
  }
  for (let round = 1; round <= NOTHING_ROUNDS; round++) {
    const { wallMs, summary } = await once();
    if (!summary.steps.every(({ reused }) => reused))
      throw new Error('expected nothing to do, got a step that ran');
    builds.nothing.push(wallMs);
  }
  await rm(out, { recursive: true, force: true });
  return { whole: median(builds.whole), audited: median(builds.audited), nothing: median(builds.nothing) };
}

const OUTSIDE = 'the same command outside any sandbox';

function stepFigures({ outside, bubblewrap, step, clocked }: Runs): Figure[] {
  const wall = (
    name: string,
    runs: readonly Taken[],
    rival: string,
    rivalRuns: readonly Taken[],
    target: number,
  ) => paired(name, runs, rival, rivalRuns, 'wallMs', target);
  const cpu = (name: string, runs: readonly Taken[], target: number) =>
    paired(`${name}, user and system time`, runs, OUTSIDE, outside, 'cpuMs', target);
  const units = `${UNIT_COUNT} units as a hermetic step`;
  return [
    wall(units, step, OUTSIDE, outside, 1.03),
    cpu(units, step, 1.03),
    wall(units, step, 'under bare bubblewrap', bubblewrap, 1.03),
    wall(`${units}, with the clock library`, clocked, OUTSIDE, outside, 1.06),
    cpu(`${units}, with the clock library`, clocked, 1.06),
  ];
}

function billFigure(billMs: number, { step }: Runs): Figure {
  return figure({ ...seconds('SBOM of those units', billMs, 'the step', wallOf(step)), target: 0.1 });
}

function auditFigures({ audited, clocked, strace }: Runs, builds: Builds): Figure[] {
  return [
    paired('audit: the step traced', audited, 'not traced', clocked, 'wallMs', 2),
    paired('audit: the step traced', audited, 'strace -f -e %file,%process', strace, 'wallMs', 1),
    // Traced, and built once more with the files that the SBOM names.
    figure({
      ...seconds('waybill build --audit', builds.audited, 'waybill build', builds.whole),
      target: 3.5,
    }),
  ];
}

function buildFigures({ outside }: Runs, builds: Builds): Figure[] {
  return [
    figure({
      ...seconds('waybill build, clock library and SBOM included', builds.whole, OUTSIDE, wallOf(outside)),
      target: 1.25,
    }),
    figure({ ...seconds('waybill build with nothing to do', builds.nothing, 'limit', 400), target: 1 }),
  ];
}

function wallOf(runs: readonly Taken[]): number {
  return median(runs.map(({ wallMs }) => wallMs));
}

/** Runs beside those of a rival; where one has fewer, as many of the other. */
function paired(
  name: string,
  runs: readonly Taken[],
  rival: string,
  rivalRuns: readonly Taken[],
  time: keyof Taken,
  target: number,
): Figure {
  const count = Math.min(runs.length, rivalRuns.length);
  const of = (taken: readonly Taken[]) => taken.slice(0, count).map((one) => one[time] / 1000);
  return pairedFigure({ name, rival, target, unit: 's', better: 'smaller' }, of(runs), of(rivalRuns));
}

function seconds(name: string, valueMs: number, rival: string, rivalMs: number) {
  const common = { unit: 's', better: 'smaller' } as const;
  return { ...common, name, value: valueMs / 1000, rival, rivalValue: rivalMs / 1000 };
}

function say(text: string): void {
  process.stderr.write(`    ${text}\n`);
}
