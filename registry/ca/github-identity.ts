// SPDX-License-Identifier: Apache-2.0
// From the claims of a GitHub Actions token to what the certificate says
// [Fulcio-OIDs §Mapping OIDC token claims to Fulcio OIDs].

import { quote } from '../../core/faults.ts';
import type { Extension } from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import { TRUST } from '../trust-faults.ts';

/** Claims by immutable id; at least one must be required of a shared issuer. */
export const GITHUB_ID_CLAIMS: readonly string[] = ['repository_id', 'repository_owner_id'];

/** Claims that an issuer entry may require a value of. */
export const GITHUB_CLAIMS: readonly string[] = [
  ...GITHUB_ID_CLAIMS,
  'repository',
  'repository_owner',
  'repository_visibility',
  'job_workflow_ref',
  'workflow_ref',
  'ref',
  'ref_type',
  'environment',
  'event_name',
  'runner_environment',
  'sub',
];

/** What a certificate says about its holder. */
export interface Identity {
  /** URI of the subject alternative name, plain ASCII. */
  readonly san: string;
  readonly extensions: readonly Extension[];
}

/** Claims of a verified token. */
export type Claims = Readonly<Record<string, unknown>>;

const SERVER = 'https://github.com/';
const FULCIO = '1.3.6.1.4.1.57264.1';

/**
 * Builds the identity that a verified token proves. Optional claims that the token lacks leave their extension out.
 * @throws OIDC_TOKEN_CLAIM_MALFORMED
 */
export function githubIdentity(claims: Claims): Identity {
  const workflow = required(claims, 'job_workflow_ref', /^[\w.-]+\/[\w.-]+\/.+@.+$/);
  const repository = required(claims, 'repository', /^[\w.-]+\/[\w.-]+$/);
  const owner = required(claims, 'repository_owner', /^[\w.-]+$/);
  const issuer = required(claims, 'iss');
  const run = optional(claims, 'run_id');
  const attempt = optional(claims, 'run_attempt');
  const workflowRef = optional(claims, 'workflow_ref');
  const raw: readonly (string | undefined)[] = [
    issuer,
    optional(claims, 'event_name'),
    optional(claims, 'sha'),
    optional(claims, 'workflow'),
    repository,
    optional(claims, 'ref'),
  ];
  const texts: Readonly<Record<number, string | undefined>> = {
    8: issuer,
    9: SERVER + workflow,
    10: optional(claims, 'job_workflow_sha'),
    11: required(claims, 'runner_environment'),
    12: SERVER + repository,
    13: optional(claims, 'sha'),
    14: optional(claims, 'ref'),
    15: required(claims, 'repository_id'),
    16: SERVER + owner,
    17: required(claims, 'repository_owner_id'),
    18: workflowRef === undefined ? undefined : SERVER + workflowRef,
    19: optional(claims, 'workflow_sha'),
    20: optional(claims, 'event_name'),
    21: run && attempt ? `${SERVER}${repository}/actions/runs/${run}/attempts/${attempt}` : undefined,
    22: optional(claims, 'repository_visibility'),
    23: optional(claims, 'environment'),
    24: required(claims, 'sub'),
  };
  const extensions: Extension[] = [];
  raw.forEach((text, i) => {
    // 1 to 6 are bare text inside the octet string, all later ones a UTF8String.
    if (text !== undefined) extensions.push({ oid: `${FULCIO}.${i + 1}`, value: Buffer.from(text, 'utf8') });
  });
  for (const [number, text] of Object.entries(texts)) {
    if (text !== undefined) extensions.push({ oid: `${FULCIO}.${number}`, value: der.utf8String(text) });
  }
  return { san: SERVER + workflow, extensions };
}

/** What may stand in a URI as it is: no escapes, no spaces, nothing that two readers could write differently. */
const URI_TEXT = /^[\w.~/@!$&'()*+,;=:-]+$/;
/** Empty and dot segments, which some readers of URIs take away [RFC3986 §5.2.4]. */
const URI_DOTS = /(^|\/)(\.{0,2})(\/|$)/;
const URI_CLAIMS = ['job_workflow_ref', 'workflow_ref', 'repository', 'repository_owner'];

function required(claims: Claims, name: string, pattern?: RegExp): string {
  const text = optional(claims, name);
  if (text === undefined || (pattern !== undefined && !pattern.test(text))) {
    throw malformed(name, claims[name]);
  }
  return text;
}

/** A claim as text; absent and empty are the same, as GitHub sends both. */
function optional(claims: Claims, name: string): string | undefined {
  const value = claims[name];
  if (value === undefined || value === '') return undefined;
  const isText = typeof value === 'string' && value.length <= 1024 && !/[\u0000-\u001f\u007f]/.test(value);
  const isUri = isText && URI_TEXT.test(value) && !URI_DOTS.test(value);
  if (!isText || (URI_CLAIMS.includes(name) && !isUri)) throw malformed(name, value);
  return value;
}

function malformed(name: string, value: unknown): Error {
  const got = typeof value === 'string' ? quote(value) : value === undefined ? 'none' : `a ${typeof value}`;
  return TRUST.reject('OIDC_TOKEN_CLAIM_MALFORMED', `expected a usable claim ${quote(name)}, got ${got}`);
}
