// SPDX-License-Identifier: Apache-2.0
// How a log of tiles fails [docs/spec/log.md §Durability].

import { Rejection, Unavailable } from '../../core/faults.ts';
import { type Checkpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { LOG } from '../log-faults.ts';
import { MissingTile } from './growing-tree.ts';

/** The signer of checkpoints cannot be had. */
export class SignerGone extends Error {
  readonly reason: Unavailable;

  constructor(reason: Unavailable) {
    super(reason.message, { cause: reason });
    this.reason = reason;
  }
}

/** What is stored does not fit the last checkpoint. */
export function inconsistent(size: bigint, got: string): Error {
  return LOG.reject(
    'LOG_STORE_INCONSISTENT',
    `expected what the checkpoint of size ${size} covers, got ${got}`,
  );
}

/** The last checkpoint in the database, parsed. @throws LOG_STORE_INCONSISTENT */
export function parseStored(note: string): Checkpoint {
  try {
    return parseCheckpoint(parseNote(note).text);
  } catch (cause) {
    throw LOG.reject(
      'LOG_STORE_INCONSISTENT',
      `expected a checkpoint as the last one: ${(cause as Error).message}`,
      { cause },
    );
  }
}

const LOSSES = ['LOG_STORE_BEHIND', 'LOG_HEAD_MISSING', 'LOG_STORE_INCONSISTENT'];

/** What a log says from now on that lost what it published, and has a newer shard in its place. @throws any other failure */
export function lost(failure: unknown): Unavailable {
  if (!(failure instanceof Rejection) || !LOSSES.includes(failure.code)) throw failure;
  return LOG.unavailable('LOG_SHARD_LOST', failure.message, { cause: failure });
}

/** A batch may be durable or not. */
export function failed(cause: unknown): Error {
  return LOG.unavailable('LOG_STORE_FAILED', `the batch could not be written: ${String(cause)}`, { cause });
}

/** A proof of ours does not hold; questions about what is outside the tree are passed on. @throws LOG_SELF_CHECK */
export function selfCheckFailed(cause: unknown): never {
  if (cause instanceof Error && !(cause instanceof MissingTile) && 'code' in cause) {
    if (cause.code === 'TLOG_INDEX_OUTSIDE_TREE' || cause.code === 'TLOG_CONSISTENCY_SIZES') throw cause;
  }
  throw LOG.unavailable('LOG_SELF_CHECK', `the stored tiles do not prove an entry: ${String(cause)}`, {
    cause,
  });
}

/** True where the log was closed in order. */
export function isClosed(failure: unknown): boolean {
  return failure instanceof Unavailable && failure.code === 'LOG_CLOSED';
}
