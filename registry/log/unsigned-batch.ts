// SPDX-License-Identifier: Apache-2.0
// A batch as it is kept while a signer elsewhere signs its checkpoint [docs/spec/signer.md §Logs]: that signer will sign nothing smaller
// any more, so a log that ended meanwhile must come back to this very batch.

import { utf8 } from '../../core/encoding/utf8.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { LOG } from '../log-faults.ts';
import type { CheckpointBody } from './log-entry.ts';
import { type Row, rowKey } from './tile-store.ts';

export interface UnsignedBatch {
  readonly body: CheckpointBody;
  /** All that the checkpoint covers and that is not published yet. */
  readonly rows: readonly Row[];
}

/** Fields, each behind its length, 4 bytes: text of the checkpoint, its time, then key and value of each row. */
export function formatUnsigned({ body: { text, timeMs }, rows }: UnsignedBatch): Uint8Array {
  const fields = [utf8(text), utf8(String(timeMs)), ...rows.flatMap(({ key, value }) => [utf8(key), value])];
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}

/** @throws LOG_STORE_INCONSISTENT */
export function parseUnsigned(bytes: Uint8Array): UnsignedBatch {
  const [text = new Uint8Array(), time = new Uint8Array(), ...fields] = fieldsOf(Buffer.from(bytes));
  const rows: Row[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    rows.push({ key: Buffer.from(fields[i] as Uint8Array).toString(), value: fields[i + 1] as Uint8Array });
  }
  try {
    const body = parseCheckpoint(Buffer.from(text).toString());
    return { body: { ...body, text: Buffer.from(text).toString(), timeMs: Number(Buffer.from(time)) }, rows };
  } catch (cause) {
    throw malformed((cause as Error).message);
  }
}

/** The leaves of a batch that comes behind a tree of so many; one that is not in it is empty. */
export function leavesOf({ body, rows }: UnsignedBatch, size: bigint): readonly Uint8Array[] {
  const values = new Map(rows.map(({ key, value }) => [key, value]));
  return Array.from({ length: Number(body.size - size) }, (_, i) => {
    const index = size + BigInt(i);
    return values.get(rowKey.leaf(index)) ?? values.get(rowKey.entry(index)) ?? new Uint8Array();
  });
}

function* fieldsOf(bytes: Buffer): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + (at + 4 <= bytes.length ? bytes.readUInt32BE(at) : bytes.length);
    if (end > bytes.length) throw malformed('it is cut off');
    yield new Uint8Array(bytes.subarray(at + 4, end));
    at = end;
  }
}

function malformed(why: string): Error {
  return LOG.reject('LOG_STORE_INCONSISTENT', `expected a batch that waits for its signature: ${why}`);
}
