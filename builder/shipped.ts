// SPDX-License-Identifier: Apache-2.0
// What ships in an image: a LOWER bound. A component is named only if bytes of it are shown to be there, by the linker's map, the
// ELF file's loaded sections, line information and depfiles, and the image's own bytes. What nothing claims is a named gap.

import { posix } from 'node:path';
import { type DependencyRule, parseDepfile } from './depfile.ts';
import { parseElf } from './elf.ts';
import { EMBEDDED_SIZE_BYTES_MIN, findEmbedded } from './embedded.ts';
import { type FileForm, formOf } from './file-form.ts';
import { Gaps } from './gaps.ts';
import {
  declaredNames,
  type EvidenceStep,
  type InputFile,
  InputFiles,
  type WorkFile,
} from './input-files.ts';
import { type Contribution, objectsWithDiscards, parseLinkerMap } from './linker-map.ts';
import type { LockedPackage } from './lock-file.ts';
import type { DeclaredComponent } from './parts.ts';
import {
  asBuffer,
  countUnplaced,
  findTelling,
  type ImageRange,
  isInside,
  overlap,
  type Placed,
  placeContributions,
} from './placement.ts';
import { runFolder } from './run-folder.ts';
import { SourceRuns } from './source-runs.ts';
import { type UsedFile, UsedFiles } from './used-files.ts';

export interface ImageEvidence {
  readonly image: Uint8Array;
  readonly map: string;
  readonly elf: Uint8Array;
  /** The step that linked. */
  readonly linkStep: string;
  /** The map among that step's outputs. */
  readonly mapFile: string;
  /** In the order in which they ran. */
  readonly steps: readonly EvidenceStep[];
  /** `file` among the outputs of its step. */
  readonly depfiles: readonly { readonly step: string; readonly file: string; readonly text: string }[];
  readonly components: readonly DeclaredComponent[];
}

/** A place in a component of which bytes are in the image. */
export interface Occurrence {
  /** Path in the package, without leading slash; `<input>/<path>` for other inputs. */
  readonly path: string;
  /** What of the file, where it is an archive: an object of a library, a source out of a packed tree. */
  readonly member?: string;
  readonly sizeBytes: number;
  /** Of the file, where it is no package's: a package has a digest itself. */
  readonly sha256?: string;
  /** What the file's own SPDX tag says. */
  readonly licence?: string;
}

/** A precompiled object or archive that no component claims: what is inside is not known. */
export interface OpaqueFile {
  /** `<input>/<path>`. */
  readonly path: string;
  readonly sha256: string;
  readonly form: FileForm;
  readonly occurrences: readonly Occurrence[];
}

export interface Shipped {
  readonly packages: ReadonlyMap<LockedPackage, readonly Occurrence[]>;
  readonly components: ReadonlyMap<DeclaredComponent, readonly Occurrence[]>;
  /** Components whose shipped bytes come, at least in part, out of precompiled objects or archives. */
  readonly opaqueComponents: ReadonlySet<DeclaredComponent>;
  readonly opaqueFiles: readonly OpaqueFile[];
  /** What is in the image without a component that accounts for it, for people. */
  readonly gaps: readonly string[];
  /** Bytes that the linker placed in loaded sections, and how many of those the image holds as linked. */
  readonly linkedSizeBytes: number;
  readonly verbatimSizeBytes: number;
  /** Every file of an input that is proved to have been used for this image, and how that is known. */
  readonly used: readonly UsedFile[];
}

/** @throws SBOM_EVIDENCE_MALFORMED */
export async function findShipped(evidence: ImageEvidence): Promise<Shipped> {
  const elf = parseElf(evidence.elf);
  const contributions = parseLinkerMap(evidence.map);
  const { placed, ranges } = placeContributions(contributions, elf, evidence.image);
  const runs = new SourceRuns(elf, contributions, objectsWithDiscards(evidence.map));
  const claims = new Claims(evidence, runs, contributions);
  for (const gap of runs.gaps) claims.gaps.add(gap);
  const declared = await claims.claimDeclared();
  const embedded = [...declared, ...(await claims.claimEmbedded(placed, ranges, declared))];
  for (const entry of placed) {
    if (entry.imageOffset === undefined) {
      const { sizeBytes, object, inputSection } = entry;
      claims.gaps.addBytes(sizeBytes, `${object}(${inputSection}) are not found in the image as linked`);
    } else await claims.claimContribution(entry, coveredBy(embedded, entry));
  }
  const unplaced = countUnplaced(evidence.image, [...ranges, ...embedded]);
  claims.gaps.addBytes(unplaced, 'the image come from no linked section as linked');
  const found = placed.filter(({ imageOffset }) => imageOffset !== undefined);
  return {
    ...claims.result(),
    linkedSizeBytes: sum(placed.map(({ sizeBytes }) => sizeBytes)),
    verbatimSizeBytes: sum(found.map(({ sizeBytes }) => sizeBytes)),
  };
}

/** A depfile's rule, with the step that the depfile is of, and all paths absolute. */
type Rule = DependencyRule & { readonly step: string };
type Owner = LockedPackage | DeclaredComponent | string;

/** Claims on bytes of one image, as they are made. */
class Claims {
  readonly gaps = new Gaps();
  readonly #evidence: ImageEvidence;
  readonly #runs: SourceRuns;
  readonly #files: InputFiles;
  readonly #used = new UsedFiles();
  readonly #rules: ReadonlyMap<string, Rule>;
  /** Prerequisites that count as used. */
  readonly #usedLists = new Set<readonly string[]>();
  readonly #ruleOfObject = new Map<string, Promise<Rule | undefined>>();
  readonly #occurrences = new Map<Owner, Map<string, Occurrence>>();
  readonly #opaque = new Set<Owner>();
  /** Digests of files that are components of their own. */
  readonly #opaqueFacts = new Map<string, Pick<OpaqueFile, 'sha256' | 'form'>>();
  /** Where the linker ran, absolute. */
  readonly #linkFolder: string;

  constructor(evidence: ImageEvidence, runs: SourceRuns, contributions: readonly Contribution[]) {
    this.#evidence = evidence;
    this.#runs = runs;
    this.#files = new InputFiles(evidence.steps);
    const objects = contributions.map(({ object }) => splitMember(object).path);
    this.#linkFolder = this.#folderOf(evidence.linkStep, evidence.mapFile, objects);
    this.#rules = new Map(evidence.depfiles.flatMap((depfile) => this.#rulesOf(depfile)));
  }

  /** By step and path of what they made. */
  #rulesOf({ step, file, text }: ImageEvidence['depfiles'][number]): (readonly [string, Rule])[] {
    const rules = parseDepfile(text);
    const folder = this.#folderOf(
      step,
      file,
      rules.map(({ target }) => target),
    );
    // Targets of one line share its list, which may be as long as they are many.
    const lists = new Map<readonly string[], readonly string[]>();
    return rules.map(({ target, prerequisites: named }) => {
      const path = posix.resolve(folder, target);
      const prerequisites = lists.get(named) ?? named.map((of) => posix.resolve(folder, of));
      lists.set(named, prerequisites);
      const rule = { step, target: path, prerequisites };
      return [`${step}/${this.#files.workFile(step, path)?.path ?? path}`, rule];
    });
  }

  /** Linkers and compilers name files from the folder they ran in. */
  #folderOf(step: string, output: string, names: readonly string[]): string {
    const known = this.#evidence.steps.find(({ name }) => name === step);
    const folder = runFolder(known?.workFiles ?? new Map(), known?.outputs.get(output) ?? output, names);
    return posix.resolve('/build', folder);
  }

  /** Claims what one input section put into the image, but for bytes that are those of an embedded file. */
  async claimContribution(entry: Placed, embeddedSizeBytes: number): Promise<void> {
    const { path, member } = splitMember(entry.object);
    const file = await this.#files.find(this.#evidence.linkStep, posix.resolve(this.#linkFolder, path));
    if (file !== undefined) {
      if (entry.sizeBytes > embeddedSizeBytes)
        await this.#claim(file, entry.sizeBytes - embeddedSizeBytes, member, true);
      return;
    }
    const rule = await this.#ruleOf(path);
    const step = rule?.step ?? this.#stepOf(path);
    let claimed = 0;
    for (const [source, sizeBytes] of this.#runs.within(entry)) {
      claimed += sizeBytes;
      await this.#claimSource(entry, step, source, sizeBytes, 'line table');
    }
    const rest = entry.sizeBytes - embeddedSizeBytes - claimed;
    if (rest <= 0) return;
    // Data has no lines: it belongs to what was compiled.
    const source = this.#runs.sourceOf(entry.object) ?? rule?.prerequisites[0];
    if (source !== undefined) await this.#claimSource(entry, step, source, rest, 'compilation unit');
    else this.gaps.addBytes(rest, `${entry.object}(${entry.inputSection}) without a source line`);
  }

  /** Claims declared files whose bytes are in the image as they are, and says where. */
  async claimDeclared(): Promise<ImageRange[]> {
    const ranges: ImageRange[] = [];
    for (const component of this.#evidence.components) {
      for (const path of component.embedded) {
        const file = await this.#files.findDeclared(path);
        const bytes = await file?.read();
        const telling = bytes !== undefined && bytes.length >= EMBEDDED_SIZE_BYTES_MIN;
        const offset = telling ? findTelling(asBuffer(this.#evidence.image), bytes) : undefined;
        if (file === undefined || bytes === undefined) {
          this.gaps.add(`${path} is declared as embedded and is no file of an input`);
        } else if (offset === undefined) {
          this.gaps.add(`${path} is declared as embedded and its bytes are not in the image`);
        } else {
          this.#used.add(file, 'embedded');
          await this.#record(component, file, bytes.length, {});
          ranges.push({ offset, sizeBytes: bytes.length });
        }
      }
    }
    return ranges;
  }

  /**
   * Claims other files whose bytes are in the image as they are, where that explains something: in one input section, of which no line
   * tells where it came from, or outside of all that was linked. A whole image that an input brings along explains nothing.
   */
  async claimEmbedded(
    placed: readonly Placed[],
    linked: readonly ImageRange[],
    taken: readonly ImageRange[],
  ): Promise<ImageRange[]> {
    const ranges: ImageRange[] = [];
    for (const { step, path, ...range } of findEmbedded(
      asBuffer(this.#evidence.image),
      this.#evidence.steps,
    )) {
      const holder = placed.find(({ imageOffset = -1, sizeBytes }) =>
        isInside(range, { offset: imageOffset, sizeBytes }),
      );
      const told = holder === undefined ? 0 : sum(this.#runs.within(holder).values());
      const free =
        holder === undefined
          ? linked.every((other) => overlap(range, other) === 0)
          : range.sizeBytes <= holder.sizeBytes - told;
      const isTaken = [...taken, ...ranges].some((other) => overlap(range, other) > 0);
      const file = await this.#files.find(step, path);
      if (!free || isTaken || file === undefined) continue;
      this.#used.add(file, 'embedded');
      const owner = componentOf(this.#evidence.components, file) ?? file.package ?? declaredNames(file)[0];
      if (owner === undefined) continue;
      await this.#record(owner, file, range.sizeBytes, {});
      ranges.push(range);
    }
    return ranges;
  }

  result(): Omit<Shipped, 'linkedSizeBytes' | 'verbatimSizeBytes'> {
    const packages = new Map<LockedPackage, readonly Occurrence[]>();
    const components = new Map<DeclaredComponent, readonly Occurrence[]>();
    const opaqueComponents = new Set<DeclaredComponent>();
    const opaqueFiles: OpaqueFile[] = [];
    for (const [owner, known] of this.#occurrences) {
      const occurrences = [...known.values()];
      if (typeof owner === 'string') {
        const { sha256 = '', form = {} } = this.#opaqueFacts.get(owner) ?? {};
        opaqueFiles.push({ path: owner, sha256, form, occurrences });
      } else if ('paths' in owner) {
        components.set(owner, occurrences);
        if (this.#opaque.has(owner)) opaqueComponents.add(owner);
      } else packages.set(owner, occurrences);
    }
    const gaps = this.gaps.list();
    return { packages, components, opaqueComponents, opaqueFiles, gaps, used: this.#used.list() };
  }

  async #claimSource(
    entry: Contribution,
    step: string,
    source: string,
    sizeBytes: number,
    how: 'line table' | 'compilation unit',
  ): Promise<void> {
    const file = await this.#files.find(step, source);
    if (file !== undefined) this.#used.add(file, how);
    if (file === undefined || !(await this.#claim(file, sizeBytes, {}, false))) {
      this.gaps.addBytes(sizeBytes, `${entry.object} from ${source}, of no component`);
    }
  }

  /** False if the file is of an input and nobody claims it. */
  async #claim(
    file: InputFile,
    sizeBytes: number,
    member: { member?: string },
    precompiled: boolean,
  ): Promise<boolean> {
    if (precompiled) this.#used.add(file, 'linker map');
    const declared = componentOf(this.#evidence.components, file);
    const owner: Owner | undefined =
      declared ?? file.package ?? (precompiled ? declaredNames(file)[0] : undefined);
    if (owner === undefined) return false;
    if (precompiled) this.#opaque.add(owner);
    await this.#record(owner, file, sizeBytes, member);
    return true;
  }

  async #record(owner: Owner, file: InputFile, sizeBytes: number, inner: { member?: string }): Promise<void> {
    const path = owner === file.package ? file.path : `${file.inputs[0] ?? ''}/${file.path}`;
    const within = inner.member === undefined ? '' : `(${inner.member})`;
    const member = file.member === undefined ? inner.member : `${file.member}${within}`;
    const known = this.#occurrences.get(owner) ?? new Map<string, Occurrence>();
    const key = `${path}(${member ?? ''})`;
    const before = known.get(key);
    // A file is read once, however many sections came out of it.
    const { sha256, licence } = before ?? (await file.describe()) ?? {};
    if (typeof owner === 'string' && sha256 !== undefined && !this.#opaqueFacts.has(owner))
      this.#opaqueFacts.set(owner, { sha256, form: formOf((await file.read()) ?? new Uint8Array()) });
    known.set(key, {
      path,
      ...(member === undefined ? {} : { member }),
      sizeBytes: (before?.sizeBytes ?? 0) + sizeBytes,
      ...(owner === file.package || sha256 === undefined ? {} : { sha256 }),
      ...(licence === undefined ? {} : { licence }),
    });
    this.#occurrences.set(owner, known);
  }

  /** The depfile's rule that made an object, whose prerequisites then count as used. */
  #ruleOf(object: string): Promise<Rule | undefined> {
    const known = this.#ruleOfObject.get(object) ?? this.#findRule(object);
    this.#ruleOfObject.set(object, known);
    return known;
  }

  async #findRule(object: string): Promise<Rule | undefined> {
    const made = this.#made(object);
    if (made === undefined) return undefined;
    const origin = this.#files.origin(made);
    const rule = this.#rules.get(`${origin.step}/${origin.path}`);
    if (rule === undefined || this.#usedLists.has(rule.prerequisites)) return rule;
    this.#usedLists.add(rule.prerequisites);
    for (const prerequisite of rule.prerequisites) {
      const file = await this.#files.find(rule.step, prerequisite);
      if (file !== undefined) this.#used.add(file, 'depfile');
    }
    return rule;
  }

  /** The step that made an object: its sources are where that step saw them. */
  #stepOf(object: string): string {
    const made = this.#made(object);
    return made === undefined ? this.#evidence.linkStep : this.#files.origin(made).step;
  }

  /** The work file that the linker called by this name. */
  #made(object: string): WorkFile | undefined {
    return this.#files.workFile(this.#evidence.linkStep, posix.resolve(this.#linkFolder, object));
  }
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0);

/** How many bytes of a contribution are those of embedded files. */
function coveredBy(embedded: readonly ImageRange[], { imageOffset, sizeBytes }: Placed): number {
  if (imageOffset === undefined) return 0;
  return sum(embedded.map((range) => overlap(range, { offset: imageOffset, sizeBytes })));
}

/** The declared component with the longest path that holds a file. */
function componentOf(
  components: readonly DeclaredComponent[],
  file: InputFile,
): DeclaredComponent | undefined {
  let [found, length]: [DeclaredComponent | undefined, number] = [undefined, -1];
  const paths = declaredNames(file);
  for (const component of components) {
    for (const prefix of [...component.paths, ...component.embedded]) {
      const holds = paths.some((path) => path === prefix || path.startsWith(`${prefix}/`));
      if (holds && prefix.length > length) [found, length] = [component, prefix.length];
    }
  }
  return found;
}

function splitMember(object: string): { path: string; member: { member?: string } } {
  const match = /^(.*)\(([^()]+)\)$/.exec(object);
  return match === null
    ? { path: object, member: {} }
    : { path: match[1] as string, member: { member: match[2] as string } };
}
