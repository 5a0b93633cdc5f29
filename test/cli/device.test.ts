// SPDX-License-Identifier: Apache-2.0
// `waybill device` as a person types it: what it prints, its exit codes, and what it leaves behind.

import { execFile, spawn } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeFiles } from '../../device/node-host.ts';
import { readIdentity, writeIdentity } from '../../device/state.ts';
import { House, listed, TOKEN } from '../device/house.ts';
import { say } from './command-line.ts';

const WAYBILL = new URL('../../cli/waybill.js', import.meta.url).pathname;
let house: House;

beforeEach(async () => {
  house = await House.build();
});
afterEach(() => house.raze());

function run(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [WAYBILL, 'device', ...args], (failure, out, err) => {
      resolve({ code: failure === null ? 0 : Number(failure.code), out, err });
    });
  });
}

/** The options of `init`, with changes; undefined leaves one out. */
async function initArgs(change: Record<string, string | undefined> = {}): Promise<string[]> {
  const root = join(house.folder, 'root.json');
  const image = join(house.folder, 'factory.bin');
  await writeFile(root, house.forge.files.get('1.root.json') as Uint8Array);
  await writeFile(image, 'factory image');
  const options: Record<string, string | undefined> = {
    root,
    registry: house.url,
    product: 'optiboot',
    'hardware-id': 'atmega328p',
    'version-floor': '8.0.0',
    id: 'bench-1',
    'initial-image': image,
    'initial-version': '8.0.0',
    ...change,
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return [
    'init',
    join(house.folder, 'device'),
    ...given.flatMap(([name, value]) => [`--${name}`, value as string]),
  ];
}

describe('a device', () => {
  test('is made, enrolled, updated and asked, each as text and as JSON', async () => {
    const folder = join(house.folder, 'device');
    const token = join(house.folder, 'token');
    await writeFile(token, `${TOKEN}\n`);
    expect(await run(...(await initArgs()))).toMatchObject({ code: 0, err: '' });
    expect(await run('status', folder)).toMatchObject({
      code: 0,
      out: expect.stringContaining('(not enrolled)'),
    });
    const enrolled = await run('enrol', folder, '--token-file', token, '--json');
    expect(JSON.parse(enrolled.out)).toEqual({ enrolled: true, device: 'bench-1', registry: house.url });

    house.offer({});
    const current = await run('update', folder);
    expect(current.code).toBe(0);
    expect(current.out).toMatch(/^ok {2}metadata {2}targets version \d+/);
    expect(current.out).toMatch(/^up to date: 8\.0\.0 stays in slot a$/m);

    house.offer({ releases: [listed('8.1.0', Buffer.from('x'), Buffer.from('y'), ['atmega168'])] });
    const refused = await run('update', folder);
    expect(refused.code).toBe(1);
    expect(refused.out).toMatch(
      /^REFUSED {2}release {2}UPDATE_HARDWARE_MISMATCH: expected a release for hardware/m,
    );
    expect(refused.out).toMatch(/^refused: 8\.0\.0 stays active in slot a\n {2}what to do: /m);

    const json = await run('update', folder, '--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({
      outcome: 'refused',
      device: 'bench-1',
      code: 'UPDATE_HARDWARE_MISMATCH',
      active: { slot: 'a', version: '8.0.0' },
      versionFloor: '8.0.0',
    });
    const status = await run('status', folder, '--json');
    expect(JSON.parse(status.out)).toMatchObject({
      enrolled: true,
      reportCounter: 2,
      active: { intact: true },
    });
    await writeFile(join(folder, 'slots', 'a'), 'something else');
    expect(await run('status', folder)).toMatchObject({ code: 1, out: expect.stringContaining('DAMAGED') });
  });

  test('that reaches nobody says so and can be asked again', async () => {
    const folder = await house.device();
    await house.fall();
    const result = await run('update', folder, '--json');
    expect(result.code).toBe(75);
    expect(JSON.parse(result.out)).toMatchObject({ error: { code: 'TUF_UNREACHABLE' } });
  });
});

describe('bad input', () => {
  test.each([
    [{ product: 'Opti Boot' }, 2, 'DEVICE_SETTING_MALFORMED'],
    [{ 'version-floor': 'latest' }, 2, 'DEVICE_SETTING_MALFORMED'],
    [{ registry: 'not a url' }, 2, 'CLI_USAGE'],
    [{ 'initial-version': undefined }, 2, 'CLI_USAGE'],
    [{ root: '/nonexistent/root.json' }, 2, 'CLI_FILE_UNREADABLE'],
    [{ 'hardware-id': undefined }, 2, 'hardware-id'],
  ])('init with %j makes nothing', async (change, code, said) => {
    const result = await say(['device', ...(await initArgs(change))]);
    expect(result).toMatchObject({ code, out: '', err: expect.stringContaining(said) });
    expect(await readdir(house.folder)).not.toContain('device');
  });

  test('a folder without a device, and a token of several lines', async () => {
    expect(await say(['device', 'update', join(house.folder, 'none')])).toMatchObject({
      code: 2,
      err: expect.stringContaining('DEVICE_NOT_INITIALISED'),
    });
    const folder = await house.device({}, false);
    await writeFile(join(house.folder, 'token'), 'one secret\ntwo secrets\n');
    const result = await say(['device', 'enrol', folder, '--token-file', join(house.folder, 'token')]);
    expect(result).toMatchObject({ code: 2, err: expect.stringContaining('CLI_USAGE') });
    expect(result.err).not.toContain('secret');
  });
});

test('Ctrl-C ends an update that hangs, with nothing half-written', async () => {
  const hanging: Server = createServer(() => undefined);
  await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve));
  const registryUrl = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`;
  const folder = await house.device();
  // The device learns another address, as a factory with a wrong setting would give it.
  await writeIdentity(nodeFiles, folder, { ...(await readIdentity(nodeFiles, folder)), registryUrl });
  const asked = new Promise((resolve) => hanging.once('request', resolve));
  const agent = spawn(process.execPath, [WAYBILL, 'device', 'update', folder], { stdio: 'ignore' });
  const ended = new Promise((resolve) => agent.once('exit', resolve));
  await asked;
  agent.kill('SIGINT');
  expect(await ended).toBe(75);
  expect((await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.new'))).toEqual([]);
  hanging.closeAllConnections();
  await new Promise((resolve) => hanging.close(resolve));
});
