// SPDX-License-Identifier: Apache-2.0
// The `issuers:` list of config.yaml: whose identity tokens the authority accepts, and which of them [docs/spec/trust-services.md].

import { isIPv4 } from 'node:net';
import type { DocumentNode } from '../../core/encoding/document.ts';
import { quote } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import { CI_KINDS, type Kind, OIDC_EMAIL, OIDC_URI } from './kinds.ts';

/** One accepted issuer. */
export interface Issuer {
  /** Compared with the claim `iss` byte by byte. */
  readonly url: string;
  /** A token must have exactly one of these, and no other. */
  readonly audiences: readonly string[];
  readonly allowLoopbackHttp: boolean;
  readonly kind: Kind;
  /** Address of the CI that certificates speak of, without a slash at the end; kinds of CI alone have one. */
  readonly server?: string;
  /** Where subjects must lie: `https://host` or `spiffe://trust-domain`; issuers of URIs alone have one. */
  readonly subjectDomain?: string;
  /** Claims and the one value that each must have. Never empty. */
  readonly require: ReadonlyMap<string, string>;
  /** Whether one token may get certificates for several keys. */
  readonly reuse: 'same-key' | 'any-key';
}

/** What the clients of the public Sigstore ask tokens for. */
export const STOCK_AUDIENCE = 'sigstore';
/** Claims that are checked by themselves or differ in each token: a value required of them restricts nothing. */
const NO_RESTRICTION = ['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'email_verified'];

/**
 * Reads the list. Several entries may name one issuer; a token is accepted if one of them accepts it.
 * @throws the document's own fault for a wrong shape; OIDC_CONFIG_MALFORMED, OIDC_CONFIG_UNRESTRICTED, OIDC_CONFIG_URL_INSECURE
 */
export function readIssuers(list: DocumentNode): readonly Issuer[] {
  return list.someElements().map(readIssuer);
}

const MEMBERS = ['url', 'audience', 'stockClients', 'allowLoopbackHttp', 'kind', 'require', 'reuse'] as const;

function readIssuer(node: DocumentNode): Issuer {
  const kind = readKind(node);
  const own =
    kind === OIDC_URI ? ['identity', 'subjectDomain'] : kind === OIDC_EMAIL ? ['identity'] : ['server'];
  node.only(...MEMBERS, ...own);
  const allowLoopbackHttp = node.optional('allowLoopbackHttp')?.boolean() ?? false;
  const url = readIssuerUrl(node.field('url'), allowLoopbackHttp);
  checkKindOf(url, kind, node.field('kind'));
  return {
    url: url.text,
    audiences: readAudiences(node),
    allowLoopbackHttp,
    kind,
    ...(kind.shared === undefined ? {} : { server: readServer(node, url, kind.shared) }),
    ...(kind === OIDC_URI
      ? { subjectDomain: readSubjectDomain(node.field('subjectDomain'), url.parsed) }
      : {}),
    require: readRequire(node.field('require'), kind),
    reuse: node.optional('reuse')?.word('same-key', 'any-key') ?? 'same-key',
  };
}

function readKind(node: DocumentNode): Kind {
  const name = node.field('kind').word('github-actions', 'gitlab-ci', 'buildkite', 'oidc');
  if (name !== 'oidc') return CI_KINDS.find((kind) => kind.name === name) as Kind;
  return node.field('identity').word('email', 'uri') === 'email' ? OIDC_EMAIL : OIDC_URI;
}

function readAudiences(node: DocumentNode): readonly string[] {
  const audience = node.field('audience');
  const own = audience.string();
  if (own === STOCK_AUDIENCE) {
    throw malformed(
      audience,
      'expected an audience of your own, and stockClients: true to accept "sigstore" besides',
    );
  }
  const isForStock = node.optional('stockClients')?.boolean() ?? false;
  return isForStock ? [own, STOCK_AUDIENCE] : [own];
}

function readRequire(node: DocumentNode, kind: Kind): ReadonlyMap<string, string> {
  const require = new Map<string, string>();
  for (const [claim, value] of node.members()) {
    const known = kind.claims === undefined ? undefined : [...kind.ids, ...kind.claims];
    if (known?.includes(claim) === false || NO_RESTRICTION.includes(claim)) {
      const expected = known?.join(', ') ?? `any but ${NO_RESTRICTION.join(', ')}`;
      throw malformed(value, `expected a claim of ${kind.name} tokens (${expected}), got ${quote(claim)}`);
    }
    // YAML reads a bare id as a number; tokens carry it as a string.
    const isNumber = kind.ids.includes(claim) && typeof value.value === 'number';
    require.set(claim, isNumber ? String(value.integer()) : value.string());
  }
  const isRestricted =
    kind.ids.length === 0 ? require.size > 0 : kind.ids.some((claim) => require.has(claim));
  if (!isRestricted) {
    const got = [...require.keys()].join(', ') || 'nothing';
    throw TRUST.reject(
      'OIDC_CONFIG_UNRESTRICTED',
      `expected ${kind.ids.join(' or ') || 'at least one claim'} under "require", got ${got}`,
      { at: placeOf(node) },
    );
  }
  return require;
}

interface IssuerUrl {
  readonly text: string;
  readonly parsed: URL;
}

/** An issuer that all customers of a CI share must be restricted as such, under whatever kind it is listed. */
function checkKindOf({ parsed }: IssuerUrl, kind: Kind, node: DocumentNode): void {
  const owner = CI_KINDS.find(({ shared }) => new URL(shared?.issuer ?? '').hostname === parsed.hostname);
  if (owner !== undefined && owner !== kind) {
    throw malformed(
      node,
      `expected ${quote(owner.name)} for the issuer of that service, got ${quote(kind.name)}`,
    );
  }
}

/** The server of certificates: that of the shared issuer, or the one named. Loopback issuers stand for the shared one. */
function readServer(node: DocumentNode, url: IssuerUrl, shared: NonNullable<Kind['shared']>): string {
  const mayBeShared =
    url.parsed.protocol === 'http:' || url.parsed.hostname === new URL(shared.issuer).hostname;
  const named = node.optional('server');
  if (named !== undefined) {
    const server = named.matching(SERVER, 'an https address without a slash at the end');
    const isShared = CI_KINDS.some((kind) => kind.shared?.server === server);
    if (mayBeShared || !isShared) return server;
  } else if (mayBeShared) return shared.server;
  // Without it a server of one's own would issue in the name of the public one.
  throw malformed(
    named ?? node,
    `expected "server", the address of the CI itself, since its issuer is not ${quote(shared.issuer)}`,
  );
}

const SERVER = /^https:\/\/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?(?:\/[\w-]+)*$/;
const SUBJECT_DOMAIN = /^(?:https?|spiffe):\/\/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?$/;

/** A domain near the issuer's own [Fulcio-issuers §oidc-issuers], or a SPIFFE trust domain, which has no place in the web. */
function readSubjectDomain(node: DocumentNode, issuer: URL): string {
  const text = node.matching(SUBJECT_DOMAIN, 'https://<host> or spiffe://<trust domain>');
  const domain = new URL(text);
  const isNear =
    domain.hostname === issuer.hostname ||
    (!isIPv4(issuer.hostname) && lastTwo(issuer) !== undefined && lastTwo(domain) === lastTwo(issuer));
  if (domain.protocol !== 'spiffe:' && !(domain.protocol === issuer.protocol && isNear)) {
    throw malformed(node, `expected a domain of the issuer ${quote(issuer.hostname)}, got ${quote(text)}`);
  }
  return text;
}

const lastTwo = ({ hostname }: URL): string | undefined => /[^.]+\.[^.]+$/.exec(hostname)?.[0];

/** The place of a node as its document names it. */
const placeOf = (node: DocumentNode): string | undefined => node.wrong('').at;

const malformed = (node: DocumentNode, message: string): Error =>
  TRUST.reject('OIDC_CONFIG_MALFORMED', message, { at: placeOf(node) });

function readIssuerUrl(node: DocumentNode, allowLoopbackHttp: boolean): IssuerUrl {
  const text = node.string();
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // OpenID Connect Discovery 1.0 §3: no query, no fragment. No user name either, it would end in logs.
  if (url === undefined || url.search || url.hash || url.username || url.password || text.includes('?')) {
    throw malformed(node, `expected the address of an issuer, got ${quote(text)}`);
  }
  if (!isSafeUrl(url, allowLoopbackHttp)) {
    throw TRUST.reject(
      'OIDC_CONFIG_URL_INSECURE',
      `expected https, or http on a loopback address with allowLoopbackHttp: true, got ${quote(text)}`,
      { at: placeOf(node) },
    );
  }
  return { text, parsed: url };
}

/** True for https, and for http to this very machine where that is allowed. */
export function isSafeUrl(url: URL, allowLoopbackHttp: boolean): boolean {
  if (url.protocol === 'https:') return true;
  return url.protocol === 'http:' && isLoopback(url) && allowLoopbackHttp;
}

/** True for an address that only this very machine reaches. */
export function isLoopback({ hostname }: URL): boolean {
  // The URL parser has already turned 0x7f.1 and its like into dotted form.
  return (
    hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
  );
}
