// SPDX-License-Identifier: Apache-2.0
// The order of a build: preflight, roots, steps, SBOM, statements; everything beside the output folder, renamed at the end.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import { BillCache } from './bill-cache.ts';
import { BuildInputs } from './build-inputs.ts';
import { type Run, runAll } from './build-steps.ts';
import type { Conditions } from './conditions.ts';
import type { BuildDefinition } from './definition.ts';
import { BUILDER } from './faults.ts';
import { checkLock, type Lock } from './lock-file.ts';
import { type BuildSummary, writeFolder } from './output-folder.ts';
import { type BuildSandbox, probeSandbox } from './preflight.ts';
import { removeTree } from './remove-tree.ts';
import type { BuildIdentity } from './statements.ts';
import { StepCache } from './step-cache.ts';
import { besideOut, replacedBy, sweepBeside, sweepLeftovers } from './sweep.ts';

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
  /** Folder of the definition, where folders of inputs start. Without it they come from the store, an archive or a registry. */
  readonly folder?: string | undefined;
  readonly mirror?: string | undefined;
  /** An archive base that keeps older packages than the mirror. */
  readonly snapshot?: string | undefined;
  /** A folder that keeps every input by digest: read first, and completed. */
  readonly archive?: string | undefined;
  /** Base URL of a registry that may have inputs by digest. */
  readonly registry?: string | undefined;
  /** Trace what steps open, and build again with nothing but that. */
  readonly audit?: true | undefined;
  /** What is otherwise than always around the steps, for `waybill build --check`. */
  readonly conditions?: Conditions | undefined;
  /** Run every step, whatever the cache holds of earlier runs. */
  readonly fresh?: true | undefined;
  /** Steps at one time at most; as many as there are CPUs where this is absent. */
  readonly jobs?: number | undefined;
  /** A folder to leave traces of the steps in, for `waybill build --check`. */
  readonly traces?: string | undefined;
  /** What the machine is found to be fit for, where somebody asks already. */
  readonly sandbox?: Promise<BuildSandbox> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (event: BuildEvent) => void;
}

export type BuildEvent =
  | { readonly kind: 'progress'; readonly text: string }
  | { readonly kind: 'log'; readonly step: string; readonly text: string }
  | { readonly kind: 'failed'; readonly step: string };

/**
 * Builds. On any failure the output folder is as it was before.
 * @throws LOCK_OUTDATED, BUILD_FOLDER_OCCUPIED, BUILD_FOLDER_INSIDE, BUILD_FOLDER_UNWRITABLE, SANDBOX_…, FETCH_…, STEP_…, SBOM_…; the signal's reason
 */
export async function build(request: BuildRequest): Promise<BuildSummary> {
  const startedMs = performance.now();
  checkLock(request.definition, request.lock);
  const out = resolve(request.out);
  await sweepBeside(out);
  await checkOut(out, request.replace);
  refuseOutInside(out, request);
  const id = randomBytes(6).toString('hex');
  const beside = besideOut(out, 'new');
  const work = join(request.conditions?.workFolder ?? join(request.cache, 'work'), id);
  const probe = request.sandbox ?? probeSandbox(request.signal);
  // It is waited for later, and something else may fail before.
  probe.catch(() => {});
  const inputs = new BuildInputs(request, probe);
  try {
    await Promise.all([mkdir(beside, { recursive: true }), mkdir(work, { recursive: true })]);
    await sweepLeftovers(request.cache);
    // What is here already is looked at while the machine is tried.
    const [sandbox] = await Promise.all([probe, inputs.prepare()]);
    const run: Run = {
      ...{ request, beside, work, inputs },
      identity: identityOf(request, sandbox),
      ...(mayReuse(request)
        ? { cache: new StepCache(request.cache), bills: new BillCache(request.cache) }
        : {}),
      done: new Map(),
    };
    await runAll(run);
    const summary = await writeFolder({ ...run, fetchedSizeBytes: inputs.fetchedSizeBytes });
    await replaceOut(beside, out);
    return { ...summary, out, durationMs: Math.round(performance.now() - startedMs) };
  } catch (failure) {
    throw request.signal?.aborted === true ? request.signal.reason : asFault(failure);
  } finally {
    await probe.catch(() => {});
    await Promise.all([removeTree(beside), removeTree(work)]);
  }
}

function identityOf(request: BuildRequest, sandbox: BuildSandbox): BuildIdentity {
  return {
    builderId: request.builderId,
    invocationId: `urn:uuid:${randomUUID()}`,
    sandbox: { ...sandbox, sourceDateEpoch: request.definition.sourceDateEpoch },
    definitionSha256: sha256(request.definitionBytes),
    lockSha256: sha256(request.lockBytes),
  };
}

/** What is written beside the output folder would be a change of the input. @throws BUILD_FOLDER_INSIDE */
function refuseOutInside(out: string, { definition, folder }: BuildRequest): void {
  for (const input of definition.inputs) {
    if (input.kind !== 'folder' || folder === undefined) continue;
    if (!`${dirname(out)}/`.startsWith(`${resolve(folder, input.path).replace(/\/$/, '')}/`)) continue;
    throw BUILDER.reject(
      'BUILD_FOLDER_INSIDE',
      `expected an output folder outside of the folder of input ${quote(input.name)}, got ${quote(out)}`,
    );
  }
}

/** A failing disk is no bug of ours; anything else that is not a fault stays what it is. */
function asFault(failure: unknown): unknown {
  const { code, path, syscall } = failure as NodeJS.ErrnoException;
  // What cannot be made below a folder that is read-only is said not to be there.
  const unmade = code === 'ENOENT' && syscall === 'mkdir' ? ['ENOENT'] : [];
  const disk = [...unmade, 'ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO', 'ENOTDIR'];
  if (failure instanceof Rejection || failure instanceof Unavailable || !disk.includes(code ?? ''))
    return failure;
  // A file that was open already has no path any more.
  const at = path === undefined ? '' : ` at ${quote(path)}`;
  return BUILDER.unavailable(
    'BUILD_FOLDER_UNWRITABLE',
    `expected writable output and cache folders, got ${code}${at}`,
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
  const old = replacedBy(beside);
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

/** Checks, audits and rebuilds are there to see what steps do. */
function mayReuse({ conditions, audit, traces, fresh }: BuildRequest): boolean {
  return conditions === undefined && audit !== true && traces === undefined && fresh !== true;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
