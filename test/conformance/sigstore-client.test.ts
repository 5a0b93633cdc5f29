// SPDX-License-Identifier: Apache-2.0
// The client of sigstore-conformance on its own cases, as that suite calls it, and signing against a real registry.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CASES } from '../core/sigstore/cases.ts';
import { Foundry } from '../device/foundry.ts';
import { run } from './sigstore-client.ts';

const VECTORS = fileURLToPath(new URL('../vectors/sigstore-bundle/', import.meta.url));
const CLIENT = fileURLToPath(new URL('sigstore-client', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-conformance-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The words with which the suite asks about a case; the public good root of the cases is older than today's. */
async function wordsOf(name: string, digest: boolean): Promise<string[]> {
  const { bundle, trustedRoot, keys, artifact, identity, issuer } = CASES.find(
    (one) => one.name === name,
  ) as (typeof CASES)[number];
  const place = (file: string) => join(folder, `${name}.${file}`);
  await writeFile(place('bundle'), bundle);
  await writeFile(place('root'), trustedRoot);
  await writeFile(place('artifact'), artifact.bytes);
  const signer =
    keys.length > 0
      ? ['--key', join(VECTORS, name, 'key.pub')]
      : ['--certificate-identity', identity, '--certificate-oidc-issuer', issuer];
  const word = digest
    ? `sha256:${createHash('sha256').update(artifact.bytes).digest('hex')}`
    : place('artifact');
  return ['verify-bundle', '--bundle', place('bundle'), ...signer, '--trusted-root', place('root'), word];
}

async function ask(words: readonly string[]): Promise<{ exit: number; said: string }> {
  const lines: string[] = [];
  const exit = await run(words, (line) => lines.push(line));
  return { exit, said: lines.join('\n') };
}

describe.each([
  ['by file', false],
  ['by digest', true],
])('%s', (_, digest) => {
  test.each(CASES)('$name: $expected', async ({ name, expected }) => {
    const { exit, said } = await ask(await wordsOf(name, digest));
    if (expected === 'accepted') expect({ exit, said }).toEqual({ exit: 0, said: '' });
    else expect({ exit, code: said.split(':')[0] }).toEqual({ exit: 1, code: expected });
  });
});

test('as a process: 0 for a good bundle, 1 for a bad one, 2 for other words', async () => {
  const asked = (words: readonly string[]) =>
    new Promise<{ exit: number; said: string }>((resolve) => {
      execFile(CLIENT, words, (failure, _, said) => resolve({ exit: Number(failure?.code ?? 0), said }));
    });
  expect(await asked(await wordsOf('rekor2-happy-path', false))).toEqual({ exit: 0, said: '' });
  expect(await asked(await wordsOf('rekor2-no-timestamp_fail', false))).toMatchObject({
    exit: 1,
    said: expect.stringContaining('SIGSTORE_TIME_MISSING'),
  });
  expect(await asked(['verify'])).toMatchObject({ exit: 2 });
});

test('another identity or issuer than the expected, or a pattern of it, is refused', async () => {
  const words = await wordsOf('happy-path-v0.2', false);
  for (const [option, value] of [
    ['--certificate-identity', 'https://github.com/.*'],
    ['--certificate-identity', ''],
    ['--certificate-oidc-issuer', 'https://token'],
  ] as const) {
    const bent = words.with(words.indexOf(option) + 1, value);
    expect(await ask(bent)).toMatchObject({
      exit: 1,
      said: expect.stringContaining('SIGSTORE_SIGNER_UNEXPECTED'),
    });
  }
  const keyed = await wordsOf('happy-path-v0.2', false);
  keyed.splice(
    keyed.indexOf('--certificate-identity'),
    4,
    '--key',
    join(VECTORS, 'managed-key-and-trusted-root', 'key.pub'),
  );
  expect(await ask(keyed)).toMatchObject({
    exit: 1,
    said: expect.stringContaining('SIGSTORE_SIGNER_UNEXPECTED'),
  });
});

test('what is no call of the protocol, and a file that is not there', async () => {
  for (const words of [
    [],
    ['verify-bundle'],
    ['verify-bundle', '--bundle'],
    ['verify-bundle', 'a', 'b'],
    ['sign-bundle', 'x'],
    ['sign', 'x'],
  ]) {
    expect(await ask(words)).toMatchObject({ exit: 2 });
  }
  const words = await wordsOf('happy-path-v0.2', false);
  expect(await ask(words.with(-1, join(folder, 'absent')))).toMatchObject({ exit: 70 });
});

describe('signing', () => {
  let foundry: Foundry;
  beforeAll(async () => {
    foundry = await Foundry.build();
    await writeFile(join(folder, 'root'), foundry.trustMaterial()['trusted_root.json'] as Uint8Array);
    await writeFile(join(folder, 'config'), foundry.signingConfig());
    await writeFile(join(folder, 'artifact'), 'image');
    const digest = createHash('sha256').update('image').digest('hex');
    const subject = [{ name: 'image.bin', digest: { sha256: digest } }];
    const statement = {
      _type: 'https://in-toto.io/Statement/v1',
      subject,
      predicateType: 'https://example.com/x',
      predicate: {},
    };
    await writeFile(join(folder, 'statement'), JSON.stringify(statement));
  });
  afterAll(() => foundry.raze());
  const place = (file: string) => join(folder, file);
  const trust = () => ['--trusted-root', place('root')];
  const sign = async (input: string, ...more: string[]) =>
    ask([
      ...['sign-bundle', ...more, '--identity-token', await foundry.ciToken(), '--bundle', place('made')],
      ...[...trust(), '--signing-config', place('config'), place(input)],
    ]);

  test.each([
    ['an artifact', 'artifact', []],
    ['a statement', 'statement', ['--in-toto']],
  ])('%s, which verifies', async (_, input, flags) => {
    expect(await sign(input, ...flags)).toEqual({ exit: 0, said: '' });
    const made = JSON.parse(await readFile(place('made'), 'utf8'));
    expect(made.verificationMaterial.tlogEntries[0].kindVersion).toEqual({
      kind: 'hashedrekord',
      version: '0.0.2',
    });
    const verify = (file: string, identity: string) =>
      ask([
        'verify-bundle',
        '--bundle',
        place('made'),
        '--certificate-identity',
        identity,
        '--certificate-oidc-issuer',
        foundry.issuerUrl,
        ...trust(),
        place(file),
      ]);
    const workflow = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
    expect(await verify('artifact', workflow)).toEqual({ exit: 0, said: '' });
    expect(await verify('statement', workflow)).toMatchObject({ exit: 1 });
    expect(await verify('artifact', `${workflow}x`)).toMatchObject({ exit: 1 });
  });

  test('with a token that nobody accepts writes nothing', async () => {
    const words = [
      'sign-bundle',
      '--identity-token',
      'a.e30.c',
      '--bundle',
      place('none'),
      ...trust(),
      '--signing-config',
      place('config'),
      place('artifact'),
    ];
    expect(await ask(words)).toMatchObject({ exit: 1 });
    await expect(readFile(place('none'))).rejects.toThrow();
  });
});
