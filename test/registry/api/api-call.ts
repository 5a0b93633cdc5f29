// SPDX-License-Identifier: Apache-2.0
// One call of one operation of the HTTP API, and what it must be answered with.

import type { LocalSigner } from '../../../registry/trust/signer.ts';
import type { Answer, RunningRegistry } from '../running-registry.ts';

/** What the calls need: a registry that lists `signer`'s key. */
export interface Caller {
  readonly running: RunningRegistry;
  readonly signer: LocalSigner;
}

/** A call of one operation, and the status or the code that it must be answered with. */
export interface Call {
  /** As the document names it: `get /tuf/{name}`. */
  readonly operation: string;
  readonly expected: number | string;
  readonly send: (caller: Caller) => Promise<Answer>;
}

export const b64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
export const JSON_TYPE = { 'content-type': 'application/json' };
export const get =
  (path: string) =>
  ({ running }: Caller): Promise<Answer> =>
    running.send('GET', path);
export const post =
  (path: string, body: unknown, headers: Record<string, string> = JSON_TYPE) =>
  ({ running }: Caller): Promise<Answer> =>
    running.send('POST', path, body instanceof Uint8Array ? body : JSON.stringify(body), headers);
export const large = new Uint8Array(6 * 1024 * 1024);

/** Documented refusals that no request alone brings about, each with what must happen besides; tests of their own see to them. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  LOG_BUSY: 'thousands of requests at once',
  LOG_STORE_FAILED: 'a disk that fails',
  LOG_CLOSED: 'a log that is being closed',
  LOG_SELF_CHECK: 'tiles that were damaged',
  LOG_SHARD_LOST: 'a database that was restored from an older copy',
  LOG_QUORUM_PENDING: 'witnesses that are silent',
  LOG_KEY_UNSUPPORTED: 'certificates of our own authority for other kinds of keys',
  LOG_CERTIFICATE_EXPIRED: 'certificates of our own authority, and time',
  REGISTRY_SIGNATURES_WRONG: 'a hundred wrong signatures',
  TRUST_ROOT_REOPENS: 'a rotation that ended a key',
  TRUST_CONFIG_BEHIND: 'a rotation of the log',
  CA_CHAIN_NOT_VALID: 'years',
  CA_CSR_SIGNATURE_WRONG: 'a signing request of another kind of writer',
  OIDC_ISSUER_UNREACHABLE: 'an issuer that is down',
  BLOB_TRUNCATED: 'a client that hangs up',
  BLOB_SPACE_SHORT: 'a full disk',
  REGISTRY_LEAF_UNKNOWN: 'a stolen log key',
  REGISTRY_TRACE_TOO_LARGE: 'ten thousand images',
};
