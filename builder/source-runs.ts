// SPDX-License-Identifier: Apache-2.0
// Which source file each run of code came from, by the object that brought it: DWARF line tables, or stabs.

import { type LineTable, readLineTables } from './dwarf-lines.ts';
import type { Elf } from './elf.ts';
import type { Contribution } from './linker-map.ts';
import { readSourceLines } from './stabs.ts';

/** Code from `start` up to `end` came from a source file. */
interface Run {
  readonly start: number;
  readonly end: number;
  readonly path: string;
}

interface ObjectLines {
  readonly runs: Run[];
  /** The sources that its units were compiled from. */
  readonly sources: Set<string>;
}

export class SourceRuns {
  /** What could not be read, for people. */
  readonly gaps: readonly string[];
  /** By object; '' holds what no object is known for. */
  readonly #objects = new Map<string, ObjectLines>();

  /** `discarded`: objects of which the linker left something out. @throws SBOM_EVIDENCE_MALFORMED */
  constructor(elf: Elf, contributions: readonly Contribution[], discarded: ReadonlySet<string>) {
    const { tables, gaps } = readLineTables(elf);
    this.gaps = gaps;
    const objects = objectsByOffset(contributions);
    for (const table of tables) {
      const object = objects(table.offset);
      const lines = this.#linesOf(object);
      if (table.source !== undefined) lines.sources.add(table.source);
      for (const run of runsOf(table)) {
        // Where a linker leaves code out, its line table stays and says that it is at 0, where other code may be.
        if (run.sequence === 0 && (object === '' || discarded.has(object))) continue;
        lines.runs.push(run);
      }
    }
    this.#addStabs(elf);
    for (const { runs } of this.#objects.values()) runs.sort((a, b) => a.start - b.start);
  }

  /** Bytes of a contribution by source file; what is not code has none. */
  within(entry: Contribution): Map<string, number> {
    const covered = new Map<string, number>();
    const end = entry.address + entry.sizeBytes;
    let at = entry.address;
    for (const object of [entry.object, '']) {
      const runs = this.#objects.get(object)?.runs ?? [];
      for (let i = firstFrom(runs, entry.address); i < runs.length; i++) {
        const run = runs[i] as Run;
        if (run.start >= end) break;
        // Each byte counts once, whatever overlaps.
        const start = Math.max(at, run.start);
        const stop = Math.min(end, run.end);
        if (stop <= start) continue;
        covered.set(run.path, (covered.get(run.path) ?? 0) + stop - start);
        at = stop;
      }
      if (covered.size > 0) break;
    }
    return covered;
  }

  /** The one source that an object was compiled from, if its debug information says so. */
  sourceOf(object: string): string | undefined {
    const sources = this.#objects.get(object)?.sources;
    return object !== '' && sources?.size === 1 ? [...sources][0] : undefined;
  }

  /** Stabs say where a run starts; it goes on to the next. */
  #addStabs(elf: Elf): void {
    const lines = readSourceLines(elf).sort((a, b) => a.address - b.address);
    for (const [i, { address, path }] of lines.entries()) {
      const end = lines[i + 1]?.address ?? Number.POSITIVE_INFINITY;
      if (end > address) this.#linesOf('').runs.push({ start: address, end, path });
    }
  }

  #linesOf(object: string): ObjectLines {
    const known = this.#objects.get(object) ?? { runs: [], sources: new Set<string>() };
    this.#objects.set(object, known);
    return known;
  }
}

/** Each row covers the code up to the next row of its sequence. */
function* runsOf(table: LineTable): Generator<Run & { readonly sequence: number }> {
  let sequence: number | undefined;
  for (const [i, { address, path }] of table.rows.entries()) {
    sequence ??= address;
    const next = table.rows[i + 1];
    if (path !== undefined && next !== undefined && next.address > address) {
      yield { start: address, end: next.address, path, sequence };
    }
    if (table.ends.has(i)) sequence = undefined;
  }
}

/** The object whose part of .debug_line holds an offset: the linker's map says it. */
function objectsByOffset(contributions: readonly Contribution[]): (offset: number) => string {
  const parts = contributions
    .filter(({ outputSection }) => outputSection === '.debug_line')
    .sort((a, b) => a.address - b.address);
  const starts = parts.map(({ address }) => ({ start: address }));
  return (offset) => {
    const index = firstFrom(starts, offset + 1) - 1;
    const part = parts[index];
    return part !== undefined && offset < part.address + part.sizeBytes ? part.object : '';
  };
}

/** Index of the first entry that starts at an address or after it. */
function firstFrom(entries: readonly { readonly start: number }[], address: number): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((entries[middle] as { start: number }).start < address) low = middle + 1;
    else high = middle;
  }
  return low;
}
