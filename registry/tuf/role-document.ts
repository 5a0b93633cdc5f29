// SPDX-License-Identifier: Apache-2.0
// Reading role metadata [TUF-1.0.34 §4] under the profile of docs/spec/tuf-repository.md: which targets a role may name, which
// delegations there may be, signatures by a threshold of distinct keys. Nothing here decides whether a version is next.
// Stricter than [TUF-1.0.34 §4.5]: targets carry exactly one hash, SHA-256; delegated roles do not delegate further.

import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Key, Metadata, MetadataKind, type Root, type Targets } from '@tufjs/models';
import { type DocumentNode, parseDocument } from '../../core/encoding/document.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { quote, type Rejection } from '../../core/faults.ts';
import { isProductName } from '../../core/release/version.ts';
import { canonicalMetadata } from '../../core/tuf/canonical.ts';
import { isCrowded } from '../document-shape.ts';
import { STORE } from '../store-faults.ts';

/** Largest role file; clients read no more [TUF-1.0.34 §5.6]. */
export const ROLE_SIZE_BYTES = { root: 512_000, targets: 5_000_000 } as const;
/** Most members of anything that a role lists: the field's libraries take time with the square of their number. */
export const LISTED_MAX = 1024;
/** Commas, colons and brackets of a role; one with `LISTED_MAX` of everything has half as many. */
const STRUCTURE_MAX = 65_536;

/** Trust material that top-level targets may name; everything else is goods and belongs to a product's role. */
const TRUST_MATERIAL =
  /^(?:trusted_root\.json|signing_config\.v0\.2\.json|tlog-policy|device-policy\/[a-z0-9-]+\.json)$/;
/** One path segment after the folder: what the pattern `images/<product>/*` of a delegation matches, dot files apart. */
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Name of a product's role; undefined for a name that is no product's role. */
export function productOfRole(role: string): string | undefined {
  const product = role.startsWith('releases-') ? role.slice('releases-'.length) : '';
  return isProductName(product) ? product : undefined;
}

/** Parses and checks the form of a root. @throws TUF_REPOSITORY_METADATA_MALFORMED */
export function parseRoot(bytes: Uint8Array): Metadata<Root> {
  checkForm(bytes, 'root', ROLE_SIZE_BYTES.root);
  return read(bytes, (json) => Metadata.fromJSON(MetadataKind.Root, json));
}

/**
 * Parses top-level targets or a product's role and checks what it names. Not authenticated: see `verifyRole`.
 * @throws TUF_REPOSITORY_METADATA_MALFORMED, TUF_REPOSITORY_TARGET_FORBIDDEN, TUF_REPOSITORY_DELEGATION_FORBIDDEN
 */
export function parseTargets(bytes: Uint8Array, role: string): Metadata<Targets> {
  checkForm(bytes, 'targets', ROLE_SIZE_BYTES.targets);
  const metadata = read(bytes, (json) => Metadata.fromJSON(MetadataKind.Targets, json));
  for (const name of Object.keys(metadata.signed.targets)) checkTargetName(name, role);
  if (role === 'targets') checkDelegations(metadata.signed);
  else if (metadata.signed.delegations !== undefined) {
    throw STORE.reject(
      'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
      `expected no delegations in role ${quote(role)}`,
    );
  }
  return metadata;
}

/** What the library leaves open: strict JSON, whole numbers, UTC times, one SHA-256 a target. */
function checkForm(bytes: Uint8Array, type: string, sizeBytesMax: number): void {
  if (isCrowded(bytes, STRUCTURE_MAX)) {
    throw malformed(`expected at most ${STRUCTURE_MAX} commas, colons and brackets, got more`, '');
  }
  const root = parseDocument(bytes, { refuse: malformed }, sizeBytesMax).only('signed', 'signatures');
  const signed = root.field('signed');
  signed.field('_type').word(type);
  signed.field('spec_version').matching(/^1(?:\.[0-9]{1,4}){1,2}$/, 'a TUF 1.x version');
  signed.field('version').integer(1);
  signed.field('expires').instantMs();
  const signatures = root.field('signatures');
  checkCount(signatures, signatures.someElements().length);
  for (const signature of signatures.elements()) {
    signature.field('keyid').matching(/^[0-9a-f]{64}$/, 'a key id');
    signature.field('sig').matching(/^(?:[0-9a-f]{2})+$/, 'a signature in hex');
  }
  const keys = type === 'root' ? signed.field('keys') : signed.optional('delegations')?.field('keys');
  if (keys !== undefined) checkCount(keys, keys.members().length);
  if (type !== 'targets') return;
  const roles = signed.optional('delegations')?.optional('roles');
  if (roles !== undefined) checkCount(roles, roles.elements().length);
  const targets = signed.field('targets').members();
  checkCount(signed.field('targets'), targets.length);
  for (const [, target] of targets) {
    target.field('length').integer(1);
    target.field('hashes').only('sha256').field('sha256').sha256();
  }
}

function checkCount(node: DocumentNode, count: number): void {
  if (count > LISTED_MAX) throw node.wrong(`expected at most ${LISTED_MAX} members, got ${count}`);
}

function malformed(message: string, at: string): Rejection {
  return STORE.reject('TUF_REPOSITORY_METADATA_MALFORMED', message, { at });
}

type LibraryJson = Parameters<typeof Metadata.fromJSON>[1];
/** What the signatures of a role cover, kept from its own bytes. */
const signedBytes = new WeakMap<object, Uint8Array>();

/** Reads by the library, which wants objects with a prototype. Strictness was checked before. */
function read<T extends object>(bytes: Uint8Array, parse: (json: LibraryJson) => T): T {
  const json = JSON.parse(utf8Decode(bytes) ?? '') as { signed: Json };
  const signed = canonicalMetadata(json.signed);
  if (signed === undefined) throw malformed('expected whole numbers alone, got another', '/signed');
  try {
    const metadata = parse(json as LibraryJson);
    signedBytes.set(metadata, signed);
    return metadata;
  } catch (cause) {
    throw malformed(`expected TUF metadata: ${(cause as Error).message}`, '/signed');
  }
}

function checkTargetName(name: string, role: string): void {
  const product = productOfRole(role);
  if (product === undefined ? TRUST_MATERIAL.test(name) : isGoods(name, product)) return;
  const allowed =
    product === undefined ? 'trust material' : `file names under images/${product}/ and packs/${product}/`;
  throw STORE.reject(
    'TUF_REPOSITORY_TARGET_FORBIDDEN',
    `role ${quote(role)}: expected ${allowed}, got ${quote(name)}`,
  );
}

function isGoods(name: string, product: string): boolean {
  return ['images', 'packs'].some((kind) => {
    const folder = `${kind}/${product}/`;
    return name.startsWith(folder) && FILE_NAME.test(name.slice(folder.length));
  });
}

function checkDelegations(targets: Targets): void {
  const { delegations } = targets;
  if (delegations === undefined) return;
  const forbidden = (message: string) => STORE.reject('TUF_REPOSITORY_DELEGATION_FORBIDDEN', message);
  if (delegations.succinctRoles !== undefined || delegations.roles === undefined) {
    throw forbidden('expected delegations by name, got hash bins');
  }
  for (const role of Object.values(delegations.roles)) {
    const product = productOfRole(role.name);
    if (product === undefined)
      throw forbidden(`expected a role named releases-<product>, got ${quote(role.name)}`);
    const paths = [`images/${product}/*`, `packs/${product}/*`];
    if (!role.terminating || [...(role.paths ?? [])].sort().join('\n') !== paths.join('\n')) {
      throw forbidden(`expected role ${role.name} to be terminating with the paths ${paths.join(' and ')}`);
    }
    checkKeys(role.name, role.keyIDs, role.threshold, delegations.keys, forbidden);
  }
}

/**
 * A threshold counts keys, so each must be there and no two key ids may stand for one key: a key has one spelling, and its id is
 * the digest of that.
 */
function checkKeys(
  role: string,
  keyIds: readonly string[],
  threshold: number,
  keys: Readonly<Record<string, Key>>,
  refuse: (message: string) => Rejection,
): void {
  for (const id of keyIds) {
    const key = Object.hasOwn(keys, id) ? keys[id] : undefined;
    if (key === undefined || readKey(key) === undefined || keyId(key) !== id) {
      throw refuse(
        `role ${role}: expected an Ed25519 or ECDSA P-256 key under its digest ${quote(id)}, got another or none`,
      );
    }
  }
  if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > keyIds.length) {
    throw refuse(`role ${role}: expected a threshold from 1 to ${keyIds.length}, got ${threshold}`);
  }
}

/** Key id [TUF-1.0.34 §4.2] of an Ed25519 key given in lower-case hex. */
export function ed25519KeyId(publicHex: string): string {
  return digestOf({ keytype: 'ed25519', scheme: 'ed25519', keyval: { public: publicHex } });
}

function keyId({ keyType, scheme, keyVal }: Key): string {
  return digestOf({ keytype: keyType, scheme, keyval: { public: keyVal.public ?? '' } });
}

function digestOf(json: Json): string {
  return createHash('sha256')
    .update(canonicalMetadata(json) as Uint8Array)
    .digest('hex');
}

/** A key in its one spelling: Ed25519 in lower-case hex, P-256 in PEM as OpenSSL writes it. Undefined for anything else. */
function readKey({ keyType, scheme, keyVal }: Key): KeyObject | undefined {
  const text = keyVal.public ?? '';
  try {
    if (keyType === 'ed25519' && scheme === 'ed25519' && /^[0-9a-f]{64}$/.test(text)) {
      const x = Buffer.from(text, 'hex').toString('base64url');
      return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    }
    if (keyType !== 'ecdsa' || scheme !== 'ecdsa-sha2-nistp256') return undefined;
    if (!text.startsWith('-----BEGIN PUBLIC KEY-----\n')) return undefined;
    const key = createPublicKey(text);
    const isP256 = key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
    return isP256 && key.export({ type: 'spki', format: 'pem' }) === text ? key : undefined;
  } catch {
    return undefined;
  }
}

/** Checks that a root's top-level roles count distinct keys. @throws TUF_REPOSITORY_ROOT_UNSUITABLE */
export function checkRootRoles(root: Root): void {
  for (const [name, role] of Object.entries(root.roles)) {
    checkKeys(name, role.keyIDs, role.threshold, root.keys, (message) =>
      STORE.reject('TUF_REPOSITORY_ROOT_UNSUITABLE', message),
    );
  }
}

/**
 * Checks a threshold of signatures by the delegator's keys [TUF-1.0.34 §5.6.3]. The library would do it too, but builds the whole
 * document anew for every key, in time with its square, and whoever sends a role may have signed nothing.
 * @throws TUF_REPOSITORY_THRESHOLD_UNMET
 */
export function verifyRole(
  delegator: Metadata<Root> | Metadata<Targets>,
  role: string,
  metadata: Metadata<Root> | Metadata<Targets>,
): void {
  const { keys, listed } = delegationOf(delegator.signed, role);
  const data = signedBytes.get(metadata) ?? new Uint8Array();
  const signers = [...new Set(listed?.keyIDs)].filter((id) => {
    const [key, signature] = [keys[id], metadata.signatures[id]?.sig];
    return key !== undefined && signature !== undefined && isSignedBy(key, data, signature);
  });
  const count = signers.length;
  if (listed !== undefined && count >= Math.max(1, listed.threshold)) return;
  throw STORE.reject(
    'TUF_REPOSITORY_THRESHOLD_UNMET',
    `expected valid signatures for role ${quote(role)} by ${listed?.threshold ?? 1} of its keys, got ${count}`,
  );
}

function delegationOf(signed: Root | Targets, role: string) {
  if ('delegations' in signed) {
    const { keys = {}, roles = {} } = signed.delegations ?? {};
    return { keys, listed: Object.hasOwn(roles, role) ? roles[role] : undefined };
  }
  const { keys, roles } = signed as Root;
  return { keys, listed: Object.hasOwn(roles, role) ? roles[role as keyof typeof roles] : undefined };
}

function isSignedBy(listed: Key, data: Uint8Array, signatureHex: string): boolean {
  const key = readKey(listed);
  if (key === undefined) return false;
  try {
    const digest = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    return verify(digest, data, key, Buffer.from(signatureHex, 'hex'));
  } catch {
    return false;
  }
}

/** When a role expires, milliseconds since 1970; its form was checked while parsing. */
export function expiresMs(metadata: Metadata<Root> | Metadata<Targets>): number {
  return Date.parse(metadata.signed.expires);
}

/** A target file as a role names it. */
export interface NamedTarget {
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What a role names. */
export function targetsOf(metadata: Metadata<Targets>): readonly NamedTarget[] {
  return Object.entries(metadata.signed.targets).map(([name, file]) => ({
    name,
    sha256: file.hashes.sha256 ?? '',
    sizeBytes: file.length,
  }));
}
