// SPDX-License-Identifier: Apache-2.0
// Which documents were signed [docs/spec/monitor.md §Documents, §Decisions]: those in a registry's store, and the decisions of a gate in a folder. The
// digest in the log is of the document as it was signed, so nobody has to be believed.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hexEncode } from '../../core/encoding/hex.ts';
import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote, Rejection } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';
import { type AnyBundle, parseAnyBundle } from '../../core/sigstore/any-bundle.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { hashLeaf } from '../../core/tlog/merkle.ts';
import { nodeHasher } from '../log/hash-tiles.ts';
import { MONITOR } from '../monitor-faults.ts';
import { get } from './log-reader.ts';
import type { Sighting } from './sightings.ts';

/** Bundles of one log entry: the same signature may come in several. */
const ANSWER_SIZE_BYTES_MAX = 4 * LIMITS.bundleSizeBytes;

/** What a bundle's signature covers, as the log names it: a digest, hex. */
function signedDigest({ content }: AnyBundle): string {
  return content.kind === 'message'
    ? Buffer.from(content.digest).toString('hex')
    : createHash('sha256').update(preAuthEncoding(content.payloadType, content.payload)).digest('hex');
}

/** A member of what may be anything. */
const memberOf = (value: unknown, name: string): unknown => (value as Record<string, unknown> | null)?.[name];

/** True if the bundle has the leaf of this hash, hex. */
function carries({ entries }: AnyBundle, leafHash: string): boolean {
  return entries.some(({ body }) => hexEncode(hashLeaf(body, nodeHasher)) === leafHash);
}

/** The store of a registry. */
export class RegistryDocuments {
  readonly #url: string;

  /** `url` has no slash at its end. */
  constructor(url: string) {
    this.#url = url;
  }

  /**
   * True if the store holds the document that was signed in the entry. It answers with what it has at the index in whatever shard: a bundle counts
   * if it carries this very leaf, and if what it shows has the digest in it. @throws MONITOR_LOG_UNREACHABLE
   */
  async has(
    { index, leafHash, digest }: Pick<Sighting, 'index' | 'leafHash' | 'digest'>,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const url = `${this.#url}/api/v1/attestations/by-leaf/${index}`;
    const bytes = await get(url, { sizeBytesMax: ANSWER_SIZE_BYTES_MAX, signal });
    const parsed = bytes === undefined ? undefined : parseStrictJson(bytes);
    const attestations = parsed && 'value' in parsed ? memberOf(parsed.value, 'attestations') : undefined;
    if (!Array.isArray(attestations)) {
      throw MONITOR.unavailable(
        'MONITOR_LOG_UNREACHABLE',
        `expected attestations at ${quote(url)}, got none`,
      );
    }
    return attestations.some((attestation: unknown) => {
      const bundle = memberOf(attestation, 'bundle');
      try {
        const parsed = typeof bundle === 'string' ? parseAnyBundle(utf8(bundle)) : undefined;
        return parsed !== undefined && carries(parsed, leafHash) && signedDigest(parsed) === digest;
      } catch (failure) {
        if (failure instanceof Rejection) return false;
        throw failure;
      }
    });
  }
}

/** A folder of bundles that a gate wrote. */
export class DecisionsFolder {
  readonly #folder: string;
  readonly #read = new Set<string>();
  readonly #digests = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads what has come since. @throws MONITOR_EVIDENCE_MISSING, MONITOR_DECISION_MALFORMED */
  async refresh(): Promise<void> {
    const names = await readdir(this.#folder).catch((cause: NodeJS.ErrnoException) => {
      const message = `expected a folder of decisions at ${quote(this.#folder)}, got ${cause.code}`;
      throw MONITOR.reject('MONITOR_EVIDENCE_MISSING', message, { cause });
    });
    for (const name of names.filter((file) => file.endsWith('.json') && !this.#read.has(file))) {
      const path = join(this.#folder, name);
      try {
        this.#digests.add(signedDigest(parseAnyBundle(new Uint8Array(await readFile(path)))));
        this.#read.add(name);
      } catch (cause) {
        throw MONITOR.reject('MONITOR_DECISION_MALFORMED', `expected a bundle in ${quote(path)}`, {
          at: path,
          cause,
        });
      }
    }
  }

  has(digest: string): boolean {
    return this.#digests.has(digest);
  }
}
