// SPDX-License-Identifier: Apache-2.0
// waybill.yaml [docs/spec/build-definition.md]: what goes in, which steps run, what comes out.

import { createHash } from 'node:crypto';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import type { DocumentNode } from '../core/encoding/document.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import { quote, type Rejection } from '../core/faults.ts';
import { isProductName, isVersion } from '../core/release/version.ts';
import { BUILDER } from './faults.ts';
import { type MountedInput, type OciInput, parseDeclared } from './inputs/declared.ts';
import { type DeclaredComponent, type DeclaredHardware, parseComponents, parseHardware } from './parts.ts';
import { type AskedLimits, parseLimits } from './resource-limits.ts';

/** Debian packages, by name, from one suite of one signed archive. */
export interface DebianInput {
  readonly name: string;
  readonly kind: 'debian';
  readonly role: 'source' | 'toolchain';
  readonly distribution: string;
  readonly suite: string;
  readonly components: readonly string[];
  readonly architecture: string;
  /** Absolute, or relative to the folder of the definition. */
  readonly keyring: string;
  readonly packages: readonly string[];
  /** Where the definition names a package, for messages; undefined if it does not. */
  readonly placeOf: (packageName: string) => string | undefined;
}

export type InputDefinition = DebianInput | MountedInput | OciInput;

/** True for an input that makes up, or is part of, the root file system of a step; others are at /inputs/<name>. */
export function isRootInput(input: InputDefinition): input is DebianInput | OciInput {
  return input.kind === 'debian' || input.kind === 'oci';
}

/** One output of one step: `<step>/<file>`. */
export interface OutputReference {
  readonly step: string;
  readonly file: string;
}

export interface OutputDefinition {
  /** Last segment of `path`; unique within the step. */
  readonly file: string;
  /** Relative to /build. */
  readonly path: string;
  /** Where the same file was published by somebody else: a path in a package. */
  readonly published?: { readonly package: string; readonly path: string };
}

export interface StepDefinition {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly materials: readonly OutputReference[];
  readonly command: readonly string[];
  readonly environment: readonly (readonly [string, string])[];
  readonly outputs: readonly OutputDefinition[];
  readonly timeoutMs: number;
  /** The largest file a step may write, and the largest sum of its outputs. */
  readonly outputSizeBytesMax: number;
  readonly limits: AskedLimits;
}

/** What proves which bytes are in the image: GNU ld's map and the ELF file of the same link, and the compiler's depfiles. */
export interface Evidence {
  readonly map: OutputReference;
  readonly elf: OutputReference;
  readonly depfiles: readonly OutputReference[];
}

/** An image, the one subject of its SBOM. */
export interface ProductDefinition {
  readonly image: OutputReference;
  readonly evidence?: Evidence;
}

export interface BuildDefinition {
  readonly product: string;
  readonly version: string;
  /** Seconds since 1970. */
  readonly sourceDateEpoch: number;
  /** Sorted by name. */
  readonly inputs: readonly InputDefinition[];
  /** In an order in which they can run; otherwise as written. */
  readonly steps: readonly StepDefinition[];
  /** At least one; no two have the same file name. */
  readonly products: readonly ProductDefinition[];
  /** Whose the files of inputs are; the SBOM's words for what is proved to ship. */
  readonly components: readonly DeclaredComponent[];
  /** On what the image runs. */
  readonly hardware: readonly DeclaredHardware[];
}

/** What the sandbox sets itself and a definition cannot replace. */
export const FIXED_ENVIRONMENT = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'SOURCE_DATE_EPOCH',
  'LD_PRELOAD',
  'FAKETIME',
  'FAKETIME_FMT',
  'FAKETIME_DONT_FAKE_MONOTONIC',
  'DONT_FAKE_MONOTONIC',
];

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const REFERENCE = /^([a-z0-9][a-z0-9-]{0,62})\/([A-Za-z0-9_+~@%=,.-]{1,200})$/;
/** Package names [Debian-Policy-4.6.2 §5.6.1]. */
const PACKAGE = /^[a-z0-9][a-z0-9+.-]{1,127}$/;
const SEGMENT = /^[A-Za-z0-9_+~@%=,.-]{1,200}$/;

/** The fault of a definition's shape, for the reader of the YAML text. */
export function refuseDefinition(message: string, at: string): Rejection {
  return BUILDER.reject('DEFINITION_MALFORMED', message, { at });
}

/**
 * Reads a definition.
 * @throws DEFINITION_MALFORMED, DEFINITION_NAME_UNKNOWN, DEFINITION_NAME_DUPLICATE, DEFINITION_STEPS_CYCLIC
 */
export function parseDefinition(root: DocumentNode): BuildDefinition {
  root.only(
    ...['waybill', 'product', 'version', 'sourceDateEpoch', 'inputs', 'steps', 'products'],
    ...['components', 'hardware'],
  );
  root.field('waybill').integer(1, 1);
  const product = root.field('product');
  if (!isProductName(product.string())) {
    throw product.wrong(
      `expected lower-case letters, digits and hyphens, at most 63, got ${quote(product.string())}`,
    );
  }
  const version = root.field('version');
  if (!isVersion(version.string()))
    throw version.wrong(`expected a version such as 8.1.0, got ${quote(version.string())}`);
  const sourceDateEpoch = root.field('sourceDateEpoch').integer(0, 0xffffffff);
  const inputs = new Map(root.field('inputs').members().map(parseInput));
  if (inputs.size === 0) throw root.field('inputs').wrong('expected at least one input, got none');
  const steps = new Map<string, { step: StepDefinition; node: DocumentNode }>();
  for (const node of root.field('steps').someElements()) {
    const step = parseStep(node);
    if (steps.has(step.name)) throw duplicate(node.field('name'), `step ${quote(step.name)}`);
    steps.set(step.name, { step, node });
  }
  const outputs = new Map([...steps.values()].map(({ step }) => [step.name, step.outputs]));
  for (const { node } of steps.values()) checkStepNames(node, inputs, outputs);
  return {
    product: product.string(),
    version: version.string(),
    sourceDateEpoch,
    inputs: [...inputs.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    steps: orderSteps([...steps.values()]),
    products: parseProducts(root.field('products'), outputs),
    components: parseComponents(root.optional('components'), [...inputs.keys()]),
    hardware: parseHardware(root.optional('hardware')),
  };
}

/** The ELF file that explains an output, both as `<step>/<file>`: that of the image which it is, or else of the only product. */
export function elfOf({ products }: BuildDefinition, output: string): string | undefined {
  const name = ({ step, file }: OutputReference) => `${step}/${file}`;
  const own =
    products.find(({ image }) => name(image) === output) ?? (products.length === 1 ? products[0] : undefined);
  return own?.evidence === undefined ? undefined : name(own.evidence.elf);
}

/** Digest of the inputs part: what a lock was made from [docs/spec/lock.md]. */
export function inputsSha256(definition: BuildDefinition): string {
  const inputs: Record<string, Json> = {};
  for (const input of definition.inputs) inputs[input.name] = describeInput(input);
  return createHash('sha256').update(canonicalJsonBytes(inputs)).digest('hex');
}

/** An input as the lock repeats it: every member but its name, lists in their order. */
export function describeInput(input: InputDefinition): Record<string, Json> {
  if (input.kind !== 'debian') {
    const { name: _, ...rest } = input;
    return { ...rest } as Record<string, Json>;
  }
  const { name: _, placeOf: __, components, packages, ...rest } = input;
  return { ...rest, components: [...components].sort(), packages: [...packages].sort() };
}

function parseInput([name, node]: readonly [string, DocumentNode]): readonly [string, InputDefinition] {
  if (!NAME.test(name)) {
    throw node.wrongName(`expected a name of lower-case letters, digits and hyphens, got ${quote(name)}`);
  }
  if (node.field('kind').value !== 'debian') return [name, parseDeclared(name, node)];
  node.only('kind', 'role', 'distribution', 'suite', 'components', 'architecture', 'keyring', 'packages');
  const word = (of: DocumentNode, what: string) => of.matching(/^[a-z0-9][a-z0-9-]{0,62}$/, what);
  const list = (of: DocumentNode, pattern: RegExp, what: string) =>
    distinct(of.someElements(), (element) => element.matching(pattern, what), what);
  return [
    name,
    {
      name,
      kind: node.field('kind').word('debian'),
      role: node.field('role').word('source', 'toolchain'),
      distribution: word(node.field('distribution'), 'a distribution such as debian'),
      suite: node.field('suite').matching(/^[a-z0-9][a-z0-9.-]{0,62}$/, 'a suite such as bookworm'),
      components: list(node.field('components'), /^[a-z0-9][a-z0-9-]{0,62}$/, 'a component such as main'),
      architecture: word(node.field('architecture'), 'an architecture such as amd64'),
      keyring: node.field('keyring').matching(/^[^\0\n]+$/, 'a path'),
      packages: list(node.field('packages'), PACKAGE, 'a package name'),
      placeOf: (packageName) => {
        const named = node.field('packages').elements();
        const found = named.find((one) => one.value === packageName);
        return found === undefined ? undefined : place(found);
      },
    },
  ];
}

function parseStep(node: DocumentNode): StepDefinition {
  node.only(
    'name',
    'inputs',
    'materials',
    'command',
    'environment',
    'outputs',
    'timeoutSeconds',
    'outputMebibytes',
    'memoryMebibytes',
    'workMebibytes',
    'processes',
    'cpus',
  );
  const command = node.field('command');
  return {
    name: node.field('name').matching(NAME, 'a step name of lower-case letters, digits and hyphens'),
    inputs: distinct(node.field('inputs').someElements(), (input) => input.string(), 'input'),
    materials: distinctReferences(node.optional('materials')?.someElements() ?? []),
    command: Array.isArray(command.value)
      ? command.someElements().map(argument)
      : ['/bin/sh', '-e', '-c', argument(command)],
    environment: (node.optional('environment')?.members() ?? []).map(parseVariable),
    outputs: parseOutputs(node.field('outputs')),
    timeoutMs: (node.optional('timeoutSeconds')?.integer(1, 86400) ?? 600) * 1000,
    outputSizeBytesMax: (node.optional('outputMebibytes')?.integer(1, 65536) ?? 256) * 1024 * 1024,
    limits: parseLimits(node),
  };
}

/** A process cannot be given a NUL in an argument or a variable. */
function argument(node: DocumentNode): string {
  return node.matching(/^[^\0]+$/, 'text without NUL');
}

function parseVariable([name, node]: readonly [string, DocumentNode]): readonly [string, string] {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    throw node.wrongName(`expected the name of an environment variable, got ${quote(name)}`);
  if (FIXED_ENVIRONMENT.includes(name)) {
    throw node.wrongName(`expected a variable that the sandbox does not set itself, got ${quote(name)}`);
  }
  return [name, node.value === '' ? '' : argument(node)];
}

function parseOutputs(list: DocumentNode): OutputDefinition[] {
  const seen = new Set<string>();
  return list.someElements().map((node) => {
    node.only('path', 'published');
    const path = relativePath(node.field('path'));
    const file = path.slice(path.lastIndexOf('/') + 1);
    if (seen.has(file)) throw duplicate(node.field('path'), `output ${quote(file)}`);
    seen.add(file);
    const published = node.optional('published')?.only('package', 'path');
    if (published === undefined) return { file, path };
    return {
      file,
      path,
      published: {
        package: published.field('package').matching(PACKAGE, 'a package name'),
        path: relativePath(published.field('path')),
      },
    };
  });
}

/** Relative, plain characters, no `.` and `..`: it can neither leave its folder nor look like an option. */
function relativePath(node: DocumentNode): string {
  const path = node.string();
  const plain = path
    .split('/')
    .every((s) => SEGMENT.test(s) && s !== '.' && s !== '..' && !s.startsWith('-'));
  if (!plain || path.length > 1000) {
    throw node.wrong(`expected a relative path of plain segments without "." and "..", got ${quote(path)}`);
  }
  return path;
}

function parseReference(node: DocumentNode): OutputReference {
  const match = REFERENCE.exec(node.string());
  if (match === null) throw node.wrong(`expected <step>/<file>, got ${quote(node.string())}`);
  return { step: match[1] as string, file: match[2] as string };
}

function distinct(
  nodes: readonly DocumentNode[],
  read: (node: DocumentNode) => string,
  what: string,
): string[] {
  const seen = new Set<string>();
  for (const node of nodes) {
    const text = read(node);
    if (seen.has(text)) throw duplicate(node, `${what} ${quote(text)}`);
    seen.add(text);
  }
  return [...seen];
}

function distinctReferences(nodes: readonly DocumentNode[]): OutputReference[] {
  distinct(nodes, (node) => node.string(), 'material');
  return nodes.map(parseReference);
}

type Outputs = ReadonlyMap<string, readonly OutputDefinition[]>;

function checkStepNames(
  node: DocumentNode,
  inputs: ReadonlyMap<string, InputDefinition>,
  outputs: Outputs,
): void {
  const used = node
    .field('inputs')
    .elements()
    .map((input) => {
      const found = inputs.get(input.string());
      if (found === undefined) throw unknown(input, 'an input', [...inputs.keys()]);
      return found;
    });
  const roots = used.filter(isRootInput);
  if (roots.length === 0) {
    throw node.field('inputs').wrong('expected a root file system: an input of kind debian or oci');
  }
  if (roots.length > 1 && roots.some(({ kind }) => kind === 'oci')) {
    throw node.field('inputs').wrong('expected one image, or Debian packages, as root file system, got both');
  }
  for (const material of node.optional('materials')?.elements() ?? []) checkReference(material, outputs);
}

function checkReference(node: DocumentNode, outputs: Outputs): OutputReference {
  const reference = parseReference(node);
  const files = outputs.get(reference.step);
  if (files === undefined) throw unknown(node, 'a step', [...outputs.keys()]);
  const names = files.map((output) => `${reference.step}/${output.file}`);
  if (!names.includes(node.string())) throw unknown(node, 'an output', names);
  return reference;
}

function parseProducts(list: DocumentNode, outputs: Outputs): ProductDefinition[] {
  const seen = new Set<string>();
  return list.someElements().map((node) => {
    const product = parseProduct(node, outputs);
    const { file } = product.image;
    if (seen.has(file)) throw duplicate(node.field('image'), `image ${quote(file)}`);
    seen.add(file);
    return product;
  });
}

function parseProduct(node: DocumentNode, outputs: Outputs): ProductDefinition {
  node.only('image', 'evidence');
  const image = checkReference(node.field('image'), outputs);
  const evidence = node.optional('evidence')?.only('map', 'elf', 'depfiles');
  if (evidence === undefined) return { image };
  const map = checkReference(evidence.field('map'), outputs);
  const elf = checkReference(evidence.field('elf'), outputs);
  if (map.step !== elf.step) throw evidence.wrong('expected map and ELF file of one step, got two');
  const depfiles = (evidence.optional('depfiles')?.someElements() ?? []).map((node) =>
    checkReference(node, outputs),
  );
  return { image, evidence: { map, elf, depfiles } };
}

/** Steps whose materials are all made come first; what never becomes ready is a circle. */
function orderSteps(steps: readonly { step: StepDefinition; node: DocumentNode }[]): StepDefinition[] {
  const ordered: StepDefinition[] = [];
  let waiting = steps;
  while (waiting.length > 0) {
    const made = new Set(ordered.map((step) => step.name));
    const ready = waiting.filter(({ step }) => step.materials.every((material) => made.has(material.step)));
    const first = waiting[0];
    if (ready.length === 0 && first !== undefined) {
      const names = waiting.map(({ step }) => step.name).join(', ');
      throw BUILDER.reject('DEFINITION_STEPS_CYCLIC', `expected steps without a circle, got ${names}`, {
        at: place(first.node.field('materials')),
      });
    }
    ordered.push(...ready.map(({ step }) => step));
    waiting = waiting.filter((entry) => !ready.includes(entry));
  }
  return ordered;
}

function place(node: DocumentNode): string {
  return node.context.locate?.(node.pointer, 'value') ?? node.pointer;
}

function duplicate(node: DocumentNode, what: string): Rejection {
  return BUILDER.reject('DEFINITION_NAME_DUPLICATE', `expected each name once, got ${what} twice`, {
    at: place(node),
  });
}

function unknown(node: DocumentNode, what: string, known: readonly string[]): Rejection {
  return BUILDER.reject(
    'DEFINITION_NAME_UNKNOWN',
    `expected ${what} that is defined (${known.join(', ') || 'none is'}), got ${quote(node.string())}`,
    { at: place(node) },
  );
}
