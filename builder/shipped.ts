// SPDX-License-Identifier: Apache-2.0
// What ships in an image: a LOWER bound. A package is named only if bytes of it are shown to be there, by the linker's map,
// the ELF file's loaded sections and line information, and the image's own bytes. What nothing claims is a named gap.

import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { type Elf, parseElf } from './elf.ts';
import { type Contribution, parseLinkerMap } from './linker-map.ts';
import type { LockedPackage } from './lock-file.ts';
import { readRootFile, type StepRoot } from './root.ts';
import { readSourceLines, type SourceLine } from './stabs.ts';

export interface ImageEvidence {
  readonly image: Uint8Array;
  readonly map: string;
  readonly elf: Uint8Array;
  /** Root of the step that linked. */
  readonly root: StepRoot;
  /** Files in that step's work folder after it, by path relative to /build. */
  readonly workFiles: ReadonlyMap<string, string>;
  /** Packages of role `source`, whose files the step may have copied into its work folder. */
  readonly sourcePackages: ReadonlySet<string>;
}

/** A place in a package of which bytes are in the image. */
export interface Occurrence {
  /** Path in the package, without leading slash. */
  readonly path: string;
  /** Archive member, for an object out of an archive. */
  readonly member?: string;
  readonly sizeBytes: number;
}

export interface Shipped {
  readonly packages: ReadonlyMap<LockedPackage, readonly Occurrence[]>;
  /** What is in the image without a package that accounts for it, for people. */
  readonly gaps: readonly string[];
  /** Bytes that the linker placed in loaded sections, and how many of those the image holds as linked. */
  readonly linkedSizeBytes: number;
  readonly verbatimSizeBytes: number;
}

interface Placed extends Contribution {
  /** True if the image holds exactly these bytes. */
  readonly verbatim: boolean;
}

/** The shortest contribution whose presence in an image says anything. */
const TELLING_SIZE_BYTES = 8;

/** @throws SBOM_EVIDENCE_MALFORMED */
export async function findShipped(evidence: ImageEvidence): Promise<Shipped> {
  const elf = parseElf(evidence.elf);
  const placed = placeContributions(parseLinkerMap(evidence.map), elf, evidence.image);
  const gaps: string[] = [];
  const verbatim = placed.filter((entry) => entry.verbatim);
  for (const { verbatim: found, object, inputSection, sizeBytes } of placed) {
    if (!found)
      gaps.push(`${sizeBytes} bytes of ${object}(${inputSection}) are not found in the image as linked`);
  }
  const sources = await indexSources(evidence);
  const lines = readSourceLines(elf).sort((a, b) => a.address - b.address);
  const packages = new Map<LockedPackage, Map<string, Occurrence>>();
  const claim = (owner: LockedPackage, occurrence: Occurrence) => {
    const known = packages.get(owner) ?? new Map<string, Occurrence>();
    const key = `${occurrence.path}(${occurrence.member ?? ''})`;
    const sizeBytes = (known.get(key)?.sizeBytes ?? 0) + occurrence.sizeBytes;
    packages.set(owner, known.set(key, { ...occurrence, sizeBytes }));
  };
  for (const entry of verbatim) {
    const { path, member } = splitMember(entry.object);
    const owner = findOwner(evidence.root, path);
    if (owner !== undefined) {
      claim(owner.package, { path: owner.path, ...member, sizeBytes: entry.sizeBytes });
      continue;
    }
    let claimed = 0;
    for (const [source, sizeBytes] of sourcesOf(entry, lines)) {
      const found = sources(source);
      if (found === undefined)
        gaps.push(`${sizeBytes} bytes of ${entry.object} from ${source}, of no package`);
      else claim(found.package, { path: found.path, sizeBytes });
      claimed += sizeBytes;
    }
    if (claimed < entry.sizeBytes) {
      gaps.push(
        `${entry.sizeBytes - claimed} bytes of ${entry.object}(${entry.inputSection}) without a source line`,
      );
    }
  }
  return {
    packages: new Map([...packages].map(([owner, known]) => [owner, [...known.values()]])),
    gaps: [...new Set(gaps)].sort(),
    linkedSizeBytes: sum(placed),
    verbatimSizeBytes: sum(verbatim),
  };
}

function sum(contributions: readonly Contribution[]): number {
  return contributions.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
}

/** Contributions to loaded sections. The linker's own (stubs, fill) come from no file and are left out. */
function placeContributions(contributions: readonly Contribution[], elf: Elf, image: Uint8Array): Placed[] {
  const haystack = Buffer.from(image.buffer, image.byteOffset, image.length);
  return contributions.flatMap((entry) => {
    const section = elf.sections.find(({ name, loaded }) => loaded && name === entry.outputSection);
    if (section === undefined || entry.object === 'linker stubs') return [];
    const start = entry.address - section.address;
    const bytes = Buffer.from(section.bytes.subarray(start, start + entry.sizeBytes));
    if (start < 0 || bytes.length !== entry.sizeBytes) return [];
    // A few bytes, or a run of one byte, are found in any image by chance.
    const telling = bytes.length >= TELLING_SIZE_BYTES && bytes.some((byte) => byte !== bytes[0]);
    return [{ ...entry, verbatim: telling && haystack.includes(bytes) }];
  });
}

function splitMember(object: string): { path: string; member: { member?: string } } {
  const match = /^(.*)\(([^()]+)\)$/.exec(object);
  return match === null
    ? { path: object, member: {} }
    : { path: match[1] as string, member: { member: match[2] as string } };
}

type Owned = { readonly package: LockedPackage; readonly path: string };

/** The package of an absolute path of the root; with a merged /usr both spellings are one file. */
function findOwner(root: StepRoot, path: string): Owned | undefined {
  if (!path.startsWith('/')) return undefined;
  const plain = posix.normalize(path).slice(1);
  for (const spelling of [plain, `usr/${plain}`, plain.replace(/^usr\//, '')]) {
    const owner = root.owners.get(spelling);
    if (owner !== undefined) return { package: owner, path: spelling };
  }
  return undefined;
}

/** A look-up from a source file's path in the sandbox to its package: by place in the root, or by content for a copy in /build. */
async function indexSources(evidence: ImageEvidence): Promise<(path: string) => Owned | undefined> {
  const byDigest = new Map<string, Owned>();
  for (const [path, owner] of evidence.root.owners) {
    if (!evidence.sourcePackages.has(owner.name)) continue;
    const bytes = await readRootFile(evidence.root, path);
    if (bytes === undefined) continue;
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (!byDigest.has(sha256)) byDigest.set(sha256, { package: owner, path });
  }
  return (path) => {
    const digest = path.startsWith('/build/') ? evidence.workFiles.get(path.slice(7)) : undefined;
    return digest === undefined ? findOwner(evidence.root, path) : byDigest.get(digest);
  };
}

/** Bytes of a contribution by source file: each line entry covers the code up to the next. `lines` are sorted by address. */
function sourcesOf(entry: Contribution, lines: readonly SourceLine[]): Map<string, number> {
  const end = entry.address + entry.sizeBytes;
  const within = lines.filter(({ address }) => address >= entry.address && address < end);
  const covered = new Map<string, number>();
  for (const [i, line] of within.entries()) {
    const next = within[i + 1]?.address ?? end;
    if (next > line.address) covered.set(line.path, (covered.get(line.path) ?? 0) + next - line.address);
  }
  return covered;
}
