// SPDX-License-Identifier: Apache-2.0
// The key ceremony: accepted by a stock TUF client, thresholds, keys that are never overwritten.

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { type Ceremony, holdCeremony } from '../../release/ceremony.ts';
import { TufSite } from './tuf-site.ts';

let folder: string;
let site: TufSite;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-ceremony-'));
  site = new TufSite();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const TRUSTED_ROOT = utf8('{"mediaType":"trusted root"}\n');

function ceremony(changes: Partial<Ceremony> = {}): Ceremony {
  return {
    offlineFolder: join(folder, 'offline'),
    org: 'waybill',
    rootKeys: 3,
    rootThreshold: 2,
    targetsKeys: 1,
    targetsThreshold: 1,
    onlineKeys: site.onlineKeys,
    targetFiles: [
      { name: 'trusted_root.json', bytes: TRUSTED_ROOT },
      { name: 'signing_config.v0.2.json', bytes: utf8('{}') },
      { name: 'tlog-policy', bytes: utf8('log x\n') },
    ],
    now: new Date(),
    ...changes,
  };
}

/** What a stock client gets for `trusted_root.json`. */
async function fetchTrustedRoot(root: Uint8Array): Promise<string> {
  const { url, close } = await site.serve();
  try {
    const metadataDir = await mkdtemp(join(folder, 'client-'));
    const targetDir = join(metadataDir, 'targets');
    await mkdir(targetDir);
    await writeFile(join(metadataDir, 'root.json'), root);
    const updater = new Updater({
      metadataDir,
      metadataBaseUrl: url,
      targetDir,
      targetBaseUrl: `${url}/targets`,
    });
    const info = await updater.getTargetInfo('trusted_root.json');
    if (info === undefined) throw new Error('target not found');
    return await readFile(await updater.downloadTarget(info), 'utf8');
  } finally {
    await close();
  }
}

test('a stock client accepts what the ceremony signed', async () => {
  const { root, targets } = await holdCeremony(ceremony());
  site.publish({ targets });
  site.putTarget('trusted_root.json', TRUSTED_ROOT);
  await expect(fetchTrustedRoot(root)).resolves.toBe('{"mediaType":"trusted root"}\n');
});

test('a client refuses a root with fewer signatures than the threshold', async () => {
  const { root, targets } = await holdCeremony(ceremony());
  site.publish({ targets });
  site.putTarget('trusted_root.json', TRUSTED_ROOT);
  const json = JSON.parse(Buffer.from(root).toString());
  expect(json.signatures).toHaveLength(3);
  expect(json.signed.roles.root.threshold).toBe(2);
  json.signatures = json.signatures.slice(0, 2);
  await expect(fetchTrustedRoot(Buffer.from(JSON.stringify(json)))).resolves.toContain('trusted root');
  json.signatures = json.signatures.slice(0, 1);
  await expect(fetchTrustedRoot(Buffer.from(JSON.stringify(json)))).rejects.toThrow('1/2 keys');
});

test('the keys lie in the offline folder, the private halves readable by their owner alone', async () => {
  await holdCeremony(ceremony());
  const offline = join(folder, 'offline');
  expect((await readdir(offline)).sort()).toEqual([
    ...['root-1.pem', 'root-1.pub', 'root-2.pem', 'root-2.pub', 'root-3.pem', 'root-3.pub'],
    ...['targets-1.pem', 'targets-1.pub'],
  ]);
  for (const name of (await readdir(offline)).filter((each) => each.endsWith('.pem'))) {
    expect((await stat(join(offline, name))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(offline, name), 'utf8')).toContain('-----BEGIN PRIVATE KEY-----');
  }
});

test.each([
  [3, 0],
  [3, 4],
  [0, 0],
  [3, 1.5],
  [Number.NaN, 1],
])('%d root keys with threshold %d are refused', async (rootKeys, rootThreshold) => {
  await expect(holdCeremony(ceremony({ rootKeys, rootThreshold }))).rejects.toMatchObject({
    code: 'CEREMONY_THRESHOLD_INVALID',
  });
});

test('no key is overwritten, and a failed ceremony leaves none of its own', async () => {
  const offline = join(folder, 'offline');
  await mkdir(offline);
  await writeFile(join(offline, 'root-2.pem'), 'precious');
  await expect(holdCeremony(ceremony())).rejects.toMatchObject({ code: 'CEREMONY_KEY_EXISTS' });
  expect(await readdir(offline)).toEqual(['root-2.pem']);
  expect(await readFile(join(offline, 'root-2.pem'), 'utf8')).toBe('precious');
});

test('a folder that cannot be made is reported as such', async () => {
  await writeFile(join(folder, 'offline'), 'a file');
  await expect(holdCeremony(ceremony())).rejects.toMatchObject({ code: 'CEREMONY_KEY_UNWRITABLE' });
});

test('an online key of another kind is refused', async () => {
  const onlineKeys = { ...site.onlineKeys, snapshot: 'no key' };
  await expect(holdCeremony(ceremony({ onlineKeys }))).rejects.toMatchObject({
    code: 'CEREMONY_KEY_UNSUITABLE',
  });
});
