// SPDX-License-Identifier: Apache-2.0
// A product in top-level targets [docs/spec/tuf-repository.md §Products]: its device policy as a target, and one terminating
// delegation of its images and packs to its release managers' keys.

import type { KeyObject } from 'node:crypto';
import type { Targets } from '@tufjs/models';
import { quote } from '../core/faults.ts';
import { devicePolicyName } from '../core/release/device-policy.ts';
import { RELEASE } from './faults.ts';
import { type GoodsFile, goodsOf, releasesRole } from './goods.ts';
import { roleKey } from './role-metadata.ts';
import { draftNext, nameFile, type RoleDraft } from './roles.ts';

/** What changes; what is absent stays as it is. */
export interface ProductChange {
  readonly product: string;
  /** The published form of the device policy. */
  readonly devicePolicy: Uint8Array | undefined;
  /** Public keys (Ed25519) that may sign releases, and how many of them must. */
  readonly releases: { readonly keys: readonly KeyObject[]; readonly threshold: number } | undefined;
}

/** A product from nothing: neither part may be absent. */
export interface NewProduct extends ProductChange {
  readonly devicePolicy: Uint8Array;
  readonly releases: NonNullable<ProductChange['releases']>;
}

/** The next top-level targets with one more product. @throws RELEASE_PRODUCT_EXISTS, CEREMONY_THRESHOLD_INVALID */
export function addProduct(
  current: Targets,
  change: NewProduct,
): { readonly draft: RoleDraft; readonly files: readonly GoodsFile[] } {
  if (current.delegations?.roles?.[releasesRole(change.product)] !== undefined) {
    throw RELEASE.reject('RELEASE_PRODUCT_EXISTS', `expected no product ${quote(change.product)}, found one`);
  }
  return applyChange(current, change);
}

/** The next top-level targets with a product changed. @throws RELEASE_PRODUCT_UNKNOWN, CEREMONY_THRESHOLD_INVALID */
export function updateProduct(
  current: Targets,
  change: ProductChange,
): { readonly draft: RoleDraft; readonly files: readonly GoodsFile[] } {
  if (current.delegations?.roles?.[releasesRole(change.product)] === undefined) {
    throw RELEASE.reject(
      'RELEASE_PRODUCT_UNKNOWN',
      `expected the product ${quote(change.product)}, found none`,
    );
  }
  return applyChange(current, change);
}

function applyChange(current: Targets, { product, devicePolicy, releases }: ProductChange) {
  const draft = draftNext(current);
  const files: GoodsFile[] = [];
  if (devicePolicy !== undefined) {
    const file = goodsOf(devicePolicyName(product), devicePolicy);
    nameFile(draft, file);
    files.push(file);
  }
  if (releases !== undefined) delegate(draft, product, releases.keys, releases.threshold);
  return { draft, files };
}

/** Delegates the product's goods to the given keys alone; keys that no role names any more are dropped. */
function delegate(draft: RoleDraft, product: string, keys: readonly KeyObject[], threshold: number): void {
  const roleKeys = keys.map(roleKey);
  const ids = [...new Set(roleKeys.map(({ keyId }) => keyId))];
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > ids.length) {
    throw RELEASE.reject(
      'CEREMONY_THRESHOLD_INVALID',
      `expected a threshold from 1 to the number of different keys, got ${threshold} of ${ids.length}`,
    );
  }
  const old = draft.delegations ?? { keys: {}, roles: [] };
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
