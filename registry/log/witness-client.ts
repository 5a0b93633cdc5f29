// SPDX-License-Identifier: Apache-2.0
// Asks one witness for its cosignature on a checkpoint of ours [C2SP-tlog-witness-5ba5ee8 §add-checkpoint].

import { base64Encode } from '../../core/encoding/base64.ts';
import { hexEncode } from '../../core/encoding/hex.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { verifyCosignatures } from '../../core/tlog/cosignature.ts';
import type { PolicyWitness } from '../../core/tlog/log-policy.ts';
import { type NoteSignature, parseNote } from '../../core/tlog/note.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import type { PublishedCheckpoint } from './log-entry.ts';
import type { TileLog } from './tile-log.ts';

/** The last checkpoint of a log that a witness cosigned, unverified; undefined if it cosigned none. @throws NotCosigned, and what `fetch` throws */
export async function fetchWitnessed(
  { url }: Pick<AskableWitness, 'url'>,
  origin: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const address = `${url.replace(/\/+$/, '')}/${hexEncode(nodeCrypto.sha256(utf8(origin)))}/checkpoint`;
  const response = await fetch(address, { redirect: 'error', signal });
  const text = await readText(response);
  if (response.status === 404) return undefined;
  if (response.status !== 200)
    throw new NotCosigned(`expected status 200, got ${response.status}: ${quote(text)}`);
  return text;
}

/** Room for the lines of one witness, a fault, or a size. */
const ANSWER_SIZE_BYTES_MAX = 16 * 1024;

/** A witness with its address. */
export interface AskableWitness extends PolicyWitness {
  readonly url: string;
}

/** Why a witness did not cosign. Its message is for the operator's log. */
export class NotCosigned extends Error {
  override readonly name = 'NotCosigned';
}

export class WitnessClient {
  readonly #witness: AskableWitness;
  readonly #log: Pick<TileLog, 'consistencyProof' | 'checkpoint'>;
  /** What the witness cosigned last, as far as we know. */
  #oldSize = 0n;

  constructor(witness: AskableWitness, log: Pick<TileLog, 'consistencyProof' | 'checkpoint'>) {
    this.#witness = witness;
    this.#log = log;
  }

  /**
   * The witness's line on a checkpoint, verified. Asks a second time if the witness cosigned another size before than we believed.
   * @throws NotCosigned, and what an aborted `fetch` throws
   */
  async cosign(checkpoint: PublishedCheckpoint, signal: AbortSignal): Promise<NoteSignature> {
    const first = await this.#post(checkpoint, signal);
    if (first.status !== 409) return this.#read(first, checkpoint);
    const size = /^(0|[1-9][0-9]{0,18})\n$/.exec(first.text)?.[1];
    if (size === undefined)
      throw new NotCosigned(`expected a size with status 409, got ${quote(first.text)}`);
    const newest = this.#log.checkpoint().size;
    if (BigInt(size) > checkpoint.size && BigInt(size) <= newest)
      throw new NotCosigned(`it cosigned the newer size ${size} meanwhile`);
    if (BigInt(size) > newest) {
      throw new NotCosigned(
        `it cosigned size ${size}, this log has ${newest}: entries were lost, or another log has this key`,
      );
    }
    this.#oldSize = BigInt(size);
    return this.#read(await this.#post(checkpoint, signal), checkpoint);
  }

  async #post({ size, note }: PublishedCheckpoint, signal: AbortSignal) {
    const old = this.#oldSize > size ? 0n : this.#oldSize;
    const proof = old === 0n ? [] : await this.#log.consistencyProof(old, size);
    const hashes = proof.map((hash) => `${base64Encode(hash)}\n`).join('');
    const response = await fetch(`${this.#witness.url.replace(/\/+$/, '')}/add-checkpoint`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: `old ${old}\n${hashes}\n${note}`,
      redirect: 'error',
      signal,
    });
    return { status: response.status, text: await readText(response) };
  }

  #read(answer: { status: number; text: string }, checkpoint: PublishedCheckpoint): NoteSignature {
    const { status, text } = answer;
    if (status !== 200) throw new NotCosigned(`expected status 200, got ${status}: ${quote(text)}`);
    const { key } = this.#witness;
    const note = parseNote(`${checkpoint.note}${text}`);
    const lines = note.signatures.filter(({ name, keyId }) => name === key.name && keyId === key.keyId);
    const [line] = lines;
    if (line === undefined) throw new NotCosigned('expected a line of its key, got none');
    verifyCosignatures({ text: note.text, signatures: [line] }, [this.#witness], nodeCrypto);
    this.#oldSize = checkpoint.size;
    return line;
  }
}

/** @throws NotCosigned for more than a witness has reason to say */
async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.length;
    if (sizeBytes > ANSWER_SIZE_BYTES_MAX) {
      throw new NotCosigned(`expected at most ${ANSWER_SIZE_BYTES_MAX} bytes, got more`);
    }
    chunks.push(chunk);
  }
  const text = utf8Decode(new Uint8Array(Buffer.concat(chunks)));
  if (text === undefined) throw new NotCosigned('expected UTF-8');
  return text;
}
