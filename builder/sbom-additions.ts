// SPDX-License-Identifier: Apache-2.0
// The parts of CycloneDX 1.6 that the library's models drop: evidence.occurrences, compositions, formulation
// [CycloneDX-1.6 §evidence, §compositions, §formulation]. Added to the serialised document before it is validated.

import { PackageURL } from 'packageurl-js';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import type { SbomContent } from './sbom.ts';
import type { Occurrence } from './shipped.ts';
import { type FileOwner, ownerKey } from './used-files.ts';

/** Only the members that are added to or read here. */
export interface CycloneDxDocument {
  readonly components?: readonly CycloneDxComponent[];
  readonly metadata?: { readonly component?: CycloneDxComponent };
}

interface CycloneDxComponent {
  readonly 'bom-ref'?: string;
  readonly type?: string;
  readonly evidence?: { readonly occurrences: readonly object[] };
}

/** `occurrences` by the component's bom-ref. */
export function addUnmodelled(
  document: CycloneDxDocument,
  content: SbomContent,
  occurrences: ReadonlyMap<string, readonly Occurrence[]>,
): object {
  const withEvidence = (component: CycloneDxComponent): CycloneDxComponent => {
    const places = occurrences.get(component['bom-ref'] ?? '') ?? [];
    return places.length === 0
      ? component
      : { ...component, evidence: { occurrences: places.map(formatOccurrence).sort(byLocation) } };
  };
  const { component: firmware, ...metadata } = document.metadata ?? {};
  const inside = (document.components ?? []).filter(({ type }) => type !== 'device');
  return {
    ...document,
    metadata: { ...metadata, ...(firmware === undefined ? {} : { component: withEvidence(firmware) }) },
    components: (document.components ?? []).map(withEvidence),
    compositions: [
      {
        // Never `complete`: what is proved is a lower bound, and the gaps are named in the firmware's properties.
        aggregate: content.shipped === undefined ? 'unknown' : 'incomplete',
        assemblies: [firmware?.['bom-ref']],
      },
      // What a package, a library or an archive is made of in turn is not looked into.
      ...(inside.length === 0
        ? []
        : [{ aggregate: 'unknown', assemblies: inside.map((component) => component['bom-ref']) }]),
    ],
    formulation: [formatFormula(content)],
  };
}

function formatOccurrence(place: Occurrence) {
  const member = place.member === undefined ? '' : `member ${place.member}, `;
  const digest = place.sha256 === undefined ? '' : `, sha256:${place.sha256}`;
  return {
    location: place.path,
    additionalContext: `${member}${place.sizeBytes} bytes in the image${digest}`,
  };
}

function byLocation(a: { location: string }, b: { location: string }): number {
  return a.location < b.location ? -1 : a.location > b.location ? 1 : 0;
}

/** Where `--audit` saw it, the files of a package or input that steps opened; an input's with its name before them, as in `components`. */
function openedOf(content: SbomContent, of: FileOwner) {
  const paths = content.opened?.get(ownerKey(of)) ?? [];
  if (paths.length === 0) return {};
  const prefix = typeof of === 'string' ? `${of}/` : '';
  return {
    evidence: {
      occurrences: paths.map((path) => ({
        location: `${prefix}${path}`,
        additionalContext: 'opened by a step',
      })),
    },
  };
}

const ref = (name: string) => `build:${name}`;
const inputRef = (name: string) => ref(`input/${name}`);

/** An input that is not made of packages, with all that was fetched for it. */
function formatInput(content: SbomContent, name: string, parts: readonly ResourceDescriptor[]) {
  return {
    'bom-ref': inputRef(name),
    type: 'data',
    name,
    ...openedOf(content, name),
    components: parts.map(({ uri = '', sha256, annotations }) => {
      const url = PackageURL.fromString(uri);
      return {
        'bom-ref': ref(`input/${name}/${uri}`),
        type: url.type === 'oci' ? 'container' : 'file',
        name: url.name,
        ...(typeof url.version === 'string' ? { version: url.version } : {}),
        hashes: [{ alg: 'SHA-256', content: sha256 }],
        purl: uri,
        properties: [{ name: 'waybill:role', value: annotations?.role ?? '' }],
      };
    }),
  };
}

/** How the image was made: the inputs that built it, apart from what ships, and a task a step. */
function formatFormula(content: SbomContent) {
  return {
    'bom-ref': ref(content.product),
    components: [
      ...[...content.packages].map(([url, { entry, distribution }]) => ({
        // A package may both build and ship: one reference each.
        'bom-ref': ref(url),
        type: 'application',
        supplier: { name: distribution },
        name: entry.name,
        version: entry.version,
        hashes: [{ alg: 'SHA-256', content: entry.sha256 }],
        purl: url,
        ...openedOf(content, entry),
      })),
      ...[...content.inputs].map(([name, parts]) => formatInput(content, name, parts)),
    ],
    workflows: [
      {
        'bom-ref': ref('workflow'),
        uid: `${content.product}@${content.version}`,
        taskTypes: ['build'],
        tasks: content.steps.map((step) => ({
          'bom-ref': ref(`step/${step.name}`),
          uid: step.name,
          name: step.name,
          taskTypes: ['build'],
          resourceReferences: [...step.packageUrls.map(ref), ...step.inputs.map(inputRef)].map((to) => ({
            ref: to,
          })),
        })),
      },
    ],
  };
}
