// SPDX-License-Identifier: Apache-2.0
// config.yaml of a data folder [docs/spec/registry-api.md §Configuration]: where to listen, whose tokens and keys count, limits. Read
// strictly: an unknown member is an error, since a misspelt restriction would be none.

import { base64Decode } from '../core/encoding/base64.ts';
import type { DocumentNode } from '../core/encoding/document.ts';
import { type Issuer, readIssuers } from './ca/issuers.ts';
import { type RegistryLimits, readLimits } from './config-limits.ts';
import { checkListedKey } from './trust-in-force.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Paths are relative to the data folder. */
export interface TlsConfig {
  /** PEM: the server's certificate, then its intermediates. */
  readonly certificate: string;
  /** PEM private key, readable by its owner alone. */
  readonly key: string;
  /** PEM: whoever is certified by one of these may come in. */
  readonly clientAuthorities?: string;
  /** Who must show a certificate; only with `clientAuthorities`. */
  readonly requireClientCertificate?: 'always' | 'except-public-reads';
}

export interface RegistryConfig {
  readonly listen: ListenAddress & { readonly tls?: TlsConfig };
  /** Where figures and probes are served besides; nowhere if it is absent. */
  readonly metrics?: ListenAddress;
  /** Base of all service addresses, without a slash at the end. */
  readonly url: string;
  /** Fixed by `waybill init`: the names of log and certificate transparency log come from it. */
  readonly org: string;
  /** Accepted identity token issuers; none means that nobody gets a certificate. */
  readonly issuers: readonly Issuer[];
  /** Keys (DER SubjectPublicKeyInfo) whose bundles are accepted besides the gates' of published device policies. */
  readonly keys: readonly Uint8Array[];
  readonly limits: RegistryLimits;
  /** Where what the logs published last is kept, seen from the data folder; undefined: `state/heads` in it. */
  readonly headFolder: string | undefined;
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug';
}

/** Reads an open config.yaml. @throws the document's fault, OIDC_CONFIG_MALFORMED, OIDC_CONFIG_UNRESTRICTED, OIDC_CONFIG_URL_INSECURE */
export function readConfig(root: DocumentNode): RegistryConfig {
  root.only('listen', 'metrics', 'url', 'org', 'issuers', 'keys', 'limits', 'headFolder', 'logLevel');
  const listen = root.field('listen').only('host', 'port', 'tls');
  const tls = listen.optional('tls');
  const metrics = root.optional('metrics');
  const url = readUrl(root.field('url'));
  if (tls !== undefined && !url.startsWith('https:')) {
    throw root.field('url').wrong('expected an https address, since `listen.tls` is there');
  }
  const issuers = root.optional('issuers');
  return {
    listen: { ...readAddress(listen), ...(tls === undefined ? {} : { tls: readTls(tls) }) },
    ...(metrics === undefined ? {} : { metrics: readAddress(metrics.only('host', 'port')) }),
    url,
    org: root.field('org').string(),
    issuers: issuers === undefined ? [] : readIssuers(issuers),
    keys: (root.optional('keys')?.elements() ?? []).map(readKey),
    limits: readLimits(root.optional('limits')),
    headFolder: root.optional('headFolder')?.string(),
    logLevel: root.optional('logLevel')?.word('silent', 'error', 'warn', 'info', 'debug') ?? 'info',
  };
}

function readAddress(node: DocumentNode): ListenAddress {
  return { host: node.field('host').string(), port: node.field('port').integer(0, 65535) };
}

function readTls(node: DocumentNode): TlsConfig {
  node.only('certificate', 'key', 'clientAuthorities', 'requireClientCertificate');
  const [certificate, key] = [node.field('certificate').string(), node.field('key').string()];
  const authorities = node.optional('clientAuthorities');
  const required = node.optional('requireClientCertificate');
  if (authorities === undefined) {
    if (required === undefined) return { certificate, key };
    throw required.wrong('expected `clientAuthorities` beside it: nobody could show a certificate');
  }
  return {
    certificate,
    key,
    clientAuthorities: authorities.string(),
    requireClientCertificate: required?.word('always', 'except-public-reads') ?? 'always',
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
