// SPDX-License-Identifier: Apache-2.0
// Whole builds over inputs of several kinds: what a step sees, what statements say, and that archives outlive origins.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBuildOutput } from '../../../attest/build-output.ts';
import { type BuildRequest, build } from '../../../builder/build.ts';
import { lockInputs, upgradeLock } from '../../../builder/lock.ts';
import { checkLock, formatLock, type Lock, parseLock } from '../../../builder/lock-file.ts';
import { ContentStore } from '../../../builder/store.ts';
import { parseStepProvenance } from '../../../core/intoto/provenance.ts';
import { parseStatement } from '../../../core/intoto/statement.ts';
import { ARCHITECTURE, type Archive, makeArchive, serveMirror, TOOLBOX } from '../archive.ts';
import { readYaml, stepYaml, yamlOver } from '../definitions.ts';
import { code, makeFolder, makeRepository, putFiles, type Repository, serve, sha256 } from './workshop.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-kinds-'));
let archive: Archive;
let repository: Repository;
let text: string;
let lock: Lock;
const files = makeFolder({ 'blob.bin': 'blob' });
const cache = join(base, 'cache');

beforeAll(async () => {
  archive = makeArchive([TOOLBOX]);
  repository = makeRepository('sources');
  const commit = repository.commit({ 'a.c': 'git' });
  putFiles(base, { 'src/main.c': 'folder' });
  const command = [
    'cat /inputs/sources/a.c /inputs/local/main.c /inputs/blob/blob.bin >image.bin',
    'for path in /inputs /inputs/local /inputs/local/main.c; do',
    '  if touch $path/x 2>/dev/null || rm -rf $path 2>/dev/null; then exit 9; fi',
    'done',
  ].join('\n');
  text = yamlOver(archive, stepYaml(command).replace('[tools]', '[blob, local, sources, tools]')).replace(
    'inputs:\n',
    `inputs:
  blob: { kind: file, role: blob, url: '${pathToFileURL(join(files, 'blob.bin')).href}', sha256: ${sha256('blob')} }
  local: { kind: folder, role: config, path: src }
  sources: { kind: git, role: source, url: '${repository.url}', commit: ${commit} }
`,
  );
  const store = new ContentStore(cache);
  lock = await lockInputs(readYaml(text), { folder: base, mirror: archive.url, store });
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

let outs = 0;
const request = (more: Partial<BuildRequest> = {}): BuildRequest => ({
  definition: readYaml(text),
  lock,
  definitionBytes: Buffer.from(text),
  lockBytes: formatLock(lock),
  out: join(base, `out-${++outs}`),
  replace: false,
  cache,
  builderId: 'https://waybill.example/builders/test',
  toolVersion: '0.0.0',
  folder: base,
  mirror: archive.url,
  ...more,
});

describe('a build over several kinds of inputs', () => {
  test('shows them read-only, names them with role and digest, and attest finds them in the lock', async () => {
    expect(parseLock(formatLock(lock), 'waybill.lock')).toEqual(lock);
    const asked = request();
    const summary = await build(asked);
    expect(readFileSync(join(asked.out, 'products/image.bin'), 'utf8')).toBe('gitfolderblob');
    const bytes = readFileSync(join(asked.out, 'statements', summary.statements[0] ?? ''));
    const { resolvedDependencies } = parseStepProvenance(parseStatement(bytes));
    const named = resolvedDependencies.map(({ uri, annotations }) => [
      uri?.replace(/[@?].*/, ''),
      annotations?.role,
      annotations?.input,
    ]);
    expect(named).toEqual([
      ['pkg:deb/waybill-test/toolbox', 'toolchain', undefined],
      ['pkg:generic/blob.bin', 'blob', 'blob'],
      ['pkg:generic/local', 'config', 'local'],
      ['pkg:generic/sources', 'source', 'sources'],
      [undefined, 'config', undefined],
      [undefined, 'config', undefined],
    ]);
    const commit = repository.git('rev-parse', 'HEAD');
    expect(resolvedDependencies[3]?.annotations?.commit).toBe(commit);
    expect(decodeURIComponent(resolvedDependencies[3]?.uri ?? '')).toContain(
      `vcs_url=git+${repository.url}@${commit}`,
    );
    expect(await readBuildOutput(asked.out)).toMatchObject({ product: 'thing' });
    // A statement about something that the lock does not pin is not signed.
    const other = bytes.toString().replace(sha256('blob'), 'ab'.repeat(32));
    writeFileSync(join(asked.out, 'statements', summary.statements[0] ?? ''), other);
    expect(await code(readBuildOutput(asked.out))).toBe('ATTEST_INPUT_NOT_LOCKED');
  });

  test('is refused while a folder differs from the lock', async () => {
    writeFileSync(join(base, 'src/main.c'), 'edited');
    expect(await code(build(request()))).toBe('LOCK_OUTDATED');
    writeFileSync(join(base, 'src/main.c'), 'folder');
  });

  test('works from an archive, and from a registry, when every origin is gone', async () => {
    const kept = join(base, 'kept');
    await build(request({ archive: kept }));
    const nowhere = { mirror: 'http://127.0.0.1:9/', folder: join(base, 'nowhere') };
    const gone = {
      ...lock,
      inputs: lock.inputs.map((input) => {
        if (input.kind === 'git') return { ...input, url: 'file:///nonexistent/sources' };
        return input.kind === 'file' ? { ...input, url: 'file:///nonexistent/blob.bin' } : input;
      }),
    };
    const moved = text
      .replace(repository.url, 'file:///nonexistent/sources')
      .replace(pathToFileURL(join(files, 'blob.bin')).href, 'file:///nonexistent/blob.bin');
    const definition = readYaml(moved);
    const { inputsSha256 } = await import('../../../builder/definition.ts');
    const bare = {
      inputsSha256: inputsSha256(definition),
      inputs: gone.inputs.map(({ definition: _, ...input }) => input),
    } as Lock;
    const from = (more: Partial<BuildRequest>) =>
      request({ ...nowhere, definition, lock: bare, lockBytes: formatLock(bare), ...more });
    expect(await code(build(from({ cache: join(base, 'empty') })))).toMatch(/^FETCH_/);
    const asked = from({ cache: join(base, 'fresh'), archive: kept });
    await build(asked);
    expect(readFileSync(join(asked.out, 'products/image.bin'), 'utf8')).toBe('gitfolderblob');
    const store = ContentStore.archive(kept);
    const registry = await serve((path, response) => {
      const digest = /^\/sub\/api\/v1\/blobs\/([0-9a-f]{64})$/.exec(path)?.[1] ?? 'none';
      response.end(readFileSync(store.path(digest)));
    });
    try {
      const again = from({ cache: join(base, 'other'), registry: `${registry.url}sub` });
      await build(again);
      expect(readFileSync(join(again.out, 'products/image.bin'), 'utf8')).toBe('gitfolderblob');
    } finally {
      await registry.close();
    }
  });

  test('takes a package from a snapshot when the mirror has it no more', async () => {
    const mirror = await serveMirror(join(archive.folder, 'dists'));
    try {
      const lost = { mirror: mirror.url, cache: join(base, 'snapshot') };
      expect(await code(build(request(lost)))).toBe('FETCH_GONE');
      await build(request({ ...lost, snapshot: archive.url }));
      expect(mirror.requested.length).toBeGreaterThan(0);
    } finally {
      await mirror.close();
    }
  });
});

describe('a lock', () => {
  const message = (change: () => void): string => {
    try {
      change();
    } catch (failure) {
      expect(failure).toMatchObject({ code: 'LOCK_OUTDATED' });
      return (failure as Error).message;
    }
    return 'none';
  };

  test.each([
    ['packages: [toolbox]', 'packages: [toolbox, extra]', 'input tools: packages gained extra'],
    ['role: blob', 'role: config', 'input blob: role is "config", locked is "blob"'],
    [/sha256: [0-9a-f]{64}/, `sha256: ${'ab'.repeat(32)}`, `input blob: sha256 is "${'ab'.repeat(32)}"`],
    [/commit: [0-9a-f]{40}/, `commit: ${'cd'.repeat(20)}`, 'input sources: commit is'],
    ['  local: ', '  renamed: ', 'input renamed is not locked; input local is locked but not defined'],
    ['path: src', 'path: other', 'input local: path is "other", locked is "src"'],
  ])('that differs says where: %s → %s', (from, to, expected) => {
    const changed = text
      .replace(from, to)
      .replace('[blob, local,', to.includes('renamed') ? '[blob, renamed,' : '[blob, local,');
    expect(message(() => checkLock(readYaml(changed), lock))).toContain(expected);
  });

  test('whose content was bent is refused, whatever it repeats', () => {
    const bent = (change: object) => ({
      ...lock,
      inputs: lock.inputs.map((input) => (input.kind === 'git' ? { ...input, ...change } : input)),
    });
    expect(message(() => checkLock(readYaml(text), bent({ commit: 'ab'.repeat(20) })))).toContain('commit');
    expect(message(() => checkLock(readYaml(text), bent({ url: 'file:///x' })))).toContain('url');
  });

  test('upgraded in one input keeps every other byte, and says what changed', async () => {
    const options = { folder: base, mirror: archive.url, store: new ContentStore(cache) };
    const definition = readYaml(text);
    writeFileSync(join(base, 'src/main.c'), 'edited');
    const { lock: upgraded, changes } = await upgradeLock(definition, lock, 'local', options);
    writeFileSync(join(base, 'src/main.c'), 'folder');
    expect(changes).toEqual(['local: "main.c" changed']);
    for (const [i, input] of upgraded.inputs.entries()) {
      if (input.name !== 'local') expect(input).toEqual(lock.inputs[i]);
    }
    expect((await upgradeLock(definition, lock, 'sources', options)).changes).toEqual([]);
    for (const name of ['nosuch', 'local/x', 'tools/nosuch']) {
      expect(await code(upgradeLock(definition, lock, name, options))).toBe('LOCK_UPGRADE_UNKNOWN');
    }
    // Another input that does not fit is not passed over.
    const changed = readYaml(text.replace('role: blob', 'role: config'));
    expect(await code(upgradeLock(changed, lock, 'local', options))).toBe('LOCK_OUTDATED');
  });

  test('upgraded in one package takes what that needs and no more', async () => {
    const house = makeArchive([
      { name: 'app', version: '1', depends: 'library, other' },
      { name: 'library', version: '1' },
      { name: 'other', version: '1' },
    ]);
    try {
      const definition = readYaml(yamlOver(house, stepYaml('true'), { packages: ['app'] }));
      const options = { folder: '/', mirror: house.url };
      const old = await lockInputs(definition, options);
      house.publish([
        { name: 'app', version: '2', depends: 'library (>= 2), other' },
        { name: 'library', version: '2' },
        { name: 'other', version: '2' },
      ]);
      // The older versions stay in the test's index, as they do not in a real one.
      for (const name of ['app', 'library', 'other'])
        rmSync(join(house.folder, `pool/${name}_1_${ARCHITECTURE}.deb`));
      house.publish([]);
      const { lock: upgraded, changes } = await upgradeLock(definition, old, 'tools/app', options);
      expect(changes.slice(1)).toEqual(['tools: app 1 → 2', 'tools: library 1 → 2']);
      expect(changes[0]).toMatch(/^tools: InRelease [0-9a-f]{64} → [0-9a-f]{64}$/);
      const [input] = upgraded.inputs;
      const versions =
        input?.kind === 'debian' ? input.packages.map(({ name, version }) => `${name} ${version}`) : [];
      expect(versions).toEqual(['app 2', 'library 2', 'other 1']);
      checkLock(definition, upgraded);
    } finally {
      house.close();
    }
  });
});
