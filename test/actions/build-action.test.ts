// SPDX-License-Identifier: Apache-2.0
// actions/build as GitHub runs it: the committed dist/index.js, alone, with GitHub's file protocol, an OIDC endpoint, a
// REST API and a real registry on loopback, building real firmware.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parse } from 'yaml';
import { BUNDLE_PATH, bundleAction } from '../../scripts/bundle-action.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';
import { type GithubApi, type JobFiles, makeJobFiles, startGithubApi } from './github.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HEAD = '00112233445566778899aabbccddeeff00112233';
const GITHUB_TOKEN = 'ghs_secretOfThisJob0123456789';

let registry: RegistryProcess;
let github: GithubApi;
let folder: string;
let action: string;
let files: JobFiles;
let count = 0;

beforeAll(async () => {
  [registry, github] = await Promise.all([startRegistry(), startGithubApi()]);
  folder = await mkdtemp(join(tmpdir(), 'waybill-action-'));
  // As checked out by GitHub, but without anything else of the repository: no source, no node_modules.
  action = join(folder, 'action', 'actions', 'build', 'dist', 'index.js');
  await cp(BUNDLE_PATH, action);
  await cp(join(ROOT, 'package.json'), join(folder, 'action', 'package.json'));
}, 60_000);
afterAll(async () => {
  await Promise.all([registry.close(), github.close()]);
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  github.requests.length = 0;
  github.answer.status = 201;
  const event = { pull_request: { head: { sha: HEAD } } };
  files = await makeJobFiles(join(folder, `job-${++count}`), event);
});

interface Step {
  readonly code: number;
  readonly said: string;
  readonly workspace: string;
}

/** Runs the action in a workspace of its own; `change` overrides the environment. */
async function runStep(
  change: Record<string, string | undefined> = {},
  disturb?: (workspace: string) => Promise<void>,
) {
  const workspace = join(folder, `workspace-${count}`);
  await mkdir(workspace, { recursive: true });
  await cp(join(ROOT, 'examples', 'optiboot'), workspace, { recursive: true });
  await cp(registry.root, join(workspace, 'root.json'));
  await disturb?.(workspace);
  const kept = Object.fromEntries(
    ['PATH', 'HOME', 'XDG_CACHE_HOME', 'WAYBILL_MIRROR'].map((name) => [name, process.env[name]]),
  );
  const declared = parse(await readFile(join(ROOT, 'actions/build/action.yml'), 'utf8'));
  const defaults = Object.entries(declared.inputs as Record<string, { default?: string }>).map(
    ([name, input]) => [`INPUT_${name.toUpperCase()}`, input.default ?? ''],
  );
  const env = {
    ...kept,
    ...files.env,
    ...Object.fromEntries(defaults),
    INPUT_REGISTRY: registry.url,
    INPUT_ROOT: 'root.json',
    'INPUT_GITHUB-TOKEN': GITHUB_TOKEN,
    XDG_STATE_HOME: join(folder, 'state'),
    GITHUB_ACTIONS: 'true',
    GITHUB_REPOSITORY: 'example/firmware',
    GITHUB_SHA: 'ffffffffffffffffffffffffffffffffffffffff',
    GITHUB_API_URL: github.url,
    ACTIONS_ID_TOKEN_REQUEST_URL: registry.issuer.requestUrl,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: registry.issuer.requestToken,
    ...change,
  };
  const child = spawn(process.execPath, [action], { cwd: workspace, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      said += chunk;
    });
  }
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? 128)));
  expect(said).not.toContain(GITHUB_TOKEN);
  expect(said).not.toContain(registry.issuer.requestToken);
  expect(said).not.toMatch(/eyJ[\w-]{20}/);
  return { code, said, workspace } satisfies Step;
}

const annotations = (said: string) => said.match(/^::(error|warning|notice) .*$/gm) ?? [];

test('dist/index.js is what the sources give, byte for byte, and holds no machine path', {
  timeout: 30_000,
}, async () => {
  const { bytes, inputs } = await bundleAction();
  const committed = await readFile(BUNDLE_PATH);
  const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
  expect(digest(committed), 'run `npm run build:action` and commit the result').toBe(digest(bytes));
  expect(committed.includes(ROOT)).toBe(false);
  const foreign = /^(registry|policy|release|device)\/|node_modules\/(level|classic-level|fastify)\/|\.node$/;
  // The client of update metadata, which whoever trusts a registry runs, lives with the device.
  const client =
    /^device\/(?:faults|fetch-file|file-system|metadata-store|node-host|node-lock|records|tuf-client|tuf-shell)\.ts$/;
  expect(inputs.filter((path) => foreign.test(path) && !client.test(path))).toEqual([]);
});

test('action.yml: one file on Node 24, nothing nested, every input and output told', async () => {
  const text = await readFile(join(ROOT, 'actions/build/action.yml'), 'utf8');
  const { runs, inputs, outputs } = parse(text);
  expect(runs).toEqual({ using: 'node24', main: 'dist/index.js' });
  expect(text).not.toMatch(/^\s*-?\s*uses:/m);
  const page = await readFile(join(ROOT, 'actions/build/README.md'), 'utf8');
  for (const name of [...Object.keys(inputs), ...Object.keys(outputs)])
    expect(page).toContain(`| \`${name}\``);
  const source = await readFile(join(ROOT, 'actions/build/inputs.ts'), 'utf8');
  const read = [...source.matchAll(/(?:required|getInput|yesOrNo)\('([\w-]+)'\)/g)].map(([, name]) => name);
  expect(read.sort()).toEqual(Object.keys(inputs).sort());
});

test('builds real firmware, attests it, fills outputs, summary and check run', {
  timeout: 300_000,
}, async () => {
  const { code, said, workspace } = await runStep({ 'INPUT_ARCHIVE-INPUTS': 'true' });
  expect({ code, said }).toMatchObject({ code: 0 });
  const lock = JSON.parse(await readFile(join(workspace, 'waybill.lock'), 'utf8'));
  for (const { sha256 } of lock.inputs.flatMap(({ packages }: { packages: object[] }) => packages)) {
    const kept = await fetch(`${registry.url}/api/v1/blobs/${sha256}`, { method: 'HEAD' });
    expect(kept.status).toBe(200);
  }
  const outputs = await files.outputs();
  expect(Object.keys(outputs).sort()).toEqual(['bundles', 'image', 'image-digest', 'log-indexes']);
  const image = await readFile(join(workspace, outputs.image ?? ''));
  const sha256 = createHash('sha256').update(image).digest('hex');
  expect(outputs['image-digest']).toBe(`sha256:${sha256}`);
  expect(JSON.parse(outputs['log-indexes'] ?? '')).toHaveLength(3);

  const stored = await fetch(`${registry.url}/api/v1/attestations?subject=${sha256}`);
  const { attestations } = (await stored.json()) as { attestations: unknown[] };
  expect(attestations).toHaveLength(2);

  const summary = await files.summary();
  expect(summary).toContain(sha256);
  expect(summary).toContain(
    'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main',
  );
  expect(Buffer.byteLength(summary)).toBeLessThan(1024 * 1024);
  expect(annotations(said).length).toBeLessThanOrEqual(10);
  expect(said).toContain('::notice title=Waybill::optiboot.bin sha256:');

  expect(github.requests).toHaveLength(1);
  expect(github.requests[0]).toMatchObject({
    method: 'POST',
    path: '/repos/example/firmware/check-runs',
    authorization: `token ${GITHUB_TOKEN}`,
    body: {
      name: 'Waybill build',
      head_sha: HEAD,
      status: 'completed',
      conclusion: 'success',
      output: { title: 'optiboot 8.0.0: 3 statements attested' },
    },
  });
});

test('a refused build: annotation with code and remedy, failed check run, no output', {
  timeout: 60_000,
}, async () => {
  const { code, said } = await runStep({}, async (workspace) => {
    const path = join(workspace, 'waybill.yaml');
    const text = await readFile(path, 'utf8');
    await writeFile(
      path,
      text.replace('packages: [arduino-core-avr]', 'packages: [arduino-core-avr, hello]'),
    );
  });
  expect(code).toBe(1);
  expect(annotations(said)).toHaveLength(1);
  expect(said).toMatch(/^::error title=LOCK_OUTDATED::.*What to do: /m);
  expect(await files.outputs()).toEqual({});
  expect(await files.summary()).toContain('LOCK_OUTDATED');
  expect(github.requests[0]?.body).toMatchObject({
    conclusion: 'failure',
    output: { title: 'LOCK_OUTDATED' },
  });
});

test('an input that is neither true nor false is refused', { timeout: 60_000 }, async () => {
  const { code, said } = await runStep({ 'INPUT_ARCHIVE-INPUTS': 'yes' });
  expect(code).toBe(1);
  expect(said).toMatch(/^::error title=ACTION_INPUT_MALFORMED::.*"archive-inputs".*"yes"/m);
});

test('a mistake in the definition is annotated at its line', { timeout: 60_000 }, async () => {
  const { code, said } = await runStep({}, async (workspace) => {
    await writeFile(join(workspace, 'waybill.yaml'), 'waybill: 1\nproduct: Not A Name\n');
  });
  expect(code).toBe(1);
  expect(said).toMatch(/^::error title=DEFINITION_\w+,file=waybill\.yaml,line=\d+::/m);
});

test('a job without id-token permission is told which permission it needs', {
  timeout: 120_000,
}, async () => {
  const without = { ACTIONS_ID_TOKEN_REQUEST_URL: undefined, ACTIONS_ID_TOKEN_REQUEST_TOKEN: undefined };
  const { code, said } = await runStep(without);
  expect(code).toBe(1);
  expect(said).toMatch(/::error title=IDENTITY_NONE::.*id-token: write/);
});

test('an input that is missing is named', { timeout: 60_000 }, async () => {
  const { code, said } = await runStep({ INPUT_REGISTRY: '' });
  expect(code).toBe(1);
  expect(said).toContain('::error title=ACTION_INPUT_MISSING::expected the input "registry"');
});

test('a check run that GitHub refuses is a warning; the build stands', { timeout: 120_000 }, async () => {
  github.answer.status = 403;
  const { code, said } = await runStep();
  expect({ code, said }).toMatchObject({ code: 0 });
  expect(said).toMatch(/^::warning title=ACTION_CHECK_RUN_FAILED::.*403/m);
  expect(await files.outputs()).toHaveProperty('image-digest');
});

test('without a token there is no check run', { timeout: 120_000 }, async () => {
  const { code, said } = await runStep({ 'INPUT_GITHUB-TOKEN': '' });
  expect({ code, said }).toMatchObject({ code: 0 });
  expect(github.requests).toEqual([]);
});
