// SPDX-License-Identifier: Apache-2.0
// An OIDC identity token [OpenID-Connect-Core-1.0 §2] and the places it comes from [docs/spec/attest.md §Token sources].
// A token is a credential: it is held as short as possible and never part of a message.

import { readFile } from 'node:fs/promises';
import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { quote } from '../../core/faults.ts';
import { memberOf } from '../exchange.ts';
import { ATTEST } from '../faults.ts';
import { githubToken } from './github.ts';

/** Where tokens come from. `token` may be called once a signature; a source that can gives a fresh one each time. */
export interface IdentitySource {
  /** For people: `GitHub Actions`, `file …`, `WAYBILL_ID_TOKEN`. */
  readonly origin: string;
  token(): Promise<string>;
}

export interface IdentityChoice {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly tokenFile?: string | undefined;
  /** Whom the token is for; the registry's authority expects its own name here. */
  readonly audience: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Picks the source: the file that was named, else WAYBILL_ID_TOKEN, else GitHub Actions.
 * @throws IDENTITY_NONE; the source's `token` throws the other IDENTITY_* codes
 */
export function findIdentity(choice: IdentityChoice): IdentitySource {
  const { env, tokenFile, audience, signal } = choice;
  const checked = (origin: string, get: () => Promise<string>): IdentitySource => ({
    origin,
    token: async () => checkToken(await get(), origin, audience, Date.now()),
  });
  if (tokenFile !== undefined) return checked(`file ${quote(tokenFile)}`, () => readTokenFile(tokenFile));
  const fromEnvironment = env.WAYBILL_ID_TOKEN;
  if (fromEnvironment) return checked('WAYBILL_ID_TOKEN', async () => fromEnvironment.trim());
  const requestUrl = env.ACTIONS_ID_TOKEN_REQUEST_URL;
  const requestToken = env.ACTIONS_ID_TOKEN_REQUEST_TOKEN;
  if (requestUrl && requestToken) {
    return checked('GitHub Actions', () => githubToken({ requestUrl, requestToken, audience, signal }));
  }
  throw ATTEST.reject(
    'IDENTITY_NONE',
    'expected --token-file, WAYBILL_ID_TOKEN or the token endpoint of GitHub Actions, found none of them',
  );
}

async function readTokenFile(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw ATTEST.reject('IDENTITY_TOKEN_UNREADABLE', `expected a token in ${quote(path)}, got ${reason}`, {
      cause,
    });
  }
}

/**
 * Looks at a token before it leaves: three parts, subject, audience, expiry [RFC7519 §4.1]. This proves nothing (the
 * authority verifies it); it keeps a token that was made for somebody else from being shown to the registry.
 */
function checkToken(token: string, origin: string, audience: string, nowMs: number): string {
  const [, body, ...rest] = token.split('.');
  const shaped = rest.length === 1 && /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(token);
  const parsed = parseStrictJson(new Uint8Array(Buffer.from(shaped ? (body ?? '') : '', 'base64url')));
  const claims = 'value' in parsed ? parsed.value : undefined;
  const [sub, aud, exp] = ['sub', 'aud', 'exp'].map((name) => memberOf(claims, name));
  const audiences = Array.isArray(aud) ? aud : [aud];
  if (typeof sub !== 'string' || typeof exp !== 'number' || aud === undefined) throw malformed(origin);
  if (!audiences.includes(audience)) {
    const message = `expected a token for the audience ${quote(audience)} from ${origin}, got one for another`;
    throw ATTEST.reject('IDENTITY_TOKEN_AUDIENCE', message);
  }
  if (exp * 1000 <= nowMs) {
    const agoS = Math.floor(nowMs / 1000 - exp);
    const message = `expected a token that is still valid from ${origin}, got one that expired ${agoS} s ago`;
    throw ATTEST.reject('IDENTITY_TOKEN_EXPIRED', message);
  }
  return token;
}

function malformed(origin: string) {
  const message = `expected a JSON Web Token with sub, aud and exp from ${origin}, got something else`;
  return ATTEST.reject('IDENTITY_TOKEN_MALFORMED', message);
}
