// SPDX-License-Identifier: Apache-2.0
// A client that costs little, so that what is measured is the server: one keep-alive connection of HTTP/1.1, one request at a time, answers by
// their content-length.

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
    socket.on('data', (part) => this.#take(part));
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
    const size = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    const end = headEnd + HEAD_END.length + size;
    if (this.#received.length < end) return;
    const answer = {
      status: Number(head.slice(9, 12)),
      body: this.#received.subarray(headEnd + HEAD_END.length, end),
    };
    this.#received = Buffer.alloc(0);
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.resolve(answer);
  }
}
