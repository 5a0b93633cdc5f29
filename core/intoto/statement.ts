// SPDX-License-Identifier: Apache-2.0
// in-toto Statement v1 and ResourceDescriptor v1 [in-toto-attestation-v1 §Statement, §ResourceDescriptor].
// Stricter than [in-toto-attestation-v1 §Statement]: every subject has a name and a SHA-256 digest.

import { formatCanonicalJson } from '../encoding/canonical-json.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import type { Json } from '../encoding/strict-json.ts';
import { utf8 } from '../encoding/utf8.ts';
import { CORE } from '../faults.ts';
import { LIMITS } from '../limits.ts';

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
export const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/** A statement's place among those of its build, from 1, as file names begin with it: two digits, more where `count` has more. */
export function statementNumber(place: number, count: number): string {
  return String(place).padStart(Math.max(2, String(count).length), '0');
}

/** An artifact by name and digest. `sha256` is lower-case hex. */
export interface Subject {
  readonly name: string;
  readonly sha256: string;
}

/** An input: at least a URI or a name, and a SHA-256 digest. */
export interface ResourceDescriptor {
  readonly name?: string;
  readonly uri?: string;
  readonly sha256: string;
  readonly downloadLocation?: string;
  readonly mediaType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A parsed statement. Unauthenticated unless it came out of a `VerifiedBundle`. */
export interface Statement {
  readonly subjects: readonly Subject[];
  readonly predicateType: string;
  readonly predicate: DocumentNode;
}

/** A statement that a room has built and nobody has signed yet. */
export interface UnsignedStatement {
  readonly subjects: readonly Subject[];
  readonly predicateType: string;
  readonly predicate: Json;
}

/** Parses the payload of an envelope. @throws INTOTO_STATEMENT_MALFORMED */
export function parseStatement(payload: Uint8Array): Statement {
  const refuse = (message: string, at: string) => CORE.reject('INTOTO_STATEMENT_MALFORMED', message, { at });
  const root = parseDocument(payload, { refuse }, LIMITS.statementSizeBytes);
  root.only('_type', 'subject', 'predicateType', 'predicate');
  root.field('_type').word(STATEMENT_TYPE);
  const subjects = root.field('subject').someElements().map(parseSubject);
  return {
    subjects,
    predicateType: root.field('predicateType').string(),
    predicate: root.field('predicate'),
  };
}

function parseSubject(node: DocumentNode): Subject {
  return { name: node.field('name').string(), sha256: node.field('digest').field('sha256').sha256() };
}

/** Parses a resource descriptor. @throws the document's fault */
export function parseResourceDescriptor(node: DocumentNode): ResourceDescriptor {
  const annotations = node.optional('annotations')?.members();
  return {
    ...optionalText(node, 'name'),
    ...optionalText(node, 'uri'),
    ...optionalText(node, 'downloadLocation'),
    ...optionalText(node, 'mediaType'),
    sha256: node.field('digest').field('sha256').sha256(),
    ...(annotations === undefined
      ? {}
      : { annotations: Object.fromEntries(annotations.map(([name, value]) => [name, value.string()])) }),
  };
}

function optionalText<N extends string>(node: DocumentNode, name: N): Partial<Record<N, string>> {
  const found = node.optional(name);
  return found === undefined ? {} : ({ [name]: found.string() } as Partial<Record<N, string>>);
}

/** The JSON form of a resource descriptor. */
export function formatResourceDescriptor(resource: ResourceDescriptor): Json {
  const { sha256, annotations, ...texts } = resource;
  return { ...texts, digest: { sha256 }, ...(annotations === undefined ? {} : { annotations }) };
}

/** The bytes of a statement, canonical, so that one statement has one digest. */
export function formatStatement(statement: UnsignedStatement): Uint8Array {
  return utf8(
    formatCanonicalJson({
      _type: STATEMENT_TYPE,
      subject: statement.subjects.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
      predicateType: statement.predicateType,
      predicate: statement.predicate,
    }),
  );
}
