// SPDX-License-Identifier: Apache-2.0
// How complete a CycloneDX document is, item by item: NTIA's minimum elements [NTIA-SBOM-2021], BSI's technical guideline
// [BSI-TR-03183-2 §5] and the Cyber Resilience Act [EU-2024-2847 §Annex I]. Says what is there, not whether it is true.

import { parseBom } from '../core/cyclonedx/bom.ts';

export interface ScoredItem {
  readonly item: string;
  /** `partly`: some components have it. `beyond`: no document can show it; not counted. */
  readonly status: 'met' | 'partly' | 'missing' | 'beyond';
  /** How many of how many have it: components, or the one document. */
  readonly have: number;
  readonly of: number;
  /** Names of the components that lack it. */
  readonly lacking: readonly string[];
}

export interface StandardScore {
  readonly standard: string;
  readonly items: readonly ScoredItem[];
  readonly met: number;
  /** Items counted. */
  readonly of: number;
}

/** Only the members that are looked at; anything may be missing or of another type. */
interface Part {
  readonly 'bom-ref'?: unknown;
  readonly type?: unknown;
  readonly name?: unknown;
  readonly version?: unknown;
  readonly purl?: unknown;
  readonly cpe?: unknown;
  readonly supplier?: Party;
  readonly manufacturer?: Party;
  readonly authors?: unknown;
  readonly licenses?: unknown;
  readonly hashes?: unknown;
  readonly properties?: unknown;
  readonly components?: unknown;
}
interface Party {
  readonly name?: unknown;
  readonly url?: unknown;
  readonly contact?: unknown;
}
interface Document {
  readonly serialNumber?: unknown;
  readonly metadata?: Part & {
    readonly component?: Part;
    readonly timestamp?: unknown;
    readonly tools?: unknown;
  };
  readonly components?: unknown;
  readonly dependencies?: unknown;
  readonly compositions?: unknown;
}

type Check = (part: Part) => boolean;

/** Scores a document. @throws SBOM_MALFORMED */
export function scoreSbom(bytes: Uint8Array): StandardScore[] {
  // Refuses what is no CycloneDX 1.6 of firmware, or no strict JSON.
  parseBom(bytes);
  const document = JSON.parse(Buffer.from(bytes).toString('utf8')) as Document;
  const subject: Part = document.metadata?.component ?? {};
  const inside = flatten(document.components).filter(({ type }) => type !== 'device');
  const all = [subject, ...inside];
  const related = referencesOf(document);
  const hasRelation: Check = (part) => typeof part['bom-ref'] === 'string' && related.has(part['bom-ref']);
  const each = (item: string, check: Check, parts = all) => scored(item, parts, check);
  const whole = (item: string, met: boolean) => scored(item, [{ name: 'the document' }], () => met);
  const beyond = (item: string): ScoredItem => ({ item, status: 'beyond', have: 0, of: 0, lacking: [] });
  const metadata: Part = document.metadata ?? {};
  const author =
    named(metadata.supplier) || named(metadata.manufacturer) || list(metadata.authors).length > 0;
  const timestamp = text(document.metadata?.timestamp);
  const aggregates = list(document.compositions).map((one) => (one as { aggregate?: unknown }).aggregate);
  const topLevel = inside.length === 0 || (hasRelation(subject) && inside.some(hasRelation));
  return [
    standard('NTIA minimum elements (2021)', [
      each('supplier name', ({ supplier, manufacturer }) => named(supplier) || named(manufacturer)),
      each('component name', ({ name }) => text(name)),
      each('version of the component', ({ version }) => text(version)),
      each('other unique identifiers (purl, CPE)', ({ purl, cpe }) => text(purl) || text(cpe)),
      each('dependency relationship', hasRelation),
      whole('author of the SBOM data', author),
      whole('timestamp', timestamp),
      whole('machine-readable format', true),
      whole('known unknowns: says how complete it is', aggregates.length > 0),
      beyond('frequency, distribution, access control, accommodation of mistakes'),
    ]),
    standard('BSI TR-03183-2 (2.1.0)', [
      whole(
        'creator of the SBOM, by e-mail or URL',
        reachable(metadata.supplier) ||
          reachable(metadata.manufacturer) ||
          list(metadata.authors).some((one) => text((one as { email?: unknown }).email)),
      ),
      whole('timestamp', timestamp),
      whole('SBOM-URI (serial number)', text(document.serialNumber)),
      each(
        'component creator, by e-mail or URL',
        ({ supplier, manufacturer }) => reachable(supplier) || reachable(manufacturer),
      ),
      each('component name', ({ name }) => text(name)),
      each('component version', ({ version }) => text(version)),
      each('file name of the component', hasProperty('bsi:component:filename')),
      each('dependencies on other components', hasRelation),
      whole('completeness of the dependencies', aggregates.length > 0),
      each('distribution licences', ({ licenses }) => list(licenses).length > 0),
      each('hash value of the deployable component (SHA-512)', ({ hashes }) =>
        list(hashes).some((hash) => (hash as { alg?: unknown }).alg === 'SHA-512'),
      ),
      each('executable property', hasProperty('bsi:component:executable')),
      each('archive property', hasProperty('bsi:component:archive')),
      each('structured property', hasProperty('bsi:component:structured')),
      each('other unique identifiers (purl, CPE)', ({ purl, cpe }) => text(purl) || text(cpe)),
    ]),
    standard('Cyber Resilience Act, Annex I part II (1)', [
      whole('commonly used and machine-readable format', true),
      whole('identifies the product: name, version', text(subject.name) && text(subject.version)),
      whole('covers at the very least the top-level dependencies', topLevel && inside.length > 0),
      each(
        'components identified well enough to find their vulnerabilities',
        ({ purl, cpe }) => text(purl) || text(cpe),
        inside,
      ),
      beyond(
        'documents vulnerabilities; is kept in the technical documentation; users are told where to get it',
      ),
    ]),
  ];
}

function standard(name: string, items: readonly ScoredItem[]): StandardScore {
  const counted = items.filter(({ status }) => status !== 'beyond');
  return {
    standard: name,
    items,
    met: counted.filter(({ status }) => status === 'met').length,
    of: counted.length,
  };
}

/** Met by all, by some, by none; of nothing, nothing is missing. */
function scored(item: string, parts: readonly Part[], check: Check): ScoredItem {
  const lacking = parts
    .filter((part) => !check(part))
    .map(({ name }) => (text(name) ? String(name) : 'unnamed'));
  const have = parts.length - lacking.length;
  const status = lacking.length === 0 ? 'met' : have === 0 ? 'missing' : 'partly';
  return { item, status, have, of: parts.length, lacking };
}

function flatten(components: unknown): Part[] {
  return list(components).flatMap((one) => [one as Part, ...flatten((one as Part).components)]);
}

/** References that stand in a relationship, on either side. */
function referencesOf(document: Document): Set<string> {
  const found = new Set<string>();
  for (const one of list(document.dependencies)) {
    const { ref, dependsOn } = one as { ref?: unknown; dependsOn?: unknown };
    const others = list(dependsOn).filter((other) => typeof other === 'string');
    if (typeof ref !== 'string' || others.length === 0) continue;
    found.add(ref);
    for (const other of others) found.add(other);
  }
  return found;
}

function hasProperty(name: string): Check {
  return ({ properties }) => list(properties).some((one) => (one as { name?: unknown }).name === name);
}

function text(value: unknown): boolean {
  return typeof value === 'string' && value.trim() !== '';
}

/** The elements that are objects or texts. */
function list(value: unknown): NonNullable<unknown>[] {
  return Array.isArray(value) ? value.filter((one) => one !== null && one !== undefined) : [];
}

function named(party: Party | undefined): boolean {
  return text(party?.name);
}

function reachable(party: Party | undefined): boolean {
  const urls = list(party?.url).some(text);
  return urls || list(party?.contact).some((one) => text((one as { email?: unknown }).email));
}
