// SPDX-License-Identifier: Apache-2.0
// The device folder: made whole, read strictly, and still good when a file of it is torn.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readDeviceKey } from '../../device/device-key.ts';
import { makeDevice } from '../../device/enrolment.ts';
import type { DeviceFiles } from '../../device/host.ts';
import { nodeFiles, nodeHost } from '../../device/node-host.ts';
import { copyPath } from '../../device/records.ts';
import {
  type ActiveSlot,
  devicePaths,
  nextCounter,
  readActive,
  readCounter,
  readFactoryFile,
  readIdentity,
  sweepFolder,
  writeActive,
} from '../../device/state.ts';
import { readStatus } from '../../device/status.ts';
import { device, factory, hostWith, temporaryFolder } from './folder.ts';

const coded = (code: string) => expect.objectContaining({ code });
let folder: string;
let paths: ReturnType<typeof devicePaths>;
let dispose: () => Promise<void>;

beforeEach(async () => {
  ({ path: folder, dispose } = await temporaryFolder());
  paths = devicePaths(folder);
});
afterEach(() => dispose());

/** A write that is cut off: half of the file is there. */
async function tear(path: string): Promise<void> {
  await truncate(path, Math.floor((await stat(path)).size / 2));
}

/** One letter of the record's text changes; it stays sound JSON. */
async function flip(path: string, from: string, to: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  expect(text).toContain(from);
  await writeFile(path, text.replace(from, to));
}

describe('init', () => {
  test('makes a device that knows itself', async () => {
    await device(folder);
    expect(await readStatus(folder, nodeHost())).toMatchObject({
      device: 'bench-1',
      product: 'optiboot',
      hardwareId: 'atmega328p',
      enrolled: false,
      active: { slot: 'a', version: '8.0.0', intact: true },
      versionFloor: '8.0.0',
      reportCounter: 0,
      reportsQueued: 0,
    });
    expect((await stat(paths.key)).mode & 0o777).toBe(0o600);
    const names = await readdir(folder, { recursive: true });
    expect(names.filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  test('names the device after its key if it is given no name', async () => {
    const made = await makeDevice(folder, factory({ id: undefined, image: undefined }), nodeHost());
    const { keyId } = await readDeviceKey(nodeFiles, folder);
    expect(made.id).toBe(`optiboot-${keyId.slice(0, 12)}`);
    expect((await readActive(nodeFiles, folder)).image).toBeUndefined();
  });

  test('never makes a device over another', async () => {
    await device(folder);
    const key = await readFile(paths.key, 'utf8');
    await expect(device(folder)).rejects.toEqual(coded('DEVICE_EXISTS'));
    await rm(paths.device);
    await expect(device(folder)).rejects.toEqual(coded('DEVICE_EXISTS'));
    await rm(copyPath(paths.device));
    // The root that an old device trusted would count, not the one of the new; counter and reports would be another's.
    for (const left of ['tuf/root.json', 'enrolled', 'counter.copy', 'reports/1.json']) {
      await nodeFiles.write(join(folder, left), new Uint8Array());
      await expect(device(folder)).rejects.toEqual(coded('DEVICE_EXISTS'));
      await rm(join(folder, left.replace(/\/.*/, '')), { recursive: true });
    }
    expect(await readFile(paths.key, 'utf8')).toBe(key);
  });

  test('makes one where an attempt was cut off, which left none', async () => {
    const { files } = hostWith({
      write: async (path, bytes, mode) => {
        await nodeFiles.write(path === paths.device ? `${paths.key}/no-folder` : path, bytes, mode);
      },
    });
    await expect(makeDevice(folder, factory(), { ...nodeHost(), files })).rejects.toEqual(
      coded('DEVICE_STATE_UNWRITABLE'),
    );
    await expect(readIdentity(nodeFiles, folder)).rejects.toEqual(coded('DEVICE_NOT_INITIALISED'));
    await device(folder);
    expect((await readIdentity(nodeFiles, folder)).id).toBe('bench-1');
  });

  test.each([
    { id: 'a/b' },
    { product: 'Opti Boot' },
    { hardwareId: '' },
    { registryUrl: 'ftp://registry.example' },
    { registryUrl: 'http://' },
    { versionFloor: 'latest' },
    { image: { bytes: Buffer.from('x'), version: 'latest' } },
    { image: { bytes: Buffer.alloc(0), version: '1' } },
  ])('refuses %j', async (change) => {
    await expect(device(folder, change)).rejects.toEqual(coded('DEVICE_SETTING_MALFORMED'));
    expect(await readdir(folder)).toEqual([]);
  });

  test('refuses a root that it could never use', async () => {
    await expect(device(folder, { root: Buffer.from('{}') })).rejects.toEqual(
      coded('TUF_METADATA_MALFORMED'),
    );
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('records', () => {
  beforeEach(() => device(folder));

  test('a folder without a device says so', async () => {
    await expect(readIdentity(nodeFiles, `${folder}/none`)).rejects.toEqual(coded('DEVICE_NOT_INITIALISED'));
  });

  test.each(['device', 'active'] as const)('a torn %s file falls back to its copy', async (name) => {
    const before = await readStatus(folder, nodeHost());
    await tear(paths[name]);
    expect(await readStatus(folder, nodeHost())).toEqual(before);
    await rm(paths[name]);
    expect(await readStatus(folder, nodeHost())).toEqual(before);
  });

  test.each(['device', 'active'] as const)('a torn %s file with a torn copy is a fault', async (name) => {
    await tear(paths[name]);
    await tear(copyPath(paths[name]));
    await expect(readStatus(folder, nodeHost())).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
  });

  test('a changed record is noticed though it is sound JSON', async () => {
    await flip(paths.active, '"versionFloor":"8.0.0"', '"versionFloor":"1.0.0"');
    expect((await readActive(nodeFiles, folder)).versionFloor).toBe('8.0.0');
    await flip(copyPath(paths.active), '"versionFloor":"8.0.0"', '"versionFloor":"1.0.0"');
    await expect(readActive(nodeFiles, folder)).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
  });

  test('a record with something beside it, or of a size that no record has, is damaged', async () => {
    await rm(copyPath(paths.active));
    const text = await readFile(paths.active, 'utf8');
    await writeFile(paths.active, text.replace(/}$/, ',"more":1}'));
    await expect(readActive(nodeFiles, folder)).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
    await writeFile(paths.active, text);
    await truncate(paths.active, 16 * 1024 * 1024 + 1);
    expect(await nodeFiles.read(paths.active)).toEqual(new Uint8Array());
    await truncate(paths.active, 16 * 1024 * 1024);
    expect((await nodeFiles.read(paths.active))?.length).toBe(16 * 1024 * 1024);
  });

  test('a write that fails leaves nothing beside', async () => {
    const before = await readdir(folder);
    await expect(nodeFiles.write(`${folder}/slots`, Buffer.from('x'))).rejects.toEqual(
      coded('DEVICE_STATE_UNWRITABLE'),
    );
    expect(await readdir(folder)).toEqual(before);
  });

  test('a missing active record is a fault, not a device without image', async () => {
    await rm(paths.active);
    await rm(copyPath(paths.active));
    await expect(readActive(nodeFiles, folder)).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
  });

  test('the copy of the active record is believed only if its slot holds its image', async () => {
    await rm(paths.active);
    await writeFile(paths.slot('a'), 'something else');
    await expect(readActive(nodeFiles, folder)).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
  });

  test('a missing root or a damaged key is a fault that does not show the key', async () => {
    await rm(paths.root);
    await expect(readFactoryFile(nodeFiles, paths.root)).rejects.toEqual(coded('DEVICE_STATE_DAMAGED'));
    const secret = (await readFile(paths.key, 'utf8')).split('\n')[1] as string;
    await tear(paths.key);
    const failure = await readDeviceKey(nodeFiles, folder).catch((cause: unknown) => cause);
    expect(failure).toEqual(coded('DEVICE_STATE_DAMAGED'));
    expect(JSON.stringify([String(failure), (failure as Error).cause ?? ''])).not.toContain(
      secret.slice(0, 16),
    );
  });

  test('a file that is none is a damaged one, and keeps nobody waiting', async () => {
    await rm(paths.device);
    execFileSync('mkfifo', [paths.device]);
    expect((await readIdentity(nodeFiles, folder)).id).toBe('bench-1');
    await rm(paths.active);
    await mkdir(paths.active);
    expect((await readActive(nodeFiles, folder)).slot).toBe('a');
  });

  test('what cut-off writes left behind is swept, and nothing else', async () => {
    const before = (await readdir(folder, { recursive: true })).sort();
    for (const name of ['active', 'tuf/snapshot.json', 'reports/1.json']) {
      await nodeFiles.write(join(folder, `${name}.0123456789ab.new`), new Uint8Array());
    }
    await sweepFolder(nodeFiles, folder);
    expect((await readdir(folder, { recursive: true })).sort()).toEqual([...before, 'reports', 'tuf'].sort());
    await rm(paths.reports, { recursive: true });
    await writeFile(paths.reports, 'a file in the place of a folder');
    await sweepFolder(nodeFiles, folder);
  });

  test('a folder that cannot be written is told apart from a damaged one', async () => {
    await rm(`${folder}/reports`, { force: true, recursive: true });
    await writeFile(`${folder}/reports`, 'a file in the place of a folder');
    await expect(nodeFiles.write(`${folder}/reports/1.json`, Buffer.from('x'))).rejects.toEqual(
      coded('DEVICE_STATE_UNWRITABLE'),
    );
    await expect(nodeFiles.list(`${folder}/reports`)).rejects.toEqual(coded('DEVICE_STATE_UNWRITABLE'));
    await expect(nodeFiles.read(`${folder}/reports/1.json`)).rejects.toEqual(
      coded('DEVICE_STATE_UNWRITABLE'),
    );
    await expect(nodeFiles.remove(`${folder}/reports/1.json`)).rejects.toEqual(
      coded('DEVICE_STATE_UNWRITABLE'),
    );
    await expect(nodeFiles.lock(`${folder}/reports/lock`)).rejects.toEqual(coded('DEVICE_STATE_UNWRITABLE'));
    await expect(nodeFiles.openSlot(`${folder}/reports/a`)).rejects.toEqual(coded('SLOT_UNWRITABLE'));
    const reading = nodeFiles.readSlot(folder)[Symbol.asyncIterator]();
    await expect(reading.next()).rejects.toEqual(coded('SLOT_UNWRITABLE'));
  });
});

describe('the switch', () => {
  const next: ActiveSlot = {
    slot: 'b',
    image: { sha256: '5f'.repeat(32), version: '8.1.0', sizeBytes: 3 },
    versionFloor: '8.1.0',
    reported: false,
  };

  beforeEach(() => device(folder));

  /** Files of which the n-th write of any kind fails, as if the power went. */
  function cutAt(n: number): DeviceFiles {
    let writes = 0;
    return hostWith({
      write: async (path, bytes, mode) => {
        if (++writes === n) throw new Error('power cut');
        await nodeFiles.write(path, bytes, mode);
      },
    }).files;
  }

  test('is one rename: a cut before it leaves the old slot, image and floor', async () => {
    const before = await readActive(nodeFiles, folder);
    for (const n of [1, 2]) {
      await expect(writeActive(cutAt(n), folder, next)).rejects.toThrow('power cut');
      expect(await readActive(nodeFiles, folder)).toEqual(before);
    }
    await writeActive(nodeFiles, folder, next);
    expect(await readActive(nodeFiles, folder)).toEqual(next);
  });

  test('a number is used up before it is given out, and never twice', async () => {
    expect(await nextCounter(nodeFiles, folder)).toBe(1);
    await expect(nextCounter(cutAt(2), folder)).rejects.toThrow('power cut');
    expect(await nextCounter(nodeFiles, folder)).toBe(2);
    await tear(paths.counter);
    expect(await readCounter(nodeFiles, folder)).toBe(2);
    expect(await nextCounter(nodeFiles, folder)).toBe(3);
  });
});

describe('the lock', () => {
  const claims = () => join(folder, 'agents');
  const boot = () => readFile('/proc/sys/kernel/random/boot_id', 'utf8').then((id) => id.trim());
  /** Leaves a claim behind, as an agent does that is killed. */
  const leave = async (name: string) => {
    await mkdir(claims(), { recursive: true });
    await writeFile(join(claims(), `${name}-0123456789ab`), '');
  };

  test('is held by one agent at a time', async () => {
    const unlock = await nodeFiles.lock(claims());
    expect(await nodeFiles.lock(claims())).toBeUndefined();
    await unlock?.();
    const again = await nodeFiles.lock(claims());
    expect(again).toBeTypeOf('function');
    await again?.();
    expect(await readdir(claims())).toEqual([]);
  });

  test('has never two holders, however many begin at once', async () => {
    for (let round = 0; round < 20; round++) {
      const taken = await Promise.all(Array.from({ length: 4 }, () => nodeFiles.lock(claims())));
      const held = taken.filter((unlock) => unlock !== undefined);
      expect(held.length).toBeLessThanOrEqual(1);
      await held[0]?.();
    }
    expect(await readdir(claims())).toEqual([]);
  });

  test('outlives no agent: not a dead one, not one whose number another process has now, not a restart', async () => {
    // A number that no process can have.
    await leave(`999999999-5-${await boot()}`);
    // As in a container, where every agent has the same number.
    await leave(`${process.pid}-5-${await boot()}`);
    const start = (await readFile('/proc/self/stat', 'utf8')).split(' ')[21];
    await leave(`${process.pid}-${start}-00000000-0000-0000-0000-000000000000`);
    await leave('no claim at all');
    const unlock = await nodeFiles.lock(claims());
    expect(unlock).toBeTypeOf('function');
    expect((await readdir(claims())).length).toBe(1);
    await unlock?.();
  });

  test('is held by a living process of this boot, not by one that only waits to be buried', async () => {
    // The shell has become something that never looks after its child by the time the child ends.
    const careless = 'sleep 0.3 & echo $!; exec sleep 60';
    const parent = spawn('sh', ['-c', careless], { stdio: ['ignore', 'pipe', 'inherit'] });
    const dead = Number(String((await once(parent.stdout, 'data'))[0]));
    const claim = async (pid?: number) => {
      const start = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(' ')[21];
      await leave(`${pid}-${start}-${await boot()}`);
    };
    await expect.poll(() => readFile(`/proc/${dead}/stat`, 'utf8')).toMatch(/\) Z /);
    await claim(dead);
    const unlock = await nodeFiles.lock(claims());
    expect(unlock).toBeTypeOf('function');
    await unlock?.();
    await claim(parent.pid);
    expect(await nodeFiles.lock(claims())).toBeUndefined();
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await (await nodeFiles.lock(claims()))?.();
    expect(await readdir(claims())).toEqual([]);
  });
});
