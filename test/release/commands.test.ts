// SPDX-License-Identifier: Apache-2.0
// The command lines of product, gate and release: bad input is refused with its place before anything is asked of a registry.

import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readDevicePolicyFile } from '../../cli/device-policy-file.ts';
import { parseDevicePolicy } from '../../core/release/device-policy.ts';
import { say } from '../cli/command-line.ts';
import { House, sha256 } from './house.ts';
import { waybill } from './run-waybill.ts';

let house: House;
beforeAll(async () => {
  house = await House.open();
});
afterAll(() => house.close());

const registry = () => ['--registry', house.url, '--root', house.root];
const gateOptions = (image: string) => [
  ...['--policy', house.path('policy.yaml'), '--product-version', '8.1.0', '--image', image],
  ...['--key', house.path('gate.pem')],
];
const releaseOptions = () => ['--product', 'optiboot', '--key', house.path('releases.pem')];

test('the road by the command line: add, gate, release, list, withdraw', async () => {
  const build = await house.build('8.1.0');
  const add = ['product', 'add', 'optiboot', '--offline', house.path('offline'), ...registry()];
  const added = await waybill(
    ...[
      ...add,
      '--device-policy',
      house.path('device-policy.yaml'),
      '--releases-key',
      house.path('releases.pub'),
    ],
  );
  expect(added).toMatchObject({ code: 0, out: expect.stringContaining('added optiboot: targets version 2') });

  const denied = await waybill('gate', ...registry(), ...gateOptions(build.imagePath));
  expect(denied).toMatchObject({ code: 1, out: expect.stringContaining('nothing was signed') });
  await house.attestBuild(build);
  const passed = await waybill(
    'gate',
    ...registry(),
    ...gateOptions(`sha256:${build.imageSha256}`),
    '--json',
  );
  expect(passed.code).toBe(0);
  expect(JSON.parse(passed.out)).toMatchObject({ decision: { result: 'PASSED' }, summary: { leafIndex: 3 } });

  const released = await waybill(
    ...[
      'release',
      ...registry(),
      ...releaseOptions(),
      '--product-version',
      '8.1.0',
      '--image',
      build.imagePath,
    ],
  );
  expect(released).toMatchObject({ code: 0, out: expect.stringContaining('released optiboot 8.1.0') });
  const listed = await waybill('release', ...registry(), '--product', 'optiboot', '--list');
  expect(listed.out).toContain(`8.1.0  sha256:${build.imageSha256}`);
  const withdrawn = await waybill(
    ...[
      'release',
      ...registry(),
      ...releaseOptions(),
      '--withdraw',
      `sha256:${build.imageSha256}`,
      '--reason',
      'bad',
    ],
  );
  expect(withdrawn).toMatchObject({ code: 0, out: expect.stringContaining('withdrawn optiboot 8.1.0') });
  const denials = await waybill('release', ...registry(), '--product', 'optiboot', '--list', '--json');
  expect(JSON.parse(denials.out)).toMatchObject({
    releases: [],
    denials: [{ version: '8.1.0', reason: 'bad' }],
  });
});

test.each<[string, () => readonly string[], RegExp]>([
  ['gate without options', () => ['gate'], /required option/],
  ['an unknown option', () => ['gate', ...registry(), ...gateOptions('x'), '--nonsense'], /unknown option/],
  [
    'release without a task',
    () => ['release', ...registry(), ...releaseOptions()],
    /CLI_USAGE: .*exactly one of/,
  ],
  [
    'release with two tasks',
    () => ['release', ...registry(), ...releaseOptions(), '--list', '--renew'],
    /CLI_USAGE: .*exactly one of/,
  ],
  [
    'release without a key',
    () => ['release', ...registry(), '--product', 'optiboot', '--renew'],
    /CLI_USAGE: expected --key/,
  ],
  [
    'release of an image without a version',
    () => ['release', ...registry(), ...releaseOptions(), '--image', 'x'],
    /CLI_USAGE: expected --product-version/,
  ],
  [
    'withdrawal without a reason',
    () => ['release', ...registry(), ...releaseOptions(), '--withdraw', `sha256:${sha256('x')}`],
    /CLI_USAGE: expected --reason/,
  ],
  [
    'withdrawal of something that is no digest',
    () => ['release', ...registry(), ...releaseOptions(), '--withdraw', '8.1.0', '--reason', 'bad'],
    /CLI_USAGE: expected the image to --withdraw, .*, as sha256: and 64/,
  ],
  [
    'a version that is none',
    () => ['gate', ...registry(), ...gateOptions('x'), '--product-version', '8.1.0?x#'],
    /RELEASE_VERSION_MALFORMED/,
  ],
  [
    'an image that is a folder',
    () => ['gate', ...registry(), ...gateOptions(house.folder)],
    /CLI_FILE_UNREADABLE: .*EISDIR/,
  ],
  [
    'an image that is not there',
    () => ['gate', ...registry(), ...gateOptions(house.path('none.bin'))],
    /CLI_FILE_UNREADABLE: .*none\.bin/,
  ],
  [
    'a product name that is none',
    () => ['release', ...registry(), '--product', 'Opti/boot', '--list'],
    /CLI_USAGE: expected a product name/,
  ],
  [
    'an offline folder that is not there',
    () => [
      ...['product', 'update', 'optiboot', '--offline', house.path('gone'), ...registry()],
      ...['--releases-threshold', '1'],
    ],
    /CLI_FILE_UNREADABLE: .*gone/,
  ],
  [
    'a change of nothing',
    () => ['product', 'update', 'optiboot', '--offline', house.path('offline'), ...registry()],
    /CLI_USAGE: .*nothing to change/,
  ],
  [
    'a threshold that the keys cannot meet',
    () => [
      ...['product', 'update', 'optiboot', '--offline', house.path('offline'), ...registry()],
      ...['--releases-key', house.path('releases.pub'), '--releases-threshold', '2'],
    ],
    /CEREMONY_THRESHOLD_INVALID/,
  ],
])('%s is a usage error', async (_, words, message) => {
  const { code, err } = await say(words());
  expect(err).toMatch(message);
  expect(code).toBe(2);
});

test('a registry that is down: try again later', async () => {
  const down = ['--registry', 'http://127.0.0.1:9', '--root', house.root];
  const { code, err } = await say(['release', ...down, '--product', 'optiboot', '--list']);
  expect(err).toContain('TUF_UNREACHABLE');
  expect(code).toBe(75);
});

test('a policy with a mistake is refused with file, line and column', async () => {
  const text = await readFile(house.path('policy.yaml'), 'utf8');
  await writeFile(house.path('wrong.yaml'), text.replace('rules: all', 'rules: [LOL]'));
  const words = ['gate', ...registry(), ...gateOptions('x'), '--policy', house.path('wrong.yaml')];
  const { code, err } = await say(words);
  expect(err).toMatch(/POLICY_MALFORMED: .*"LOL"/);
  expect(err).toMatch(/wrong\.yaml:17:\d+/);
  expect(code).toBe(2);
});

test('a device policy is published with contents in place of paths', async () => {
  const { bytes } = await readDevicePolicyFile(house.path('device-policy.yaml'), 'optiboot');
  const policy = parseDevicePolicy(bytes);
  expect(policy.gate.policies[0]?.sha256).toBe(sha256(await readFile(house.path('policy.yaml'))));
  expect(Buffer.from(policy.gate.publicKey).toString('base64')).toBe(
    (await readFile(house.path('gate.pub'), 'utf8')).replace(/-----[A-Z ]+-----|\n/g, ''),
  );
  // Contents may also be written out.
  const written = (await readFile(house.path('device-policy.yaml'), 'utf8'))
    .replace('gate.pub', Buffer.from(policy.gate.publicKey).toString('base64'))
    .replace('sha256: policy.yaml', `sha256: ${policy.gate.policies[0]?.sha256}`);
  await writeFile(house.path('written.yaml'), written);
  expect((await readDevicePolicyFile(house.path('written.yaml'), 'optiboot')).bytes).toEqual(bytes);
});

test.each([
  ['the key of another kind', 'gate.pub', 'releases.pub', /P-256 public key/],
  ['a key that is not there', 'gate.pub', 'gone.pub', /gone\.pub/],
  [
    'a policy that is not there',
    'sha256: policy.yaml',
    'sha256: gone.yaml',
    /SHA-256 digest, or the path .*gone\.yaml/,
  ],
  ['another product', 'product: optiboot', 'product: other', /expected the product "optiboot"/],
  ['no hardware', 'hardwareIds: [atmega328p]', 'hardwareIds: []', /at least one element/],
])('a device policy with %s is refused with its place', async (_, from, to, message) => {
  const text = await readFile(house.path('device-policy.yaml'), 'utf8');
  const path = house.path('bad.yaml');
  await writeFile(path, text.replace(from, to));
  await expect(readDevicePolicyFile(path, 'optiboot')).rejects.toMatchObject({
    code: 'DEVICE_POLICY_MALFORMED',
    message: expect.stringMatching(message),
    at: expect.stringMatching(/bad\.yaml:\d+:\d+/),
  });
});
