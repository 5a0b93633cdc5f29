// SPDX-License-Identifier: Apache-2.0
// What people give as --root by mistake: each command names the file and says what to give, before it asks any registry.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { init } from '../../cli/init.ts';
import { newP256 } from '../registry/running-registry.ts';
import { say } from './command-line.ts';

/** Nothing listens on port 1 of this machine: whoever asks there answers 75. */
const DOWN = 'http://127.0.0.1:1';

const GATE = Buffer.from(newP256().spki).toString('base64');

let folder: string;
const home = process.cwd();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-root-'));
  process.chdir(folder);
  process.env.XDG_STATE_HOME = join(folder, '.state');
  await init({
    ...{ folder: 'registry', offline: 'offline', url: DOWN, org: 'acme.example' },
    ...{ rootKeys: 2, rootThreshold: 2 },
  });
  const root = readFileSync('registry/root.json', 'utf8');
  writeFileSync('root.json', root);
  writeFileSync('damaged.json', root.replace('"x-waybill-org": "acme.example"', '"x-waybill-org": "evil"'));
  writeFileSync('1.targets.json', readFileSync('registry/state/tuf/1.targets.json'));
  writeFileSync('key.pem', readFileSync('offline/root-1.pem'));
  writeFileSync('trusted_root.json', readFileSync('registry/trust/trusted_root.json'));
  writeFileSync('watch.yaml', stringify({ keys: [{ name: 'gate', publicKey: GATE }] }));
  writeFileSync('some.waybill', '{}');
});
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

const at = ['--registry', DOWN];
const LINES: Readonly<Record<string, readonly string[]>> = {
  'tuf status': ['tuf', 'status', DOWN],
  'tuf renew': ['tuf', 'renew', DOWN, '--role', 'root', '--key', 'offline/root-1.pem'],
  'tuf sign': ['tuf', 'sign', 'root.json'],
  'release --list': ['release', '--list', '--product', 'optiboot', ...at],
  verify: ['verify', 'some.waybill', 'key.pem', ...at],
  monitor: ['monitor', 'run', 'state', '--once', '--watch', 'watch.yaml', '--decisions', 'offline', ...at],
  'device init': [
    ...['device', 'init', 'device', ...at, '--product', 'optiboot'],
    ...['--hardware-id', 'a', '--version-floor', '1.0.0'],
  ],
};

describe.each(Object.entries(LINES))('%s', (_name, line) => {
  test.each([
    ['key.pem', 'got not a JSON value'],
    ['1.targets.json', 'expected "root", got "targets"'],
    ['trusted_root.json', 'expected a member "signed"'],
    ['damaged.json', 'expected signatures by 2 of 2 keys, got 0'],
  ])('%s', async (path, why) => {
    const { code, out, err } = await say([...line, '--root', path]);
    expect(err).toContain(
      `CLI_ROOT_UNSUITABLE: expected the root.json of the registry in "${path}", got a file`,
    );
    expect(err).toContain(why);
    expect(err).toContain('what to do: Give the root.json that the operator of the registry handed out');
    expect({ code, out }).toEqual({ code: 2, out: '' });
  });

  test.each([
    ['gone.json', 'ENOENT (no such file)'],
    ['registry', 'EISDIR (a folder)'],
  ])('%s', async (path, why) => {
    const { code, err } = await say([...line, '--root', path]);
    expect(err).toContain(
      `CLI_FILE_UNREADABLE: --root takes the root.json of the registry: expected a readable file "${path}", got ${why}`,
    );
    expect(code).toBe(2);
  });
});
