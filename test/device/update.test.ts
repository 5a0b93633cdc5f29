// SPDX-License-Identifier: Apache-2.0
// The road as far as repository and index lead it, what is reported about it, and what a device does when nobody answers.
// The links after the pack are tried in whole-road.test.ts.

import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatPack } from '../../core/release/pack.ts';
import { nodeFiles, nodeHost } from '../../device/node-host.ts';
import { writeRecord } from '../../device/records.ts';
import { QUEUE_MAX, queuedCounters, queueReport } from '../../device/reports.ts';
import type { Link } from '../../device/road.ts';
import { devicePaths, readActive, readIdentity, writeActive } from '../../device/state.ts';
import { readStatus } from '../../device/status.ts';
import { type UpdateResult, updateDevice } from '../../device/update.ts';
import { hostWith } from './folder.ts';
import { devicePolicy, House, listed, OWN, sha256 } from './house.ts';

const coded = (code: string) => expect.objectContaining({ code });
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const image = bytes('image 8.1.0');
const FACTORY_SHA = sha256('factory image');
let house: House;

beforeEach(async () => {
  house = await House.build();
});
afterEach(() => house.raze());

/** An update that is refused: says where and why, leaves the active slot alone, and the registry knows the reason. */
async function refused(folder: string, link: string, code: string): Promise<UpdateResult> {
  const before = await readStatus(folder, nodeHost());
  const result = await updateDevice(folder, nodeHost());
  expect(result).toMatchObject({ outcome: 'refused', refusal: { code } });
  expect(result.links.filter(({ verdict }) => verdict === 'refused')).toMatchObject([{ link, code }]);
  const after = await readStatus(folder, nodeHost());
  expect(after.active).toEqual(before.active);
  expect(after.versionFloor).toBe(before.versionFloor);
  expect((await house.known()).lastReport).toMatchObject({
    outcome: 'refused',
    code,
    imageSha256: FACTORY_SHA,
  });
  return result;
}

/** A repository that offers 8.1.0 with a pack of these bytes. */
function offer(pack: Uint8Array, change: Partial<ReturnType<typeof listed>> = {}): void {
  const release = { ...listed('8.1.0', image, pack), ...change };
  house.offer({ releases: [release] }, { [release.image.name]: image, [release.pack.name]: pack });
}

describe('an update', () => {
  test('with nothing newer says so if the active slot is damaged, and reports it', async () => {
    house.offer({});
    const folder = await house.device();
    await writeFile(devicePaths(folder).slot('a'), 'not the factory image');
    await refused(folder, 'slot', 'SLOT_ACTIVE_DAMAGED');
  });

  test('with nothing released says so, and reports nothing', async () => {
    house.offer({});
    const folder = await house.device();
    const known: Link[] = [];
    const result = await updateDevice(folder, nodeHost(), { known: (link) => known.push(link) });
    expect(result).toMatchObject({ outcome: 'current', active: { slot: 'a' } });
    expect(known).toEqual(result.links);
    expect(known.map(({ link }) => link)).toEqual(['metadata', 'trust', 'index', 'release', 'slot']);
    expect((await house.known()).lastReport).toBeUndefined();
    expect(await readdir(devicePaths(folder).agents)).toEqual([]);
  });

  test('with the newest installed says so', async () => {
    house.offer({ releases: [listed('8.0.0', bytes('factory image'), bytes('pack'))] });
    expect(await updateDevice(await house.device(), nodeHost())).toMatchObject({ outcome: 'current' });
  });

  test('of a device that nobody knows is not begun', async () => {
    const folder = await house.device({}, false);
    await expect(updateDevice(folder, nodeHost())).rejects.toMatchObject({
      code: 'DEVICE_NOT_ENROLLED',
      row: { remedy: expect.stringContaining('--token-file') },
    });
    expect(house.asked).toEqual([]);
  });

  test('is not begun while another one is under way', async () => {
    const folder = await house.device();
    const unlock = await nodeFiles.lock(devicePaths(folder).agents);
    await expect(updateDevice(folder, nodeHost())).rejects.toEqual(coded('DEVICE_BUSY'));
    await unlock?.();
  });

  test('is cancelled between links', async () => {
    const folder = await house.device();
    const cancel = new AbortController();
    const begun = (name: string) => (name === 'trust' ? cancel.abort() : undefined);
    await expect(updateDevice(folder, nodeHost(), { begun, cancel: cancel.signal })).rejects.toEqual(
      coded('UPDATE_CANCELLED'),
    );
  });

  test('that reaches nobody gives no verdict, uses no number and changes nothing', async () => {
    const folder = await house.device();
    const before = await readStatus(folder, nodeHost());
    await house.fall();
    await expect(updateDevice(folder, nodeHost())).rejects.toEqual(coded('TUF_UNREACHABLE'));
    expect(await readStatus(folder, nodeHost())).toEqual(before);
  });

  test('survives torn files of the metadata that it keeps', async () => {
    house.offer({});
    const folder = await house.device();
    await updateDevice(folder, nodeHost());
    for (const name of await readdir(devicePaths(folder).tuf)) {
      await writeFile(join(devicePaths(folder).tuf, name), '{"signed":');
    }
    const torn = join(devicePaths(folder).tuf, 'snapshot.json.0123456789ab.new');
    await writeFile(torn, '{"signed":');
    house.offer({});
    expect(await updateDevice(folder, nodeHost())).toMatchObject({ outcome: 'current' });
    await expect(stat(torn)).rejects.toThrow('ENOENT');
  });
});

describe('refused is', () => {
  test('metadata that the factory root does not lead to', async () => {
    const folder = await house.device();
    house.forge.keys.set('timestamp', house.forge.keys.get('snapshot') ?? []);
    house.offer({});
    await refused(folder, 'metadata', 'TUF_SIGNATURE_THRESHOLD');
  });

  test('a device policy for other devices', async () => {
    const folder = await house.device();
    for (const change of [{ product: 'other' }, { hardwareIds: ['atmega168'] }]) {
      house.forge.addTarget('targets', 'device-policy/optiboot.json', devicePolicy(change));
      house.forge.publish('targets');
      await refused(folder, 'trust', 'UPDATE_POLICY_MISMATCH');
    }
  });

  test('trust material that only the delegation names', async () => {
    const folder = await house.device();
    const { targets } = house.forge.roles.get('targets');
    house.forge.roles.get(OWN).targets['tlog-policy'] = targets['tlog-policy'];
    delete targets['tlog-policy'];
    house.forge.publish('targets', OWN);
    await refused(folder, 'trust', 'TUF_TARGET_MISSING');
  });

  test("goods that another role names, and another product's index", async () => {
    const folder = await house.device();
    house.forge.addTarget('targets', 'packs/optiboot/releases.json', bytes('{}'));
    house.forge.publish('targets');
    await refused(folder, 'metadata', 'TUF_GOODS_WRONG_ROLE');
    delete house.forge.roles.get('targets').targets['packs/optiboot/releases.json'];
    house.forge.publish('targets');
    house.offer({ product: 'other' });
    await refused(folder, 'index', 'UPDATE_PRODUCT_MISMATCH');
  });

  test('an offer for other hardware', async () => {
    house.offer({ releases: [listed('8.1.0', image, bytes('pack'), ['atmega168'])] });
    await refused(await house.device(), 'release', 'UPDATE_HARDWARE_MISMATCH');
  });

  test('a release that was withdrawn', async () => {
    const denial = {
      imageSha256: sha256(image),
      version: '8.1.0',
      reason: 'bricks the board',
      deniedAt: '2026-11-02T00:00:00Z',
    };
    const folder = await house.device();
    house.offer({ denials: [denial] });
    await refused(folder, 'release', 'UPDATE_WITHDRAWN');
    house.offer({ releases: [listed('8.1.0', image, bytes('pack'))], denials: [denial] });
    await refused(folder, 'release', 'UPDATE_WITHDRAWN');
  });

  test('an image or pack on which index and delegation disagree', async () => {
    const folder = await house.device();
    const { image: file } = listed('8.1.0', image, bytes('pack'));
    offer(bytes('pack'), { image: { ...file, sha256: sha256('another') } });
    await refused(folder, 'pack', 'UPDATE_TARGET_MISMATCH');
    const { pack } = listed('8.1.0', image, bytes('another pack'));
    offer(bytes('pack'), { pack });
    await refused(folder, 'pack', 'UPDATE_PACK_DIGEST');
  });

  test('a pack that is none, or that of another release', async () => {
    const folder = await house.device();
    offer(bytes('pack'));
    await refused(folder, 'pack', 'PACK_MALFORMED');
    const bundle = { bundle: bytes('{}'), leafIndex: 0n, proof: [] };
    const release = { imageSha256: sha256(image), imageSizeBytes: image.length };
    const pack = { ...release, product: 'optiboot', checkpoint: 'x', bundles: [bundle], bodies: [] };
    offer(formatPack({ ...pack, version: '8.0.9' }));
    await refused(folder, 'pack', 'PACK_RELEASE_MISMATCH');
    // The one checkpoint comes before what it is to prove.
    offer(formatPack({ ...pack, version: '8.1.0' }));
    await refused(folder, 'log', 'TLOG_NOTE_MALFORMED');
  });
});

test('the installed image, once denied, is reported as withdrawn', async () => {
  const folder = await house.device();
  const deniedAt = '2026-11-02T00:00:00Z';
  house.offer({ denials: [{ imageSha256: FACTORY_SHA, version: '8.0.0', reason: 'leaks keys', deniedAt }] });
  const result = await updateDevice(folder, nodeHost());
  expect(result).toMatchObject({ outcome: 'withdrawn', refusal: { code: 'UPDATE_INSTALLED_WITHDRAWN' } });
  expect((await house.known()).lastReport).toMatchObject({
    outcome: 'withdrawn',
    code: 'UPDATE_INSTALLED_WITHDRAWN',
    imageSha256: FACTORY_SHA,
    version: '8.0.0',
    counter: 1,
  });
});

describe('reports', () => {
  /** Refuses the offer once. */
  async function refusal(folder: string): Promise<UpdateResult> {
    return updateDevice(folder, nodeHost());
  }
  const notes = ({ links }: UpdateResult) => links.filter(({ link }) => link === 'report');

  beforeEach(() => house.offer({ releases: [listed('8.1.0', image, bytes('pack'), ['atmega168'])] }));

  test('that are lost wait and arrive in order, each number once', async () => {
    const folder = await house.device();
    await refusal(folder);
    const silent = {
      ...nodeHost(),
      fetch: async (url: string, init: RequestInit) => {
        if (url.endsWith('/reports'))
          throw new TypeError('fetch failed', { cause: { code: 'ECONNREFUSED' } });
        return fetch(url, init);
      },
    };
    const lost = await updateDevice(folder, silent);
    expect(notes(lost)).toMatchObject([{ verdict: 'queued' }]);
    expect(lost).toMatchObject({ outcome: 'refused' });
    await updateDevice(folder, silent);
    expect(await queuedCounters(nodeFiles, folder)).toEqual([2, 3]);
    expect((await house.known()).lastReport?.counter).toBe(1);
    house.asked.length = 0;
    expect(notes(await refusal(folder))).toMatchObject([
      { verdict: 'ok', detail: 'number 2, 3 sent' },
      { verdict: 'ok', detail: 'number 4 sent' },
    ]);
    expect(house.asked.filter((line) => line.includes('/reports'))).toEqual(
      Array(3).fill('POST /api/v1/devices/bench-1/reports 201'),
    );
    expect(await queuedCounters(nodeFiles, folder)).toEqual([]);
  });

  test('whose acknowledgement was lost leave the queue when the registry knows them', async () => {
    const folder = await house.device();
    const deaf = {
      ...nodeHost(),
      fetch: async (url: string, init: RequestInit) => {
        const response = await fetch(url, init);
        if (url.endsWith('/reports')) throw new TypeError('fetch failed', { cause: { code: 'ECONNRESET' } });
        return response;
      },
    };
    await updateDevice(folder, deaf);
    expect(await queuedCounters(nodeFiles, folder)).toEqual([1]);
    house.asked.length = 0;
    await refusal(folder);
    expect(house.asked.filter((line) => line.includes('/reports'))).toEqual([
      'POST /api/v1/devices/bench-1/reports 409',
      'POST /api/v1/devices/bench-1/reports 201',
    ]);
    expect(await queuedCounters(nodeFiles, folder)).toEqual([]);
  });

  test('that the registry does not take wait, and do not change the outcome', async () => {
    const folder = await house.device();
    const path = join(devicePaths(folder).reports, '1.json');
    await nodeFiles.write(path, bytes('{}'));
    const result = await refusal(folder);
    expect(result).toMatchObject({ outcome: 'refused', refusal: { code: 'UPDATE_HARDWARE_MISMATCH' } });
    expect(notes(result)[0]).toMatchObject({ verdict: 'queued', detail: expect.stringContaining('400') });
    // A damaged one does not hold up those after it.
    await nodeFiles.write(join(devicePaths(folder).reports, '2.json'), bytes('{}'));
    await writeRecord(nodeFiles, devicePaths(folder).counter, { counter: 2 });
    expect(notes(await refusal(folder)).at(-2)).toMatchObject({ verdict: 'ok', detail: 'number 3 sent' });
    expect(await queuedCounters(nodeFiles, folder)).toEqual([2]);
    expect((await house.known()).lastReport?.counter).toBe(3);
  });

  test('that cannot be made do not change the outcome', async () => {
    const folder = await house.device();
    const { files } = hostWith({
      write: async (path, content, mode) => {
        await nodeFiles.write(path.includes('/counter') ? `${folder}/key.pem/x` : path, content, mode);
      },
    });
    const result = await updateDevice(folder, { ...nodeHost(), files });
    expect(result).toMatchObject({ outcome: 'refused', refusal: { code: 'UPDATE_HARDWARE_MISMATCH' } });
    expect(notes(result)).toMatchObject([{ verdict: 'queued', code: 'DEVICE_STATE_UNWRITABLE' }]);
  });

  test('about an install whose agent died before it reported are made up', async () => {
    const folder = await house.device();
    const active = await readActive(nodeFiles, folder);
    await writeActive(nodeFiles, folder, { ...active, previousSha256: sha256('older'), reported: false });
    house.offer({});
    expect(notes(await refusal(folder))).toMatchObject([{ verdict: 'ok', detail: 'number 1 sent' }]);
    expect((await house.known()).lastReport).toMatchObject({
      outcome: 'installed',
      imageSha256: FACTORY_SHA,
      previousSha256: sha256('older'),
      version: '8.0.0',
    });
    expect((await readActive(nodeFiles, folder)).reported).toBe(true);
    expect(notes(await refusal(folder))).toEqual([]);
  });

  test('of a device without image speak of an empty slot', async () => {
    const folder = await house.device({ image: undefined });
    await refusal(folder);
    expect((await house.known()).lastReport).toMatchObject({ imageSha256: sha256(''), version: '0' });
  });

  test('about what was refused say nothing of the image before', async () => {
    const folder = await house.device();
    const active = await readActive(nodeFiles, folder);
    await writeActive(nodeFiles, folder, { ...active, previousSha256: sha256('older') });
    await refusal(folder);
    expect((await house.known()).lastReport).not.toHaveProperty('previousSha256');
  });

  test('are files with a number for a name; others are none', async () => {
    const folder = await house.device();
    for (const name of ['x.json', '01.json', '1.json.new', '7.json']) {
      await nodeFiles.write(join(devicePaths(folder).reports, name), bytes('{}'));
    }
    expect(await queuedCounters(nodeFiles, folder)).toEqual([7]);
  });

  test('do not fill the medium', async () => {
    const folder = await house.device();
    const [identity, active] = [await readIdentity(nodeFiles, folder), await readActive(nodeFiles, folder)];
    for (let i = 0; i < QUEUE_MAX + 3; i++) {
      await queueReport(nodeHost(), folder, identity, active, {
        outcome: 'refused',
        code: 'UPDATE_WITHDRAWN',
      });
    }
    const waiting = await queuedCounters(nodeFiles, folder);
    expect([waiting.length, waiting[0], waiting.at(-1)]).toEqual([QUEUE_MAX, 4, QUEUE_MAX + 3]);
  });
});
