// SPDX-License-Identifier: Apache-2.0
// Certificates [RFC5280 §4.1] and the extensions that path validation reads [RFC5280 §4.2.1]. Names are compared as bytes.
// Stricter than [RFC5280 §4.1]: version 3 alone, no unique identifiers, no extension twice [RFC5280 §4.2].

import { sameBytes } from '../tlog/merkle.ts';
import { contextTag, type DerNode, parseDer, type RefuseDer, TAG } from './der.ts';
import { X509 } from './faults.ts';
import {
  type PublicKey,
  readPublicKey,
  readSignatureAlgorithm,
  type SignatureAlgorithm,
} from './public-key.ts';

/** Object identifiers of extensions that are understood here. */
export const EXTENSION = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  sctList: '1.3.6.1.4.1.11129.2.4.2',
} as const;

/** Bits of the key usage extension [RFC5280 §4.2.1.3]. */
export const KEY_USAGE = { digitalSignature: 0, contentCommitment: 1, keyCertSign: 5 } as const;

export interface Extension {
  readonly critical: boolean;
  /** The content of the octet string. */
  readonly value: Uint8Array;
}

/** A parsed certificate. Unauthenticated. */
export interface Certificate {
  readonly der: Uint8Array;
  /** DER TBSCertificate: what is signed. */
  readonly tbs: Uint8Array;
  /** Content of the INTEGER. */
  readonly serial: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** DER Name. */
  readonly issuer: Uint8Array;
  /** DER Name. */
  readonly subject: Uint8Array;
  /** Milliseconds since 1970; both ends belong to the validity. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKey: PublicKey;
  /** By object identifier, in the order of the certificate. */
  readonly extensions: ReadonlyMap<string, Extension>;
  /** What the extensions below say; undefined where there is none. */
  readonly constraints: { readonly isAuthority: boolean; readonly pathLength?: number } | undefined;
  /** Numbers of the bits set. */
  readonly keyUsage: readonly number[] | undefined;
  /** Object identifiers of purposes. */
  readonly purposes: readonly string[] | undefined;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
}

const refuse: RefuseDer = (message, at) => X509.reject('X509_CERTIFICATE_MALFORMED', message, { at });

/** Parses a DER certificate. @throws X509_CERTIFICATE_MALFORMED */
export function parseCertificate(der: Uint8Array): Certificate {
  const outer = parseDer(der, refuse).members();
  const tbs = outer.next();
  const signedWith = outer.next();
  const signature = outer.next().bitStringOctets();
  outer.end();
  const members = tbs.members();
  const version = members.next(contextTag(0, 'constructed')).only();
  if (version.integer() !== 2) throw version.wrong('expected a certificate of version 3');
  const serial = members.next(TAG.integer).content;
  const inner = members.next();
  if (!sameBytes(inner.der, signedWith.der)) throw inner.wrong('expected one signature algorithm, got two');
  const issuer = members.next(TAG.sequence).der;
  const validity = members.next().members();
  const notBeforeMs = validity.next().timeMs();
  const notAfterMs = validity.next().timeMs();
  validity.end();
  const subject = members.next(TAG.sequence).der;
  const publicKey = readPublicKey(members.next());
  const extensions = readExtensions(members.optional(contextTag(3, 'constructed')));
  members.end();
  return {
    der,
    tbs: tbs.der,
    serial,
    algorithm: readSignatureAlgorithm(signedWith),
    signature,
    issuer,
    subject,
    notBeforeMs,
    notAfterMs,
    publicKey,
    extensions,
    constraints: within(extensions, EXTENSION.basicConstraints, readConstraints),
    keyUsage: within(extensions, EXTENSION.keyUsage, (node) => node.namedBits()),
    purposes: within(extensions, EXTENSION.extKeyUsage, readPurposes),
    subjectKeyId: within(extensions, EXTENSION.subjectKeyIdentifier, (node) => node.octets()),
    authorityKeyId: within(extensions, EXTENSION.authorityKeyIdentifier, readAuthorityKeyId),
  };
}

function readExtensions(wrapper: DerNode | undefined): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  if (wrapper === undefined) return found;
  for (const node of wrapper.only().expect(TAG.sequence).children) {
    const members = node.members();
    const name = members.next().oid();
    const critical = members.optional(TAG.boolean)?.boolean() ?? false;
    const value = members.next().octets();
    members.end();
    if (found.has(name)) throw node.wrong(`expected an extension ${name} once, got it twice`);
    found.set(name, { critical, value });
  }
  return found;
}

/** Reads one extension; offsets in messages count from its value. */
function within<T>(
  extensions: ReadonlyMap<string, Extension>,
  name: string,
  read: (node: DerNode) => T,
): T | undefined {
  const extension = extensions.get(name);
  if (extension === undefined) return undefined;
  return read(parseDer(extension.value, (message, at) => refuse(message, `extension ${name}, ${at}`)));
}

function readConstraints(node: DerNode): { isAuthority: boolean; pathLength?: number } {
  const members = node.members();
  const isAuthority = members.optional(TAG.boolean)?.boolean() ?? false;
  const pathLength = members.optional(TAG.integer)?.integer();
  members.end();
  return pathLength === undefined ? { isAuthority } : { isAuthority, pathLength };
}

function readPurposes(node: DerNode): readonly string[] {
  const purposes = node.expect(TAG.sequence).children.map((purpose) => purpose.oid());
  if (purposes.length === 0) throw node.wrong('expected at least one purpose');
  return purposes;
}

function readAuthorityKeyId(node: DerNode): Uint8Array | undefined {
  const members = node.members();
  return members.optional(contextTag(0, 'primitive'))?.content;
}
