// SPDX-License-Identifier: Apache-2.0
// The last checkpoint that a log may have shown to anybody, kept outside its database [docs/spec/log.md §Published heads]: a database
// restored from an older copy fits itself, and this does not fit it.

import { join, resolve } from 'node:path';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { LOG } from '../log-faults.ts';
import { diskFiles } from '../store/durable-files.ts';
import {
  diskSlots,
  formatSlot,
  readSlots,
  SLOT_BYTES,
  type SlotStorage,
  type SlotsFound,
} from '../store/slot-file.ts';

/** Where the heads of the logs of a data folder are; `configured` is seen from there. */
export function headFolder(dataFolder: string, configured: string | undefined): string {
  return resolve(dataFolder, configured ?? join('state', 'heads'));
}

/** What a log's database says of itself. */
export interface StoredHead {
  readonly origin: string;
  /** The last checkpoint in the database; undefined if it has none. */
  readonly note: string | undefined;
  readonly size: bigint;
  /** The note stored for a size. */
  readonly noteOf: (size: bigint) => Promise<string | undefined>;
}

export class LogHead {
  readonly #storage: SlotStorage;
  /** For messages. */
  readonly #path: string;
  readonly #unbegun: string | undefined;
  /** What the slots hold; -1 where nothing has been written by us yet. */
  #current = -1;
  #slots: [string, string] = ['', ''];

  /** `unbegun`: the mark of a log that never began; without one, any log with an empty database and no head may begin. */
  constructor(path: string, storage: SlotStorage = diskSlots(path), unbegun?: string) {
    this.#path = path;
    this.#storage = storage;
    this.#unbegun = unbegun;
  }

  /** The head of the log of this origin, a bare DNS name, in a folder of heads. */
  static in(folder: string, origin: string, unbegun?: string): LogHead {
    const path = join(folder, origin);
    return new LogHead(path, diskSlots(path), unbegun);
  }

  /** True if there is a file, whatever it holds. @throws LOG_STORE_FAILED */
  async isThere(): Promise<boolean> {
    const found = await this.#slotsFound();
    return found.kind !== 'missing';
  }

  /** True if the log never published anything, not even an empty tree. @throws LOG_STORE_FAILED */
  async mayBegin(): Promise<boolean> {
    if (this.#unbegun === undefined) return true;
    const mark = await diskFiles.read(this.#unbegun).catch((cause: unknown) => {
      throw unreadable(cause);
    });
    return mark !== undefined;
  }

  /**
   * Refuses a database that is not at least what was published. Writes nothing.
   * @throws LOG_STORE_BEHIND, LOG_HEAD_MISSING, LOG_HEAD_MALFORMED, LOG_STORE_FAILED
   */
  async check(stored: StoredHead): Promise<void> {
    const head = await this.#read();
    if (head === 'missing') {
      if (stored.size === 0n && (await this.mayBegin())) return;
      const what =
        stored.size === 0n
          ? 'which began before and whose database is empty'
          : `whose database has ${stored.size} entries`;
      throw LOG.reject(
        'LOG_HEAD_MISSING',
        `expected the head of ${quote(stored.origin)}, ${what}, found none`,
        {
          at: this.#path,
        },
      );
    }
    if (head === 'empty') return;
    const { origin, size } = this.#parse(head);
    if (origin !== stored.origin) {
      throw this.#malformed(`expected the head of ${quote(stored.origin)}, got that of ${quote(origin)}`);
    }
    if (stored.note === undefined || size > stored.size) {
      const got = stored.note === undefined ? 'an empty one' : `one of size ${stored.size}`;
      throw behind(`expected a database of ${quote(origin)} with the published size ${size}, got ${got}`);
    }
    if ((await stored.noteOf(size)) !== head) {
      throw behind(
        `expected the checkpoint of size ${size} that ${quote(origin)} published, got another or none`,
      );
    }
  }

  /**
   * Makes a note the head; durable when it resolves. Only then may anybody see it.
   * @throws LOG_HEAD_CHANGED, and what the file system throws
   */
  async write(note: string): Promise<void> {
    const slot = formatSlot(utf8(note));
    if (this.#current < 0) {
      const bytes = new Uint8Array(2 * SLOT_BYTES);
      bytes.set(slot);
      await this.#storage.create(bytes);
      // Database and head are durable, and nobody has seen them: from here on the log has begun.
      if (this.#unbegun !== undefined && (await this.mayBegin())) await diskFiles.remove(this.#unbegun);
      this.#slots = [note, ''];
      this.#current = 0;
      return;
    }
    await this.#compare();
    const next = 1 - this.#current;
    await this.#storage.overwrite(next * SLOT_BYTES, slot);
    this.#slots[next] = note;
    this.#current = next;
  }

  /** Compare-and-swap: whoever else writes here publishes for the same log from another folder. */
  async #compare(): Promise<void> {
    const found = await readSlots(this.#storage);
    const values = found.kind === 'values' ? found.values : [];
    const isOurs = this.#slots.every((note, i) => note === (utf8Decode(values[i] ?? utf8('')) ?? '?'));
    if (isOurs) return;
    throw LOG.unavailable('LOG_HEAD_CHANGED', 'expected the head that this process wrote last, got another', {
      at: this.#path,
    });
  }

  close(): Promise<void> {
    return this.#storage.close();
  }

  /** The newest whole note. */
  async #read(): Promise<string | 'missing' | 'empty'> {
    const found = await this.#slotsFound();
    if (found.kind === 'missing' || found.kind === 'empty') return found.kind;
    if (found.kind === 'damaged') throw this.#malformed('expected two slots with one whole note at least');
    const notes = found.values.filter((value) => value !== undefined).map((value) => utf8Decode(value) ?? '');
    return notes.reduce((a, b) => (this.#parse(a).size >= this.#parse(b).size ? a : b));
  }

  #slotsFound(): Promise<SlotsFound> {
    return readSlots(this.#storage).catch((cause: unknown) => {
      throw unreadable(cause);
    });
  }

  #parse(note: string) {
    try {
      return parseCheckpoint(parseNote(note).text);
    } catch (cause) {
      throw this.#malformed(`expected a checkpoint: ${(cause as Error).message}`);
    }
  }

  #malformed(message: string): Error {
    return LOG.reject('LOG_HEAD_MALFORMED', message, { at: this.#path });
  }
}

function unreadable(cause: unknown): Error {
  return LOG.unavailable('LOG_STORE_FAILED', `the head could not be read: ${String(cause)}`, { cause });
}

/** The database is older than what was published. */
export function behind(message: string): Error {
  return LOG.reject('LOG_STORE_BEHIND', message);
}
