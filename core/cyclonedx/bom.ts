// SPDX-License-Identifier: Apache-2.0
// The parts of a CycloneDX document that a verifier reads [CycloneDX-1.6 §metadata.component, §components]: what it is
// about and what it lists. The full schema is checked where the document is made (builder/) and kept (registry/).

import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { CORE } from '../faults.ts';

export interface BomComponent {
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
}

export interface Bom {
  /** The firmware that the document describes, with its SHA-256 digests (lower-case hex). */
  readonly subject: BomComponent & { readonly sha256: readonly string[] };
  /** Nested components included, in document order. */
  readonly components: readonly BomComponent[];
}

/** Parses a document. Unauthenticated until its digest was checked. @throws SBOM_MALFORMED */
export function parseBom(bytes: Uint8Array): Bom {
  const refuse = (message: string, at: string) => CORE.reject('SBOM_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse });
  root.field('bomFormat').word('CycloneDX');
  root.field('specVersion').word('1.6');
  const subject = root.field('metadata').field('component');
  const hashes = subject.optional('hashes')?.elements() ?? [];
  return {
    subject: {
      ...parseComponent(subject),
      sha256: hashes
        .filter((hash) => hash.field('alg').string() === 'SHA-256')
        .map((hash) => hash.field('content').sha256()),
    },
    components: flatten(root.optional('components')),
  };
}

function flatten(list: DocumentNode | undefined): BomComponent[] {
  return (list?.elements() ?? []).flatMap((node) => [
    parseComponent(node),
    ...flatten(node.optional('components')),
  ]);
}

function parseComponent(node: DocumentNode): BomComponent {
  const version = node.optional('version');
  const purl = node.optional('purl');
  return {
    name: node.field('name').string(),
    ...(version === undefined ? {} : { version: version.string() }),
    ...(purl === undefined ? {} : { purl: purl.string() }),
  };
}
