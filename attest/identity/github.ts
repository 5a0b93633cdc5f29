// SPDX-License-Identifier: Apache-2.0
// GitHub Actions' token endpoint, as actions/toolkit 3.0 (packages/core, oidc-utils) asks it: GET the request URL with
// `audience`, bearer is the job's request token, answer `{"value": <jwt>}`.

import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { quote } from '../../core/faults.ts';
import { type ExchangeAnswer, exchange, isOutage, isPrivateChannel, memberOf } from '../exchange.ts';
import { ATTEST } from '../faults.ts';

export interface GithubTokenRequest {
  /** ACTIONS_ID_TOKEN_REQUEST_URL. */
  readonly requestUrl: string;
  /** ACTIONS_ID_TOKEN_REQUEST_TOKEN: a credential as well. */
  readonly requestToken: string;
  readonly audience: string;
  readonly signal?: AbortSignal | undefined;
}

/** Fetches a fresh token. @throws IDENTITY_ISSUER_REFUSED, IDENTITY_ISSUER_UNREACHABLE */
export async function githubToken(request: GithubTokenRequest): Promise<string> {
  const url = URL.parse(request.requestUrl);
  if (url === null || !isPrivateChannel(url)) {
    // The URL itself is not shown: on GitHub its path is part of the secret.
    throw refused(
      'expected ACTIONS_ID_TOKEN_REQUEST_URL to be https (or on this machine), got another address',
    );
  }
  url.searchParams.set('audience', request.audience);
  const answer = await exchange(url.href, {
    method: 'GET',
    headers: { authorization: `Bearer ${request.requestToken}` },
    signal: request.signal,
  });
  if (isOutage(answer)) {
    const got = answer.status === 0 ? quote(answer.reason) : String(answer.status);
    throw ATTEST.unavailable(
      'IDENTITY_ISSUER_UNREACHABLE',
      `expected a token from ${quote(url.host)}, got ${got}`,
    );
  }
  const value = tokenOf(answer);
  // The body is not quoted: a half-good answer may hold a token.
  if (value === undefined)
    throw refused(`expected a token from ${quote(url.host)}, got status ${answer.status}`);
  return value;
}

function tokenOf(answer: ExchangeAnswer): string | undefined {
  const parsed = parseStrictJson(answer.body);
  if (answer.status !== 200 || !('value' in parsed)) return undefined;
  const value = memberOf(parsed.value, 'value');
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function refused(message: string) {
  return ATTEST.reject('IDENTITY_ISSUER_REFUSED', message);
}
