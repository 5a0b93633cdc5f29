// SPDX-License-Identifier: Apache-2.0
// The field's own TUF client reads what the registry publishes, over HTTP, through changes of every role.

import { createPrivateKey } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { RunningRegistry, refusal } from './running-registry.ts';
import { sha256, signRole, targetsRole } from './tuf-house.ts';

let running: RunningRegistry;
let folder: string;
beforeAll(async () => {
  running = await RunningRegistry.start();
  folder = join(running.home, 'client');
  await mkdir(folder);
  await writeFile(join(folder, 'root.json'), await readFile(join(running.dataFolder, 'root.json')));
});
afterAll(() => running.close());

/** A client over the same folder, as a later run of a device would be. */
async function client(): Promise<Updater> {
  const updater = new Updater({
    metadataDir: folder,
    metadataBaseUrl: `${running.url}/tuf`,
    targetDir: folder,
    targetBaseUrl: `${running.url}/tuf/targets`,
  });
  await updater.refresh();
  return updater;
}

async function fetchTarget(name: string): Promise<Uint8Array | undefined> {
  const updater = await client();
  const info = await updater.getTargetInfo(name);
  if (info === undefined) return undefined;
  return new Uint8Array(await readFile(await updater.downloadTarget(info, join(folder, 'target'))));
}

it('gives trust material and, after publication, goods', async () => {
  const root = await readFile(join(running.dataFolder, 'trust', 'trusted_root.json'));
  expect(await fetchTarget('trusted_root.json')).toEqual(new Uint8Array(root));
  expect((await running.addProduct()).status).toBe(201);
  expect(await fetchTarget('device-policy/optiboot.json')).toBeDefined();
  const [name, image] = ['images/optiboot/o-1.bin', utf8('the image')];
  const release = signRole(targetsRole(1, { [name]: image }), [running.releasesKey]);
  const offered = await running.putRole('releases-optiboot', release);
  expect(offered.status).toBe(409);
  expect(offered.json).toMatchObject({
    error: { code: 'TUF_TARGETS_MISSING' },
    missing: [{ name, sha256: sha256(image), sizeBytes: image.length }],
  });
  // Pending: the file may be uploaded, and is not served before it is published.
  expect((await running.putBlob(image)).status).toBe(201);
  const path = `/tuf/targets/images/optiboot/${sha256(image)}.o-1.bin`;
  expect(refusal(await running.send('GET', path))).toEqual({
    status: 404,
    code: 'TUF_REPOSITORY_FILE_UNKNOWN',
  });
  const published = await running.putRole('releases-optiboot', release);
  expect([published.status, published.json]).toEqual([201, { role: 'releases-optiboot', version: 1 }]);
  expect((await running.putRole('releases-optiboot', release)).status).toBe(200);
  expect(await fetchTarget(name)).toEqual(image);
});

it('follows a new root, and the renewal of online roles', async () => {
  const { signed } = JSON.parse(await readFile(join(running.dataFolder, 'root.json'), 'utf8'));
  const keys = await Promise.all(
    [1, 2].map(async (n) => createPrivateKey(await readFile(join(running.offline, `root-${n}.pem`)))),
  );
  const next = signRole({ ...signed, version: 2 }, keys);
  expect((await running.putRole('root', next)).status).toBe(201);
  expect((await running.putRole('root', next)).status).toBe(200);
  await client();
  running.skewTo(13 * 3_600_000);
  expect(await running.registry.tuf.renew()).toEqual(['timestamp']);
  await client();
  // After a week without it the server signs them again before it listens.
  running.skewTo(8 * 86_400_000);
  await running.restart();
  const timestamp = (await running.send('GET', '/tuf/timestamp.json')).json as {
    signed: { expires: string };
  };
  expect(Date.parse(timestamp.signed.expires)).toBeGreaterThan(Date.now() + 8 * 86_400_000);
  await client();
  expect(JSON.parse(await readFile(join(folder, 'root.json'), 'utf8')).signed.version).toBe(2);
  running.skewTo(0);
});

it('does not serve what lies beside the repository', async () => {
  for (const path of [
    '/tuf/%2e%2e%2fkeys%2ftuf-snapshot.pem',
    '/tuf/pending%2freleases-optiboot.json',
    '/tuf/99.root.json',
    '/tuf/targets/../1.root.json',
    `/tuf/targets/${'00'.repeat(32)}.x`,
    '/tuf/targets/trusted_root.json',
  ]) {
    const answer = await running.send('GET', path);
    expect([path, answer.status]).toEqual([path, path.includes('..') ? answer.status : 404]);
    expect(Buffer.from(answer.bytes).toString()).not.toContain('PRIVATE');
  }
});
