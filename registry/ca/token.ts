// SPDX-License-Identifier: Apache-2.0
// Verification of identity tokens [OpenID-Connect-Core-1.0 §3.1.3.7] [RFC8725 §3]. No message holds any part of a token but
// the value of a single claim.

import { createHash } from 'node:crypto';
import { compactVerify, createRemoteJWKSet, customFetch, errors, type RemoteJWKSet } from 'jose';
import { type Json, type JsonObject, parseStrictJson } from '../../core/encoding/strict-json.ts';
import { quote, type Rejection, type Unavailable } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import type { Claims } from './identity.ts';
import { type Issuer, isSafeUrl } from './issuers.ts';

/** Claims that a verified token proves, and the issuer entry that accepts them. */
export interface VerifiedToken {
  readonly issuer: Issuer;
  readonly claims: Claims;
  /**
   * Names the token, whatever becomes of its signature: SHA-256 of what is signed, one character an octet. An ECDSA
   * signature has two values that verify, so a digest of the whole token would name two tokens.
   */
  readonly id: string;
  /** When the token expires, seconds since 1970, the tolerance included. */
  readonly expiresS: number;
}

/** Verifies tokens of the configured issuers; keeps their keys. */
export interface TokenVerifier {
  /** @throws OIDC_TOKEN_… , OIDC_ISSUER_UNREACHABLE */
  verify(token: string): Promise<VerifiedToken>;
}

const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/** Clocks of issuer and server may differ by this much. */
const TOLERANCE_S = 10;
const FETCH_TIMEOUT_MS = 5000;
const FETCH_SIZE_BYTES_MAX = 256 * 1024;
const DISCOVERY_AGE_MS = 60 * 60_000;
const TOKEN_SIZE_MAX = 16 * 1024;

/** @param nowMs the clock, milliseconds since 1970 */
export function tokenVerifier(issuers: readonly Issuer[], nowMs: () => number): TokenVerifier {
  const keys = new Map<string, { readonly untilMs: number; readonly set: Promise<RemoteJWKSet> }>();

  const keysOf = (issuer: Issuer): Promise<RemoteJWKSet> => {
    const known = keys.get(issuer.url);
    if (known !== undefined && nowMs() < known.untilMs) return known.set;
    const found = { untilMs: nowMs() + DISCOVERY_AGE_MS, set: discover(issuer) };
    keys.set(issuer.url, found);
    // A failure is nobody's key set: the next token asks again.
    found.set.catch(() => {
      if (keys.get(issuer.url) === found) keys.delete(issuer.url);
    });
    return found.set;
  };

  return {
    async verify(token) {
      const claims = unverifiedClaims(token);
      const candidates = issuers.filter(({ url }) => url === claims.iss);
      const [first] = candidates;
      if (first === undefined) {
        const got = typeof claims.iss === 'string' ? quote(claims.iss) : 'none';
        throw TRUST.reject('OIDC_TOKEN_ISSUER_UNKNOWN', `expected a configured issuer, got ${got}`);
      }
      await verifySignature(token, await keysOf(first));
      const expiresS = checkTimes(claims, Math.floor(nowMs() / 1000)) + TOLERANCE_S;
      const { sub } = claims;
      if (typeof sub !== 'string' || sub === '') {
        throw TRUST.reject('OIDC_TOKEN_CLAIM_MALFORMED', 'expected a claim "sub", got none');
      }
      const id = createHash('sha256')
        .update(token.slice(0, token.lastIndexOf('.')))
        .digest()
        .toString('latin1');
      return { issuer: chooseEntry(candidates, claims), claims, id, expiresS };
    },
  };
}

/** The claims of a token as they stand there; nothing of them may be believed before the signature is verified. */
function unverifiedClaims(token: string): JsonObject {
  const parts = token.length > TOKEN_SIZE_MAX ? [] : token.split('.');
  const [header, claims] = parts.map(jsonPart);
  // What could not be read is left out of the message: it may be a secret sent to the wrong place.
  if (parts.length !== 3 || header === undefined || claims === undefined) {
    throw TRUST.reject('OIDC_TOKEN_MALFORMED', 'expected three base64url parts of a JSON Web Token');
  }
  // Stricter than [RFC7515 §4.1.11]: no extension is understood, `b64` neither, which changes what is signed.
  if (header.crit !== undefined) {
    throw TRUST.reject('OIDC_TOKEN_MALFORMED', 'expected a token without critical extensions, got some');
  }
  // Tokens of other kinds by the same issuer are no identity tokens [RFC8725 §3.11]: `at+jwt`, `logout+jwt`.
  if (header.typ !== undefined && !/^(application\/)?jwt$/i.test(String(header.typ))) {
    const got = quote(String(header.typ));
    throw TRUST.reject('OIDC_TOKEN_MALFORMED', `expected a token of type JWT or none, got ${got}`);
  }
  if (typeof header.alg !== 'string' || !ALGORITHMS.includes(header.alg)) {
    const got = typeof header.alg === 'string' ? quote(header.alg) : 'none';
    throw TRUST.reject(
      'OIDC_TOKEN_ALGORITHM_REFUSED',
      `expected one of ${ALGORITHMS.join(', ')}, got ${got}`,
    );
  }
  return claims;
}

/** One part as a JSON object; names given twice are refused, so that no two readers see two tokens. */
function jsonPart(text: string): JsonObject | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  const parsed = parseStrictJson(new Uint8Array(Buffer.from(text, 'base64url')));
  const value: Json = 'value' in parsed ? parsed.value : null;
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

async function verifySignature(token: string, keys: RemoteJWKSet): Promise<void> {
  try {
    await compactVerify(token, keys, { algorithms: ALGORITHMS });
  } catch (cause) {
    if (cause instanceof errors.JWSInvalid || cause instanceof errors.JOSENotSupported) {
      throw TRUST.reject('OIDC_TOKEN_MALFORMED', 'expected a signed JSON Web Token');
    }
    const wrongKey = [
      errors.JWSSignatureVerificationFailed,
      errors.JWKSNoMatchingKey,
      errors.JWKSMultipleMatchingKeys,
    ].some((kind) => cause instanceof kind);
    if (wrongKey) {
      throw TRUST.reject('OIDC_TOKEN_SIGNATURE_WRONG', 'expected a signature by a current key of the issuer');
    }
    throw unreachable('the keys', cause);
  }
}

/** Checks `exp`, `nbf` and `iat` in seconds [RFC7519 §4.1.4 to §4.1.6]; `exp` and `iat` must be there. @returns `exp` */
function checkTimes({ exp, nbf, iat }: JsonObject, nowS: number): number {
  const seconds = (name: string, value: Json | undefined): number => {
    if (typeof value === 'number') return value;
    throw TRUST.reject(
      'OIDC_TOKEN_CLAIM_MALFORMED',
      `expected seconds in ${quote(name)}, got ${typeof value}`,
    );
  };
  const end = seconds('exp', exp);
  const start = Math.max(seconds('iat', iat), seconds('nbf', nbf === undefined ? 0 : nbf));
  if (nowS - TOLERANCE_S >= end) {
    throw TRUST.reject('OIDC_TOKEN_EXPIRED', `expected a token valid at ${nowS}, got one valid until ${end}`);
  }
  if (nowS + TOLERANCE_S < start) {
    throw TRUST.reject(
      'OIDC_TOKEN_NOT_YET_VALID',
      `expected a token valid at ${nowS}, got one valid from ${start}`,
    );
  }
  return end;
}

/** The first entry that accepts the token; otherwise the complaint of the entry that came closest. */
function chooseEntry(candidates: readonly Issuer[], claims: Claims): Issuer {
  let complaint: Rejection | undefined;
  for (const issuer of candidates) {
    const problem = complaintOf(issuer, claims);
    if (problem === undefined) return issuer;
    if (complaint?.code !== 'OIDC_TOKEN_IDENTITY_REFUSED') complaint = problem;
  }
  throw complaint as Rejection;
}

function complaintOf(issuer: Issuer, claims: Claims): Rejection | undefined {
  // Stricter than [RFC7519 §4.1.3]: one audience only, else another addressee could use the token here.
  const { aud } = claims;
  const audience = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (typeof audience !== 'string' || !issuer.audiences.includes(audience)) {
    const got =
      typeof audience === 'string'
        ? quote(audience)
        : Array.isArray(aud)
          ? `${aud.length} audiences`
          : 'none';
    return TRUST.reject(
      'OIDC_TOKEN_AUDIENCE_WRONG',
      `expected the audience ${issuer.audiences.map((own) => quote(own)).join(' or ')}, got ${got}`,
    );
  }
  for (const [claim, expected] of issuer.require) {
    const got = claims[claim];
    if (got !== expected) {
      const shown = typeof got === 'string' ? quote(got) : 'none';
      return TRUST.reject(
        'OIDC_TOKEN_IDENTITY_REFUSED',
        `expected ${claim} ${quote(expected)}, got ${shown}`,
      );
    }
  }
  return undefined;
}

/** Finds an issuer's keys [OpenID-Connect-Discovery-1.0 §4]. */
async function discover(issuer: Issuer): Promise<RemoteJWKSet> {
  const address = `${issuer.url.replace(/\/$/, '')}/.well-known/openid-configuration`;
  let found: { readonly issuer?: unknown; readonly jwks_uri?: unknown };
  try {
    const response = await boundedFetch(address, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    if (response.status !== 200) throw new TypeError(`status ${response.status}`);
    found = (await response.json()) as typeof found;
  } catch (cause) {
    throw unreachable('the discovery document', cause);
  }
  // [OpenID-Connect-Discovery-1.0 §4.3]: must be identical, or one issuer could pass for another.
  if (found?.issuer !== issuer.url) throw unreachable('a discovery document of the issuer itself');
  const jwks =
    typeof found.jwks_uri === 'string' && URL.canParse(found.jwks_uri) ? new URL(found.jwks_uri) : undefined;
  if (jwks === undefined || !isSafeUrl(jwks, issuer.allowLoopbackHttp))
    throw unreachable('a safe address of its keys');
  return createRemoteJWKSet(jwks, { timeoutDuration: FETCH_TIMEOUT_MS, [customFetch]: boundedFetch });
}

const unreachable = (what: string, cause?: unknown): Unavailable =>
  TRUST.unavailable('OIDC_ISSUER_UNREACHABLE', `expected ${what} of the issuer, could not get it`, { cause });

/** Fetches without following redirects, and reads no more than a key set can honestly need. */
async function boundedFetch(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, { ...options, redirect: 'error' });
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > FETCH_SIZE_BYTES_MAX) throw new TypeError(`more than ${FETCH_SIZE_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return new Response(Buffer.concat(parts), {
    status: response.status,
    headers: { 'content-type': 'application/json' },
  });
}
