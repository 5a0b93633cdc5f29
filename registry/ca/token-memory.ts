// SPDX-License-Identifier: Apache-2.0
// Remembers which key each token was used for until the token expires, so that a copied token is worth nothing to whoever
// comes second [docs/spec/trust-services.md §Replayed tokens].

import { createHash } from 'node:crypto';
import { TRUST } from '../trust-faults.ts';
import type { VerifiedToken } from './token.ts';

/** At some 150 octets each. */
const TOKENS_MAX = 131_072;
const BUCKET_S = 60;

/** The tokens of one authority. Not kept across a restart. */
export class TokenMemory {
  /** From the minute in which tokens expire to digests of their keys, by the token's id. */
  readonly #buckets = new Map<number, Map<string, string>>();
  readonly #nowMs: () => number;
  readonly #tokensMax: number;
  #size = 0;
  #sweptBucket = 0;

  /** @param nowMs the clock, milliseconds since 1970 */
  constructor(nowMs: () => number, tokensMax = TOKENS_MAX) {
    this.#nowMs = nowMs;
    this.#tokensMax = tokensMax;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#size;
  }

  /**
   * Ties a token to the key that it is used for first; that key may come again, no other may.
   * @param spki DER SubjectPublicKeyInfo @throws OIDC_TOKEN_REPLAYED, OIDC_TOKENS_TOO_MANY
   */
  bind({ id, expiresS }: Pick<VerifiedToken, 'id' | 'expiresS'>, spki: Uint8Array): void {
    this.#sweep();
    const key = createHash('sha256').update(spki).digest().toString('latin1');
    const number = Math.floor(expiresS / BUCKET_S);
    const bucket = this.#buckets.get(number) ?? new Map<string, string>();
    const known = bucket.get(id);
    if (known === key) return;
    if (known !== undefined) {
      throw TRUST.reject(
        'OIDC_TOKEN_REPLAYED',
        'expected a fresh token, got one already used for another key',
      );
    }
    // To forget a token that is still valid would be to let it be replayed.
    if (this.#size >= this.#tokensMax) {
      throw TRUST.unavailable(
        'OIDC_TOKENS_TOO_MANY',
        `expected fewer than ${this.#tokensMax} unexpired tokens, got one more`,
      );
    }
    bucket.set(id, key);
    this.#buckets.set(number, bucket);
    this.#size++;
  }

  /** Forgets what has expired, at most once a minute. */
  #sweep(): void {
    const current = Math.floor(this.#nowMs() / 1000 / BUCKET_S);
    if (current === this.#sweptBucket) return;
    this.#sweptBucket = current;
    for (const [number, bucket] of this.#buckets) {
      if (number >= current) continue;
      this.#buckets.delete(number);
      this.#size -= bucket.size;
    }
  }
}
