// SPDX-License-Identifier: Apache-2.0
// Someone between the registry and its users: answers what it wants to, and passes everything else on.

import { createServer, type IncomingMessage, type Server } from 'node:http';

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

  private constructor(server: Server, port: number) {
    this.server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Stands before `target` (a base URL) on a port of its own. */
  static async start(target: string, answer: Answer, overhear: Overhear = () => {}): Promise<Interceptor> {
    const server = createServer(async (request, response) => {
      try {
        const path = request.url ?? '/';
        const method = request.method ?? 'GET';
        const reply = answer({ method, path }) ?? (await passOn(target, method, path, request, overhear));
        response.writeHead(reply.status, { 'content-type': 'application/octet-stream' }).end(reply.body);
      } catch {
        response.writeHead(502).end();
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Interceptor(server, (server.address() as { port: number }).port);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function passOn(
  target: string,
  method: string,
  path: string,
  request: IncomingMessage,
  overhear: Overhear,
): Promise<Reply> {
  const headers: Record<string, string> = {};
  for (const name of ['content-type', 'authorization']) {
    const value = request.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk as Uint8Array);
  overhear(path, Buffer.concat(chunks));
  const body = method === 'GET' || method === 'HEAD' ? {} : { body: Buffer.concat(chunks) };
  const response = await fetch(`${target}${path}`, { method, headers, ...body });
  return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
}
