// SPDX-License-Identifier: Apache-2.0
// Whether a document follows the schema of CycloneDX 1.6 [CycloneDX-1.6]. Compiling the whole of it takes longer than all else that an
// SBOM needs; what is compiled is the schema as far as the document at hand can meet it, which gives the same answer.

import { Ajv, type ErrorObject } from 'ajv';
import formats from 'ajv-formats';
// @ts-expect-error: the package brings no types.
import draft2019 from 'ajv-formats-draft2019';
import { formatCanonicalJson } from '../core/encoding/canonical-json.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import { readSchemas, type Schema } from './cyclonedx-schemas.ts';

/** What is wrong with a document, as ajv reports it; empty for one that follows the schema. */
export function schemaProblems(document: Json): readonly ErrorObject[] {
  const { bom, others } = readSchemas();
  const names = namesIn(document);
  const ajv = newAjv();
  for (const [address, schema] of Object.entries(others)) ajv.addSchema(cut(schema, names), address);
  const validate = ajv.compile(cut(bom, names));
  return validate(document) ? [] : (validate.errors ?? []);
}

/** Reads schemas as the CycloneDX library does. That they are schemas is not checked again on every build. */
function newAjv(): Ajv {
  const quick = { validateSchema: false, meta: false, inlineRefs: false, code: { optimize: false } };
  const ajv = new Ajv({ strict: false, addUsedSchema: false, ...quick });
  formats.default(ajv);
  draft2019(ajv, { formats: ['idn-email'] });
  ajv.addFormat('iri-reference', true);
  // The same as ajv's own, which compares each item with each other: thousands of files would take it minutes.
  ajv.removeKeyword('uniqueItems');
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    validate: (wanted: boolean, items: readonly Json[]) =>
      !wanted || new Set(items.map(formatCanonicalJson)).size === items.length,
  });
  return ajv;
}

/** The names of all members in a document. */
function namesIn(value: Json, names = new Set<string>()): ReadonlySet<string> {
  if (typeof value !== 'object' || value === null) return names;
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value)) names.add(name);
    namesIn(member, names);
  }
  return names;
}

/**
 * A schema that says of documents with these members what the given one says: what `properties` says of a member holds where it is
 * there. Of one that is nowhere it says no more than that it may not be.
 */
function cut(schema: unknown, names: ReadonlySet<string>): Schema {
  return mapObject(schema as Schema, (value, keyword) => {
    if (keyword === 'properties') {
      return mapObject(value as Schema, (of, name) => (names.has(name) ? cutAny(of, names) : false));
    }
    // A name in there is none of a member.
    if (keyword === 'definitions') return mapObject(value as Schema, (of) => cutAny(of, names));
    return cutAny(value, names);
  });
}

function cutAny(value: unknown, names: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((element) => cutAny(element, names));
  return typeof value === 'object' && value !== null ? cut(value, names) : value;
}

function mapObject(object: Schema, map: (value: unknown, name: string) => unknown): Schema {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value, name)]));
}
