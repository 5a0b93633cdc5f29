// SPDX-License-Identifier: Apache-2.0
// trusted_root.json, what verifiers trust, and signing_config.v0.2.json, where signers go
// [sigstore-protobuf-specs-v0.5 §sigstore_trustroot.proto]. Fields as every known client reads them.

import { base64Encode } from '../../core/encoding/base64.ts';
import { formatCanonicalJson } from '../../core/encoding/canonical-json.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { sha256 } from './certificate.ts';
import { concat } from './der.ts';
import type { TrustMaterial } from './services.ts';

/** DER before the 32 octets of an Ed25519 SubjectPublicKeyInfo [RFC8410 §4]. */
const ED25519_SPKI_PREFIX = Uint8Array.of(
  0x30,
  0x2a,
  0x30,
  0x05,
  0x06,
  0x03,
  0x2b,
  0x65,
  0x70,
  0x03,
  0x21,
  0x00,
);

/** A signature log, current or retired. */
export interface TrustedLog {
  /** Bare DNS name. */
  readonly origin: string;
  /** Raw Ed25519 key, 32 octets. */
  readonly publicKey: Uint8Array;
  /** Milliseconds since 1970. */
  readonly startMs: number;
}

/** The key id of a log: all 32 octets of SHA-256(origin ‖ "\n" ‖ 0x01 ‖ key) [C2SP-signed-note-v1.0.0 §Signatures]. */
export function logId(origin: string, publicKey: Uint8Array): Uint8Array {
  return sha256(utf8(`${origin}\n`), Uint8Array.of(0x01), publicKey);
}

/**
 * The exact bytes of trusted_root.json: one line of JSON that ends in a newline. Media type 0.1, since Go and Python clients
 * refuse 0.2. Retired logs stay in the list, oldest first.
 */
export function buildTrustedRoot(material: TrustMaterial, logs: readonly TrustedLog[]): Uint8Array {
  const { names, startMs } = material;
  return jsonLine({
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: logs.map(signatureLogEntry),
    certificateAuthorities: [authorityEntry({ ...material, name: names.ca, chain: material.caChain })],
    ctlogs: [certificateLogEntry({ origin: names.ct, spki: material.ctSpki, startMs })],
    timestampAuthorities: [authorityEntry({ ...material, name: names.tsa, chain: material.tsaChain })],
  });
}

/** The element of `tlogs` for a signature log. */
export function signatureLogEntry({ origin, publicKey, startMs }: TrustedLog): Json {
  return logEntry(origin, startMs, {
    spki: concat(ED25519_SPKI_PREFIX, publicKey),
    keyDetails: 'PKIX_ED25519',
    keyId: logId(origin, publicKey),
  });
}

/** The element of `ctlogs` for a certificate transparency log. */
export function certificateLogEntry(of: {
  readonly origin: string;
  readonly spki: Uint8Array;
  readonly startMs: number;
}): Json {
  const { origin, spki, startMs } = of;
  return logEntry(origin, startMs, { spki, keyDetails: 'PKIX_ECDSA_P256_SHA_256', keyId: sha256(spki) });
}

function logEntry(
  name: string,
  startMs: number,
  key: { readonly spki: Uint8Array; readonly keyDetails: string; readonly keyId: Uint8Array },
): Json {
  return {
    // sigstore-go compares the origin with this host name, sigstore-js looks for it inside: never a port, never where we listen.
    baseUrl: `https://${name}`,
    hashAlgorithm: 'SHA2_256',
    publicKey: {
      rawBytes: base64Encode(key.spki),
      keyDetails: key.keyDetails,
      validFor: { start: instant(startMs) },
    },
    logId: { keyId: base64Encode(key.keyId) },
  };
}

/** The element of `certificateAuthorities` or `timestampAuthorities` for an authority. */
export function authorityEntry(of: {
  readonly org: string;
  /** Bare DNS name of the service. */
  readonly name: string;
  /** Common name of the root, `<name> root` unless it is a later one. */
  readonly rootName?: string;
  /** DER, the root last. */
  readonly chain: readonly Uint8Array[];
  readonly startMs: number;
}): Json {
  const { org, name, rootName = `${name} root`, chain, startMs } = of;
  return {
    subject: { organization: org, commonName: rootName },
    uri: `https://${name}`,
    certChain: { certificates: chain.map((der) => ({ rawBytes: base64Encode(der) })) },
    validFor: { start: instant(startMs) },
  };
}

/** The exact bytes of signing_config.v0.2.json for services under one base URL without trailing slash. */
export function buildSigningConfig(options: {
  readonly url: string;
  readonly org: string;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  /** Issuers that interactive clients may log in at. */
  readonly oidcUrls?: readonly string[];
}): Uint8Array {
  const base = options.url.replace(/\/+$/, '');
  const service = (url: string, majorApiVersion: number): Json => ({
    url,
    majorApiVersion,
    validFor: { start: instant(options.startMs) },
    operator: options.org,
  });
  return jsonLine({
    mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [service(`${base}/ca`, 1)],
    oidcUrls: (options.oidcUrls ?? []).map((url) => service(url, 1)),
    rekorTlogUrls: [service(`${base}/log`, 2)],
    rekorTlogConfig: { selector: 'ANY' },
    // Clients of signing configurations take the full path, not the base.
    tsaUrls: [service(`${base}/tsa/api/v1/timestamp`, 1)],
    tsaConfig: { selector: 'ANY' },
  });
}

/** An instant as protobuf JSON writes it. */
export const instant = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');
/** One line of canonical JSON that ends in a newline. */
export const jsonLine = (value: Json): Uint8Array => utf8(`${formatCanonicalJson(value)}\n`);
