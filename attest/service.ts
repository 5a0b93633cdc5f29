// SPDX-License-Identifier: Apache-2.0
// One question to a signing service. The clients of @sigstore/sign 5.1 follow redirects and send the body, with the token in it,
// to wherever those lead; `exchange` follows none.

import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { exchange, explainRefusal, isOutage } from './exchange.ts';
import { ATTEST } from './faults.ts';
import { redact } from './identity/redact.ts';

export interface SigningService {
  /** For people: `signature log`. */
  readonly name: string;
  readonly url: string;
  /** What must not appear in any message; a server may echo it. */
  readonly secret: string;
}

/** Posts JSON and returns the body of the answer. @throws SIGN_SERVICE_REFUSED, SIGN_SERVICE_UNAVAILABLE */
export async function askService(
  service: SigningService,
  url: string,
  question: object,
  statuses: readonly number[],
): Promise<Uint8Array> {
  const answer = await exchange(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(question),
  });
  if (statuses.includes(answer.status)) return answer.body;
  const said = redact(explainRefusal(answer), service.secret);
  const message = `expected the ${service.name} at ${quote(service.url)} to take part, got ${said}`;
  throw isOutage(answer)
    ? ATTEST.unavailable('SIGN_SERVICE_UNAVAILABLE', message)
    : ATTEST.reject('SIGN_SERVICE_REFUSED', message);
}

/** Takes from an answer in JSON what is needed. @throws SIGN_ANSWER_MALFORMED */
export function readAnswer<T>(
  service: SigningService,
  what: string,
  body: Uint8Array,
  read: (json: unknown) => T,
): T {
  const parsed = parseStrictJson(body);
  try {
    return read('value' in parsed ? parsed.value : null);
  } catch (failure) {
    const got = quote(redact((failure as Error).message, service.secret));
    const message = `expected ${what} from the ${service.name} at ${quote(service.url)}, got ${got}`;
    throw ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
  }
}
