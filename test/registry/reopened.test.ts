// SPDX-License-Identifier: Apache-2.0
// An older trusted root, published again: keys that have ended do not come to life, unless somebody says that it is meant.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Fastify from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseTrustedRoot, type TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { rotate } from '../../registry/rotation.ts';
import { checkReopensNone } from '../../registry/trust/reopened.ts';
import { serviceNames } from '../../registry/trust/services.ts';
import { endOlder, formatTrustedRoot, readTrustedRoot } from '../../registry/trust/trust-changes.ts';
import { tufWriteRoutes } from '../../registry/tuf/routes.ts';
import { RunningRegistry, refusal } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

const readRoot = async () =>
  new Uint8Array(await readFile(join(registry.dataFolder, 'trust', 'trusted_root.json')));

/** Publishes a trusted root; `query` goes with the metadata. */
async function publish(bytes: Uint8Array, query = '') {
  const metadata = await registry.nextTargets({ 'trusted_root.json': bytes });
  const put = () => registry.putRole(`targets${query}`, metadata);
  const first = await put();
  if (first.status !== 409) return first;
  expect((await registry.putBlob(bytes, sha256(bytes))).status).toBeLessThan(300);
  return put();
}

test('the server refuses a trusted root in which an end is gone or later', { timeout: 60_000 }, async () => {
  await rotate(registry.rotationOptions(), { service: 'ct' });
  await registry.restart();
  const open = await readRoot();
  expect((await publish(open)).status).toBe(201);
  const endMs = Math.floor(Date.now() / 1000) * 1000 - 60_000;
  const endingAt = (ms: number) =>
    formatTrustedRoot(endOlder(readTrustedRoot(open), 'ct', serviceNames('example'), ms));
  expect((await publish(endingAt(endMs))).status).toBe(201);
  const reopens = { status: 422, code: 'TRUST_ROOT_REOPENS' };
  // The blob is there already: nobody has to send it.
  expect(refusal(await publish(open))).toEqual(reopens);
  expect(refusal(await publish(endingAt(endMs + 1000)))).toEqual(reopens);
  expect(registry.registry.trust.root.certificateLogs[0]?.validFor.endMs).toBe(endMs);
  expect((await publish(endingAt(endMs - 1000))).status).toBe(201);
  expect(refusal(await publish(open, '?reopen=yes')).status).toBe(400);
  const { tuf, blobs, observer } = registry.registry;
  const lines: string[] = [];
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } } });
  await app.register(tufWriteRoutes, { tuf, blobs, observer });
  const payload = Buffer.from(await registry.nextTargets({ 'trusted_root.json': open }));
  const headers = { 'content-type': 'application/json' };
  const url = '/tuf/targets?reopen=allowed';
  expect((await app.inject({ method: 'PUT', url, headers, payload })).statusCode).toBe(201);
  // Who runs the registry learns of it, since nothing else would ever tell.
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: 40, role: 'targets', msg: 'published, with ends of keys free to be taken back' },
  ]);
  expect(registry.registry.trust.root.certificateLogs[0]?.validFor.endMs).toBeUndefined();
});

const LISTS = [
  'certificateAuthorities',
  'timestampAuthorities',
  'certificateLogs',
  'signatureLogs',
] as const satisfies (keyof TrustedRoot)[];

test.each(LISTS)('the key decides, in %s, whatever else stands with it', async (list) => {
  const root = parseTrustedRoot(await readRoot());
  const ending = (endMs: number | undefined): TrustedRoot => ({
    ...root,
    [list]: root[list].map((each) => ({
      ...each,
      origin: `${endMs}.example`,
      uri: `https://${endMs}.example`,
      validFor: { startMs: 0, ...(endMs === undefined ? {} : { endMs }) },
    })),
  });
  const code = (next: TrustedRoot, published: TrustedRoot) => {
    try {
      checkReopensNone(next, published);
      return undefined;
    } catch (failure) {
      return (failure as { code: string }).code;
    }
  };
  expect(code(ending(undefined), ending(5000))).toBe('TRUST_ROOT_REOPENS');
  expect(code(ending(6000), ending(5000))).toBe('TRUST_ROOT_REOPENS');
  // A second entry for the key beside the first.
  const both = { ...root, [list]: [...ending(5000)[list], ...ending(undefined)[list]] };
  expect(code(both, ending(5000))).toBe('TRUST_ROOT_REOPENS');
  expect(code(ending(5000), ending(5000))).toBeUndefined();
  expect(code(ending(4000), ending(5000))).toBeUndefined();
  expect(code(ending(5000), ending(undefined))).toBeUndefined();
  // Of a key that stands there twice the later end counts, wherever it stands.
  const twice = { ...root, [list]: [...ending(6000)[list], ...ending(5000)[list]] };
  expect(code(ending(6000), twice)).toBeUndefined();
  expect(code(ending(7000), twice)).toBe('TRUST_ROOT_REOPENS');
  // What has ended stays: left out, it could come back without its end.
  expect(code({ ...root, [list]: [] }, ending(5000))).toBe('TRUST_ROOT_REOPENS');
  expect(code({ ...root, [list]: [] }, ending(undefined))).toBeUndefined();
  // What was not there before begins as it likes.
  expect(code(ending(undefined), { ...root, [list]: [] })).toBeUndefined();
});
