// SPDX-License-Identifier: Apache-2.0
// The services that take part in a signature, from a Sigstore signing configuration
// [sigstore-protobuf-specs-v0.5 §SigningConfig] and from nowhere else: no default address exists in this room.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { quote } from '../core/faults.ts';
import { isPrivateChannel } from './exchange.ts';
import { ATTEST } from './faults.ts';

const MEDIA_TYPE = 'application/vnd.dev.sigstore.signingconfig.v0.2+json';

/** Addresses without trailing slash. */
export interface SigningServices {
  /** Fulcio API v2 below it (major version 1 of the service). */
  readonly authorityUrl: string;
  /** Rekor v2. */
  readonly logUrl: string;
  /** The full path of the RFC 3161 endpoint. */
  readonly timestampUrl: string;
}

interface Service {
  readonly url: string;
  readonly apiVersion: number;
  readonly startMs: number;
  readonly endMs: number | undefined;
}

/**
 * Chooses one service of each kind: the newest that is valid now and speaks the version that we speak.
 * Stricter than [sigstore-protobuf-specs-v0.5 §SigningConfig]: authority, log and timestamp service must all be there,
 * and selectors other than ANY are refused, because a bundle without one of them would not verify here.
 * @throws SIGN_CONFIG_MALFORMED, SIGN_CONFIG_NO_SERVICE, SIGN_URL_INSECURE
 */
export function parseSigningServices(signingConfig: Uint8Array, nowMs: number): SigningServices {
  const refuse = (message: string, at: string) => ATTEST.reject('SIGN_CONFIG_MALFORMED', message, { at });
  const root = parseDocument(signingConfig, { refuse }, 256 * 1024);
  root.only(
    ...['mediaType', 'caUrls', 'oidcUrls', 'rekorTlogUrls', 'tsaUrls', 'rekorTlogConfig', 'tsaConfig'],
  );
  root.field('mediaType').word(MEDIA_TYPE);
  for (const name of ['rekorTlogConfig', 'tsaConfig']) {
    root.field(name).only('selector', 'count').field('selector').word('ANY');
  }
  return {
    authorityUrl: choose(root, 'caUrls', 1, nowMs),
    logUrl: choose(root, 'rekorTlogUrls', 2, nowMs),
    timestampUrl: choose(root, 'tsaUrls', 1, nowMs),
  };
}

function choose(root: DocumentNode, name: string, apiVersion: number, nowMs: number): string {
  const services = root.field(name).elements().map(parseService);
  const usable = services
    .filter(
      (s) => s.apiVersion === apiVersion && s.startMs <= nowMs && (s.endMs === undefined || s.endMs >= nowMs),
    )
    .sort((a, b) => b.startMs - a.startMs);
  const [newest] = usable;
  if (newest !== undefined) return newest.url;
  const expected = `a service of API version ${apiVersion} valid now in ${quote(name)}`;
  throw ATTEST.reject('SIGN_CONFIG_NO_SERVICE', `expected ${expected}, got none of ${services.length}`);
}

function parseService(node: DocumentNode): Service {
  node.only('url', 'majorApiVersion', 'validFor', 'operator');
  const text = node.field('url').string();
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.search !== '' || url.hash !== '' || text.endsWith('/')) {
    throw node.field('url').wrong('expected an absolute URL without trailing slash, query or credentials');
  }
  if (!isPrivateChannel(url)) {
    const message = `expected https, or http on this machine, got ${quote(text)}`;
    throw ATTEST.reject('SIGN_URL_INSECURE', message);
  }
  const validFor = node.field('validFor').only('start', 'end');
  return {
    url: text,
    apiVersion: node.field('majorApiVersion').integer(0, 99),
    startMs: validFor.field('start').instantMs(),
    endMs: validFor.optional('end')?.instantMs(),
  };
}
