// SPDX-License-Identifier: Apache-2.0
// Two bounds on what an image was made from. LOWER: files that evidence proves to have been used. UPPER: every file that was there.

import { type EvidenceStep, type InputFile, listFiles } from './input-files.ts';
import type { LockedPackage } from './lock-file.ts';
import { MADE_FILES } from './root.ts';

/** Whose a file is: the package, where the input is made of packages; else the input, by name. */
export type FileOwner = LockedPackage | string;

/** Tells owners apart: a digest, or a name, which no digest looks like. */
export function ownerKey(of: FileOwner): string {
  return typeof of === 'string' ? `/${of}` : of.sha256;
}

/** How the use of a file is known. */
export type Proof = 'line table' | 'compilation unit' | 'linker map' | 'depfile' | 'embedded';

/** A file of an input. */
export interface UsedFile {
  readonly of: FileOwner;
  /** In there, without leading slash. */
  readonly path: string;
  /** Sorted. */
  readonly proofs: readonly Proof[];
}

/** Collects the LOWER bound: each file once, with all that proves it. */
export class UsedFiles {
  readonly #files = new Map<string, { file: InputFile; proofs: Set<Proof> }>();

  add(file: InputFile, proof: Proof): void {
    const key = `${file.package?.sha256 ?? file.inputs[0] ?? ''}/${file.path}`;
    const known = this.#files.get(key) ?? { file, proofs: new Set<Proof>() };
    known.proofs.add(proof);
    this.#files.set(key, known);
  }

  /** Sorted by input and path. */
  list(): UsedFile[] {
    return [...this.#files.entries()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { file, proofs }]) => ({
        of: file.package ?? file.inputs[0] ?? '',
        path: file.path,
        proofs: [...proofs].sort(),
      }));
  }
}

/** A file that a step could see. */
export interface PresentFile {
  readonly of: FileOwner;
  readonly path: string;
}

/** The UPPER bound: every file of every input that a step could see, each once, in the steps' order. */
export function* presentFiles(steps: readonly EvidenceStep[]): Generator<PresentFile> {
  const seen = new Set<string>();
  for (const { root, mounted } of steps) {
    for (const [path, of] of root.owners) {
      const key = `${of.sha256}/${path}`;
      if (seen.has(key)) continue;
      seen.add(key);
      yield { of, path };
    }
    const image = root.image === undefined ? [] : [{ name: root.image, folder: root.folder }];
    for (const { name, folder } of [...image, ...mounted]) {
      if (seen.has(ownerKey(name))) continue;
      seen.add(ownerKey(name));
      for (const path of listFiles(folder)) {
        if (folder !== root.folder || !MADE_FILES.includes(path)) yield { of: name, path };
      }
    }
  }
}
