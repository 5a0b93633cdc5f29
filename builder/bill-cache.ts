// SPDX-License-Identifier: Apache-2.0
// SBOMs that were made before, by digest of all that they are made from [docs/spec/step-cache.md §SBOMs]. Loads nothing that makes
// them: where nothing changed there is nothing to make.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import library from '@cyclonedx/cyclonedx-library/package.json' with { type: 'json' };
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import type { ProductDefinition } from './definition.ts';
import type { FinishedRun } from './finished-run.ts';
import { KeptEntries } from './kept-entries.ts';
import { codeSha256 } from './step-cache.ts';

/** An SBOM, with the names of the components of which bytes are shown to be in the image, the product's own left out. */
export interface KeptBill {
  readonly sbom: Uint8Array;
  readonly ships: readonly string[];
}

export class BillCache {
  readonly #entries: KeptEntries;

  /** `cache` is Waybill's cache folder. */
  constructor(cache: string) {
    this.#entries = new KeptEntries(join(cache, 'sboms'));
  }

  /** Undefined if it is not there whole. */
  async read(key: string): Promise<KeptBill | undefined> {
    const kept = (await this.#entries.read(key)) as { sbom: string; ships: string[] } | undefined;
    if (kept === undefined) return undefined;
    // Without it the entry is used all the same.
    await this.#entries.touch(key).catch(() => undefined);
    return { sbom: Buffer.from(kept.sbom), ships: kept.ships };
  }

  /** @throws what the disk says */
  async write(key: string, { sbom, ships }: KeptBill): Promise<void> {
    await this.#entries.write(key, { sbom: Buffer.from(sbom).toString('utf8'), ships });
  }
}

/** The key of an image's SBOM, hex: of all that `makeBill` reads where nobody traced the steps. */
export function billKey(run: FinishedRun, { image }: ProductDefinition): string {
  const { definition, toolVersion } = run.request;
  const key = {
    bill: 1,
    waybill: codeSha256(),
    library: library.version,
    toolVersion,
    definition: sha256(JSON.stringify(definition)),
    lock: run.identity.lockSha256,
    image: [image.step, image.file],
    steps: [...run.done].map(([name, { root, mounted = [], result, comparisons }]) => ({
      name,
      root: root.key,
      inputs: mounted.map((tree) => [tree.name, tree.key]),
      outputs: result.outputs.map(({ file, sha256: digest }) => [file, digest]),
      workFiles: sha256(JSON.stringify([...result.workFiles])),
      comparisons: sha256(JSON.stringify(comparisons)),
    })),
  };
  return sha256(canonicalJsonBytes(key as Json));
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
