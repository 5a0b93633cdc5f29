// SPDX-License-Identifier: Apache-2.0
// One command over one toolchain, run in different ways: outside any sandbox, under bare bubblewrap, under plain strace, as a step.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { BuildRequest } from '../../builder/build.ts';
import { BuildInputs, type MountedInputTree } from '../../builder/build-inputs.ts';
import type { StepDefinition } from '../../builder/definition.ts';
import { probeSandbox } from '../../builder/preflight.ts';
import type { StepRoot } from '../../builder/root.ts';
import type { StepFacts } from '../../builder/statements.ts';
import { runStep } from '../../builder/step.ts';
import type { SandboxLimits } from '../../core/intoto/provenance.ts';
import { COMMAND, type Project } from './project.ts';

/** What one run took. */
export interface Taken {
  readonly wallMs: number;
  /** User and system time of the command and all that it started, and of Waybill's own process where it is the one that runs it. */
  readonly cpuMs: number;
}

/** The project, with all that its step sees. */
export interface Bench {
  readonly project: Project;
  readonly step: StepDefinition;
  readonly facts: StepFacts;
  readonly root: StepRoot;
  readonly mounted: MountedInputTree;
  /** What bounds a step on this machine. */
  readonly boundBy: SandboxLimits;
  /** Folders of runs, on the disk that Waybill's work folders are on. */
  readonly scratch: string;
}

/** Says at its end what it took. */
const TIMED = `${COMMAND} && times`;
const SHELL = ['/bin/sh', '-c', `cd /build && ${TIMED}`];
const ENVIRONMENT = {
  PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
  HOME: '/build',
  LC_ALL: 'C',
  TZ: 'UTC',
  TMPDIR: '/tmp',
};

/** Opens the inputs of the project, which are fetched and unpacked the first time. */
export async function openBench(project: Project, onProgress: (text: string) => void): Promise<Bench> {
  const { definition, cache } = project;
  const onEvent: BuildRequest['onEvent'] = (event) => event.kind === 'progress' && onProgress(event.text);
  const told = { out: '', replace: false, builderId: '', toolVersion: '' };
  const fit = probeSandbox();
  const inputs = new BuildInputs({ ...project, ...told, onEvent }, fit);
  const step = definition.steps[0] as StepDefinition;
  const facts: StepFacts = { step, outputs: [], materials: [], ...inputs.describe(step) };
  const root = await inputs.openRoot(
    step,
    facts.packages.map(({ entry }) => entry),
  );
  const [mounted] = await inputs.openMounts(step);
  if (mounted === undefined) throw new Error('a step without its sources');
  const scratch = join(cache, 'bench');
  await mkdir(scratch, { recursive: true });
  const { limits: boundBy } = await fit;
  return { project, step, facts, root, mounted, boundBy, scratch };
}

/**
 * The root as the file system of the command, in a mount namespace of its own and with nothing else around it: the same programs and
 * files as in the sandbox.
 */
const OUTSIDE = `
root=$1 work=$2 firmware=$3
shift 3
mount --bind "$work" "$root/build"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/inputs"
mkdir "$root/inputs/firmware"
mount --bind "$firmware" "$root/inputs/firmware"
mount --rbind /dev "$root/dev"
echo ready
read -r go
exec "$@"`;

/** Runs the command outside any sandbox; `before` are words of the host to put before it. What comes before it begins is not counted. */
export async function runOutside(bench: Bench, before: readonly string[] = []): Promise<Taken> {
  const unprivileged = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return inFolder(bench, async (work) => {
    const { root, mounted } = bench;
    const words = [...before, 'chroot', root.folder, ...SHELL];
    const around = [...unprivileged, '--mount', '--', '/bin/sh', '-e', '-c', OUTSIDE, 'sh'];
    const child = spawn('unshare', [...around, root.folder, work, mounted.folder, ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: ENVIRONMENT,
    });
    await new Promise<void>((resolve) => child.stdout.once('readable', () => resolve()));
    const startedMs = performance.now();
    child.stdin.end('go\n');
    return { cpuMs: cpuOf(await text(child.stdout)), wallMs: performance.now() - startedMs };
  });
}

/** The same, seen by strace as anybody would have it look at files and processes. */
export function runTraced(bench: Bench): Promise<Taken> {
  return runOutside(bench, ['strace', '-f', '-qq', '-e', 'trace=%file,%process', '-o', '/dev/null', '--']);
}

/** Runs the command in all of bubblewrap's namespaces, with the root read-only, and nothing more. */
export async function runBubblewrapped(bench: Bench): Promise<Taken> {
  return inFolder(bench, async (work) => {
    const environment = Object.entries(ENVIRONMENT).flatMap(([name, value]) => ['--setenv', name, value]);
    const mounts = [
      '--ro-bind',
      bench.root.folder,
      '/',
      '--dev',
      '/dev',
      '--proc',
      '/proc',
      '--tmpfs',
      '/tmp',
    ];
    const own = [
      '--tmpfs',
      '/inputs',
      '--ro-bind',
      bench.mounted.folder,
      '/inputs/firmware',
      '--bind',
      work,
      '/build',
    ];
    const words = [
      '--unshare-all',
      '--die-with-parent',
      '--clearenv',
      ...environment,
      ...mounts,
      ...own,
      ...SHELL,
    ];
    const startedMs = performance.now();
    const child = spawn('bwrap', words, { stdio: ['ignore', 'pipe', 'inherit'] });
    return { cpuMs: cpuOf(await text(child.stdout)), wallMs: performance.now() - startedMs };
  });
}

export interface StepWay {
  /** With the clock library preloaded; the root holds it either way. */
  readonly clock: boolean;
  /** Traced as by `waybill build --audit`. */
  readonly trace?: true;
  /** Where what it leaves is kept: `work/build` and `outputs/`. */
  readonly keep?: string;
}

/** Runs the command as a step of a build: from an empty folder to outputs taken and hashed. */
export async function runAsStep(bench: Bench, way: StepWay): Promise<Taken> {
  const { step, root, mounted, project } = bench;
  // Without the package the step does not know that there is a library.
  const owners = [...root.owners].filter(([, { name }]) => way.clock || name !== 'libfaketime');
  return inFolder(bench, async (own) => {
    const folder = way.keep ?? own;
    const [startedMs, before] = [performance.now(), process.cpuUsage()];
    const { log } = await runStep(
      { ...step, command: ['/bin/sh', '-c', TIMED] },
      {
        root: { ...root, owners: new Map(owners) },
        inputs: [mounted],
        sourceDateEpoch: project.definition.sourceDateEpoch,
        folder: join(folder, 'work'),
        outputs: join(folder, 'outputs'),
        listWork: true,
        elsewhere: async () => [],
        boundBy: bench.boundBy,
        trace: way.trace === true ? join(own, 'trace') : undefined,
      },
    );
    const wallMs = performance.now() - startedMs;
    const { user, system } = process.cpuUsage(before);
    return { wallMs, cpuMs: cpuOf(log) + (user + system) / 1000 };
  });
}

async function inFolder(bench: Bench, run: (folder: string) => Promise<Taken>): Promise<Taken> {
  const folder = await mkdtemp(join(bench.scratch, 'run-'));
  try {
    return await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The children's times, in milliseconds, of what the shell's `times` says last. */
function cpuOf(log: string): number {
  const found = [...log.trim().matchAll(/(\d+)m([\d.]+)s/g)].slice(-2);
  if (found.length < 2)
    throw new Error(`expected the command to succeed, got ${JSON.stringify(log.slice(-500))}`);
  return found.reduce(
    (sum, [, minutes, seconds]) => sum + 60_000 * Number(minutes) + 1000 * Number(seconds),
    0,
  );
}
