// SPDX-License-Identifier: Apache-2.0
// A client that costs little, so that what is measured is the server: one keep-alive connection of HTTP/1.1, one request at a time, answers with
// their content-length or in chunks.

import { connect, type Socket } from 'node:net';

/** An answer; the body as it came. */
export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

const HEAD_END = Buffer.from('\r\n\r\n');

/** One request as it goes over the wire. */
export function formatRequest(
  method: 'GET' | 'POST',
  url: URL,
  body?: { readonly type: string; readonly bytes: string | Buffer },
): Buffer {
  const head = [`${method} ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  if (body === undefined) return Buffer.from(`${head.join('\r\n')}\r\n\r\n`);
  head.push(`content-type: ${body.type}`, `content-length: ${Buffer.byteLength(body.bytes)}`);
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), Buffer.from(body.bytes)]);
}

export class Connection {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #settle:
    | { readonly resolve: (answer: Answer) => void; readonly reject: (failure: Error) => void }
    | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (part) => {
      try {
        this.#take(part);
      } catch (nonsense) {
        socket.destroy(nonsense as Error);
      }
    });
    const fail = (failure?: Error): void =>
      this.#settle?.reject(failure ?? new Error('expected an answer, got the end'));
    socket.on('error', fail).on('close', () => fail());
  }

  static open(url: URL): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(Number(url.port), url.hostname, () => resolve(new Connection(socket)));
      socket.setNoDelay(true).once('error', reject);
    });
  }

  /** Sends a request and waits for its whole answer. @throws Error if the connection ends before */
  ask(request: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  #take(part: Buffer): void {
    this.#received = this.#received.length === 0 ? part : Buffer.concat([this.#received, part]);
    const headEnd = this.#received.indexOf(HEAD_END);
    if (headEnd < 0) return;
    const head = this.#received.toString('latin1', 0, headEnd);
    const body = wholeBody(head, this.#received.subarray(headEnd + HEAD_END.length));
    if (body === undefined) return;
    const answer = { status: Number(head.slice(9, 12)), body };
    this.#received = Buffer.alloc(0);
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.resolve(answer);
  }
}

/** The body among the bytes after a head; undefined while some of it is missing [RFC9112 §6]. */
function wholeBody(head: string, bytes: Buffer): Buffer | undefined {
  if (/\r\ntransfer-encoding: chunked/i.test(head)) return joinChunks(bytes);
  const size = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
  return bytes.length < size ? undefined : bytes.subarray(0, size);
}

/** The same of chunks, without trailers, which nobody asks for here [RFC9112 §7.1]. @throws Error if they are none */
function joinChunks(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const sizeEnd = bytes.indexOf('\r\n', at);
    if (sizeEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', at, sizeEnd), 16);
    if (Number.isNaN(size)) throw new Error('expected the size of a chunk');
    const end = sizeEnd + 2 + size;
    if (bytes.length < end + 2) return undefined;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(bytes.subarray(sizeEnd + 2, end));
    at = end + 2;
  }
}
