// SPDX-License-Identifier: Apache-2.0
// Hands bundles and bodies to a registry [docs/spec/registry-api.md §Attestations] [docs/spec/registry-api.md §Blobs].

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access } from 'node:fs/promises';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { BUNDLE_MEDIA_TYPE } from '../core/sigstore/bundle.ts';
import { type ExchangeAnswer, exchange, explainRefusal, isOutage, memberOf } from './exchange.ts';
import { ATTEST } from './faults.ts';
import type { HashedFile } from './folder.ts';
import type { StreamedBody } from './streamed-body.ts';

/** What the registry acknowledged. Acknowledged means durable there. */
export interface SubmittedBundle {
  /** SHA-256 of the bundle's bytes. */
  readonly sha256: string;
  /** True if the registry had these bytes already. */
  readonly known: boolean;
}

/** Brings a registry address into the form that paths are appended to. @throws SUBMIT_URL_MALFORMED */
export function parseRegistryUrl(text: string): string {
  const url = URL.parse(text);
  const plain = url !== null && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === '';
  if (!plain || url.username !== '' || url.password !== '') {
    const message = `expected the address of the registry as an http or https URL without user, query and fragment, got ${quote(text)}`;
    throw ATTEST.reject('SUBMIT_URL_MALFORMED', message);
  }
  return url.href.replace(/\/+$/, '');
}

/**
 * Submits one bundle; the registry verifies it before it stores it.
 * @throws SUBMIT_REFUSED with the registry's own code and remedy, SUBMIT_UNAVAILABLE, SUBMIT_ANSWER_MALFORMED
 */
export async function submitBundle(
  registryUrl: string,
  bundle: Uint8Array,
  signal?: AbortSignal,
): Promise<SubmittedBundle> {
  const answer = await exchange(`${parseRegistryUrl(registryUrl)}/api/v1/attestations`, {
    method: 'POST',
    headers: { 'content-type': BUNDLE_MEDIA_TYPE },
    body: bundle,
    signal,
  });
  requireStored(answer, 'the bundle');
  const sha256 = createHash('sha256').update(bundle).digest('hex');
  const parsed = parseStrictJson(answer.body);
  const said = 'value' in parsed ? memberOf(parsed.value, 'sha256') : undefined;
  if (said !== sha256) {
    const got = typeof said === 'string' ? quote(said) : 'no digest';
    const message = `expected the registry to acknowledge sha256 ${sha256}, got ${got}`;
    throw ATTEST.reject('SUBMIT_ANSWER_MALFORMED', message);
  }
  return { sha256, known: answer.status === 200 };
}

/** Silence after which an upload is given up. What the system has buffered by then goes over the slowest link that is any use. */
const UPLOAD_SILENCE_MS = 120_000;

/**
 * Uploads a body (image, SBOM, input) that a stored statement names by digest. The file is read while it is sent; the
 * registry hashes what arrives, so a file that changed since is refused there. `onSent` hears how many bytes of this try are on their way.
 * @throws SUBMIT_REFUSED, SUBMIT_UNAVAILABLE, ATTEST_FOLDER_INCOMPLETE
 */
export async function uploadBlob(
  registryUrl: string,
  file: HashedFile,
  signal?: AbortSignal,
  onSent?: (sentBytes: number) => void,
): Promise<void> {
  const answer = await exchange(blobUrl(registryUrl, file.sha256), {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: await openBody(file, onSent),
    signal,
    timeoutMs: UPLOAD_SILENCE_MS,
  });
  requireStored(answer, `the file with sha256 ${file.sha256}`);
}

/** True if the registry keeps a body with this digest. @throws SUBMIT_REFUSED, SUBMIT_UNAVAILABLE */
export async function holdsBlob(registryUrl: string, sha256: string, signal?: AbortSignal): Promise<boolean> {
  const answer = await exchange(blobUrl(registryUrl, sha256), { method: 'HEAD', signal });
  if (answer.status === 404) return false;
  requireStored(answer, `the file with sha256 ${sha256}`);
  return true;
}

const blobUrl = (registryUrl: string, sha256: string): string =>
  `${parseRegistryUrl(registryUrl)}/api/v1/blobs/${sha256}`;

async function openBody(file: HashedFile, onSent?: (sentBytes: number) => void): Promise<StreamedBody> {
  try {
    await access(file.path);
  } catch (cause) {
    const message = `expected ${quote(file.path)} still to be there, got no such file`;
    throw ATTEST.reject('ATTEST_FOLDER_INCOMPLETE', message, { cause });
  }
  const open = async function* () {
    let sentBytes = 0;
    for await (const chunk of createReadStream(file.path) as AsyncIterable<Buffer>) {
      yield chunk;
      sentBytes += chunk.length;
      onSent?.(sentBytes);
    }
  };
  return { sizeBytes: file.sizeBytes, open };
}

function requireStored(answer: ExchangeAnswer, what: string): void {
  if (answer.status === 200 || answer.status === 201) return;
  const message = `expected the registry to store ${what}, got ${explainRefusal(answer)}`;
  if (isOutage(answer)) throw ATTEST.unavailable('SUBMIT_UNAVAILABLE', message);
  throw ATTEST.reject('SUBMIT_REFUSED', message);
}
