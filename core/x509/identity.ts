// SPDX-License-Identifier: Apache-2.0
// The identity in a signing certificate [Fulcio-certificates] [RFC5280 §4.2.1.6] and what its issuer said of it [Fulcio-OIDs].
// Stricter than [RFC5280 §4.2.1.6]: exactly one name. Values 1 to 6 are raw strings, 8 to 24 are DER UTF8Strings.

import { utf8Decode } from '../encoding/utf8.ts';
import { quote } from '../faults.ts';
import type { Certificate } from './certificate.ts';
import { EXTENSION } from './certificate.ts';
import { contextTag, type DerNode, parseDer, type RefuseDer, TAG } from './der.ts';
import { X509 } from './faults.ts';

const FULCIO = '1.3.6.1.4.1.57264.1.';
/** The name form of user names [Fulcio-OIDs §1.3.6.1.4.1.57264.1.7]. */
const USERNAME = `${FULCIO}7`;

/** Names of the values by the last arc of their object identifiers. */
const CLAIMS = {
  1: 'issuerRaw',
  2: 'githubWorkflowTrigger',
  3: 'githubWorkflowSha',
  4: 'githubWorkflowName',
  5: 'githubWorkflowRepository',
  6: 'githubWorkflowRef',
  8: 'issuer',
  9: 'buildSignerUri',
  10: 'buildSignerDigest',
  11: 'runnerEnvironment',
  12: 'sourceRepositoryUri',
  13: 'sourceRepositoryDigest',
  14: 'sourceRepositoryRef',
  15: 'sourceRepositoryIdentifier',
  16: 'sourceRepositoryOwnerUri',
  17: 'sourceRepositoryOwnerIdentifier',
  18: 'buildConfigUri',
  19: 'buildConfigDigest',
  20: 'buildTrigger',
  21: 'runInvocationUri',
  22: 'sourceRepositoryVisibility',
  23: 'deploymentEnvironment',
  24: 'tokenSubject',
} as const;

/** What the issuer said, by name; 7 is a form of the identity and not among them. */
export type Claims = Readonly<Partial<Record<(typeof CLAIMS)[keyof typeof CLAIMS], string>>>;

/** Who a certificate was issued to. Authenticated as far as the certificate is. */
export interface CertifiedIdentity {
  readonly kind: 'uri' | 'email' | 'username';
  /** Subject alternative name. */
  readonly identity: string;
  /** OIDC issuer: extension 8, or 1 in old certificates. */
  readonly issuer: string;
  readonly claims: Claims;
}

/** Reads identity and claims. @throws X509_IDENTITY_MALFORMED */
export function readIdentity(certificate: Certificate): CertifiedIdentity {
  const refuse: RefuseDer = (message, at) => X509.reject('X509_IDENTITY_MALFORMED', message, { at });
  const names = certificate.extensions.get(EXTENSION.subjectAltName);
  if (names === undefined) throw refuse('expected a subject alternative name, found none', 'extensions');
  const inNames: RefuseDer = (message, at) => refuse(message, `extension ${EXTENSION.subjectAltName}, ${at}`);
  const name = parseDer(names.value, inNames).expect(TAG.sequence).only();
  const claims = readClaims(certificate, refuse);
  const issuer = claims.issuer ?? claims.issuerRaw;
  if (issuer === undefined) throw refuse('expected the issuer of the identity, found none', 'extensions');
  if (claims.issuerRaw !== undefined && claims.issuerRaw !== issuer) {
    throw refuse(`expected one issuer, got ${quote(claims.issuerRaw)} and ${quote(issuer)}`, 'extensions');
  }
  return { ...readName(name), issuer, claims };
}

function readName(node: DerNode): Pick<CertifiedIdentity, 'kind' | 'identity'> {
  switch (node.tag) {
    case contextTag(6, 'primitive'):
      return { kind: 'uri', identity: ascii(node) };
    case contextTag(1, 'primitive'):
      return { kind: 'email', identity: ascii(node) };
    case contextTag(0, 'constructed'): {
      const members = node.members(contextTag(0, 'constructed'));
      const form = members.next();
      if (form.oid() !== USERNAME) throw form.wrong(`expected the name form ${USERNAME}, got ${form.oid()}`);
      const value = members.next(contextTag(0, 'constructed')).only().expect(TAG.utf8String);
      members.end();
      return { kind: 'username', identity: text(value.content, value) };
    }
    default:
      throw node.wrong('expected a URI, an e-mail address or a user name');
  }
}

/** An IA5String: ASCII. */
function ascii(node: DerNode): string {
  if (node.content.some((octet) => octet > 0x7f)) throw node.wrong('expected ASCII');
  return text(node.content, node);
}

/** Not empty, and without controls, which no identity has and any terminal obeys. */
function text(content: Uint8Array, node: DerNode): string {
  const found = utf8Decode(content);
  if (found === undefined || found === '' || /\p{Cc}/u.test(found)) {
    throw node.wrong('expected text without control characters');
  }
  return found;
}

function readClaims(certificate: Certificate, refuse: RefuseDer): Claims {
  const claims: Partial<Record<(typeof CLAIMS)[keyof typeof CLAIMS], string>> = {};
  for (const [arc, claim] of Object.entries(CLAIMS)) {
    const name = FULCIO + arc;
    const extension = certificate.extensions.get(name);
    if (extension === undefined) continue;
    const at: RefuseDer = (message, place) => refuse(message, `extension ${name}, ${place}`);
    const octets =
      Number(arc) < 8 ? extension.value : parseDer(extension.value, at).expect(TAG.utf8String).content;
    const value = utf8Decode(octets);
    if (value === undefined) throw at('expected UTF-8', 'offset 0');
    claims[claim] = value;
  }
  return claims;
}
