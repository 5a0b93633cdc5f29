// SPDX-License-Identifier: Apache-2.0
// The `issuers:` list of config.yaml: whose identity tokens the authority accepts, and which of them [docs/spec/trust-services.md].

import { isIPv4 } from 'node:net';
import type { DocumentNode } from '../../core/encoding/document.ts';
import { quote } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import { GITHUB_CLAIMS, GITHUB_ID_CLAIMS } from './github-identity.ts';

/** One accepted issuer. */
export interface Issuer {
  /** Compared with the claim `iss` byte by byte. */
  readonly url: string;
  readonly audience: string;
  readonly allowLoopbackHttp: boolean;
  readonly kind: 'github-actions';
  /** Claims and the one value that each must have. Never empty. */
  readonly require: ReadonlyMap<string, string>;
}

/**
 * Reads the list. Several entries may name one issuer; a token is accepted if one of them accepts it.
 * @throws the document's own fault for a wrong shape; OIDC_CONFIG_MALFORMED, OIDC_CONFIG_UNRESTRICTED, OIDC_CONFIG_URL_INSECURE
 */
export function readIssuers(list: DocumentNode): readonly Issuer[] {
  return list.someElements().map(readIssuer);
}

function readIssuer(node: DocumentNode): Issuer {
  node.only('url', 'audience', 'allowLoopbackHttp', 'kind', 'require');
  const allowLoopbackHttp = node.optional('allowLoopbackHttp')?.boolean() ?? false;
  const url = node.field('url').string();
  checkIssuerUrl(url, allowLoopbackHttp, placeOf(node.field('url')));
  const kind = node.field('kind').word('github-actions');
  const require = new Map<string, string>();
  for (const [claim, value] of node.field('require').members()) {
    if (!GITHUB_CLAIMS.includes(claim)) {
      throw TRUST.reject(
        'OIDC_CONFIG_MALFORMED',
        `expected a claim of ${kind} tokens (${GITHUB_CLAIMS.join(', ')}), got ${quote(claim)}`,
        { at: placeOf(value) },
      );
    }
    // YAML reads a bare id as a number; tokens carry it as a string.
    const isNumber = GITHUB_ID_CLAIMS.includes(claim) && typeof value.value === 'number';
    require.set(claim, isNumber ? String(value.integer()) : value.string());
  }
  if (!GITHUB_ID_CLAIMS.some((claim) => require.has(claim))) {
    throw TRUST.reject(
      'OIDC_CONFIG_UNRESTRICTED',
      `expected ${GITHUB_ID_CLAIMS.join(' or ')} under "require", got ${[...require.keys()].join(', ') || 'nothing'}`,
      { at: placeOf(node.field('require')) },
    );
  }
  return { url, audience: node.field('audience').string(), allowLoopbackHttp, kind, require };
}

/** The place of a node as its document names it. */
const placeOf = (node: DocumentNode): string | undefined => node.wrong('').at;

function checkIssuerUrl(text: string, allowLoopbackHttp: boolean, at: string | undefined): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // OpenID Connect Discovery 1.0 §3: no query, no fragment. No user name either, it would end in logs.
  if (url === undefined || url.search || url.hash || url.username || url.password || text.includes('?')) {
    throw TRUST.reject('OIDC_CONFIG_MALFORMED', `expected the address of an issuer, got ${quote(text)}`, {
      at,
    });
  }
  if (!isSafeUrl(url, allowLoopbackHttp)) {
    throw TRUST.reject(
      'OIDC_CONFIG_URL_INSECURE',
      `expected https, or http on a loopback address with allowLoopbackHttp: true, got ${quote(text)}`,
      { at },
    );
  }
}

/** True for https, and for http to this very machine where that is allowed. */
export function isSafeUrl(url: URL, allowLoopbackHttp: boolean): boolean {
  if (url.protocol === 'https:') return true;
  // The URL parser has already turned 0x7f.1 and its like into dotted form.
  const loopback =
    url.hostname === 'localhost' ||
    url.hostname === '[::1]' ||
    (isIPv4(url.hostname) && url.hostname.startsWith('127.'));
  return url.protocol === 'http:' && loopback && allowLoopbackHttp;
}
