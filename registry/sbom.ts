// SPDX-License-Identifier: Apache-2.0
// The components of a CycloneDX document [CycloneDX-1.6 §components], for "which images does it ship in". Read strictly; members
// that say nothing about what ships are passed over, since the document's own schema was checked where it was made.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { quote, type Rejection } from '../core/faults.ts';
import { parsePackageUrl } from './package-url.ts';
import { STORE } from './store-faults.ts';

/** Package URLs of all components that ship, nested ones included, each once. @throws BLOB_SBOM_MALFORMED */
export function shippedPackages(bytes: Uint8Array): readonly string[] {
  const refuse = (message: string, at: string): Rejection =>
    STORE.reject('BLOB_SBOM_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse });
  root.field('bomFormat').word('CycloneDX');
  root.field('specVersion').word('1.6', '1.7');
  const found = new Set<string>();
  collect(root, found);
  return [...found];
}

function collect(node: DocumentNode, found: Set<string>): void {
  for (const component of node.optional('components')?.elements() ?? []) {
    component.field('type').string();
    component.field('name').string();
    const purl = component.optional('purl');
    // [CycloneDX-1.6 §components/scope] `excluded`: known, but not part of what ships.
    const ships = component.optional('scope')?.string() !== 'excluded';
    if (purl !== undefined) {
      if (parsePackageUrl(purl.string()) === undefined) {
        throw purl.wrong(`expected a package URL, got ${quote(purl.string())}`);
      }
      if (ships) found.add(purl.string());
    }
    if (ships) collect(component, found);
  }
}
