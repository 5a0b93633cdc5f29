// SPDX-License-Identifier: Apache-2.0
// Every verb explains itself, refuses what it does not know, and says so with exit code 2.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, describe, expect, test } from 'vitest';
import { commandLine } from '../../cli/main.ts';
import { leaves, say, waybill } from './command-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'waybill-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A command line that is complete: every required option and argument has a value. */
function complete(words: readonly string[], command: Command): string[] {
  const required = command.options.filter((option) => option.mandatory);
  return [
    ...words,
    ...command.registeredArguments.filter((argument) => argument.required).map(() => 'x'),
    ...required.flatMap((option) => [option.long ?? '', option.argChoices?.[0] ?? 'x']),
  ];
}

const verbs = leaves(await commandLine('0.0.0'));

test('the road is there: each verb has a file and a command', async () => {
  expect((await commandLine('0.0.0')).commands.map((command) => command.name())).toEqual([
    'lock',
    'build',
    'sbom',
    'init',
    'serve',
    'rotate',
    'signer',
    'fsck',
    'witness',
    'monitor',
    'attest',
    'rebuild',
    'product',
    'gate',
    'release',
    'verify',
    'device',
    'trace',
    'key',
    'tuf',
  ]);
});

describe.each(verbs.map(({ words, command }) => ({ name: words.join(' '), words, command })))(
  'waybill $name',
  ({ words, command }) => {
    test('--help exits with 0 and shows an example, here or one level up', async () => {
      const own = await say([...words, '--help']);
      expect(own).toMatchObject({ code: 0, err: '' });
      const above = await say([...words.slice(0, -1), '--help']);
      expect(`${own.out}\n${words.length > 1 ? above.out : ''}`).toMatch(/^Examples?:\n\s+(\$ )?waybill /m);
    });

    test('--help fits a terminal of 80 columns', async () => {
      const texts = [await say([...words, '--help']), await say([...words.slice(0, -1), '--help'])];
      for (const { out } of texts) {
        const [lists = ''] = out.split(/^Examples?:$/m);
        expect(lists.split('\n').filter((line) => line.length > 80)).toEqual([]);
      }
    });

    test('an unknown option is refused with exit code 2 and named', async () => {
      const { code, err } = await say([...complete(words, command), '--no-such-option']);
      expect(code).toBe(2);
      expect(err).toMatch(/^waybill: unknown option '--no-such-option'\n/);
    });

    test('one argument too many is refused with exit code 2', async () => {
      const argv = complete(words, command);
      const { code, err } = await say([
        ...argv.slice(0, words.length),
        'y',
        'y',
        'y',
        'y',
        ...argv.slice(words.length),
      ]);
      expect(code).toBe(2);
      expect(err).toMatch(/^waybill: too many arguments/);
    });

    test('each missing required option or argument is refused with exit code 2', async () => {
      const argv = complete(words, command);
      for (let drop = argv.length - 2; drop >= words.length; drop -= 2) {
        if (!argv[drop]?.startsWith('--')) break;
        const { code, err } = await say([...argv.slice(0, drop), ...argv.slice(drop + 2)]);
        expect(code).toBe(2);
        expect(err).toMatch(/^waybill: (?:required option|missing required argument)/);
      }
    });
  },
);

// Every verb's file is read.
test('an unknown verb is refused, with a guess at what was meant', { timeout: 120_000 }, async () => {
  expect(await say(['nonsense'])).toMatchObject({ code: 2, out: '' });
  const { code, err } = await waybill(['relaese'], folder);
  expect(code).toBe(2);
  expect(err).toMatch(/^waybill: unknown command 'relaese'\n\(Did you mean release\?\)\n/);
});

test('no verb at all shows the help and is refused', async () => {
  const { code, err } = await say([]);
  expect(code).toBe(2);
  expect(err).toContain('Usage: waybill');
});

test('--help and --version are results: on standard output, with exit code 0', async () => {
  const help = await waybill(['--help'], folder);
  expect(help).toMatchObject({ code: 0, err: '' });
  expect(help.out).toContain('Usage: waybill');
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(await waybill(['--version'], folder)).toEqual({ code: 0, out: `${version}\n`, err: '' });
});

test('no verb leaves anything behind when it only explains or refuses', () => {
  expect(readdirSync(folder)).toEqual([]);
});
