// SPDX-License-Identifier: Apache-2.0
// Someone between the registry and its users: answers what it wants to, and passes everything else on.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** What the interceptor answers itself; undefined passes the request on. */
export type Answer = (request: { readonly method: string; readonly path: string }) => Reply | undefined;

/** Hears what is sent through. */
export type Overhear = (path: string, body: Uint8Array) => void;

export interface Reply {
  readonly status: number;
  readonly body: Uint8Array;
}

export class Interceptor {
  readonly url: string;
  private readonly server: Server;
  private answer: Answer = () => undefined;
  private overhear: Overhear = () => {};

  private constructor(server: Server, port: number) {
    this.server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Stands before `target` (a base URL) on a port of its own; passes everything on. */
  static async start(target: string): Promise<Interceptor> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const between = new Interceptor(server, (server.address() as { port: number }).port);
    server.on('request', async (request: IncomingMessage, response: ServerResponse) => {
      try {
        const reply = await between.reply(target, request);
        response.writeHead(reply.status, { 'content-type': 'application/octet-stream' }).end(reply.body);
      } catch {
        response.writeHead(502).end();
      }
    });
    return between;
  }

  private async reply(target: string, request: IncomingMessage): Promise<Reply> {
    const { url: path = '/', method = 'GET' } = request;
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const body = new Uint8Array(Buffer.concat(chunks));
    this.overhear(path, body);
    return this.answer({ method, path }) ?? passOn(`${target}${path}`, request, body);
  }

  /** Answers so, and hears what is sent through, while the work lasts. */
  async while<T>(answer: Answer, work: () => Promise<T>, overhear: Overhear = () => {}): Promise<T> {
    this.answer = answer;
    this.overhear = overhear;
    try {
      return await work();
    } finally {
      this.answer = () => undefined;
      this.overhear = () => {};
    }
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function passOn(url: string, request: IncomingMessage, sent: Uint8Array): Promise<Reply> {
  const headers: Record<string, string> = {};
  for (const name of ['content-type', 'authorization']) {
    const value = request.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  const { method = 'GET' } = request;
  const body = method === 'GET' || method === 'HEAD' ? {} : { body: sent as Uint8Array<ArrayBuffer> };
  const response = await fetch(url, { method, headers, ...body });
  return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
}
