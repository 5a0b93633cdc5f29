// SPDX-License-Identifier: Apache-2.0
// What steps left, by digest of all that they could see [docs/spec/step-cache.md]: a step of which nothing changed is not run again.

import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { arch, cpus } from 'node:os';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import type { StepDefinition } from './definition.ts';
import { KeptEntries } from './kept-entries.ts';
import { keepOutput, type TakenOutput } from './outputs.ts';
import { removeTree } from './remove-tree.ts';
import type { BuildIdentity } from './statements.ts';
import type { StepResult } from './step.ts';
import { ContentStore } from './store.ts';

/** All that decides what a step leaves. */
export interface StepClosure {
  readonly step: StepDefinition;
  readonly sandbox: BuildIdentity['sandbox'];
  /** Digest of all that the root is made from. */
  readonly rootKey: string;
  readonly inputs: readonly { readonly name: string; readonly key: string }[];
  /** Digest of each material, in the order of the step's `materials`. */
  readonly materials: readonly string[];
  readonly listWork: boolean;
}

const CACHE_VERSION = 1;

/** The key of a step, hex. */
export function stepKey(closure: StepClosure): string {
  const { step, sandbox, rootKey, inputs, materials, listWork } = closure;
  const key = {
    cacheVersion: CACHE_VERSION,
    waybill: codeSha256(),
    sandbox: { ...sandbox },
    machine: [arch(), cpus()[0]?.model ?? ''],
    root: rootKey,
    inputs: inputs.map(({ name, key }) => [name, key]),
    materials: step.materials.map(({ step: from, file }, i) => [from, file, materials[i] as string]),
    step: {
      command: [...step.command],
      environment: step.environment.map(([name, value]) => [name, value]),
      outputs: step.outputs.map(({ file, path }) => [file, path]),
      timeoutMs: step.timeoutMs,
      outputSizeBytesMax: step.outputSizeBytesMax,
      limits: { ...step.limits },
    },
    listWork,
  };
  return sha256(canonicalJsonBytes(key as Json));
}

let code: string | undefined;

/** Digest of the builder's code and of core's, which it uses; of the one file where all is bundled into one. */
export function codeSha256(): string {
  if (code !== undefined) return code;
  const here = import.meta.dirname;
  const folders = basename(here) === 'builder' ? [here, join(here, '..', 'core')] : [here];
  const hash = createHash('sha256');
  for (const folder of folders) {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((path) => /\.[jt]s$/.test(path)).sort()) {
      const bytes = readFileSync(join(folder, name));
      hash.update(`${name}\0${bytes.length}\n`).update(bytes);
    }
  }
  code = hash.digest('hex');
  return code;
}

/** What is kept of a step. Outputs are compared with what is published each time, so that is no part of it. */
type Kept = Pick<StepResult, 'outputs' | 'workFiles' | 'log'>;

/** The form in which it is kept. */
interface Entry {
  readonly outputs: readonly TakenOutput[];
  readonly workFiles: readonly (readonly [string, string])[];
  readonly log: string;
}

export class StepCache {
  readonly #entries: KeptEntries;
  readonly #outputs: ContentStore;

  /** `cache` is Waybill's cache folder. */
  constructor(cache: string) {
    this.#entries = new KeptEntries(join(cache, 'steps'));
    this.#outputs = new ContentStore(cache, 'steps');
  }

  /**
   * Lays the outputs of a kept step into `into`, and says what else it left; undefined if it is not there whole, or if its outputs are
   * others than `files`: no name out of an entry becomes a path.
   */
  async read(
    key: string,
    files: readonly string[],
    into: string,
    sourceDateEpoch: number,
  ): Promise<Kept | undefined> {
    const entry = (await this.#entries.read(key)) as Entry | undefined;
    const found = entry?.outputs.map(({ file }) => file);
    if (entry === undefined || !isDeepStrictEqual(found, files)) return undefined;
    const kept = { ...entry, workFiles: new Map(entry.workFiles) };
    // At one time: the disk is asked about each whether it is written.
    const laid = await Promise.allSettled([
      this.#entries.touch(key),
      ...kept.outputs.map((output) => this.#lay(output, into, sourceDateEpoch)),
    ]);
    if (laid.every(({ status }) => status === 'fulfilled')) return kept;
    // Missing or damaged, or there is no room: the step runs, and says so if it cannot.
    await removeTree(into);
    return undefined;
  }

  async #lay(output: TakenOutput, into: string, sourceDateEpoch: number): Promise<void> {
    const path = this.#outputs.path(output.sha256);
    const laid = await keepOutput(output.file, path, into, sourceDateEpoch);
    if (laid.sha256 !== output.sha256) throw new Error('an output that is not what it was');
    const now = new Date();
    await utimes(path, now, now);
  }

  /** Keeps a step that ended well; `from` holds its outputs. @throws FETCH_STORE_UNWRITABLE, or what the disk says */
  async write(key: string, { outputs, workFiles, log }: Kept, from: string): Promise<void> {
    for (const output of outputs) {
      await this.#outputs.take(output, output.file, createReadStream(join(from, output.file)));
    }
    const entry: Entry = { outputs, workFiles: [...workFiles], log };
    await this.#entries.write(key, entry);
  }
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
