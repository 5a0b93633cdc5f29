// SPDX-License-Identifier: Apache-2.0
// `waybill tuf` as people and scripts meet it: what is printed, exit codes, JSON, and that nothing is overwritten.

import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { say } from '../cli/command-line.ts';
import { House } from './house.ts';
import { waybill } from './run-waybill.ts';

let house: House;
beforeAll(async () => {
  house = await House.open();
});
afterAll(() => house.close());

const tuf = (verb: string, ...words: string[]) =>
  waybill('tuf', verb, house.url, ...words, '--root', house.root);
/** The same in this process. */
const here = (...words: string[]) => say(['tuf', ...words, '--root', house.root]);
const key = (name: string) => house.path('offline', `${name}.pem`);

test('status shows each role with days, keys and threshold', async () => {
  const shown = await tuf('status');
  expect(shown.code).toBe(0);
  expect(shown.out).toMatch(
    /^root version 1, expires \S+: 36[45] days left\n {2}2 of 3 keys must sign:\n( {4}root key [123] of 3 {2}[0-9a-f]{64}\n){3}/,
  );
  const [one, two] = [house.path('offline', 'root-1.pub'), house.path('releases.pub')];
  const named = await tuf('status', '--public-key', one, two);
  expect(named.out).toMatch(
    new RegExp(`root key 1 of 3 {2}[0-9a-f]{64} {2}${one}\\n {4}root key 2 of 3 {2}\\S+\\n`),
  );
  const { places, keyIds } = JSON.parse((await tuf('status', '--json', '--public-key', one)).out)[0];
  expect(places).toEqual({ [keyIds[0]]: one });
  const none = await tuf('status', '--public-key', house.path('offline', 'root-1.pem'));
  expect(none).toMatchObject({ code: 2, err: expect.stringContaining('got a private one; the public half') });
  expect(shown.out).toMatch(/^timestamp version \d+, expires \S+: less than a day left$/m);
  const { out } = await tuf('status', '--json');
  expect(JSON.parse(out)).toContainEqual(
    expect.objectContaining({ role: 'root', version: 1, threshold: 2, isDue: false }),
  );
});

test('a root in turns: what is printed leads to the next step', { timeout: 120_000 }, async () => {
  const file = house.path('next.json');
  const made = await here('renew', house.url, '--role', 'root', '--key', key('root-1'), '--out', file);
  expect(made.code).toBe(0);
  expect(made.out).toContain(`in ${file}`);
  expect(made.out).toContain('expected signatures by 2 of 3 root keys, got 1: 1 more of');
  expect(made.out).toContain('next: waybill tuf sign');
  expect(made.err).toContain('version 1 becomes 2');
  const before = await readFile(file);
  const again = await here('renew', house.url, '--role', 'root', '--key', key('root-2'), '--out', file);
  expect(again).toMatchObject({ code: 2, err: expect.stringContaining('CLI_USAGE') });
  expect(await readFile(file)).toEqual(before);
  const early = await here('publish', house.url, file);
  expect(early).toMatchObject({ code: 1, err: expect.stringContaining('OFFLINE_ROLE_UNSIGNED') });
  const sign = (...words: string[]) => here('sign', file, ...words);
  const seen = await sign();
  expect(seen).toMatchObject({ code: 0, err: expect.stringContaining('against version 1 in force') });
  expect(await readFile(file)).toEqual(before);
  const both = await sign('--registry', house.url, '--current', file);
  expect(both).toMatchObject({ code: 2, err: expect.stringContaining('CLI_USAGE') });
  const signed = await sign('--key', key('root-2'), '--json');
  expect(JSON.parse(signed.out)).toMatchObject({ role: 'root', version: 2, missing: [], published: false });
  expect((await here('publish', house.url, file)).out).toMatch(/^published root version 2, good until /);
  expect(await here('publish', house.url, file)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^root version 2 is published already, good until \S+: nothing to do\n$/),
  });
});

test('online keys are made beside the old ones, never over them, and only in a data folder', async () => {
  const keys = house.path('data', 'keys');
  const old = await readFile(`${keys}/tuf-snapshot.pem`);
  const made = await say(['tuf', 'online-keys', house.path('data'), '--json']);
  expect(JSON.parse(made.out).snapshot).toEqual({
    path: `${keys}/tuf-snapshot-2.pem`,
    publicPath: `${keys}/tuf-snapshot-2.pub`,
  });
  expect((await stat(`${keys}/tuf-snapshot-2.pem`)).mode & 0o777).toBe(0o600);
  expect(await readFile(`${keys}/tuf-snapshot.pem`)).toEqual(old);
  expect((await say(['tuf', 'online-keys', house.path('data')])).out).toContain('tuf-timestamp-3.pub');
  const elsewhere = await say(['tuf', 'online-keys', house.path('offline')]);
  expect(elsewhere).toMatchObject({ code: 2, err: expect.stringMatching(/CLI_USAGE.* in ".*offline"/) });
  expect(await readdir(house.path('offline'))).not.toContain('keys');
});

test('words that make no sense are bad usage', async () => {
  expect(await here('rotate', house.url, '--root-threshold', '0')).toMatchObject({ code: 2 });
  expect(await here('renew', house.url, '--role', 'snapshot')).toMatchObject({ code: 2 });
  await writeFile(house.path('device-policy.yaml'), '');
  const product = ['product', 'update', 'x', '--registry', house.url, '--root', house.root];
  const neither = await say([...product, '--releases-threshold', '1']);
  expect(neither).toMatchObject({ code: 2, err: expect.stringContaining('either --offline or --key') });
  const both = ['--releases-threshold', '1', '--offline', 'x', '--key', 'y'];
  expect(await say([...product, ...both])).toMatchObject({ code: 2 });
});
