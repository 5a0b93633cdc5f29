// SPDX-License-Identifier: Apache-2.0
// One request of the device to its registry's device API [docs/spec/install-report.md §Sending, §Enrolment].

import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceHost } from './host.ts';

const TIMEOUT_MS = 20_000;
const ANSWER_SIZE_BYTES_MAX = 64 * 1024;

export interface RegistryAnswer {
  readonly ok: boolean;
  readonly status: number;
  /** Status and the registry's own code and message, quoted, for people. */
  readonly said: string;
}

/** Posts a JSON body. An answer of the 5xx kind means "not now". @throws DEVICE_REGISTRY_UNREACHABLE */
export async function callRegistry(
  host: DeviceHost,
  url: string,
  body: Uint8Array,
  token?: string,
): Promise<RegistryAnswer> {
  let response: Response;
  let text: string;
  try {
    response = await host.fetch(url, {
      method: 'POST',
      redirect: 'error',
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: Buffer.from(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    text = await readAnswer(response);
  } catch (cause) {
    // The cause stays out: a header that fetch refuses would be quoted in it, and the token is one.
    const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const reason = (inner as { code?: unknown }).code;
    const shown = typeof reason === 'string' ? reason : (inner as Error).name;
    throw DEVICE.unavailable('DEVICE_REGISTRY_UNREACHABLE', `could not reach ${quote(url)}: ${shown}`);
  }
  const said = `${response.status}${describe(text)}`;
  // 429: asked too often; like 5xx it says nothing about the request itself [RFC9110 §15].
  if (response.status >= 500 || response.status === 429) {
    throw DEVICE.unavailable('DEVICE_REGISTRY_UNREACHABLE', `${quote(url)} answered ${said}`);
  }
  return { ok: response.ok, status: response.status, said };
}

async function readAnswer(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > ANSWER_SIZE_BYTES_MAX) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function describe(text: string): string {
  const parsed = parseStrictJson(Buffer.from(text));
  const error =
    'value' in parsed
      ? (parsed.value as { error?: { code?: unknown; message?: unknown } } | null)?.error
      : undefined;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') return '';
  return ` ${quote(error.code)}: ${quote(error.message)}`;
}
