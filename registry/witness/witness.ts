// SPDX-License-Identifier: Apache-2.0
// A witness of logs [docs/spec/witness.md]: decides, makes durable, and only then signs; one request after the other for each log.

import { sign } from 'node:crypto';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { formatCosignature, formatCosignedMessage } from '../../core/tlog/cosignature.ts';
import { sameBytes } from '../../core/tlog/merkle.ts';
import { formatSignatureLine, formatVerifierKey, parseNote } from '../../core/tlog/note.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import type { DurableFiles } from '../store/durable-files.ts';
import { Turns } from '../store/turns.ts';
import { WITNESS } from '../witness-faults.ts';
import { decide, parseCosignRequest, type WitnessedLog, type WitnessedTree } from './decision.ts';
import { originHash, WitnessFolder } from './witness-folder.ts';

/** What a witness is made of. */
export interface WitnessOptions {
  /** Made by `createWitness`. */
  readonly folder: string;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly files?: DurableFiles;
}

/** `cosigned`: a signature line. `conflict`: the size that the sender should have named. */
export type CosignAnswer =
  | { readonly kind: 'cosigned'; readonly line: string }
  | { readonly kind: 'conflict'; readonly size: bigint };

export class Witness {
  readonly #folder: WitnessFolder;
  readonly #logs: Map<string, WitnessedLog>;
  /** For monitors, by the hash of the origin: the last checkpoint with both lines. */
  readonly #cosigned = new Map<string, string>();
  readonly #turns = new Turns();
  readonly #clock: () => number;

  private constructor(folder: WitnessFolder, logs: Map<string, WitnessedLog>, clock: () => number) {
    this.#folder = folder;
    this.#logs = logs;
    this.#clock = clock;
    for (const { latest } of logs.values()) if (latest !== undefined) this.#cosign(latest);
  }

  /**
   * Opens a witness; no second one opens the same folder until this one is closed.
   * @throws WITNESS_DATA_MISSING, WITNESS_DATA_LOCKED, WITNESS_DATA_DAMAGED, REGISTRY_STORE_FAILED
   */
  static async open({ folder, clock, files }: WitnessOptions): Promise<Witness> {
    const held = await WitnessFolder.open(folder, files);
    try {
      return new Witness(held, await held.readLogs(), clock);
    } catch (failure) {
      await held.close();
      throw failure;
    }
  }

  /** Its verifier key, `name+hash+key`. */
  get vkey(): string {
    return formatVerifierKey(this.#folder.key.key);
  }

  /** Origins of the logs that it knows. */
  get origins(): readonly string[] {
    return [...this.#logs.keys()];
  }

  /**
   * Cosigns a checkpoint if it may. When it resolves with a line, the checkpoint is durable here.
   * @param body of the request, as it came
   * @throws WITNESS_REQUEST_TOO_LARGE, WITNESS_REQUEST_MALFORMED, WITNESS_LOG_UNKNOWN, WITNESS_SIGNATURE_WRONG, WITNESS_SIZES_REVERSED,
   *   WITNESS_TREE_INCONSISTENT, REGISTRY_STORE_FAILED
   */
  async addCheckpoint(body: Uint8Array): Promise<CosignAnswer> {
    const request = parseCosignRequest(body);
    const { origin } = request;
    if (!this.#logs.has(origin)) {
      throw WITNESS.reject('WITNESS_LOG_UNKNOWN', `expected a known log, got ${quote(origin)}`);
    }
    // From the check of the old size until the new one is durable, no other request may look.
    return this.#turns.take(origin, async () => {
      const log = this.#logs.get(origin) as WitnessedLog;
      const decision = decide(request, log, nodeCrypto);
      if (decision.kind === 'conflict') return decision;
      const { tree } = decision;
      if (!isSameTree(tree, log.latest)) {
        await this.#folder.keep(log.key, tree);
        this.#logs.set(origin, { key: log.key, latest: tree });
      }
      return { kind: 'cosigned', line: this.#cosign(tree) };
    });
  }

  /** The last checkpoint that it cosigned of a log, with the lines of both. @throws WITNESS_CHECKPOINT_UNKNOWN */
  checkpoint(hashOfOrigin: string): string {
    const note = this.#cosigned.get(hashOfOrigin);
    if (note === undefined) {
      throw WITNESS.reject('WITNESS_CHECKPOINT_UNKNOWN', `nothing cosigned for ${quote(hashOfOrigin)}`);
    }
    return note;
  }

  /** Finishes what is under way and frees the folder. */
  close(): Promise<void> {
    return this.#folder.close();
  }

  /** Only for a tree that is durable [C2SP-tlog-cosignature-v1.1.0-rc.1 §Ed25519 signed message]. */
  #cosign(tree: WitnessedTree): string {
    const { key, privateKey } = this.#folder.key;
    const { text } = parseNote(tree.note);
    const timestampS = Math.floor(this.#clock() / 1000);
    const message = utf8(formatCosignedMessage(timestampS, text));
    const signature = formatCosignature({ timestampS, signature: sign(null, message, privateKey) });
    const line = formatSignatureLine({ name: key.name, keyId: key.keyId, signature });
    const [origin = ''] = text.split('\n', 1);
    this.#cosigned.set(originHash(origin), `${tree.note}${line}`);
    return line;
  }
}

function isSameTree(tree: WitnessedTree, last: WitnessedTree | undefined): boolean {
  return last !== undefined && tree.size === last.size && sameBytes(tree.rootHash, last.rootHash);
}
