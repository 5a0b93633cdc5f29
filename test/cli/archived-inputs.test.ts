// SPDX-License-Identifier: Apache-2.0
// A product over every kind of input, archived in a real registry; then every original is gone, and it is built and rebuilt.

import { execFileSync, spawn } from 'node:child_process';
import { createPublicKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fetchBlobs, type Wanted, wantedPackage } from '../../builder/fetch.ts';
import { wantedBlobs } from '../../builder/inputs/blobs.ts';
import { type LockedInput, parseLock } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
import type { AttestReport } from '../../cli/attest.ts';
import { codeOf } from '../../examples/demo/command-line.ts';
import { generateKey } from '../../release/key-file.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';
import { type Archive, makeArchive, TOOLBOX } from '../builder/archive.ts';
import { yamlOver } from '../builder/definitions.ts';
import { makeImage, serveImage } from '../builder/inputs/image-registry.ts';
import { makeRepository, putFiles, type Server, serve, sha256 } from '../builder/inputs/workshop.ts';
import { runHere } from './command-line.ts';

const BIN = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const DEAD = 'http://127.0.0.1:9/';
const base = mkdtempSync(join(tmpdir(), 'waybill-archived-'));
const work = join(base, 'work');
const out = join(base, 'out');
const large = randomBytes(12_000_000);
const key = generateKey('p256');
let registry: RegistryProcess;
let imageSha256: string;
let inputs: readonly LockedInput[];
/** Where inputs come from, until they are gone. */
const originals: { archive?: Archive; servers: Server[]; folders: string[] } = { servers: [], folders: [] };

const trust = () => ['--registry', registry.url, '--root', registry.root];
const env = (cache: string, more: Record<string, string> = {}) => ({
  XDG_CACHE_HOME: join(base, cache),
  WAYBILL_MIRROR: DEAD,
  HOME: base,
  ...more,
});

/** A definition with one input of each kind, and what they come from. */
async function makeOriginals(): Promise<string> {
  const archive = makeArchive([TOOLBOX]);
  originals.archive = archive;
  const deb = join(archive.folder, 'pool', readdirSync(join(archive.folder, 'pool'))[0] ?? '');
  const layer = execFileSync('dpkg-deb', ['--fsys-tarfile', deb], { maxBuffer: 1e9 });
  const image = makeImage([layer]);
  const host = await serveImage(image);
  putFiles(base, { 'packed/top/inside.txt': 'archive ' });
  const packed = execFileSync('tar', ['-C', join(base, 'packed'), '-cz', 'top'], { maxBuffer: 1e9 });
  const files = new Map<string, Buffer>([
    ['/large.bin', large],
    ['/empty.bin', Buffer.alloc(0)],
    ['/packed.tar.gz', packed],
    ['/radio.a', Buffer.from('blob ')],
  ]);
  const web = await serve((path, response) => response.end(files.get(path)));
  originals.servers.push(host, web);
  const sub = makeRepository('sub');
  sub.commit({ 'sub.txt': 'submodule ' });
  const sources = makeRepository('sources');
  sources.commit({ 'a.txt': 'git ' });
  sources.git('submodule', '--quiet', 'add', sub.url, 'deps/sub');
  const commit = sources.commit();
  const hal = makeRepository('hal');
  hal.commit({
    'hal.txt': 'project ',
    'zephyr/module.yml': `blobs: [{ path: radio.a, sha256: ${sha256('blob ')}, type: lib, version: '1', url: '${web.url}radio.a' }]`,
  });
  originals.folders.push(...[sub, sources, hal].map(({ folder }) => dirname(folder)));
  putFiles(work, {
    'src/local.txt': 'folder ',
    'west.yml': `manifest: { projects: [{ name: hal, url: '${hal.url}', revision: main }] }`,
  });
  const file = (name: string, bytes: Buffer, more = '') =>
    `{ kind: file, role: blob, url: '${web.url}${name}', sha256: ${sha256(bytes)}${more} }`;
  const steps = `  - name: gather
    inputs: [empty, large, local, packed, sources, tools, workspace]
    command: >-
      cd /inputs && cat empty/empty.bin local/local.txt packed/inside.txt sources/a.txt sources/deps/sub/sub.txt
      workspace/hal/hal.txt workspace/hal/zephyr/blobs/radio.a >/build/gathered.txt && head -c 4 large/large.bin >/build/head.bin
    outputs: [{ path: gathered.txt }, { path: head.bin }]
  - name: join
    inputs: [base]
    materials: [gather/gathered.txt, gather/head.bin]
    command: cat /materials/gather/gathered.txt /materials/gather/head.bin >image.bin
    outputs: [{ path: image.bin }]
`;
  return yamlOver(archive, steps, { image: 'join/image.bin' }).replace(
    'inputs:\n',
    `inputs:
  base: { kind: oci, role: rootfs, image: ${host.host}/team/image, digest: '${image.index}' }
  empty: ${file('empty.bin', Buffer.alloc(0))}
  large: ${file('large.bin', large)}
  local: { kind: folder, role: source, path: src }
  packed: ${file('packed.tar.gz', packed, ', unpack: tar, strip: 1')}
  sources: { kind: git, role: source, url: '${sources.url}', commit: ${commit} }
  workspace: { kind: west, role: source, manifest: west.yml, blobs: [hal] }
`,
  );
}

const attest = async (more: readonly string[], cache = 'cache', url = registry.url) =>
  runHere(
    ['attest', out, '--registry', url, '--root', registry.root, '--json', ...more],
    env(cache, {
      XDG_STATE_HOME: join(registry.folder, 'state'),
      WAYBILL_ID_TOKEN: await registry.issuer.token(),
    }),
  );

beforeAll(async () => {
  writeFileSync(join(base, 'key.pem'), key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  registry = await startRegistry([new Uint8Array(spki)]);
  mkdirSync(work);
  const yaml = join(work, 'waybill.yaml');
  writeFileSync(yaml, await makeOriginals());
  const origin = env('cache', { WAYBILL_MIRROR: originals.archive?.url ?? '' });
  expect(await runHere(['lock', yaml], origin)).toMatchObject({ exitCode: 0 });
  inputs = parseLock(readFileSync(join(work, 'waybill.lock')), 'waybill.lock').inputs;
  const { exitCode, json } = await runHere(['build', yaml, '--out', out, '--json'], origin);
  expect(exitCode).toBe(0);
  imageSha256 = (json as { images: { sha256: string }[] }).images[0]?.sha256 ?? '';
}, 120_000);
afterAll(async () => {
  await closeOriginals();
  await registry.close();
  rmSync(base, { recursive: true, force: true });
});

async function closeOriginals(): Promise<void> {
  originals.archive?.close();
  delete originals.archive;
  for (const server of originals.servers.splice(0)) await server.close();
}

/** Every blob of the lock. Places are never asked here. */
const wanted = (input: LockedInput): Wanted[] =>
  input.kind === 'debian'
    ? input.packages.map((entry) => wantedPackage(entry, { mirrorOf: async () => DEAD }))
    : wantedBlobs(input, undefined);
const stored = (digest: string) =>
  join(registry.dataFolder, 'state/blobs/sha256', digest.slice(0, 2), digest);
const incoming = () => readdirSync(join(registry.dataFolder, 'state/blobs/incoming'));

test('without --archive-inputs no input leaves this machine', async () => {
  const { exitCode, json } = await attest([]);
  expect(exitCode).toBe(0);
  expect(json).not.toHaveProperty('inputs');
  const all = inputs.flatMap(wanted);
  expect(all.length).toBeGreaterThan(11);
  for (const { sha256 } of all) {
    expect((await fetch(`${registry.url}/api/v1/blobs/${sha256}`, { method: 'HEAD' })).status).toBe(404);
  }
  expect(codeOf(await attest(['--archive', base]))).toBe('CLI_USAGE');
}, 60_000);

test('inputs that are neither in archive nor cache are named', async () => {
  const outcome = await attest(['--archive-inputs'], 'empty-cache');
  expect([outcome.exitCode, codeOf(outcome)]).toEqual([1, 'ATTEST_INPUT_MISSING']);
  expect(outcome.stderr).toContain('pkg:');
}, 60_000);

test('an upload that is interrupted leaves nothing, and is taken up again', async () => {
  // Passes the registry what fits into the first megabytes of a connection, and then holds its breath.
  const stuck: Socket[] = [];
  const passing: TcpServer = createServer((client) => {
    const up = connect(Number(new URL(registry.url).port), '127.0.0.1');
    let passedBytes = 0;
    client.on('data', (chunk: Buffer) => {
      passedBytes += chunk.length;
      if (passedBytes < 4_000_000) up.write(chunk);
      else {
        client.pause();
        stuck.push(client);
        passing.emit('stuck');
      }
    });
    up.on('data', (chunk) => client.write(chunk));
    for (const [one, other] of [
      [client, up],
      [up, client],
    ] as const) {
      one.on('close', () => other.destroy());
      one.on('error', () => other.destroy());
    }
  });
  passing.listen(0, '127.0.0.1');
  await once(passing, 'listening');
  const url = `http://127.0.0.1:${(passing.address() as { port: number }).port}`;
  const args = ['attest', out, '--registry', url, '--root', registry.root, '--archive-inputs'];
  const child = spawn(process.execPath, [BIN, ...args], {
    env: {
      PATH: process.env.PATH,
      XDG_STATE_HOME: registry.folder,
      ...env('cache', { WAYBILL_ID_TOKEN: await registry.issuer.token() }),
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  await once(passing, 'stuck');
  await expect.poll(() => incoming().length).toBeGreaterThan(0);
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  expect({ code, said }).toMatchObject({ code: 75, said: expect.stringContaining('CLI_CANCELLED') });
  expect(said).toMatch(/uploading \d+ inputs: [\d.]+ of [\d.]+ MB/);
  // Who does not read does not see that the other side has gone.
  for (const client of stuck) client.destroy();
  await expect.poll(incoming).toEqual([]);
  await new Promise((resolve) => passing.close(resolve));
  const names = new Set(inputs.flatMap(wanted).map((blob) => blob.sha256));
  const { json } = await attest(['--archive-inputs']);
  const report = json as AttestReport;
  expect(report.inputs).toMatchObject({ count: names.size });
  expect(report.statements.every(({ reused }) => reused)).toBe(true);
  expect(report.inputs?.uploadedSizeBytes).toBeGreaterThan(large.length);
}, 120_000);

test('the registry keeps every input then; attesting again sends none, and needs none here', async () => {
  for (const { sha256: digest, sizeBytes } of inputs.flatMap(wanted)) {
    const bytes = readFileSync(stored(digest));
    expect([sha256(bytes), bytes.length]).toEqual([digest, sizeBytes]);
  }
  const { json } = await attest(['--archive-inputs'], 'empty-cache');
  expect((json as AttestReport).inputs).toMatchObject({ uploadedCount: 0, uploadedSizeBytes: 0 });
}, 60_000);

test('when every original is gone, every kind is fetched, built and rebuilt from the registry', async () => {
  await closeOriginals();
  for (const folder of [...originals.folders, join(base, 'cache'), join(base, 'packed')]) {
    execFileSync('chmod', ['-R', 'u+w', folder]);
    rmSync(folder, { recursive: true });
  }
  const alone = join(base, 'alone');
  mkdirSync(alone);
  for (const name of ['waybill.yaml', 'waybill.lock']) cpSync(join(work, name), join(alone, name));
  rmSync(work, { recursive: true });
  rmSync(out, { recursive: true });
  // To see whether a lock fits, nothing of what it names is asked for.
  const checked = await registry.cli.run(['lock', join(alone, 'waybill.yaml'), '--check'], {
    env: env('unasked'),
  });
  expect([checked.exitCode, existsSync(join(base, 'unasked'))]).toEqual([0, false]);
  const build = (cache: string, ...more: string[]) =>
    registry.cli.run(
      ['build', join(alone, 'waybill.yaml'), '--out', join(base, cache, 'out'), '--json', ...more],
      { env: env(cache) },
    );
  expect(codeOf(await build('nothing'))).toMatch(/^(FETCH|INPUT)_/);
  const built = await build('from-registry', '--registry', registry.url);
  expect(built).toMatchObject({ exitCode: 0, json: { images: [{ sha256: imageSha256 }] } });
  const image = readFileSync(join(base, 'from-registry/out/products/image.bin'));
  expect(image.subarray(0, -4).toString()).toBe('folder archive git submodule project blob ');
  const kept = join(base, 'kept');
  const rebuilt = await registry.cli.run(
    [
      'rebuild',
      `sha256:${imageSha256}`,
      ...trust(),
      '--key',
      join(base, 'key.pem'),
      '--archive',
      kept,
      '--json',
    ],
    { env: env('rebuild') },
  );
  expect(rebuilt).toMatchObject({ exitCode: 0, json: { verdict: 'agrees' } });
  for (const { sha256 } of inputs.flatMap(wanted)) {
    expect(existsSync(ContentStore.archive(kept).path(sha256))).toBe(true);
  }
}, 180_000);

test('a blob whose bytes changed at the registry is refused by digest, whatever input it is of', async () => {
  const fetchInto = (store: ContentStore, blob: Wanted) =>
    fetchBlobs(store, [blob], { registry: `${registry.url}/` }).then(
      () => 'fetched',
      (failure: { code?: string }) => failure.code,
    );
  for (const [i, blob] of inputs.flatMap(wanted).entries()) {
    const store = new ContentStore(join(base, `fetched-${i}`));
    expect(await fetchInto(store, blob)).toBe('fetched');
    if (blob.sizeBytes === 0) continue;
    rmSync(store.path(blob.sha256));
    const bytes = readFileSync(stored(blob.sha256));
    const changed = Buffer.from(bytes);
    changed.writeUInt8((changed.at(-1) ?? 0) ^ 1, changed.length - 1);
    writeFileSync(stored(blob.sha256), changed);
    expect([blob.what, await fetchInto(store, blob)]).toEqual([blob.what, 'FETCH_DIGEST_MISMATCH']);
    writeFileSync(stored(blob.sha256), bytes);
  }
  const [layer] = inputs.flatMap((input) => (input.kind === 'oci' ? input.layers : []));
  const path = stored(layer?.sha256 ?? '');
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.alloc(bytes.length));
  const refused = await registry.cli.run(
    ['rebuild', `sha256:${imageSha256}`, ...trust(), '--key', join(base, 'key.pem'), '--json'],
    { env: env('tampered') },
  );
  expect([refused.exitCode, codeOf(refused)]).toEqual([1, 'FETCH_DIGEST_MISMATCH']);
  writeFileSync(path, bytes);
}, 120_000);
