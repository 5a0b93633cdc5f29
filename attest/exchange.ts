// SPDX-License-Identifier: Apache-2.0
// One HTTP exchange with bounded time and tries [RFC9110 §15]. Redirects are refused: tokens and evidence go to the
// address that was configured or nowhere.

import { setTimeout as sleep } from 'node:timers/promises';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { type StreamedBody, sendStreamed } from './streamed-body.ts';

/** Time for one try (of a streamed body: longest silence), and the pauses before the second and third. */
export const EXCHANGE = { timeoutMs: 20_000, pausesMs: [250, 1000] } as const;

/** Answers are small JSON documents; more is not read. */
const ANSWER_SIZE_BYTES_MAX = 4 * 1024 * 1024;

export interface ExchangeRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string | StreamedBody;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** `status` 0: no answer at all, and `reason` says why. 5xx and 429 come only after the last try. */
export interface ExchangeAnswer {
  readonly status: number;
  readonly body: Uint8Array;
  readonly reason: string;
}

/** Sends a request until there is an answer that another try would not change. Never throws but for `signal`. */
export async function exchange(url: string, request: ExchangeRequest): Promise<ExchangeAnswer> {
  for (let tried = 0; ; tried++) {
    request.signal?.throwIfAborted();
    const answer = await tryOnce(url, request);
    const pauseMs = EXCHANGE.pausesMs[tried];
    if (!isOutage(answer) || pauseMs === undefined) return answer;
    await pause(pauseMs, request.signal);
  }
}

/** True if nothing is known yet and another try may help: no answer, too many requests, the server's own trouble. */
export function isOutage({ status }: ExchangeAnswer): boolean {
  return status === 0 || status === 429 || status >= 500;
}

async function pause(timeMs: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return sleep(timeMs);
  // The timer's own error hides the signal's reason; the next turn throws that.
  await sleep(timeMs, undefined, { signal }).catch(() => {});
}

async function tryOnce(url: string, request: ExchangeRequest): Promise<ExchangeAnswer> {
  const { signal: cancel } = request;
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), request.timeoutMs ?? EXCHANGE.timeoutMs);
  const signal = cancel === undefined ? patience.signal : AbortSignal.any([patience.signal, cancel]);
  try {
    return await ask(url, request, signal, () => timer.refresh());
  } catch (cause) {
    cancel?.throwIfAborted();
    const reason = patience.signal.aborted ? 'timed out' : reasonOf(cause);
    return { status: 0, body: new Uint8Array(), reason };
  } finally {
    clearTimeout(timer);
  }
}

async function ask(
  url: string,
  { method, body, headers: asked }: ExchangeRequest,
  signal: AbortSignal,
  onProgress: () => void,
): Promise<ExchangeAnswer> {
  const headers = { accept: 'application/json', ...asked };
  if (body !== undefined && typeof body !== 'string' && 'open' in body) {
    return sendStreamed(url, { method, headers, body, signal, onProgress }, async (response) => ({
      status: response.statusCode ?? 0,
      body: await readBody(response),
      reason: response.statusMessage ?? '',
    }));
  }
  const sent = body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> };
  const response = await fetch(url, { method, headers, ...sent, redirect: 'manual', signal });
  return {
    status: response.status,
    body: await readBody(response.body ?? []),
    reason: response.statusText,
  };
}

async function readBody(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.length;
    if (sizeBytes > ANSWER_SIZE_BYTES_MAX) throw new Error('answer too large');
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The system's word for a failed connection (`ECONNREFUSED`), which fetch keeps in the innermost cause. */
function reasonOf(failure: unknown): string {
  let deepest = failure;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  if (!(deepest instanceof Error)) return 'unknown';
  return (deepest as NodeJS.ErrnoException).code ?? deepest.message;
}

/** What a server says was wrong: its code, message and remedy if it answers as ours does, else the start of its text. */
export function explainRefusal(answer: ExchangeAnswer): string {
  if (answer.status === 0) return quote(answer.reason);
  const parsed = parseStrictJson(answer.body);
  const error = 'value' in parsed ? memberOf(parsed.value, 'error') : undefined;
  const said = ['code', 'message', 'remedy'].map((name) => memberOf(error, name));
  const texts = said.filter((text): text is string => typeof text === 'string');
  if (texts.length > 0) return `${answer.status} ${texts.map(quote).join(' ')}`;
  const text = Buffer.from(answer.body).toString('utf8').trim();
  return `${answer.status} ${quote(text === '' ? answer.reason : text)}`;
}

/** A member of parsed JSON, undefined if there is none. */
export function memberOf(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object') return undefined;
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** True if a token may be sent there: https, or http that does not leave this machine. */
export function isPrivateChannel(url: URL): boolean {
  if (url.protocol === 'https:') return true;
  if (url.protocol !== 'http:') return false;
  return (
    url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(url.hostname)
  );
}
