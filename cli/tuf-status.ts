// SPDX-License-Identifier: Apache-2.0
// The work of `waybill tuf status`: how long each role still holds, and who may sign it.

import type { TufClient } from '../device/tuf-client.ts';
import { readRolePublicKey } from '../release/open-key.ts';
import { roleKey } from '../release/role-metadata.ts';
import { openOfflineRoles } from './tuf-roles.ts';

/** A role as it is published. */
export interface RoleStatus {
  readonly role: string;
  readonly version: number;
  readonly expires: string;
  /** Whole days until then; negative once it is over. */
  readonly daysLeft: number;
  readonly threshold: number;
  readonly keyIds: readonly string[];
  /** Where the keys lie that were shown, by key id. */
  readonly places: Readonly<Record<string, string>>;
  /** True if people must sign it, and soon. */
  readonly isDue: boolean;
}

const DAY_MS = 86_400_000;
/** How long before their end people should sign: a month for a year's role, a fortnight for a quarter's. */
const DUE_DAYS = { offline: 30, releases: 14 } as const;

/** Whose metadata to look at, and the public keys to tell apart in it: files or `pkcs11:` URIs. */
interface StatusInputs {
  readonly registry: string;
  readonly root: string;
  readonly publicKeys?: readonly string[] | undefined;
}

/** @throws as `openTrust`, and what reading the public keys throws */
export async function readStatus(inputs: StatusInputs, nowMs: number): Promise<readonly RoleStatus[]> {
  const known = new Map<string, string>();
  for (const place of inputs.publicKeys ?? []) {
    known.set(roleKey(await readRolePublicKey(place)).keyId, place);
  }
  const client = await openOfflineRoles(inputs);
  const status: RoleStatus[] = [];
  const add = (
    name: string,
    dueDays: number,
    signed: { version: number; expires: string; expiresMs: number },
  ) => {
    const { version, expires, expiresMs } = signed;
    const daysLeft = Math.floor((expiresMs - nowMs) / DAY_MS);
    const { threshold = 0, keyIds = [] } = client.signersOf(name) ?? {};
    const places = Object.fromEntries([...known].filter(([id]) => keyIds.includes(id)));
    const isDue = daysLeft < dueDays;
    status.push({ role: name, version, expires, daysLeft, threshold, keyIds, places, isDue });
  };
  for (const role of client.topLevel()) {
    const isOffline = role.name === 'root' || role.name === 'targets';
    // The server signs the other two again by itself.
    add(role.name, isOffline ? DUE_DAYS.offline : -Infinity, role);
  }
  for (const role of await delegatedRoles(client)) add(role.name, DUE_DAYS.releases, role.signed);
  return status;
}

async function delegatedRoles(client: TufClient) {
  const roles = [];
  for (const { name } of client.role('targets').signed.delegations) {
    const role = await client.delegatedRole(name, { evenExpired: true });
    if (role !== undefined) roles.push(role);
  }
  return roles;
}
