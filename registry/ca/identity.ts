// SPDX-License-Identifier: Apache-2.0
// From the claims of a verified token to what the certificate says
// [Fulcio-OIDs §Mapping OIDC token claims to Fulcio OIDs] [Fulcio-issuers §ci-issuer-metadata].

import { quote } from '../../core/faults.ts';
import type { Extension } from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import { TRUST } from '../trust-faults.ts';
import type { Issuer } from './issuers.ts';
import { isPath, isSegment } from './kinds.ts';

/** What a certificate says about its holder. */
export interface Identity {
  /** The one subject alternative name, plain ASCII. */
  readonly san: string;
  readonly sanForm: 'uri' | 'email';
  readonly extensions: readonly Extension[];
}

/** Claims of a verified token. */
export type Claims = Readonly<Record<string, unknown>>;

const FULCIO = '1.3.6.1.4.1.57264.1';
const TEXT_LENGTH_MAX = 1024;

/**
 * Builds the identity that a verified token proves.
 * @throws OIDC_TOKEN_CLAIM_MALFORMED, OIDC_TOKEN_EMAIL_UNVERIFIED
 */
export function identityOf(issuer: Issuer, claims: Claims): Identity {
  const { kind, server } = issuer;
  const templates = Object.entries({ 1: '{iss}', ...kind.extensions, 8: '{iss}', 24: '{sub}' });
  const extensions: Extension[] = [];
  for (const [number, template] of templates) {
    const text = render(issuer, claims, template);
    if (text === undefined) continue;
    // 1 to 6 are bare text inside the octet string, all later ones a UTF8String.
    const value = Number(number) <= 6 ? Buffer.from(text, 'utf8') : der.utf8String(text);
    extensions.push({ oid: `${FULCIO}.${number}`, value });
  }
  const san = render(issuer, claims, kind.san) as string;
  if (kind.type === 'email') checkEmail(san, claims.email_verified);
  if (kind.type === 'uri') checkSubject(san, issuer.subjectDomain as string);
  // Stricter than [Fulcio-issuers §ci-issuer-metadata]: GitLab's address comes whole from a claim, and must be of that server.
  if (server !== undefined && !san.startsWith(`${server}/`)) throw malformed('ci_config_ref_uri', san);
  return { san, sanForm: kind.type === 'email' ? 'email' : 'uri', extensions };
}

/** A template with its claims in place; undefined if it is a single claim that the token may lack. */
function render({ kind, server }: Issuer, claims: Claims, template: string): string | undefined {
  const isAddress = template.startsWith('{server}/') || template.startsWith('https://');
  let isLacking = false;
  const text = template.replace(/\{(\w+)\}/g, (_braces, name: string) => {
    if (name === 'server') return server as string;
    const value = textOf(claims, name);
    if (value === undefined && kind.mayLack.includes(name)) {
      isLacking = true;
      return '';
    }
    const words = kind.words[name];
    const word = words === undefined || value === undefined ? value : wordOf(words, value);
    const hasForm = word !== undefined && (!isAddress || (kind.forms[name] ?? isSegment)(word));
    if (!hasForm) throw malformed(name, claims[name]);
    return word;
  });
  return isLacking ? undefined : text;
}

const wordOf = (words: Readonly<Record<string, string>>, value: string): string | undefined =>
  Object.hasOwn(words, value) ? words[value] : undefined;

/** A claim as text; absent, null and empty are the same, as issuers send all of them. */
function textOf(claims: Claims, name: string): string | undefined {
  const value = claims[name];
  if (value === undefined || value === null || value === '') return undefined;
  // Buildkite counts its builds in numbers.
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return String(value);
  const isText =
    typeof value === 'string' && value.length <= TEXT_LENGTH_MAX && !/[\u0000-\u001f\u007f]/.test(value);
  if (!isText) throw malformed(name, value);
  return value;
}

/** An address in plain ASCII [RFC5321 §4.1.2]: no quoted local part, no address literal. */
const ATOM = "[\\w!#$%&'*+/=?^`{|}~-]+";
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const EMAIL = new RegExp(`^(?=.{1,64}@)${ATOM}(?:\\.${ATOM})*@(?:${LABEL}\\.)+${LABEL}$`);

function checkEmail(address: string, isVerified: unknown): void {
  // Some issuers send the word.
  if (isVerified !== true && isVerified !== 'true') {
    throw TRUST.reject(
      'OIDC_TOKEN_EMAIL_UNVERIFIED',
      'expected email_verified true, got something else or none',
    );
  }
  if (address.length > 254 || !EMAIL.test(address)) throw malformed('email', address);
}

/** The subject must lie in the domain of its entry, or one issuer could speak in the name of any other. */
function checkSubject(subject: string, domain: string): void {
  const rest = subject.startsWith(domain) ? subject.slice(domain.length) : undefined;
  const isWithin = rest === '' || (rest?.startsWith('/') === true && isPath(rest.slice(1)));
  if (!isWithin) throw malformed('sub', subject);
}

function malformed(name: string, value: unknown): Error {
  const got = typeof value === 'string' ? quote(value) : value === undefined ? 'none' : `a ${typeof value}`;
  return TRUST.reject('OIDC_TOKEN_CLAIM_MALFORMED', `expected a usable claim ${quote(name)}, got ${got}`);
}
