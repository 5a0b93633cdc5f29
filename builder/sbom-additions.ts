// SPDX-License-Identifier: Apache-2.0
// The parts of CycloneDX 1.6 that the library's models drop: evidence.occurrences, compositions, formulation
// [CycloneDX-1.6 §evidence, §compositions, §formulation]. Added to the serialised document before it is validated.

import type { SbomContent } from './sbom.ts';
import type { Occurrence } from './shipped.ts';

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

/** Where `--audit` saw it, the files of a package that steps opened. */
function openedOf(content: SbomContent, sha256: string) {
  const paths = content.opened?.get(sha256) ?? [];
  if (paths.length === 0) return {};
  return {
    evidence: { occurrences: paths.map((location) => ({ location, additionalContext: 'opened by a step' })) },
  };
}

/** How the image was made: the packages that built it, apart from what ships, and a task a step. */
function formatFormula(content: SbomContent) {
  const ref = (name: string) => `build:${name}`;
  return {
    'bom-ref': ref(content.product),
    components: [...content.packages].map(([url, { entry, distribution }]) => ({
      // A package may both build and ship: one reference each.
      'bom-ref': ref(url),
      type: 'application',
      supplier: { name: distribution },
      name: entry.name,
      version: entry.version,
      hashes: [{ alg: 'SHA-256', content: entry.sha256 }],
      purl: url,
      ...openedOf(content, entry.sha256),
    })),
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
          resourceReferences: step.packageUrls.map((url) => ({ ref: ref(url) })),
        })),
      },
    ],
  };
}
