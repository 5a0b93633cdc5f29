// SPDX-License-Identifier: Apache-2.0
// What ships in an image: a LOWER bound. A component is named only if bytes of it are shown to be there, by the linker's map, the
// ELF file's loaded sections, line information and depfiles, and the image's own bytes. What nothing claims is a named gap.

import { createHash } from 'node:crypto';
import { type DependencyRule, parseDepfile } from './depfile.ts';
import { parseElf } from './elf.ts';
import { EMBEDDED_SIZE_BYTES_MIN, findEmbedded } from './embedded.ts';
import { type FileForm, formOf } from './file-form.ts';
import { type EvidenceStep, type InputFile, InputFiles } from './input-files.ts';
import { taggedLicence } from './licence.ts';
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
import { SourceRuns } from './source-runs.ts';
import { type UsedFile, UsedFiles } from './used-files.ts';

export interface ImageEvidence {
  readonly image: Uint8Array;
  readonly map: string;
  readonly elf: Uint8Array;
  /** The step that linked. */
  readonly linkStep: string;
  /** In the order in which they ran. */
  readonly steps: readonly EvidenceStep[];
  readonly depfiles: readonly { readonly step: string; readonly text: string }[];
  readonly components: readonly DeclaredComponent[];
}

/** A place in a component of which bytes are in the image. */
export interface Occurrence {
  /** Path in the package, without leading slash; `<input>/<path>` for other inputs. */
  readonly path: string;
  /** Archive member, for an object out of an archive. */
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
  const claims = new Claims(evidence, runs);
  for (const gap of runs.gaps) claims.gaps.add(gap);
  const declared = await claims.claimDeclared();
  const embedded = [...declared, ...(await claims.claimEmbedded(placed, ranges, declared))];
  for (const entry of placed) {
    if (entry.imageOffset === undefined) {
      const { sizeBytes, object, inputSection } = entry;
      claims.gaps.add(
        `${sizeBytes} bytes of ${object}(${inputSection}) are not found in the image as linked`,
      );
    } else await claims.claimContribution(entry, coveredBy(embedded, entry));
  }
  const unplaced = countUnplaced(evidence.image, [...ranges, ...embedded]);
  if (unplaced > 0) claims.gaps.add(`${unplaced} bytes of the image come from no linked section as linked`);
  const found = placed.filter(({ imageOffset }) => imageOffset !== undefined);
  return {
    ...claims.result(),
    linkedSizeBytes: sum(placed.map(({ sizeBytes }) => sizeBytes)),
    verbatimSizeBytes: sum(found.map(({ sizeBytes }) => sizeBytes)),
  };
}

type FileFacts = Required<Pick<Occurrence, 'sha256'>> &
  Pick<Occurrence, 'licence'> &
  Pick<OpaqueFile, 'form'>;
/** A depfile's rule, with the step that the depfile is of. */
type Rule = DependencyRule & { readonly step: string };
type Owner = LockedPackage | DeclaredComponent | string;

/** Claims on bytes of one image, as they are made. */
class Claims {
  readonly gaps = new Set<string>();
  readonly #evidence: ImageEvidence;
  readonly #runs: SourceRuns;
  readonly #files: InputFiles;
  readonly #used = new UsedFiles();
  readonly #rules: ReadonlyMap<string, Rule>;
  readonly #ruleOfObject = new Map<string, Promise<Rule | undefined>>();
  readonly #occurrences = new Map<Owner, Map<string, Occurrence>>();
  readonly #opaque = new Set<Owner>();
  readonly #facts = new Map<string, FileFacts>();

  constructor(evidence: ImageEvidence, runs: SourceRuns) {
    this.#evidence = evidence;
    this.#runs = runs;
    this.#files = new InputFiles(evidence.steps);
    this.#rules = new Map(
      evidence.depfiles.flatMap(({ step, text }) =>
        parseDepfile(text).map((rule) => {
          const made = this.#files.workFile(step, rule.target);
          return [`${step}/${made?.path ?? rule.target}`, { ...rule, step }] as const;
        }),
      ),
    );
  }

  /** Claims what one input section put into the image, but for bytes that are those of an embedded file. */
  async claimContribution(entry: Placed, embeddedSizeBytes: number): Promise<void> {
    const { path, member } = splitMember(entry.object);
    const file = await this.#files.find(this.#evidence.linkStep, absolute(path));
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
    else this.gaps.add(`${rest} bytes of ${entry.object}(${entry.inputSection}) without a source line`);
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
          await this.#record(component, path, file, bytes.length, {});
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
      const place = `${file.inputs[0] ?? ''}/${file.path}`;
      const owner = componentOf(this.#evidence.components, file) ?? file.package ?? place;
      await this.#record(owner, owner === file.package ? file.path : place, file, range.sizeBytes, {});
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
        const { sha256 = '', form = {} } = this.#facts.get(owner) ?? {};
        opaqueFiles.push({ path: owner, sha256, form, occurrences });
      } else if ('paths' in owner) {
        components.set(owner, occurrences);
        if (this.#opaque.has(owner)) opaqueComponents.add(owner);
      } else packages.set(owner, occurrences);
    }
    const gaps = [...this.gaps].sort();
    return { packages, components, opaqueComponents, opaqueFiles, gaps, used: this.#used.list() };
  }

  async #claimSource(
    entry: Contribution,
    step: string,
    source: string,
    sizeBytes: number,
    how: 'line table' | 'compilation unit',
  ): Promise<void> {
    const file = await this.#files.find(step, absolute(source));
    if (file !== undefined) this.#used.add(file, how);
    if (file === undefined || !(await this.#claim(file, sizeBytes, {}, false))) {
      this.gaps.add(`${sizeBytes} bytes of ${entry.object} from ${source}, of no component`);
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
    const path = `${file.inputs[0] ?? ''}/${file.path}`;
    const owner: Owner | undefined = declared ?? file.package ?? (precompiled ? path : undefined);
    if (owner === undefined) return false;
    if (precompiled) this.#opaque.add(owner);
    await this.#record(owner, owner === file.package ? file.path : path, file, sizeBytes, member);
    return true;
  }

  async #record(
    owner: Owner,
    path: string,
    file: InputFile,
    sizeBytes: number,
    member: { member?: string },
  ): Promise<void> {
    const known = this.#occurrences.get(owner) ?? new Map<string, Occurrence>();
    const key = `${path}(${member.member ?? ''})`;
    const before = known.get(key)?.sizeBytes ?? 0;
    const { sha256, form: _, ...licence } = await this.#describe(path, file);
    const digest = owner === file.package ? {} : { sha256 };
    known.set(key, { path, ...member, sizeBytes: before + sizeBytes, ...digest, ...licence });
    this.#occurrences.set(owner, known);
  }

  async #describe(path: string, file: InputFile): Promise<FileFacts> {
    const known = this.#facts.get(path);
    if (known !== undefined) return known;
    const bytes = (await file.read()) ?? new Uint8Array();
    const licence = taggedLicence(bytes);
    const facts = {
      sha256: createHash('sha256').update(bytes).digest('hex'),
      form: formOf(bytes),
      ...(licence === undefined ? {} : { licence }),
    };
    this.#facts.set(path, facts);
    return facts;
  }

  /** The depfile's rule that made an object, whose prerequisites then count as used. */
  #ruleOf(object: string): Promise<Rule | undefined> {
    const known = this.#ruleOfObject.get(object) ?? this.#findRule(object);
    this.#ruleOfObject.set(object, known);
    return known;
  }

  async #findRule(object: string): Promise<Rule | undefined> {
    const made = this.#files.workFile(this.#evidence.linkStep, absolute(object));
    if (made === undefined) return undefined;
    const origin = this.#files.origin(made);
    const rule = this.#rules.get(`${origin.step}/${origin.path}`);
    for (const prerequisite of rule?.prerequisites ?? []) {
      const file = await this.#files.find(rule?.step ?? '', absolute(prerequisite));
      if (file !== undefined) this.#used.add(file, 'depfile');
    }
    return rule;
  }

  /** The step that made an object: its sources are where that step saw them. */
  #stepOf(object: string): string {
    const made = this.#files.workFile(this.#evidence.linkStep, absolute(object));
    return made === undefined ? this.#evidence.linkStep : this.#files.origin(made).step;
  }
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0);

/** How many bytes of a contribution are those of embedded files. */
function coveredBy(embedded: readonly ImageRange[], { imageOffset, sizeBytes }: Placed): number {
  if (imageOffset === undefined) return 0;
  return sum(embedded.map((range) => overlap(range, { offset: imageOffset, sizeBytes })));
}

/** Linkers and compilers name files from the folder they ran in, which is /build. */
function absolute(path: string): string {
  return path.startsWith('/') ? path : `/build/${path}`;
}

/** The declared component with the longest path that holds a file. */
function componentOf(
  components: readonly DeclaredComponent[],
  file: InputFile,
): DeclaredComponent | undefined {
  let [found, length]: [DeclaredComponent | undefined, number] = [undefined, -1];
  const paths = file.inputs.map((input) => `${input}/${file.path}`);
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
