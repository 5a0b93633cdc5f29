// SPDX-License-Identifier: Apache-2.0
// The signature log: a tiled log of hashedrekord leaves, signed with Ed25519 [docs/spec/log.md].

import { portableCrypto } from '../../core/crypto.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import type { Rejection } from '../../core/faults.ts';
import { verifyCheckpoint } from '../../core/tlog/checkpoint.ts';
import { formatSignatureLine, parseVerifierKey } from '../../core/tlog/note.ts';
import { LOG } from '../log-faults.ts';
import { nodeHasher } from './hash-tiles.ts';
import type { Appended } from './log-entry.ts';
import { type LogSigner, logId, logVerifierKey } from './log-key.ts';
import { TileLog, type TileLogOptions } from './tile-log.ts';

/** What the log is made of. */
export interface SignatureLogOptions {
  readonly db: TileLogOptions['db'];
  /** Bare DNS name, fixed for the life of the log. */
  readonly origin: string;
  readonly key: LogSigner;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly head?: TileLogOptions['head'];
  readonly hasSuccessor?: TileLogOptions['hasSuccessor'];
  readonly waitingCountMax?: number;
}

/** An entry of the log, with what proves it. */
export interface LoggedSignature extends Appended {
  readonly leaf: Uint8Array;
}

export class SignatureLog {
  readonly tiles: TileLog;
  /** 32 bytes. */
  readonly logId: Uint8Array;
  readonly verifierKey: string;
  readonly key: LogSigner;

  private constructor(tiles: TileLog, options: SignatureLogOptions) {
    this.tiles = tiles;
    this.key = options.key;
    this.logId = logId(options.origin, options.key.publicKey);
    this.verifierKey = logVerifierKey(options.origin, options.key.publicKey);
  }

  /**
   * Opens the log or begins it. A store whose last checkpoint another key signed is refused.
   * @throws LOG_STORE_LOCKED, LOG_STORE_UNOPENED, LOG_STORE_ORIGIN, LOG_STORE_INCONSISTENT, LOG_STORE_BEHIND, LOG_HEAD_MISSING,
   *   LOG_HEAD_MALFORMED, LOG_STORE_FAILED
   */
  static async open(options: SignatureLogOptions): Promise<SignatureLog> {
    const { origin, key } = options;
    const verifierKey = parseVerifierKey(logVerifierKey(origin, key.publicKey), nodeHasher);
    const tiles = await TileLog.open({
      ...options,
      entryPath: 'entries',
      signsElsewhere: key.checkReachable !== undefined,
      signCheckpoint: async ({ text }) => {
        const signature = await key.sign(utf8(text));
        return formatSignatureLine({ name: origin, keyId: verifierKey.keyId, signature });
      },
    });
    if (!tiles.isReadable) return new SignatureLog(tiles, options);
    try {
      verifyCheckpoint(tiles.checkpoint().note, { origin, keys: [verifierKey] }, portableCrypto);
    } catch (cause) {
      await tiles.close();
      throw LOG.reject(
        'LOG_STORE_ORIGIN',
        `expected a store signed with this key: ${(cause as Rejection).message}`,
        { cause },
      );
    }
    return new SignatureLog(tiles, options);
  }

  /**
   * Logs a signature that the caller has verified, as the bytes of its leaf (`hashedRekordText`). The same leaf again gives the first
   * index. @throws as `TileLog.append`
   */
  async add(leaf: Uint8Array): Promise<LoggedSignature> {
    const appended = await this.tiles.append({ entry: leaf, leaf, identity: nodeHasher.sha256(leaf) });
    return { ...appended, leaf };
  }

  /** True if this leaf is an entry. */
  has(leaf: Uint8Array): boolean {
    return this.tiles.has(nodeHasher.sha256(leaf));
  }

  /** Finishes what was promised and takes no more; the database stays open. */
  close(): Promise<void> {
    return this.tiles.close();
  }
}
