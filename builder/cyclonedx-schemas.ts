// SPDX-License-Identifier: Apache-2.0
// The JSON schemas of CycloneDX 1.6 [CycloneDX-1.6], as the CycloneDX library brings them on disk.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

export type Schema = { readonly [keyword: string]: unknown };

export interface CycloneDxSchemas {
  readonly bom: Schema;
  /** Those that it refers to, by the address it knows them under. */
  readonly others: Readonly<Record<string, Schema>>;
}

const OTHERS = ['spdx', 'cryptography-defs', 'jsf-0.82'];

/** Reads them: no network. */
export function readSchemas(): CycloneDxSchemas {
  const manifest = createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json');
  const read = (name: string): Schema =>
    JSON.parse(readFileSync(join(manifest, '../res/schema', fileOf(name)), 'utf8'));
  const others = OTHERS.map((name) => [`http://cyclonedx.org/schema/${fileOf(name)}`, read(name)] as const);
  return { bom: read('bom-1.6'), others: Object.fromEntries(others) };
}

function fileOf(name: string): string {
  return `${name}.SNAPSHOT.schema.json`;
}
