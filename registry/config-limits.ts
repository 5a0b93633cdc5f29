// SPDX-License-Identifier: Apache-2.0
// `limits` of config.yaml [docs/spec/registry-api.md §Limits]: what one request, one client and all of them together may take.

import type { DocumentNode } from '../core/encoding/document.ts';
import { TrustedProxies } from './http/trusted-proxies.ts';

export interface RegistryLimits {
  /** Largest blob. */
  readonly blobSizeBytes: number;
  /** Disk space that blobs leave to the database. */
  readonly diskReserveBytes: number;
  /** Longest time for one request to arrive; the largest blob has to. */
  readonly requestTimeoutMs: number;
  /** Longest time for a request to arrive that is no blob. */
  readonly documentTimeoutMs: number;
  /** Longest time for an answer to be taken. */
  readonly answerTimeoutMs: number;
  /** How long requests under way may still take once the server is told to stop. */
  readonly shutdownMs: number;
  /** Requests of one client address; undefined: `none`. */
  readonly requestsPerMinute: number | undefined;
  /** Requests of one client address to one endpoint that costs more; undefined: `none`. */
  readonly costlyPerMinute: number | undefined;
  /** Requests of one client address to the signature log whose signature was wrong; undefined: `none`. */
  readonly wrongSignaturesPerMinute: number | undefined;
  /** Open connections of all clients. */
  readonly connections: number;
  /** Open connections of one client address that is no trusted proxy. */
  readonly connectionsPerClient: number;
  /** Bodies of all requests under way that are no blobs. */
  readonly bodyBytes: number;
  /** The same of one client address. */
  readonly bodyBytesPerClient: number;
  /** Whose word counts about who the client is. */
  readonly trustedProxies: TrustedProxies;
}

export const DEFAULT_LIMITS: RegistryLimits = {
  // Inputs are archived: container layers and SDKs are this large.
  blobSizeBytes: 2 * 1024 ** 3,
  diskReserveBytes: 1024 ** 3,
  requestTimeoutMs: 1_800_000,
  documentTimeoutMs: 30_000,
  answerTimeoutMs: 1_800_000,
  shutdownMs: 10_000,
  requestsPerMinute: 60_000,
  costlyPerMinute: 6000,
  // Each takes some 7 ms of the one thread; who signs what it sends sends none, so many clients behind one address share this well.
  wrongSignaturesPerMinute: 120,
  connections: 10_000,
  connectionsPerClient: 5000,
  bodyBytes: 256 * 1024 ** 2,
  bodyBytesPerClient: 64 * 1024 ** 2,
  trustedProxies: TrustedProxies.none,
};

const DAY_MS = 86_400_000;
/** Less would keep out the largest document, top-level targets. */
const BODY_BYTES_MIN = 5_000_000;

/** Reads `limits`; what is absent has its default. @throws the document's fault */
export function readLimits(node: DocumentNode | undefined): RegistryLimits {
  if (node === undefined) return DEFAULT_LIMITS;
  node.only(...Object.keys(DEFAULT_LIMITS));
  const whole = (name: keyof RegistryLimits, min: number, max?: number): number =>
    node.optional(name)?.integer(min, max) ?? (DEFAULT_LIMITS[name] as number);
  const requestsPerMinute = readRate(node.optional('requestsPerMinute'), DEFAULT_LIMITS.requestsPerMinute);
  // Whoever asks for no limit at all means what costs more too, unless told otherwise.
  const costly = (name: 'costlyPerMinute' | 'wrongSignaturesPerMinute') =>
    readRate(node.optional(name), requestsPerMinute === undefined ? undefined : DEFAULT_LIMITS[name]);
  const proxies = node.optional('trustedProxies');
  return {
    blobSizeBytes: whole('blobSizeBytes', 1),
    diskReserveBytes: whole('diskReserveBytes', 0),
    requestTimeoutMs: whole('requestTimeoutMs', 1000, DAY_MS),
    documentTimeoutMs: whole('documentTimeoutMs', 1000, DAY_MS),
    answerTimeoutMs: whole('answerTimeoutMs', 1000, DAY_MS),
    shutdownMs: whole('shutdownMs', 0, DAY_MS),
    requestsPerMinute,
    costlyPerMinute: costly('costlyPerMinute'),
    wrongSignaturesPerMinute: costly('wrongSignaturesPerMinute'),
    connections: whole('connections', 1),
    connectionsPerClient: whole('connectionsPerClient', 1),
    bodyBytes: whole('bodyBytes', BODY_BYTES_MIN),
    bodyBytesPerClient: whole('bodyBytesPerClient', BODY_BYTES_MIN),
    trustedProxies: proxies === undefined ? TrustedProxies.none : TrustedProxies.read(proxies),
  };
}

function readRate(node: DocumentNode | undefined, absent: number | undefined): number | undefined {
  if (node === undefined) return absent;
  return node.value === 'none' ? undefined : node.integer(1);
}
