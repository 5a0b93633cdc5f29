// SPDX-License-Identifier: Apache-2.0
// Letting evidence in [docs/spec/registry-api.md §Attestations]: verify, then store. The field's verifier must accept the bundle, the
// leaf in it must be the one in this registry's log, and what it says must be readable; then the original bytes and the
// facts go to disk in one synced batch, and only then is it acknowledged.

import { createHash } from 'node:crypto';
import { CORE, quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import type { BundleVerifier, VerifiedBundle } from '../core/verify/verified.ts';
import { EVIDENCE_STRUCTURE_MAX, isCrowded } from './document-shape.ts';
import { type AttestationFacts, factsOf, indexRows } from './facts.ts';
import { parsePackageUrl } from './package-url.ts';
import { shippedPackages } from './sbom.ts';
import type { Blobs, StagedBlob } from './store/blobs.ts';
import type { Change, Database } from './store/database.ts';
import { Turns } from './store/turns.ts';
import { STORE } from './store-faults.ts';

/** What ingest asks of the registry around it. */
export interface IngestOptions {
  readonly database: Database;
  readonly blobs: Blobs;
  /** The verifier in force now; trust material may change while the server runs. */
  readonly verifier: () => BundleVerifier;
  /** The shard of this registry's log with an origin; undefined for a log of others. */
  readonly shardOf: (origin: string) => IngestShard | undefined;
  /** True if TUF metadata, published or pending, names a file with this digest. */
  readonly isTarget: (sha256: string) => boolean;
  readonly clock: () => number;
}

/** One shard of the log. */
export interface IngestShard {
  /** Counted from 1. */
  readonly number: number;
  /** The leaf at an index, or undefined past its end. */
  readonly leafAt: (index: bigint) => Promise<Uint8Array | undefined>;
}

export interface Accepted {
  readonly sha256: string;
  readonly leafIndex: number;
  /** False if these very bytes were stored before. */
  readonly isNew: boolean;
}

export class Ingest {
  readonly #options: IngestOptions;
  readonly #turns = new Turns();

  constructor(options: IngestOptions) {
    this.#options = options;
  }

  /**
   * Verifies a bundle and stores it; durable when it resolves.
   * @throws the verifier's codes, REGISTRY_LEAF_UNKNOWN, the codes of `factsOf`, BLOB_SBOM_MALFORMED, REGISTRY_STORE_FAILED
   */
  async attestation(bytes: Uint8Array): Promise<Accepted> {
    const { database, verifier, clock } = this.#options;
    if (isCrowded(bytes, EVIDENCE_STRUCTURE_MAX)) {
      const most = `at most ${EVIDENCE_STRUCTURE_MAX} commas, colons and brackets`;
      throw CORE.reject('SIGSTORE_BUNDLE_MALFORMED', `expected a bundle of ${most}, got more`);
    }
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const known = await database.json<AttestationFacts>('fact', sha256);
    if (known !== undefined) return { sha256, leafIndex: known.leafIndex, isNew: false };
    const bundle = verifier().verify(bytes);
    const facts = factsOf(bundle, clock(), await this.#shardWith(bundle));
    const rows: readonly Change[] = [{ table: 'bundle', key: [sha256], value: bytes }, ...indexRows(facts)];
    const { sbomSha256 } = facts;
    if (sbomSha256 === undefined) await database.write(rows);
    // In turn with the SBOM's own arrival: whichever comes second indexes it.
    else {
      await this.#turns.take(sbomSha256, async () =>
        database.write([...rows, ...(await this.#storedSbom(sbomSha256))]),
      );
    }
    return { sha256, leafIndex: facts.leafIndex, isNew: true };
  }

  /** The number of the shard that holds the bundle's entry, the one that the bundle names. @throws REGISTRY_LEAF_UNKNOWN */
  async #shardWith({ evidence, leaf, leafIndex }: VerifiedBundle): Promise<number> {
    const origin = evidence.entries[0]?.origin ?? '';
    const shard = this.#options.shardOf(origin);
    const ours = await shard?.leafAt(leafIndex);
    if (shard !== undefined && ours !== undefined && Buffer.compare(ours, leaf) === 0) return shard.number;
    const got =
      shard === undefined
        ? `one of the log ${quote(origin)}`
        : ours === undefined
          ? 'an index past its end'
          : 'another entry';
    throw STORE.reject(
      'REGISTRY_LEAF_UNKNOWN',
      `expected the entry that this log holds at index ${leafIndex}, got ${got}`,
    );
  }

  /** Rows for an SBOM whose body came before the statement that names it (as a TUF target). */
  async #storedSbom(sha256: string): Promise<readonly Change[]> {
    const { blobs, database } = this.#options;
    const sizeBytes = await blobs.sizeBytes(sha256);
    if (sizeBytes === undefined || (await database.has('sbom', sha256))) return [];
    checkSbomSize(sizeBytes);
    return sbomRows(sha256, await blobs.read(sha256));
  }

  /**
   * Stores a blob that evidence or TUF metadata names; true if it was new. Durable when it resolves.
   * @throws BLOB_NOT_NAMED, BLOB_TOO_LARGE, BLOB_TRUNCATED, BLOB_SPACE_SHORT, BLOB_DIGEST_MISMATCH, BLOB_SBOM_MALFORMED,
   * REGISTRY_STORE_FAILED
   */
  async blob(
    sha256: string,
    body: AsyncIterable<Uint8Array>,
    sizeBytesMax: number,
    announcedBytes = 0,
  ): Promise<boolean> {
    const { blobs } = this.#options;
    if (!(await this.#isNamed(sha256))) {
      throw STORE.reject(
        'BLOB_NOT_NAMED',
        `expected a digest that an attestation or TUF metadata names, got ${quote(sha256)}`,
      );
    }
    const staged = await blobs.stage(body, sizeBytesMax, announcedBytes);
    try {
      if (staged.sha256 !== sha256) {
        throw STORE.reject(
          'BLOB_DIGEST_MISMATCH',
          `expected bytes with digest ${sha256}, got ${staged.sha256}`,
        );
      }
      return await this.#turns.take(sha256, () => this.#keep(staged));
    } catch (failure) {
      await blobs.drop(staged);
      throw failure;
    }
  }

  async #keep(staged: StagedBlob): Promise<boolean> {
    const { blobs, database } = this.#options;
    const isNew = (await blobs.sizeBytes(staged.sha256)) === undefined;
    const rows = (await this.#isSbom(staged.sha256)) ? await sbomRowsOf(staged, blobs) : [];
    if (isNew) await blobs.keep(staged);
    else await blobs.drop(staged);
    // Body first: rows without a body would promise what is not there; a body without rows is indexed when it comes again.
    if (rows.length > 0) await database.write(rows);
    return isNew;
  }

  async #isNamed(sha256: string): Promise<boolean> {
    if (this.#options.isTarget(sha256)) return true;
    for (const table of NAMING) {
      if (await isAny(this.#options.database.keysUnder(table, sha256))) return true;
    }
    return false;
  }

  #isSbom(sha256: string): Promise<boolean> {
    return isAny(this.#options.database.keysUnder('bySbom', sha256));
  }
}

/** Digests that attestations name and whose bytes are kept: of what was made, what it was made from, what is in it, what was seen. */
const NAMING = ['bySubject', 'bySbom', 'byInput', 'byMaterial', 'byEvidence'] as const;

async function isAny(keys: AsyncGenerator<unknown>): Promise<boolean> {
  for await (const _ of keys) return true;
  return false;
}

async function sbomRowsOf(staged: StagedBlob, blobs: Blobs): Promise<readonly Change[]> {
  checkSbomSize(staged.sizeBytes);
  return sbomRows(staged.sha256, await blobs.readStaged(staged));
}

/** A blob may be far larger than a document that is read in one piece. */
function checkSbomSize(sizeBytes: number): void {
  if (sizeBytes <= LIMITS.jsonSizeBytes) return;
  throw STORE.reject(
    'BLOB_SBOM_MALFORMED',
    `expected an SBOM of at most ${LIMITS.jsonSizeBytes} bytes, got ${sizeBytes}`,
  );
}

/** The rows that tell which packages an SBOM lists. @throws BLOB_SBOM_MALFORMED */
function sbomRows(sha256: string, bytes: Uint8Array): readonly Change[] {
  const packages = shippedPackages(bytes);
  return [
    { table: 'sbom', key: [sha256], value: { components: packages.length } },
    ...packages.map((purl): Change => {
      return { table: 'byComponent', key: [parsePackageUrl(purl)?.name ?? purl, sha256, purl], value: null };
    }),
  ];
}
