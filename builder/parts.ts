// SPDX-License-Identifier: Apache-2.0
// `components:` and `hardware:` of waybill.yaml [docs/spec/build-definition.md §Components, §Hardware]: whose the files of an
// input are, and on what the image runs. Declared, never guessed; that it is in the image is proved elsewhere.

import type { DocumentNode } from '../core/encoding/document.ts';
import { quote } from '../core/faults.ts';
import { isCpe } from './cpe.ts';
import { isLicenceExpression } from './licence-expression.ts';

/** Files of inputs that are one component, e.g. a vendored library. */
export interface DeclaredComponent {
  readonly name: string;
  readonly version?: string;
  /** `<input>/<path>`: a file, or a folder with all that is below. The longest that fits a file claims it. */
  readonly paths: readonly string[];
  /** Files, as in `paths`, that are in the image as they are: `.incbin`, objcopy, merged by a tool. */
  readonly embedded: readonly string[];
  /** As `parseParty` reads it. */
  readonly supplier?: string;
  /** An SPDX expression. */
  readonly licence?: string;
  readonly purl?: string;
  readonly cpe?: string;
}

export interface DeclaredHardware {
  readonly name: string;
  readonly kind: 'board' | 'microcontroller' | 'secure-element' | 'other';
  readonly supplier?: string;
  readonly revision?: string;
  readonly partNumber?: string;
}

/** Text for people: one line. */
const LINE = /^[^\p{Cc}]{1,200}$/u;
const PURL = /^pkg:[a-z][a-z0-9.+-]*\/[^\s\p{Cc}]{1,500}$/u;

/** Who supplies something, and how he is reached. */
export interface Party {
  readonly name: string;
  readonly email?: string;
  readonly url?: string;
}

const EMAIL = /^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+$/;
const PARTY = /^([^<>]*[^<>\s])(?: <([^<>\s]+)>)?$/;

/** Reads `Name`, `Name <address>` or `Name <https://…>`, which were checked when the definition was read. */
export function parseParty(text: string): Party {
  const [, name = text, reached] = PARTY.exec(text) ?? [];
  if (reached === undefined) return { name };
  return EMAIL.test(reached) ? { name, email: reached } : { name, url: reached };
}

function isParty(text: string): boolean {
  const reached = PARTY.exec(text)?.[2];
  if (reached === undefined) return PARTY.test(text);
  return EMAIL.test(reached) || (/^https?:\/\//.test(reached) && URL.canParse(reached));
}

const PARTY_FORM = 'a name, or a name with <e-mail address> or <https://…> behind it';

/** Reads `components:`; `inputs` are the names that paths may start with. */
export function parseComponents(
  list: DocumentNode | undefined,
  inputs: readonly string[],
): DeclaredComponent[] {
  const [names, claimed] = [new Set<string>(), new Set<string>()];
  return (list?.someElements() ?? []).map((node) => {
    node.only('name', 'version', 'paths', 'embedded', 'supplier', 'licence', 'purl', 'cpe');
    const read = (member: string) =>
      (node.optional(member)?.elements() ?? []).map((path) => fileOf(path, inputs));
    const name = node.field('name').matching(LINE, 'a name');
    const component: DeclaredComponent = {
      name,
      ...text(node, 'version', LINE, 'a version'),
      paths: read('paths'),
      embedded: read('embedded'),
      ...text(node, 'supplier', LINE, PARTY_FORM, isParty),
      ...text(node, 'licence', LINE, 'an SPDX expression', isLicenceExpression),
      ...text(node, 'purl', PURL, 'a package URL'),
      ...text(node, 'cpe', LINE, 'a CPE 2.3 name', isCpe),
    };
    if (component.paths.length + component.embedded.length === 0) {
      throw node.wrong('expected `paths` or `embedded` with at least one entry, got none');
    }
    const key = `${name}@${component.version ?? ''}`;
    if (names.has(key)) throw node.wrong(`expected each component once, got ${quote(key)} twice`);
    names.add(key);
    for (const path of component.paths) {
      if (claimed.has(path))
        throw node.wrong(`expected each path in one component, got ${quote(path)} in two`);
      claimed.add(path);
    }
    return component;
  });
}

/** Reads `hardware:`. */
export function parseHardware(list: DocumentNode | undefined): DeclaredHardware[] {
  const seen = new Set<string>();
  return (list?.someElements() ?? []).map((node) => {
    node.only('name', 'kind', 'supplier', 'revision', 'partNumber');
    const name = node.field('name').matching(LINE, 'a name');
    const revision = text(node, 'revision', LINE, 'a revision');
    const key = JSON.stringify([name, revision]);
    if (seen.has(key)) throw node.wrong(`expected each part once, got ${quote(name)} twice`);
    seen.add(key);
    return {
      name,
      kind: node.field('kind').word('board', 'microcontroller', 'secure-element', 'other'),
      ...text(node, 'supplier', LINE, PARTY_FORM, isParty),
      ...revision,
      ...text(node, 'partNumber', LINE, 'a part number'),
    };
  });
}

/** An optional member as a member of what is read. */
function text<M extends string>(
  node: DocumentNode,
  member: M,
  pattern: RegExp,
  what: string,
  check: (value: string) => boolean = () => true,
): { readonly [K in M]?: string } {
  const found = node.optional(member);
  if (found === undefined) return {};
  const value = found.matching(pattern, what);
  if (!check(value)) throw found.wrong(`expected ${what}, got ${quote(value)}`);
  return { [member]: value } as { readonly [K in M]?: string };
}

/** `<input>` or `<input>/<path>`. */
function fileOf(node: DocumentNode, inputs: readonly string[]): string {
  const path = node.matching(LINE, 'a path such as firmware/vendor/crc16');
  const [input, ...segments] = path.split('/');
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw node.wrong(`expected a path of plain segments, got ${quote(path)}`);
  }
  if (input === undefined || !inputs.includes(input)) {
    throw node.wrong(`expected a path that starts with an input (${inputs.join(', ')}), got ${quote(path)}`);
  }
  return path;
}
