// SPDX-License-Identifier: Apache-2.0
// The verifier as `npm run build:device` makes it: one small file of nothing but core, and the same answers in every engine.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';
import { bundleVerifier, VERIFIER_SIZE_BYTES_MAX } from '../../scripts/bundle-device.ts';
import {
  type Case,
  conformanceCases,
  curveCases,
  differenceCases,
  logProofCases,
  merkleCases,
  packCases,
  tiledLogCases,
  witnessCases,
} from './cases.ts';
import { CHROMIUM, type Engine, inChromium, inNode, inQuickJs } from './engines.ts';
import type { Answer } from './replay.ts';
import { textCases } from './text-cases.ts';
import { updateCases } from './update-cases.ts';

const CASES: readonly Case[] = [
  ...conformanceCases(),
  ...differenceCases(),
  ...merkleCases(),
  ...tiledLogCases(),
  ...logProofCases(),
  ...witnessCases(),
  ...packCases(),
  ...updateCases(),
  ...textCases(),
  ...curveCases(),
];

let verifier: { bytes: Uint8Array; inputs: readonly string[] };
let scripts: readonly string[];

beforeAll(async () => {
  verifier = await bundleVerifier();
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('replay.ts', import.meta.url))],
    bundle: true,
    platform: 'neutral',
    target: 'es2022',
    format: 'iife',
    globalName: 'replay',
    write: false,
    logLevel: 'silent',
  });
  scripts = [Buffer.from(verifier.bytes).toString(), outputFiles[0]?.text ?? ''];
});

describe('the file', () => {
  test('is small', () => {
    expect(verifier.bytes.length).toBeLessThanOrEqual(VERIFIER_SIZE_BYTES_MAX);
  });

  test('holds core and its packages alone, and names no module', () => {
    const foreign = verifier.inputs.filter((path) => !/^(core|node_modules\/@noble)\//.test(path));
    expect(foreign).toEqual([]);
    expect(Buffer.from(verifier.bytes).toString()).not.toMatch(/\bnode:|\brequire\(|\bimport\b\s*[({'"]/);
  });

  test('is the same again, byte for byte', async () => {
    expect(Buffer.compare((await bundleVerifier()).bytes, verifier.bytes)).toBe(0);
  });
});

const answers = new Map<string, readonly Answer[]>();

describe.each<[string, Engine]>([
  ['Node', inNode],
  ['QuickJS', inQuickJs],
  ['Chromium', inChromium],
])('in %s', (name, engine) => {
  test(`${CASES.length} cases get the verdicts that they must`, { timeout: 120_000 }, async (context) => {
    if (engine === inChromium && !existsSync(CHROMIUM)) {
      context.skip(`no ${CHROMIUM}; install Debian's package chromium`);
    }
    const questions = JSON.stringify(CASES.map(({ question }) => question));
    const given = JSON.parse(await engine({ scripts, questions })) as readonly Answer[];
    answers.set(name, given);
    expect(given).toHaveLength(CASES.length);
    const wrong = CASES.map(({ name: which, expected }, i) => ({
      which,
      expected,
      got: given[i]?.verdict ?? 'nothing',
    })).filter(({ expected, got }) => ![expected].flat().includes(got));
    expect(wrong).toEqual([]);
  });
});

test('what was learned, and what the refusals say, is the same everywhere', () => {
  expect([...answers.keys()]).toEqual(expect.arrayContaining(['Node', 'QuickJS']));
  const [first, ...others] = [...answers.values()];
  for (const other of others) expect(other).toEqual(first);
});
