// SPDX-License-Identifier: Apache-2.0
// Entries that are told apart by number.

import { createHash } from 'node:crypto';

export const ORIGIN = 'log.waybill.example';

export const sha256 = (data: Uint8Array | string) =>
  new Uint8Array(createHash('sha256').update(data).digest());

/** Entry number n. */
export function entry(n: number | string): { entry: Uint8Array; leaf: Uint8Array; identity: Uint8Array } {
  const bytes = new TextEncoder().encode(`entry ${n}`);
  return { entry: bytes, leaf: bytes, identity: sha256(bytes) };
}
