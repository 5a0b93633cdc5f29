// SPDX-License-Identifier: Apache-2.0
// Records of the device folder [docs/spec/device.md §Folder]: checksummed, written whole, kept twice.

import { portableCrypto } from '../core/crypto.ts';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { hexEncode } from '../core/encoding/hex.ts';
import type { Json, JsonObject } from '../core/encoding/strict-json.ts';
import { quote, Rejection } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles } from './host.ts';

/** A record as read; `fromCopy` is true if the first file was missing or damaged. */
export interface StoredRecord<T> {
  readonly value: T;
  readonly fromCopy: boolean;
}

/** The file that a record falls back to. */
export function copyPath(path: string): string {
  return `${path}.copy`;
}

/**
 * Reads a record or its copy; undefined if neither exists.
 * @throws DEVICE_STATE_DAMAGED if something is there but nothing is whole, DEVICE_STATE_UNWRITABLE
 */
export async function readRecord<T>(
  files: DeviceFiles,
  path: string,
  parse: (node: DocumentNode) => T,
): Promise<StoredRecord<T> | undefined> {
  let damage: Rejection | undefined;
  for (const place of [path, copyPath(path)]) {
    const bytes = await files.read(place);
    if (bytes === undefined) continue;
    try {
      return { value: parse(openRecord(bytes, place)), fromCopy: place !== path };
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
      damage ??= failure;
    }
  }
  if (damage !== undefined) throw damage;
  return undefined;
}

/**
 * Writes the copy, then the record itself, whose rename is the moment that counts. So the copy is never older than
 * the record, and at every moment one of the two is whole. @throws DEVICE_STATE_UNWRITABLE
 */
export async function writeRecord(files: DeviceFiles, path: string, record: JsonObject): Promise<void> {
  const bytes = canonicalJsonBytes({ record, sha256: digest(record) });
  await files.write(copyPath(path), bytes);
  await files.write(path, bytes);
}

function openRecord(bytes: Uint8Array, path: string): DocumentNode {
  const refuse = (message: string, at: string) =>
    DEVICE.reject('DEVICE_STATE_DAMAGED', `${quote(path)}: ${message}`, { at: `${path}: ${at}` });
  const root = parseDocument(bytes, { refuse }).only('record', 'sha256');
  const record = root.field('record');
  // A flipped bit can leave sound JSON behind.
  if (root.field('sha256').sha256() !== digest(record.value)) {
    throw root.wrong('expected the checksum of the record, got another');
  }
  return record;
}

function digest(record: Json): string {
  return hexEncode(portableCrypto.sha256(canonicalJsonBytes(record)));
}
