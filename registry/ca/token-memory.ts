// SPDX-License-Identifier: Apache-2.0
// Remembers which key each token was used for until the token expires, so that a copied token is worth nothing to whoever
// comes second [docs/spec/trust-services.md §Replayed tokens].

import { createHash } from 'node:crypto';
import type { Database, Removal } from '../store/database.ts';
import { STORE } from '../store-faults.ts';
import { TRUST } from '../trust-faults.ts';
import type { VerifiedToken } from './token.ts';

/** At some 150 octets each. */
const TOKENS_MAX = 131_072;
const BUCKET_S = 60;
const TABLE = 'token';
/** Expired rows that go with each new one: twice as many as come, so they never pile up, and no write is large because of them. */
const REMOVED_WITH_EACH = 2;

/** The tokens of one authority: in memory for reading, in the registry's database for the next start. */
export class TokenMemory {
  /** From the minute in which tokens expire to digests of their keys, by the token's id; one character an octet, both. */
  readonly #buckets = new Map<number, Map<string, string>>();
  /** Rows of tokens that have expired. */
  readonly #expired: Removal[] = [];
  readonly #database: Database;
  readonly #nowMs: () => number;
  readonly #tokensMax: number;
  #size = 0;
  #sweptBucket = 0;

  private constructor(database: Database, nowMs: () => number, tokensMax: number) {
    this.#database = database;
    this.#nowMs = nowMs;
    this.#tokensMax = tokensMax;
  }

  /**
   * Takes up what was remembered before the last stop.
   * @param nowMs the clock, milliseconds since 1970 @throws REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED
   */
  static async open(database: Database, nowMs: () => number, tokensMax = TOKENS_MAX): Promise<TokenMemory> {
    const memory = new TokenMemory(database, nowMs, tokensMax);
    for await (const [[minute = '', id = ''], key] of database.rowsOf(TABLE)) {
      if (!/^[0-9]{1,12}$/.test(minute) || !/^([0-9a-f]{2})+$/.test(id) || key.length !== 32) {
        throw STORE.reject('REGISTRY_DATA_DAMAGED', 'database: expected used tokens, got another row');
      }
      memory.#put(
        Number(minute),
        Buffer.from(id, 'hex').toString('latin1'),
        Buffer.from(key).toString('latin1'),
      );
    }
    return memory;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#size;
  }

  /**
   * Ties a token to the key that it is used for first; that key may come again, no other may. It is durable with the next write to the database, so
   * whoever answers waits for one that began later: that of the certificate's entry.
   * @param spki DER SubjectPublicKeyInfo @throws OIDC_TOKEN_REPLAYED, OIDC_TOKENS_TOO_MANY
   */
  bind({ id, expiresS }: Pick<VerifiedToken, 'id' | 'expiresS'>, spki: Uint8Array): void {
    this.#sweep();
    const digest = createHash('sha256').update(spki).digest();
    const key = digest.toString('latin1');
    const minute = Math.floor(expiresS / BUCKET_S);
    const known = this.#buckets.get(minute)?.get(id);
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
    this.#put(minute, id, key);
    const expired = this.#expired.splice(-REMOVED_WITH_EACH);
    this.#database.leaveToNext([{ ...rowOf(minute, id), value: new Uint8Array(digest) }], expired);
  }

  #put(minute: number, id: string, key: string): void {
    const bucket = this.#buckets.get(minute) ?? new Map<string, string>();
    this.#buckets.set(minute, bucket);
    bucket.set(id, key);
    this.#size++;
  }

  /** Forgets what has expired, at most once a minute. */
  #sweep(): void {
    const current = Math.floor(this.#nowMs() / 1000 / BUCKET_S);
    if (current === this.#sweptBucket) return;
    this.#sweptBucket = current;
    for (const [minute, bucket] of this.#buckets) {
      if (minute >= current) continue;
      this.#buckets.delete(minute);
      this.#size -= bucket.size;
      for (const id of bucket.keys()) this.#expired.push(rowOf(minute, id));
    }
  }
}

function rowOf(minute: number, id: string): Removal {
  return { table: TABLE, key: [String(minute), Buffer.from(id, 'latin1').toString('hex')] };
}
