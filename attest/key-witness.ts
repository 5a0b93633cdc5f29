// SPDX-License-Identifier: Apache-2.0
// Logs a signature by a managed key [Rekor-v2 §hashedRekordRequestV002]. `RekorWitness` of @sigstore/sign 5.1 sends every
// key as a certificate; this sends it as the public key that it is, so that the leaf says so too.

import { createHash } from 'node:crypto';
import { TransparencyLogEntry } from '@sigstore/protobuf-specs';
import type { Witness } from '@sigstore/sign';
import { base64Encode } from '../core/encoding/base64.ts';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { preAuthEncoding } from '../core/sigstore/bundle.ts';
import { type ExchangeAnswer, exchange, explainRefusal, isOutage } from './exchange.ts';
import { ATTEST } from './faults.ts';

/** The witness for one P-256 key, given as DER SubjectPublicKeyInfo. */
export function logWitnessForKey(logUrl: string, publicKey: Uint8Array, timeoutMs: number): Witness {
  return {
    async testify(content) {
      if (content.$case !== 'dsseEnvelope') throw new TypeError('expected a DSSE envelope');
      const { payloadType, payload, signatures } = content.dsseEnvelope;
      const digest = createHash('sha256').update(preAuthEncoding(payloadType, payload)).digest('base64');
      const request = {
        hashedRekordRequestV002: {
          digest,
          signature: {
            content: signatures[0]?.sig.toString('base64'),
            verifier: {
              publicKey: { rawBytes: base64Encode(publicKey) },
              keyDetails: 'PKIX_ECDSA_P256_SHA_256',
            },
          },
        },
      };
      const answer = await exchange(`${logUrl}/api/v2/log/entries`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
        timeoutMs,
      });
      return { tlogEntries: [entryOf(answer, logUrl)] };
    },
  };
}

function entryOf(answer: ExchangeAnswer, logUrl: string) {
  if (answer.status !== 201) {
    const message = `expected the signature log at ${quote(logUrl)} to take part, got ${explainRefusal(answer)}`;
    throw isOutage(answer)
      ? ATTEST.unavailable('SIGN_SERVICE_UNAVAILABLE', message)
      : ATTEST.reject('SIGN_SERVICE_REFUSED', message);
  }
  const parsed = parseStrictJson(answer.body);
  try {
    const json = 'value' in parsed ? parsed.value : null;
    const { logId, kindVersion, ...rest } = TransparencyLogEntry.fromJSON(json);
    if (logId === undefined || kindVersion === undefined) throw new TypeError('no log id or kind');
    return { ...rest, logId, kindVersion };
  } catch (failure) {
    const message = `expected a log entry from ${quote(logUrl)}, got ${quote((failure as Error).message)}`;
    throw ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
  }
}
