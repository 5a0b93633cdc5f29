// SPDX-License-Identifier: Apache-2.0
// Submission: what the registry says is passed on, quoted; what it cannot have meant is refused.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hashFile } from '../../attest/folder.ts';
import { parseRegistryUrl, submitBundle, uploadBlob } from '../../attest/submit.ts';
import { sha256 } from './build-folder.ts';

let server: Server;
let base: string;
let folder: string;
let tries: number;
let answer: (body: Buffer) => { status: number; body: string };
const bundle = new TextEncoder().encode('{"bundle":1}');
const code = (code: string) => expect.objectContaining({ code });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-submit-'));
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      tries++;
      const { status, body } = answer(Buffer.concat(chunks));
      response.writeHead(status, { 'content-type': 'application/json', location: '/elsewhere' }).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/prefix/`;
});
afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

test('a registry address is an http or https URL', () => {
  expect(parseRegistryUrl('http://127.0.0.1:8080/')).toBe('http://127.0.0.1:8080');
  expect(parseRegistryUrl('https://a.example/waybill//')).toBe('https://a.example/waybill');
  for (const bad of [
    '',
    'a.example',
    'ftp://a.example',
    'https://:p@a.example',
    'https://u@a.example',
    'https://u:p@a.example',
    'https://a.example/?x',
    'https://a.example/#x',
  ]) {
    expect(() => parseRegistryUrl(bad)).toThrow(code('SUBMIT_URL_MALFORMED'));
    expect(() => parseRegistryUrl(bad)).toThrow('URL without user, query and fragment, got ');
  }
});

test('an acknowledgement names the digest that was sent', async () => {
  answer = (body) => ({ status: 201, body: JSON.stringify({ sha256: sha256(body), leafIndex: 3 }) });
  await expect(submitBundle(base, bundle)).resolves.toEqual({ sha256: sha256(bundle), known: false });
  answer = (body) => ({ status: 200, body: JSON.stringify({ sha256: sha256(body), leafIndex: 3 }) });
  await expect(submitBundle(base, bundle)).resolves.toMatchObject({ known: true });
  for (const body of ['<html>', 'null', '{}', JSON.stringify({ sha256: sha256('other') })]) {
    answer = () => ({ status: 201, body });
    await expect(submitBundle(base, bundle)).rejects.toEqual(code('SUBMIT_ANSWER_MALFORMED'));
  }
});

test("a refusal shows the registry's code and remedy, escaped", async () => {
  const error = { code: 'EVIDENCE_BAD', message: 'bad \u001b[31m', remedy: 'do better' };
  answer = () => ({ status: 422, body: JSON.stringify({ error }) });
  tries = 0;
  await expect(submitBundle(base, bundle)).rejects.toEqual(code('SUBMIT_REFUSED'));
  expect(tries).toBe(1);
  await expect(submitBundle(base, bundle)).rejects.toThrow(
    '422 "EVIDENCE_BAD" "bad \\u001b[31m" "do better"',
  );
  answer = () => ({ status: 302, body: 'moved' });
  await expect(submitBundle(base, bundle)).rejects.toThrow('302 "moved"');
});

/** An address of this machine where nothing listens any more. */
async function closedPort(): Promise<string> {
  const gone = createServer();
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  return `http://127.0.0.1:${port}`;
}

test('a busy registry is tried three times, then it is unavailable; so is one that is down', async () => {
  answer = () => ({ status: 503, body: '{"error":{"code":"DISK_FULL","message":"m","remedy":"r"}}' });
  tries = 0;
  await expect(submitBundle(base, bundle)).rejects.toEqual(code('SUBMIT_UNAVAILABLE'));
  expect(tries).toBe(3);
  const down = await closedPort();
  await expect(submitBundle(down, bundle)).rejects.toThrow('ECONNREFUSED');
  await expect(submitBundle(down, bundle)).rejects.toEqual(code('SUBMIT_UNAVAILABLE'));
});

test('an answer without end is not read to the end', async () => {
  const pad = 'x'.repeat(5 * 1024 * 1024);
  answer = (body) => ({ status: 201, body: JSON.stringify({ sha256: sha256(body), leafIndex: 3, pad }) });
  await expect(submitBundle(base, bundle)).rejects.toThrow('answer too large');
});

test('an abort ends the tries with its own reason', async () => {
  answer = () => ({ status: 503, body: '' });
  const controller = new AbortController();
  const reason = new Error('cancelled');
  setTimeout(() => controller.abort(reason), 50);
  await expect(submitBundle(base, bundle, controller.signal)).rejects.toBe(reason);
  await expect(submitBundle(base, bundle, controller.signal)).rejects.toBe(reason);
});

test('a file is sent whole; one that went away or was refused is reported', async () => {
  const content = Buffer.alloc(3 * 1024 * 1024, 7);
  await writeFile(join(folder, 'image.bin'), content);
  const file = await hashFile(folder, 'image.bin');
  let got = '';
  answer = (body) => {
    got = sha256(body);
    return { status: 201, body: '' };
  };
  await uploadBlob(base, file);
  expect(got).toBe(sha256(content));
  answer = () => ({ status: 403, body: '{"error":{"code":"BLOB_NOT_NAMED","message":"m","remedy":"r"}}' });
  await expect(uploadBlob(base, file)).rejects.toEqual(code('SUBMIT_REFUSED'));
  await rm(file.path);
  await expect(uploadBlob(base, file)).rejects.toEqual(code('ATTEST_FOLDER_INCOMPLETE'));
});
