// SPDX-License-Identifier: Apache-2.0
// What steps left, by digest of all that they could see [docs/spec/step-cache.md]: a step of which nothing changed is not run again.

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, globSync, readFileSync } from 'node:fs';
import { open, readFile, rename, rm, utimes } from 'node:fs/promises';
import { arch, cpus } from 'node:os';
import { basename, join } from 'node:path';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import type { StepDefinition } from './definition.ts';
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
function codeSha256(): string {
  if (code !== undefined) return code;
  const here = import.meta.dirname;
  const folders = basename(here) === 'builder' ? [here, join(here, '..', 'core')] : [here];
  const hash = createHash('sha256');
  for (const folder of folders) {
    for (const name of globSync('**/*.{ts,js}', { cwd: folder }).sort()) {
      hash.update(`${name}\0${sha256(readFileSync(join(folder, name)))}\n`);
    }
  }
  code = hash.digest('hex');
  return code;
}

/** What is kept of a step. Outputs are compared with what is published each time, so that is no part of it. */
type Kept = Pick<StepResult, 'outputs' | 'workFiles' | 'log'>;

export class StepCache {
  readonly #folder: string;
  readonly #outputs: ContentStore;

  /** `cache` is Waybill's cache folder. */
  constructor(cache: string) {
    this.#folder = join(cache, 'steps');
    this.#outputs = new ContentStore(cache, 'steps');
  }

  /** Lays the outputs of a kept step into `into`, and says what else it left; undefined if it is not there whole. */
  async read(key: string, into: string, sourceDateEpoch: number): Promise<Kept | undefined> {
    const kept = await this.#readEntry(key);
    if (kept === undefined) return undefined;
    const now = new Date();
    try {
      for (const output of kept.outputs) {
        const path = this.#outputs.path(output.sha256);
        const laid = await keepOutput(output.file, path, into, sourceDateEpoch);
        if (laid.sha256 === output.sha256) await utimes(path, now, now);
        else throw new Error('an output that is not what it was');
      }
      await utimes(join(this.#folder, key), now, now);
      return kept;
    } catch {
      // Missing or damaged, or there is no room: the step runs, and says so if it cannot.
      await removeTree(into);
      return undefined;
    }
  }

  /** Keeps a step that ended well; `from` holds its outputs. @throws FETCH_STORE_UNWRITABLE, or what the disk says */
  async write(key: string, { outputs, workFiles, log }: Kept, from: string): Promise<void> {
    for (const output of outputs) {
      await this.#outputs.take(output, output.file, createReadStream(join(from, output.file)));
    }
    const body = JSON.stringify({ outputs, workFiles: [...workFiles], log });
    const beside = join(this.#folder, `new-${randomBytes(8).toString('hex')}`);
    try {
      const file = await open(beside, 'wx');
      try {
        await file.writeFile(`${sha256(body)}\n${body}`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, join(this.#folder, key));
    } finally {
      await rm(beside, { force: true });
    }
  }

  async #readEntry(key: string): Promise<Kept | undefined> {
    const path = join(this.#folder, key);
    const text = await readFile(path, 'utf8').catch(() => '');
    const body = text.slice(65);
    // A damaged one is written over when the step has run.
    if (text.slice(0, 65) !== `${sha256(body)}\n`) return undefined;
    const { outputs, workFiles, log } = JSON.parse(body) as {
      outputs: TakenOutput[];
      workFiles: [string, string][];
      log: string;
    };
    return { outputs, workFiles: new Map(workFiles), log };
  }
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
