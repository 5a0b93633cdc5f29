// SPDX-License-Identifier: Apache-2.0
// Bytes on a socket as no client library would send them, and whatever comes back until the other side hangs up.

import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  /** Of the first answer; 0 if there was none. */
  readonly status: number;
  readonly text: string;
  /** How many answers came. */
  readonly count: number;
  /** Code of the first refusal. */
  readonly code: string | undefined;
}

/** Opens a connection to a base address. */
export function open(url: string): Socket {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  return socket;
}

/** Everything that is said on a connection until it is closed, or silent for so long. */
export async function answerOn(socket: Socket, silenceMs = 5000): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.setTimeout(silenceMs, () => socket.destroy());
  await new Promise((resolve) => socket.once('close', resolve));
  const text = Buffer.concat(chunks).toString('latin1');
  return {
    text,
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0),
    count: (text.match(/HTTP\/1\.1 \d{3} /g) ?? []).length,
    code: /"code":"([A-Z_]+)"/.exec(text)?.[1],
  };
}

/** Sends bytes and waits for what comes back. */
export function sendRaw(url: string, bytes: string | Uint8Array, silenceMs?: number): Promise<RawAnswer> {
  const socket = open(url);
  socket.write(bytes);
  return answerOn(socket, silenceMs);
}

/** A GET that closes the connection. */
export const getRaw = (url: string, target: string, method = 'GET'): Promise<RawAnswer> =>
  sendRaw(url, `${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
