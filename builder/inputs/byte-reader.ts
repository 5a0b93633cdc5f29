// SPDX-License-Identifier: Apache-2.0
// Exact numbers of bytes from a stream of chunks: what readers of archives need.

export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Some bytes, at most `sizeBytesMax`; undefined at the end. */
  async some(sizeBytesMax: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const taken = this.#rest.subarray(0, sizeBytesMax);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  /** Exactly this many bytes; fewer only if the stream ends before. */
  async exactly(sizeBytes: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    let left = sizeBytes;
    while (left > 0) {
      const part = await this.some(left);
      if (part === undefined) break;
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** Bytes up to and without a newline; undefined if the stream ends first or the line is longer than `sizeBytesMax`. */
  async line(sizeBytesMax: number): Promise<string | undefined> {
    const bytes: number[] = [];
    while (bytes.length <= sizeBytesMax) {
      const [byte] = (await this.some(1)) ?? [];
      if (byte === undefined) return undefined;
      if (byte === 0x0a) return Buffer.from(bytes).toString('utf8');
      bytes.push(byte);
    }
    return undefined;
  }

  /** Ends the stream early, so that whatever makes it can tidy up. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
