// SPDX-License-Identifier: Apache-2.0
// The order of a build: preflight, roots, steps, SBOM, statements; everything beside the output folder, renamed at the end.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import { tracePath } from './audit.ts';
import type { Conditions } from './conditions.ts';
import type { BuildDefinition, StepDefinition } from './definition.ts';
import { BUILDER } from './faults.ts';
import { fetchPackages } from './fetch.ts';
import { checkLock, type Lock, type LockedPackage } from './lock-file.ts';
import { findMirror } from './mirror.ts';
import { type BuildSummary, type DoneStep, outputOf, writeFolder } from './output-folder.ts';
import { packageUrl } from './package-url.ts';
import { probeSandbox } from './preflight.ts';
import { removeTree } from './remove-tree.ts';
import { joinPackages, openRoot, type StepRoot } from './root.ts';
import type { BuildIdentity, StepFacts } from './statements.ts';
import { runStep, type StepContext } from './step.ts';
import { ContentStore } from './store.ts';
import { sweepLeftovers } from './sweep.ts';

export interface BuildRequest {
  readonly definition: BuildDefinition;
  readonly lock: Lock;
  /** The files as they were read: their digests are dependencies, and copies go into the output folder. */
  readonly definitionBytes: Uint8Array;
  readonly lockBytes: Uint8Array;
  /** The output folder; must not exist unless `replace`. */
  readonly out: string;
  /** Replace an earlier build, and nothing else. */
  readonly replace: boolean;
  /** Waybill's cache folder. */
  readonly cache: string;
  readonly builderId: string;
  readonly toolVersion: string;
  readonly mirror?: string | undefined;
  /** Trace what steps open, and build again with nothing but that. */
  readonly audit?: true | undefined;
  /** What is otherwise than always around the steps, for `waybill build --check`. */
  readonly conditions?: Conditions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (event: BuildEvent) => void;
}

export type BuildEvent =
  | { readonly kind: 'progress'; readonly text: string }
  | { readonly kind: 'log'; readonly step: string; readonly text: string }
  | { readonly kind: 'failed'; readonly step: string };

/** A build under way. */
interface Run {
  readonly request: BuildRequest;
  readonly identity: BuildIdentity;
  /** Beside the output folder; becomes it. */
  readonly beside: string;
  /** Work folders of the steps, under the cache. */
  readonly work: string;
  readonly store: ContentStore;
  readonly roots: Map<string, StepRoot>;
  readonly done: Map<string, DoneStep>;
  fetchedSizeBytes: number;
}

/**
 * Builds. On any failure the output folder is as it was before.
 * @throws LOCK_OUTDATED, BUILD_FOLDER_OCCUPIED, BUILD_FOLDER_UNWRITABLE, SANDBOX_…, FETCH_…, STEP_…, SBOM_…; the signal's reason
 */
export async function build(request: BuildRequest): Promise<BuildSummary> {
  const startedMs = performance.now();
  checkLock(request.definition, request.lock);
  const out = resolve(request.out);
  await checkOut(out, request.replace);
  const sandbox = {
    ...(await probeSandbox(request.signal)),
    sourceDateEpoch: request.definition.sourceDateEpoch,
  };
  const id = randomBytes(6).toString('hex');
  const run: Run = {
    request,
    identity: {
      builderId: request.builderId,
      invocationId: `urn:uuid:${randomUUID()}`,
      sandbox,
      definitionSha256: sha256(request.definitionBytes),
      lockSha256: sha256(request.lockBytes),
    },
    beside: join(dirname(out), `.${basename(out)}.${id}.new`),
    work: join(request.conditions?.workFolder ?? join(request.cache, 'work'), id),
    store: new ContentStore(request.cache),
    roots: new Map(),
    done: new Map(),
    fetchedSizeBytes: 0,
  };
  try {
    await Promise.all([mkdir(run.beside, { recursive: true }), mkdir(run.work, { recursive: true })]);
    await sweepLeftovers(request.cache);
    for (const step of request.definition.steps) await runOne(run, step);
    const summary = await writeFolder({ ...run, packageFile: (entry) => packageFile(run, entry) });
    await replaceOut(run.beside, out);
    return { ...summary, out, durationMs: Math.round(performance.now() - startedMs) };
  } catch (failure) {
    throw request.signal?.aborted === true ? request.signal.reason : asFault(failure);
  } finally {
    await Promise.all([removeTree(run.beside), removeTree(run.work)]);
  }
}

/** A failing disk is no bug of ours; anything else that is not a fault stays what it is. */
function asFault(failure: unknown): unknown {
  const code = (failure as NodeJS.ErrnoException).code;
  const disk = ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO', 'ENOTDIR'];
  if (failure instanceof Rejection || failure instanceof Unavailable || !disk.includes(code ?? ''))
    return failure;
  return BUILDER.unavailable(
    'BUILD_FOLDER_UNWRITABLE',
    `expected writable output and cache folders, got ${code} at ${quote((failure as NodeJS.ErrnoException).path ?? '')}`,
    { cause: failure },
  );
}

/** Refuses an output folder that is there. `build.json` marks a folder as an earlier build, which is all that `--force` may replace. */
export async function checkOut(out: string, replace: boolean): Promise<void> {
  const found = await lstat(out).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw asFault(cause);
  });
  if (found === undefined) return;
  const names = found.isDirectory() ? await readdir(out) : ['a file'];
  if (names.length === 0 || (replace && names.includes('build.json'))) return;
  const got = replace ? 'something that is no earlier build' : 'one that exists';
  throw BUILDER.reject('BUILD_FOLDER_OCCUPIED', `expected a new output folder ${quote(out)}, got ${got}`);
}

export async function replaceOut(beside: string, out: string): Promise<void> {
  const old = `${beside}.old`;
  const had = await rename(out, old).then(
    () => true,
    () => false,
  );
  try {
    await rename(beside, out);
  } catch (cause) {
    if (had) await rename(old, out);
    throw cause;
  }
  if (had) await removeTree(old);
}

async function runOne(run: Run, step: StepDefinition): Promise<void> {
  const { request } = run;
  const progress = (text: string) => request.onEvent?.({ kind: 'progress', text });
  const facts = describeStep(run, step);
  const root = await rootOf(run, facts);
  progress(`step ${step.name}`);
  try {
    const context: StepContext = {
      root,
      sourceDateEpoch: request.definition.sourceDateEpoch,
      folder: join(run.work, step.name),
      outputs: join(run.beside, 'outputs'),
      listWork: request.definition.evidence !== undefined,
      conditions: request.conditions,
      trace: request.audit === true ? tracePath(run.work, step.name) : undefined,
      signal: request.signal,
      onLog: (text) => request.onEvent?.({ kind: 'log', step: step.name, text }),
    };
    const result = await runStep(step, context);
    const outputs = result.outputs.map(({ file, sha256 }) => ({ name: file, sha256 }));
    // What a package publishes was compared already, and a pruned root need not hold it.
    const bare = { ...step, outputs: step.outputs.map(({ file, path }) => ({ file, path })) };
    const again: DoneStep['again'] = (changes) =>
      runStep(bare, { ...context, ...changes, trace: undefined, listWork: false });
    run.done.set(step.name, { facts: { ...facts, outputs }, root, result, again });
  } catch (failure) {
    request.onEvent?.({ kind: 'failed', step: step.name });
    throw failure;
  }
}

/** Packages with roles, and the digests of materials, of a step that is about to run. */
function describeStep(run: Run, step: StepDefinition): StepFacts {
  const { definition, lock } = run.request;
  const inputs = definition.inputs.filter(({ name }) => step.inputs.includes(name));
  const named = new Set(inputs.flatMap((input) => (input.role === 'source' ? input.packages : [])));
  const lists = inputs.map((input) => lock.inputs.find(({ name }) => name === input.name)?.packages ?? []);
  const distribution = new Map<LockedPackage, string>();
  for (const [i, input] of inputs.entries()) {
    for (const entry of lists[i] ?? []) distribution.set(entry, input.distribution);
  }
  return {
    step,
    outputs: [],
    packages: joinPackages(lists).map((entry) => ({
      entry,
      url: packageUrl(distribution.get(entry) ?? 'debian', entry),
      role: named.has(entry.name) ? 'source' : 'toolchain',
    })),
    materials: step.materials.map((material) => outputOf(run.done, material).sha256),
  };
}

/** The root of a step, checked once a build. */
async function rootOf(run: Run, facts: StepFacts): Promise<StepRoot> {
  const { request } = run;
  const packages = facts.packages.map(({ entry }) => entry);
  const key = packages.map(({ sha256 }) => sha256).join();
  const known = run.roots.get(key);
  if (known !== undefined) return known;
  const progress = (text: string) => request.onEvent?.({ kind: 'progress', text });
  const root = await openRoot(packages, {
    cache: request.cache,
    store: run.store,
    signal: request.signal,
    onProgress: progress,
    fetch: (wanted) => fetchWanted(run, wanted),
  });
  run.roots.set(key, root);
  return root;
}

/** Makes sure that the store holds packages. */
async function fetchWanted(run: Run, wanted: readonly LockedPackage[]): Promise<void> {
  const { request } = run;
  let shownMs = 0;
  const fetched = await fetchPackages(run.store, wanted, {
    mirrorOf: mirrors(request),
    signal: request.signal,
    onProgress: ({ count, of, sizeBytes }) => {
      if (count < of && performance.now() - shownMs < 1000) return;
      shownMs = performance.now();
      const text = `fetched ${count} of ${of} packages, ${(sizeBytes / 1e6).toFixed(1)} MB`;
      request.onEvent?.({ kind: 'progress', text });
    },
  });
  run.fetchedSizeBytes += fetched.fetchedSizeBytes;
}

/** The file of a package, fetched again if the cache has lost it. */
async function packageFile(run: Run, entry: LockedPackage): Promise<string> {
  await fetchWanted(run, [entry]);
  return run.store.path(entry.sha256);
}

/** Finds the mirror of a package's input, once an input. */
function mirrors(request: BuildRequest): (entry: LockedPackage) => Promise<string> {
  const found = new Map<string, Promise<string>>();
  return (entry) => {
    const holder = request.lock.inputs.find(({ packages }) => packages.includes(entry));
    const input = request.definition.inputs.find(({ name }) => name === holder?.name);
    if (input === undefined) throw new Error(`package ${entry.name} of no input`);
    const mirror = found.get(input.name) ?? findMirror(input, request);
    found.set(input.name, mirror);
    return mirror;
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
