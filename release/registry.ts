// SPDX-License-Identifier: Apache-2.0
// What gate and release ask of a registry [docs/spec/registry-api.md]. Nothing that it answers is believed: digests are
// computed here, and bundles are verified by the caller.

import { createHash } from 'node:crypto';
import { base64Decode } from '../core/encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { utf8 } from '../core/encoding/utf8.ts';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { RELEASE } from './faults.ts';

const TIMEOUT_MS = 60_000;
/** Room for the bundles about one artifact: 48 of the largest size, far more of the usual one. */
const ANSWER_SIZE_BYTES_MAX = 64 * 1024 * 1024;

/** A bundle's bytes and their digest, computed here. Unverified. */
export interface FetchedBundle {
  readonly sha256: string;
  readonly bytes: Uint8Array;
}

/** An inclusion proof as the log gives it. Unverified. */
export interface FetchedProof {
  readonly index: bigint;
  readonly size: bigint;
  readonly hashes: readonly Uint8Array[];
  readonly checkpoint: string;
}

/** A file that a role names. */
export interface NamedFile {
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

interface Answer {
  readonly status: number;
  readonly body: Uint8Array;
}

export class Registry {
  readonly #base: string;
  readonly #signal: AbortSignal | undefined;

  /** `url` without a slash at its end; `signal` cancels whatever is under way. */
  constructor(url: string, signal?: AbortSignal) {
    this.#base = url;
    this.#signal = signal;
  }

  /**
   * Every bundle that the registry keeps about an artifact.
   * @throws RELEASE_REGISTRY_*, EVIDENCE_BUNDLE_DIGEST_MISMATCH
   */
  async bundlesAbout(sha256: string): Promise<readonly FetchedBundle[]> {
    const body = await this.#get(`/api/v1/attestations?subject=${sha256}`);
    const root = this.#open(body ?? new Uint8Array()).only('attestations');
    return root
      .field('attestations')
      .elements()
      .map((node) => {
        node.only('sha256', 'bundle');
        return asFetched(utf8(node.field('bundle').string()), node.field('sha256').sha256());
      });
  }

  /** One bundle by the digest of its bytes. @throws RELEASE_REGISTRY_*, EVIDENCE_WITHHELD, EVIDENCE_BUNDLE_DIGEST_MISMATCH */
  async bundle(sha256: string): Promise<FetchedBundle> {
    const bytes = await this.#get(`/api/v1/attestations/${sha256}`, LIMITS.bundleSizeBytes);
    if (bytes === undefined) {
      throw RELEASE.reject(
        'EVIDENCE_WITHHELD',
        `expected the bundle sha256:${sha256}, the registry has none`,
      );
    }
    return asFetched(bytes, sha256);
  }

  /** A body by its digest, which the caller compares; undefined if the registry has none. @throws RELEASE_REGISTRY_* */
  async blob(sha256: string): Promise<Uint8Array | undefined> {
    return this.#get(`/api/v1/blobs/${sha256}`);
  }

  /** The proof of a leaf of a shard of the log (`log`, `log2`) in the checkpoint of the given size, or in the latest. @throws RELEASE_REGISTRY_* */
  async proof(shard: string, index: bigint, size?: bigint): Promise<FetchedProof> {
    const query = `index=${index}${size === undefined ? '' : `&size=${size}`}`;
    const body = await this.#get(`/${encodeURIComponent(shard)}/api/v2/proof?${query}`);
    const root = this.#open(body ?? new Uint8Array()).only('index', 'size', 'hashes', 'checkpoint');
    const proof = {
      index: BigInt(root.field('index').integer()),
      size: BigInt(root.field('size').integer(1)),
      hashes: root.field('hashes').elements().map(readHash),
      checkpoint: root.field('checkpoint').string(),
    };
    if (proof.index !== index) {
      throw malformed(`expected a proof of leaf ${index}, got one of ${proof.index}`);
    }
    return proof;
  }

  /**
   * Offers the next version of a role; with `reopen`, keys that the published trusted root has ended may count again. Returns the files that the
   * registry lacks; none if the role is published.
   * @throws RELEASE_REGISTRY_*
   */
  async putRole(role: string, metadata: Uint8Array, { reopen = false } = {}): Promise<readonly NamedFile[]> {
    const path = `/api/v1/tuf/${encodeURIComponent(role)}${reopen ? '?reopen=allowed' : ''}`;
    const answer = await this.#send('PUT', path, metadata, 'application/json');
    if (answer.status === 200 || answer.status === 201) return [];
    if (answer.status !== 409) throw refused(answer, `role ${quote(role)}`);
    const missing = this.#open(answer.body).optional('missing');
    if (missing === undefined) throw refused(answer, `role ${quote(role)}`);
    return missing.someElements().map((node) => ({
      name: node.field('name').string(),
      sha256: node.field('sha256').sha256(),
      sizeBytes: node.field('sizeBytes').integer(1),
    }));
  }

  /** Uploads a body; the registry hashes what arrives. @throws RELEASE_REGISTRY_* */
  async putBlob(sha256: string, body: Uint8Array | Blob): Promise<void> {
    const answer = await this.#send('PUT', `/api/v1/blobs/${sha256}`, body, 'application/octet-stream');
    if (answer.status !== 200 && answer.status !== 201) throw refused(answer, `the file sha256:${sha256}`);
  }

  /** Body of a 200 answer; undefined for 404. */
  async #get(path: string, sizeBytesMax = ANSWER_SIZE_BYTES_MAX): Promise<Uint8Array | undefined> {
    const answer = await this.#send('GET', path, undefined, undefined, sizeBytesMax);
    if (answer.status === 200) return answer.body;
    if (answer.status === 404) return undefined;
    throw refused(answer, quote(path));
  }

  async #send(
    method: 'GET' | 'PUT',
    path: string,
    body?: Uint8Array | Blob,
    type?: string,
    sizeBytesMax = ANSWER_SIZE_BYTES_MAX,
  ): Promise<Answer> {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    let answer: Answer;
    try {
      const response = await fetch(`${this.#base}${path}`, {
        method,
        redirect: 'error',
        signal: this.#signal === undefined ? deadline : AbortSignal.any([deadline, this.#signal]),
        ...(type === undefined ? {} : { headers: { 'content-type': type } }),
        ...(body === undefined ? {} : { body: body as Blob }),
      });
      answer = { status: response.status, body: await readBody(response, sizeBytesMax) };
    } catch (cause) {
      this.#signal?.throwIfAborted();
      if (cause instanceof TooLarge) throw malformed(`expected at most ${sizeBytesMax} bytes, got more`);
      const reason = deadline.aborted ? 'timed out' : reasonOf(cause);
      throw RELEASE.unavailable(
        'RELEASE_REGISTRY_UNREACHABLE',
        `no answer from ${quote(this.#base)}: ${quote(reason)}`,
      );
    }
    if (answer.status === 429 || answer.status >= 500) {
      throw RELEASE.unavailable(
        'RELEASE_REGISTRY_BUSY',
        `${quote(this.#base)} cannot serve now: ${explain(answer)}`,
      );
    }
    return answer;
  }

  #open(body: Uint8Array): DocumentNode {
    return parseDocument(body, { refuse: malformed }, ANSWER_SIZE_BYTES_MAX);
  }
}

class TooLarge extends Error {}

async function readBody(response: Response, sizeBytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    sizeBytes += chunk.length;
    if (sizeBytes > sizeBytesMax) throw new TooLarge();
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function asFetched(bytes: Uint8Array, sha256: string): FetchedBundle {
  const got = createHash('sha256').update(bytes).digest('hex');
  if (got !== sha256) {
    throw RELEASE.reject(
      'EVIDENCE_BUNDLE_DIGEST_MISMATCH',
      `expected a bundle with the digest sha256:${sha256}, got sha256:${got}`,
    );
  }
  return { sha256, bytes };
}

function readHash(node: DocumentNode): Uint8Array {
  const hash = base64Decode(node.string());
  if (hash?.length !== 32) throw node.wrong('expected 32 bytes in base64');
  return hash;
}

function malformed(message: string, at?: string) {
  return RELEASE.reject('RELEASE_REGISTRY_ANSWER_MALFORMED', message, { at });
}

function refused(answer: Answer, what: string) {
  return RELEASE.reject('RELEASE_REGISTRY_REFUSED', `${what}: ${explain(answer)}`);
}

/** Status, and code, message and remedy if the server answers as ours does. */
function explain(answer: Answer): string {
  let error: Record<string, unknown> = {};
  try {
    error = (JSON.parse(Buffer.from(answer.body).toString()) as { error?: typeof error }).error ?? {};
  } catch {
    // Some other server: its status must do.
  }
  const said = [error.code, error.message, error.remedy].filter((text) => typeof text === 'string');
  return [`status ${answer.status}`, ...said.map((text) => quote(text))].join(' ');
}

/** The system's word for a failed connection (`ECONNREFUSED`), which fetch keeps in the innermost cause. */
function reasonOf(failure: unknown): string {
  let deepest = failure;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  if (!(deepest instanceof Error)) return 'unknown';
  return (deepest as NodeJS.ErrnoException).code ?? deepest.message;
}
