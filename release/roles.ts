// SPDX-License-Identifier: Apache-2.0
// The next version of a targets role, top-level or a product's [TUF-1.0.34 §4.5, docs/spec/tuf-repository.md §Roles]: made from
// the verified current one, signed by keys that the role above names, offered to the registry.

import type { Json } from '../core/encoding/strict-json.ts';
import { quote, several } from '../core/faults.ts';
import type { RoleKeys } from '../core/tuf/envelope.ts';
import type { Targets as VerifiedTargets } from '../core/tuf/roles.ts';
import type { VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import { RELEASE } from './faults.ts';
import type { GoodsFile } from './goods.ts';
import type { Registry } from './registry.ts';
import {
  expiryAfter,
  formatMetadata,
  roleKey,
  shortId,
  signaturesOver,
  TUF_SPEC_VERSION,
} from './role-metadata.ts';
import type { SigningKey } from './signing-key.ts';

/** The JSON of a targets role that is changed before it is signed. */
export interface RoleDraft {
  readonly version: number;
  targets: Record<string, { length: number; hashes: { sha256: string } }>;
  delegations?: {
    keys: Record<string, unknown>;
    roles: { name: string; keyids: string[]; threshold: number }[];
  };
}

/** A copy of the current role to change, its version raised by one; version 1 if there is none yet. */
export function draftNext(current: VerifiedRole<VerifiedTargets> | undefined): RoleDraft {
  if (current === undefined) return { version: 1, targets: {} };
  const { targets, delegations } = JSON.parse(JSON.stringify(current.json)) as RoleDraft;
  return {
    version: current.signed.version + 1,
    targets,
    ...(delegations === undefined ? {} : { delegations }),
  };
}

/** Names a file in a draft; a file of that name is replaced. */
export function nameFile(draft: RoleDraft, file: GoodsFile): void {
  draft.targets[file.name] = { length: file.sizeBytes, hashes: { sha256: file.sha256 } };
}

/**
 * Signs a draft with those of the keys that the role above names; others are left unused.
 * @throws RELEASE_PRODUCT_UNKNOWN if nobody delegates to the role, RELEASE_KEY_NOT_DELEGATED if the keys are fewer than the
 * threshold, and what the keys throw
 */
export async function signDraft(
  role: string,
  draft: RoleDraft,
  keys: readonly SigningKey[],
  delegates: RoleKeys | undefined,
  expiry: { readonly now: Date; readonly days: number },
): Promise<Uint8Array> {
  if (delegates === undefined) {
    throw RELEASE.reject('RELEASE_PRODUCT_UNKNOWN', `expected a delegation to ${quote(role)}, found none`);
  }
  const usable = new Map(keys.map((key) => [roleKey(key.publicKey).keyId, key]));
  for (const id of usable.keys()) if (!delegates.keyIds.includes(id)) usable.delete(id);
  if (usable.size < delegates.threshold) {
    throw RELEASE.reject(
      'RELEASE_KEY_NOT_DELEGATED',
      `role ${quote(role)}: expected ${delegates.threshold} of the keys ${delegates.keyIds.map(shortId).join(', ')}, ` +
        `got ${usable.size} among ${keys.map((key) => shortId(roleKey(key.publicKey).keyId)).join(', ') || 'none'}`,
    );
  }
  const signed = {
    _type: 'targets',
    spec_version: TUF_SPEC_VERSION,
    expires: expiryAfter(expiry.now, expiry.days),
    ...draft,
  } as unknown as Json;
  return formatMetadata(signed, await signaturesOver(signed, [...usable.values()]));
}

/**
 * Publishes signed metadata: offers it, uploads what the registry lacks, offers it again. Until the last step readers see
 * the version before.
 * @throws RELEASE_REGISTRY_*, RELEASE_TARGET_LOST
 */
export async function publishRole(
  registry: Registry,
  role: string,
  metadata: Uint8Array,
  files: readonly GoodsFile[],
  allowed: { readonly reopen?: boolean } = {},
): Promise<void> {
  const missing = await registry.putRole(role, metadata, allowed);
  if (missing.length === 0) return;
  for (const { name, sha256 } of missing) {
    const file = files.find((other) => other.sha256 === sha256);
    if (file === undefined) {
      throw RELEASE.reject(
        'RELEASE_TARGET_LOST',
        `expected the registry to have ${quote(name)} sha256:${sha256}, it asks for it`,
      );
    }
    await registry.putBlob(sha256, file.body);
  }
  const still = await registry.putRole(role, metadata, allowed);
  if (still.length > 0) {
    throw RELEASE.reject(
      'RELEASE_REGISTRY_ANSWER_MALFORMED',
      `uploaded every file that was asked for, and the registry still asks for ${several(still.map((f) => quote(f.name)))}`,
    );
  }
}
