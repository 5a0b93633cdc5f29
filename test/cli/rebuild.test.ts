// SPDX-License-Identifier: Apache-2.0
// `waybill rebuild` against a real registry: from evidence alone to a signed statement that agrees, or differs and says where.

import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AttestReport } from '../../cli/attest.ts';
import { buildStepProvenance, parseStepProvenance } from '../../core/intoto/provenance.ts';
import { parseRebuildReport, REBUILD_TYPE } from '../../core/intoto/rebuild.ts';
import { formatStatement, parseStatement } from '../../core/intoto/statement.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import { codeOf } from '../../examples/demo/command-line.ts';
import { generateKey } from '../../release/key-file.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';
import { type Archive, makeArchive, TOOLBOX } from '../builder/archive.ts';
import { stepYaml, yamlOver } from '../builder/definitions.ts';
import { runHere } from './command-line.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-rebuild-test-'));
const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
const key = generateKey('p256');
let registry: RegistryProcess;
let archive: Archive;

beforeAll(async () => {
  const pem = key.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(join(base, 'key.pem'), pem, { mode: 0o600 });
  const spki = createPublicKey(createPrivateKey(pem)).export({ type: 'spki', format: 'der' });
  registry = await startRegistry([new Uint8Array(spki)]);
  archive = makeArchive([TOOLBOX]);
}, 60_000);
afterAll(async () => {
  await registry.close();
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const env = () => ({ XDG_CACHE_HOME: join(base, 'cache'), WAYBILL_MIRROR: archive.url, HOME: base });
const trust = () => ['--registry', registry.url, '--root', registry.root];

/** Locks and builds a definition; returns the output folder. */
async function built(name: string, steps: string, image = 'make/image.bin'): Promise<string> {
  const folder = join(base, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'waybill.yaml'), yamlOver(archive, steps, { image }));
  for (const verb of [['lock'], ['build', '--out', join(folder, 'out')]]) {
    const done = await runHere([...verb, join(folder, 'waybill.yaml')], env());
    expect([done.exitCode, done.stderr]).toEqual([0, expect.not.stringContaining('waybill:')]);
  }
  return join(folder, 'out');
}

/** Attests a build output; returns the digest of its image. */
async function attested(out: string): Promise<string> {
  const state = { XDG_STATE_HOME: join(registry.folder, 'state') };
  const token = { WAYBILL_ID_TOKEN: await registry.issuer.token() };
  const { exitCode, json } = await runHere(['attest', out, ...trust(), '--json'], { ...state, ...token });
  expect(exitCode).toBe(0);
  return (json as AttestReport).images[0]?.sha256 ?? '';
}

const rebuild = (sha256: string, ...more: string[]) =>
  registry.cli.run(['rebuild', `sha256:${sha256}`, ...trust(), '--json', ...more], { env: env() });
const withKey = () => ['--key', join(base, 'key.pem')];

/** What the registry keeps about an image, of the rebuild type. */
async function reports(sha256: string) {
  const answer = await fetch(`${registry.url}/api/v1/attestations?subject=${sha256}`);
  const { attestations } = (await answer.json()) as { attestations: { bundle: string }[] };
  return attestations
    .map(({ bundle }) => parseStatement(parseBundle(Buffer.from(bundle)).payload))
    .filter(({ predicateType }) => predicateType === REBUILD_TYPE)
    .map(parseRebuildReport);
}

const TWO_STEPS = `${stepYaml('echo $((6 * 7)) >image.bin')}  - name: double
    inputs: [tools]
    materials: [make/image.bin]
    command: cat /materials/make/image.bin /materials/make/image.bin >double.bin
    outputs:
      - path: double.bin
`;

test('a build that follows from its evidence is agreed with, by key and by identity', async () => {
  const sha256 = await attested(await built('same', TWO_STEPS, 'double/double.bin'));
  // Nothing but the registry and the archive of packages is left.
  rmSync(join(base, 'same'), { recursive: true });
  const byKey = await rebuild(sha256, ...withKey(), '--out', join(base, 'kept'));
  expect(byKey).toMatchObject({ exitCode: 0, json: { verdict: 'agrees', differences: [] } });
  expect(readFileSync(join(base, 'kept/products/double.bin'), 'utf8')).toBe('42\n42\n');
  const tokenFile = join(base, 'token');
  writeFileSync(tokenFile, await registry.issuer.token());
  expect(await rebuild(sha256, '--token-file', tokenFile)).toMatchObject({ exitCode: 0 });
  const found = await reports(sha256);
  expect(found).toHaveLength(2);
  for (const report of found) {
    expect(report.inputAttestations).toHaveLength(2);
    expect(report.outputs.map(({ step, name }) => `${step}/${name}`).sort()).toEqual([
      'double/double.bin',
      'make/image.bin',
    ]);
  }
}, 120_000);

test('a build that does not follow from its evidence is differed from, with place and cause', async () => {
  const sha256 = await attested(await built('time', stepYaml('echo "built at $(date +%s)" >image.bin')));
  const outcome = await rebuild(sha256, ...withKey());
  expect(outcome).toMatchObject({
    exitCode: 1,
    json: { verdict: 'differs', differences: [{ output: 'make/image.bin', cause: 'date' }] },
  });
  const [report] = await reports(sha256);
  expect(report).toMatchObject({ verdict: 'differs', image: { sha256 } });
  const read = await registry.cli.run(['rebuild', `sha256:${sha256}`, ...trust(), ...withKey()], {
    env: env(),
  });
  expect(read.stdout).toMatch(
    new RegExp(`differs +make/image\\.bin, sha256:[0-9a-f]{64}, claimed is sha256:${sha256}\n`),
  );
}, 120_000);

test('two builds that claim one image are told apart by who signed; a claim that its definition denies is refused', async () => {
  const sha256 = await attested(await built('one', stepYaml('echo image of two >image.bin')));
  await attested(await built('two', stepYaml('echo "image of two" >image.bin')));
  expect(codeOf(await rebuild(sha256, ...withKey()))).toBe('REBUILD_EVIDENCE_AMBIGUOUS');
  expect(codeOf(await rebuild(sha256, ...withKey(), '--builder-identity', 'nobody'))).toBe(
    'REBUILD_EVIDENCE_MISSING',
  );
  const lied = await built('lie', stepYaml('echo image of a liar >image.bin'));
  const names = ['01-make.provenance.json', '02-image.bin.sbom.json'];
  const path = join(lied, 'statements', names[0] ?? '');
  const provenance = parseStepProvenance(parseStatement(readFileSync(path)));
  writeFileSync(path, formatStatement(buildStepProvenance({ ...provenance, version: '9.9' })));
  const refused = await rebuild(await attested(lied), ...withKey(), '--builder-identity', IDENTITY);
  expect(refused.exitCode).toBe(1);
  expect(codeOf(refused)).toBe('REBUILD_CLAIM_CONTRADICTED');
}, 120_000);

test('a definition that does not build fails with the end of its log', async () => {
  const out = await built('broken', stepYaml('echo well made >image.bin'));
  const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
  const definition = join(out, 'waybill.yaml');
  const honest = digest(definition);
  const text = readFileSync(definition, 'utf8');
  writeFileSync(definition, text.replace('echo well made >image.bin', 'echo nothing to be made; exit 7'));
  for (const name of readdirSync(join(out, 'statements'))) {
    const path = join(out, 'statements', name);
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll(honest, digest(definition)));
  }
  const failed = await registry.cli.run(
    ['rebuild', `sha256:${await attested(out)}`, ...trust(), ...withKey()],
    { env: env() },
  );
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toMatch(
    /the end of the log of step make:\n +\| nothing to be made\nwaybill: STEP_FAILED: .* exit code 7/,
  );
}, 120_000);

test('an image that nobody attested cannot be rebuilt, nor one without anybody to sign', async () => {
  expect(codeOf(await rebuild('ab'.repeat(32), ...withKey()))).toBe('REBUILD_EVIDENCE_MISSING');
  expect(codeOf(await rebuild('ab'.repeat(32)))).toBe('IDENTITY_NONE');
  expect((await runHere(['rebuild', 'ab', ...trust()], {})).exitCode).toBe(2);
}, 60_000);
