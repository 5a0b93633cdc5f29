// SPDX-License-Identifier: Apache-2.0
// SCAI attribute report v0.3 [in-toto-attestation-v1 §SCAI]: what was observed of the build of an image, with evidence by digest.
// Stricter than [in-toto-attestation-v1 §SCAI]: exactly one attribute, with conditions in whole numbers, evidence, and a producer.

import type { Json } from '../encoding/strict-json.ts';
import { CORE } from '../faults.ts';
import {
  formatResourceDescriptor,
  parseResourceDescriptor,
  type ResourceDescriptor,
  type Statement,
  type Subject,
  type UnsignedStatement,
} from './statement.ts';

export const SCAI_TYPE = 'https://in-toto.io/attestation/scai/v0.3';
/** The attribute of a build whose steps were traced; its evidence is `audit.json` [docs/spec/audit.md §Statements]. */
export const INPUTS_TRACED = 'WAYBILL_INPUTS_TRACED';

export interface AttributeReport {
  readonly subjects: readonly Subject[];
  readonly attribute: string;
  /** Counts, by name. */
  readonly conditions: Readonly<Record<string, number>>;
  readonly evidence: ResourceDescriptor;
  /** URI of who says so: the builder's id. */
  readonly producerId: string;
}

/** Reads a statement as a report of one attribute. @throws INTOTO_SCAI_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseAttributeReport(statement: Statement): AttributeReport {
  const bad = (message: string) => CORE.reject('INTOTO_SCAI_MALFORMED', message);
  if (statement.predicateType !== SCAI_TYPE) throw bad(`expected predicate type ${SCAI_TYPE}, got another`);
  const predicate = statement.predicate.only('attributes', 'producer');
  const [first, ...more] = predicate.field('attributes').someElements();
  if (first === undefined || more.length > 0) throw bad('expected exactly one attribute, got several');
  first.only('attribute', 'conditions', 'evidence');
  const conditions = first.field('conditions').members();
  return {
    subjects: statement.subjects,
    attribute: first.field('attribute').string(),
    conditions: Object.fromEntries(conditions.map(([name, count]) => [name, count.integer()])),
    evidence: parseResourceDescriptor(first.field('evidence')),
    producerId: predicate.field('producer').only('uri').field('uri').string(),
  };
}

/** True if a statement reports that attribute, alone or beside others, whether `parseAttributeReport` can read the rest or not. */
export function reportsAttribute({ predicateType, predicate }: Statement, attribute: string): boolean {
  const { attributes } = (predicate.value ?? {}) as { readonly attributes?: Json };
  if (predicateType !== SCAI_TYPE || !Array.isArray(attributes)) return false;
  return attributes.some((one: Json) => (one as { attribute?: Json } | null)?.attribute === attribute);
}

/** Builds the unsigned statement; `parseAttributeReport` is the inverse. */
export function buildAttributeReport(report: AttributeReport): UnsignedStatement {
  const { subjects, attribute, conditions, evidence, producerId } = report;
  return {
    subjects,
    predicateType: SCAI_TYPE,
    predicate: {
      attributes: [
        { attribute, conditions: { ...conditions }, evidence: formatResourceDescriptor(evidence) },
      ],
      producer: { uri: producerId },
    },
  };
}
