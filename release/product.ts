// SPDX-License-Identifier: Apache-2.0
// A product in top-level targets [docs/spec/tuf-repository.md §Products]: its device policy as a target, and one terminating
// delegation of its images and packs to its release managers' keys.

import type { KeyObject } from 'node:crypto';
import { Metadata, MetadataKind } from '@tufjs/models';
import { quote } from '../core/faults.ts';
import { devicePolicyName } from '../core/release/device-policy.ts';
import type { Targets } from '../core/tuf/roles.ts';
import type { VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import { RELEASE } from './faults.ts';
import { type GoodsFile, goodsOf, releasesRole } from './goods.ts';
import { roleKey } from './role-metadata.ts';
import { draftNext, nameFile, type RoleDraft } from './roles.ts';

/** What changes; what is absent stays as it is. */
export interface ProductChange {
  readonly product: string;
  /** The published form of the device policy. */
  readonly devicePolicy: Uint8Array | undefined;
  /** Public keys (Ed25519) that may sign releases. */
  readonly releasesKeys: readonly KeyObject[] | undefined;
  /** How many of them must; 1 for a new product. */
  readonly releasesThreshold: number | undefined;
}

/** A product from nothing: neither part may be absent. */
export interface NewProduct extends ProductChange {
  readonly devicePolicy: Uint8Array;
  readonly releasesKeys: readonly KeyObject[];
}

/** The next top-level targets with one more product. @throws RELEASE_PRODUCT_EXISTS, CEREMONY_THRESHOLD_INVALID */
export function addProduct(
  current: VerifiedRole<Targets>,
  change: NewProduct,
): { readonly draft: RoleDraft; readonly files: readonly GoodsFile[] } {
  if (isDelegated(current, change.product)) {
    throw RELEASE.reject('RELEASE_PRODUCT_EXISTS', `expected no product ${quote(change.product)}, found one`);
  }
  return applyChange(current, change);
}

/** The next top-level targets with a product changed. @throws RELEASE_PRODUCT_UNKNOWN, CEREMONY_THRESHOLD_INVALID */
export function updateProduct(
  current: VerifiedRole<Targets>,
  change: ProductChange,
): { readonly draft: RoleDraft; readonly files: readonly GoodsFile[] } {
  if (!isDelegated(current, change.product)) {
    throw RELEASE.reject(
      'RELEASE_PRODUCT_UNKNOWN',
      `expected the product ${quote(change.product)}, found none`,
    );
  }
  return applyChange(current, change);
}

/**
 * A change of keys leaves the metadata that the product has signed by enough of those who may sign it: what nobody accepts
 * any more, nobody could sign the next version of either. @throws RELEASE_KEYS_CUT_OFF
 */
export function checkStillSigned(product: string, nextTargets: Uint8Array, releases: Uint8Array): void {
  const read = (bytes: Uint8Array) =>
    Metadata.fromJSON(MetadataKind.Targets, JSON.parse(Buffer.from(bytes).toString()));
  try {
    read(nextTargets).verifyDelegate(releasesRole(product), read(releases));
  } catch (cause) {
    throw RELEASE.reject(
      'RELEASE_KEYS_CUT_OFF',
      `expected keys and threshold that the present metadata of ${releasesRole(product)} is signed with, ` +
        `got others: ${quote(cause instanceof Error ? cause.message : String(cause))}`,
      { cause },
    );
  }
}

function isDelegated(current: VerifiedRole<Targets>, product: string): boolean {
  return current.signed.delegations.some(({ name }) => name === releasesRole(product));
}

function applyChange(current: VerifiedRole<Targets>, change: ProductChange) {
  const { product, devicePolicy, releasesKeys, releasesThreshold } = change;
  const draft = draftNext(current);
  const files: GoodsFile[] = [];
  if (devicePolicy !== undefined) {
    const file = goodsOf(devicePolicyName(product), devicePolicy);
    nameFile(draft, file);
    files.push(file);
  }
  if (releasesKeys !== undefined || releasesThreshold !== undefined) delegate(draft, change);
  return { draft, files };
}

/** Delegates the product's goods to the given keys alone; keys that no role names any more are dropped. */
function delegate(draft: RoleDraft, { product, releasesKeys, releasesThreshold }: ProductChange): void {
  const old = draft.delegations ?? { keys: {}, roles: [] };
  const before = old.roles.find(({ name }) => name === releasesRole(product));
  const roleKeys = releasesKeys?.map(roleKey) ?? [];
  const ids =
    releasesKeys === undefined ? (before?.keyids ?? []) : [...new Set(roleKeys.map(({ keyId }) => keyId))];
  const threshold = releasesThreshold ?? before?.threshold ?? 1;
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > ids.length) {
    throw RELEASE.reject(
      'CEREMONY_THRESHOLD_INVALID',
      `expected a threshold from 1 to the number of different keys, got ${threshold} of ${ids.length}`,
    );
  }
  const role = {
    name: releasesRole(product),
    keyids: ids,
    threshold,
    terminating: true,
    paths: [`images/${product}/*`, `packs/${product}/*`],
  };
  const roles = [...old.roles.filter(({ name }) => name !== role.name), role].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const all: Record<string, unknown> = {
    ...old.keys,
    ...Object.fromEntries(roleKeys.map(({ keyId, json }) => [keyId, json])),
  };
  const used = roles.flatMap(({ keyids }) => keyids);
  const kept = Object.entries(all).filter(([id]) => used.includes(id));
  draft.delegations = { keys: Object.fromEntries(kept), roles };
}
