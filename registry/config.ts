// SPDX-License-Identifier: Apache-2.0
// config.yaml of a data folder [docs/spec/registry-api.md §Configuration]: where to listen, whose tokens and keys count, limits. Read
// strictly: an unknown member is an error, since a misspelt restriction would be none.

import { base64Decode } from '../core/encoding/base64.ts';
import type { DocumentNode } from '../core/encoding/document.ts';
import { type Issuer, readIssuers } from './ca/issuers.ts';
import { checkListedKey } from './trust-in-force.ts';

export interface RegistryConfig {
  readonly listen: { readonly host: string; readonly port: number };
  /** Base of all service addresses, without a slash at the end. */
  readonly url: string;
  /** Fixed by `waybill init`: the names of log and certificate transparency log come from it. */
  readonly org: string;
  /** Accepted identity token issuers; none means that nobody gets a certificate. */
  readonly issuers: readonly Issuer[];
  /** Keys (DER SubjectPublicKeyInfo) whose bundles are accepted besides the gates' of published device policies. */
  readonly keys: readonly Uint8Array[];
  readonly limits: RegistryLimits;
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug';
}

export interface RegistryLimits {
  /** Largest blob. */
  readonly blobSizeBytes: number;
  /** Disk space that blobs leave to the database. */
  readonly diskReserveBytes: number;
  /** Longest time for one request to arrive; the largest blob has to. */
  readonly requestTimeoutMs: number;
  /** Requests of one client address; undefined: `none`. */
  readonly requestsPerMinute: number | undefined;
}

export const DEFAULT_LIMITS: RegistryLimits = {
  // Inputs are archived: container layers and SDKs are this large.
  blobSizeBytes: 2 * 1024 ** 3,
  diskReserveBytes: 1024 ** 3,
  requestTimeoutMs: 1_800_000,
  requestsPerMinute: 60_000,
};

/** Reads an open config.yaml. @throws the document's fault, OIDC_CONFIG_MALFORMED, OIDC_CONFIG_UNRESTRICTED, OIDC_CONFIG_URL_INSECURE */
export function readConfig(root: DocumentNode): RegistryConfig {
  root.only('listen', 'url', 'org', 'issuers', 'keys', 'limits', 'logLevel');
  const listen = root.field('listen').only('host', 'port');
  const issuers = root.optional('issuers');
  return {
    listen: { host: listen.field('host').string(), port: listen.field('port').integer(0, 65535) },
    url: readUrl(root.field('url')),
    org: root.field('org').string(),
    issuers: issuers === undefined ? [] : readIssuers(issuers),
    keys: (root.optional('keys')?.elements() ?? []).map(readKey),
    limits: readLimits(root.optional('limits')),
    logLevel: root.optional('logLevel')?.word('silent', 'error', 'warn', 'info', 'debug') ?? 'info',
  };
}

function readUrl(node: DocumentNode): string {
  const text = node.string();
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isBase =
    url !== undefined &&
    (url.protocol === 'http:' || url.protocol === 'https:') &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  if (!isBase) throw node.wrong('expected a base address such as https://waybill.example.com');
  return text.replace(/\/+$/, '');
}

function readKey(node: DocumentNode): Uint8Array {
  node.only('name', 'publicKey');
  node.field('name').string();
  const publicKey = node.field('publicKey');
  const spki = base64Decode(publicKey.string());
  if (spki === undefined) throw publicKey.wrong('expected a DER public key in base64');
  checkListedKey(spki, publicKey.pointer);
  return spki;
}

function readLimits(node: DocumentNode | undefined): RegistryLimits {
  if (node === undefined) return DEFAULT_LIMITS;
  node.only('blobSizeBytes', 'diskReserveBytes', 'requestTimeoutMs', 'requestsPerMinute');
  const rate = node.optional('requestsPerMinute');
  const isNone = rate?.value === 'none';
  return {
    blobSizeBytes: node.optional('blobSizeBytes')?.integer(1) ?? DEFAULT_LIMITS.blobSizeBytes,
    diskReserveBytes: node.optional('diskReserveBytes')?.integer(0) ?? DEFAULT_LIMITS.diskReserveBytes,
    requestTimeoutMs:
      node.optional('requestTimeoutMs')?.integer(1000, 86_400_000) ?? DEFAULT_LIMITS.requestTimeoutMs,
    requestsPerMinute: isNone ? undefined : (rate?.integer(1) ?? DEFAULT_LIMITS.requestsPerMinute),
  };
}
