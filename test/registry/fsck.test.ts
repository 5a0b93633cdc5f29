// SPDX-License-Identifier: Apache-2.0
// Each kind of row and file, changed, removed or added: fsck names exactly that place. And it says nothing where all is well.

import { readFileSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatStatement } from '../../core/intoto/statement.ts';
import { formatCheckpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { formatHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { formatSignatureLine, parseNote, parseVerifierKey } from '../../core/tlog/note.ts';
import { type Finding, fsck } from '../../registry/fsck.ts';
import { fsckApart } from '../../registry/fsck-apart.ts';
import { nodeHasher } from '../../registry/log/hash-tiles.ts';
import { LogHead } from '../../registry/log/log-head.ts';
import { createLogKey, logVerifierKey, openLogKey } from '../../registry/log/log-key.ts';
import { SignatureLog } from '../../registry/log/signature-log.ts';
import { type LogRows, rowKey, rowsOf } from '../../registry/log/tile-store.ts';
import { sha256 as digestOf } from '../../registry/trust/certificate.ts';
import { say } from '../cli/command-line.ts';
import { makeDataFolder, RunningRegistry } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

const ENTRIES = 600;
const LOG = 'log.example.example';
let home: string;
let folder: string;
let bundle: string;
const at = (name: string) => join(folder, 'state', name);

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-fsck-'));
  folder = join(home, 'data');
  const registry = await RunningRegistry.start();
  const statement = formatStatement({
    subjects: [{ name: 'x', sha256: sha256('x') }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  });
  bundle = ((await registry.submit(await registry.sign(statement))).json as { sha256: string }).sha256;
  expect((await registry.putBlob(Buffer.from('x'))).status).toBe(201);
  await registry.restart(() => cp(registry.dataFolder, folder, { recursive: true }));
  await registry.close();
  const db = new Level<string, Uint8Array>(at('db'));
  const key = await openLogKey({ folder });
  const head = LogHead.in(at('heads'), LOG);
  const log = await SignatureLog.open({ db: db.sublevel('log'), head, origin: LOG, key, clock: Date.now });
  for (let n = 0; n < ENTRIES; n += 150) {
    const some = Array.from({ length: 150 }, (_, i) => {
      const digest = digestOf(Buffer.from(`${n + i}`));
      const verifier = { publicKey: digest };
      const keyDetails = 'PKIX_ECDSA_P256_SHA_256';
      return log.add(formatHashedRekord({ digest, signature: digest, verifier, keyDetails }));
    });
    await Promise.all(some);
  }
  await log.close();
  await db.close();
  await cp(join(folder, 'state'), join(home, 'sound'), { recursive: true });
}, 60_000);
afterAll(() => rm(home, { recursive: true }));

async function restore(): Promise<void> {
  await rm(join(folder, 'state'), { recursive: true });
  await cp(join(home, 'sound'), join(folder, 'state'), { recursive: true });
}

async function check(signal = new AbortController().signal): Promise<Finding[]> {
  const found: Finding[] = [];
  const config = { org: 'example', headFolder: undefined };
  for await (const finding of fsck({ dataFolder: folder, config, signal, progress: () => undefined })) {
    found.push(finding);
  }
  return found;
}

interface Rows {
  readonly log: LogRows;
  readonly ct: LogRows;
  readonly table: (name: string) => LogRows;
}

/** Does harm to the rows of the database. */
async function inDatabase(harm: (rows: Rows) => Promise<unknown>): Promise<void> {
  const db = new Level<string, Uint8Array>(at('db'), { valueEncoding: 'view' });
  const table = (name: string) =>
    db.sublevel<string, Uint8Array>(name, { valueEncoding: 'view' }) as unknown as LogRows;
  await harm({
    log: rowsOf(db.sublevel('log')),
    ct: rowsOf(db.sublevel('ct')),
    table,
  });
  await db.close();
}

/** Changes the byte at an offset, seen from the end where it is negative. */
function flipped(bytes: Uint8Array, offset = 0): Uint8Array {
  const out = bytes.slice();
  const place = offset < 0 ? out.length + offset : offset;
  out[place] = (out[place] ?? 0) ^ 1;
  return out;
}
async function flip(rows: LogRows, key: string, offset = 0): Promise<void> {
  await rows.put(key, flipped((await rows.get(key)) as Uint8Array, offset));
}
/** The key of the identity of an entry. */
async function identityKey(rows: LogRows, index: bigint): Promise<string> {
  const value = Buffer.alloc(8);
  value.writeBigUInt64BE(index);
  for await (const [key, found] of rows.iterator({ gte: 'identity/', lt: 'identity0' })) {
    if (value.equals(found)) return key;
  }
  throw new Error(`no identity of ${index}`);
}
const bytes = (...values: number[]) => Uint8Array.from(values);
const LAST = BigInt(ENTRIES);
const checkpoint = { [Symbol.toPrimitive]: () => rowKey.checkpoint(LAST + 1n) };

test('a sound folder is sound, and fsck changes no row', async () => {
  expect(await check()).toEqual([]);
  const rows = async () => {
    const all: unknown[] = [];
    await inDatabase(async ({ log }) => {
      for await (const [key, value] of log.iterator()) all.push([key, Buffer.from(value).toString('hex')]);
    });
    return all;
  };
  const before = await rows();
  expect(await check()).toEqual([]);
  expect(await rows()).toEqual(before);
});

/** A note that the log's own key signed. */
async function signedNote(size: bigint, rootHash: Uint8Array): Promise<Uint8Array> {
  const key = await openLogKey({ folder });
  const text = formatCheckpoint({ origin: LOG, size, rootHash, extensions: [] });
  const { keyId } = parseVerifierKey(logVerifierKey(LOG, key.publicKey), nodeHasher);
  const line = formatSignatureLine({ name: LOG, keyId, signature: await key.sign(Buffer.from(text)) });
  return Buffer.from(`${text}\n${line}`);
}
async function rootOf(log: LogRows, key: string): Promise<Uint8Array> {
  return parseCheckpoint(parseNote(Buffer.from((await log.get(key)) ?? []).toString()).text).rootHash;
}

/** Place named first, and what was done. */
type Harm = [place: string, what: string, harm: () => Promise<unknown>];
const database = (place: string, what: string, harm: (rows: Rows) => Promise<unknown>): Harm => [
  place,
  what,
  () => inDatabase(harm),
];
const e5 = rowKey.entry(5n);
const lastTile = rowKey.tile(0, 2n);
const harms: Harm[] = [
  database(`log/${e5}`, 'changed to no entry', ({ log }) => flip(log, e5)),
  database(`log/${e5}`, 'changed to another entry', async ({ log }) =>
    log.put(e5, (await log.get(rowKey.entry(6n))) as Uint8Array),
  ),
  database(`log/${e5}`, 'removed', ({ log }) => log.del(e5)),
  database(`log/${rowKey.entry(LAST)}`, 'the last one removed', ({ log }) => log.del(rowKey.entry(LAST))),
  database(`log/${rowKey.entry(LAST + 1n)}`, 'added', ({ log }) =>
    log.put(rowKey.entry(LAST + 1n), bytes(1)),
  ),
  database('log/entry/x', 'added beside the numbers', ({ log }) => log.put('entry/x', bytes(1))),
  database('log/entry/00000000000000005', 'added between', ({ log }) =>
    log.put('entry/00000000000000005', bytes(1)),
  ),
  database(`log/${rowKey.leaf(5n)}`, 'added', ({ log }) => log.put(rowKey.leaf(5n), bytes(1))),
  database(`log/${rowKey.leaf(9999n)}`, 'added past the end', ({ log }) =>
    log.put(rowKey.leaf(9999n), bytes(1)),
  ),
  database('log/identity/…', 'removed', async ({ log }) => log.del(await identityKey(log, 7n))),
  database('log/identity/…', 'gives another index', async ({ log }) =>
    flip(log, await identityKey(log, 7n), 7),
  ),
  database(`log/identity/${'ab'.repeat(32)}`, 'added for an entry', ({ log }) =>
    log.put(`identity/${'ab'.repeat(32)}`, new Uint8Array(8)),
  ),
  database('log/identity/x', 'added for no entry', ({ log }) => log.put('identity/x', bytes(1))),
  database(`log/${rowKey.tile(0, 1n)}`, 'a hash changed', ({ log }) => flip(log, rowKey.tile(0, 1n), 300)),
  database(`log/${rowKey.tile(0, 1n)}`, 'removed', ({ log }) => log.del(rowKey.tile(0, 1n))),
  database(`log/${lastTile}`, 'cut', async ({ log }) =>
    log.put(lastTile, ((await log.get(lastTile)) as Uint8Array).slice(0, -32)),
  ),
  database(`log/${lastTile}`, 'one hash too many', async ({ log }) =>
    log.put(lastTile, Buffer.concat([(await log.get(lastTile)) as Uint8Array, Buffer.alloc(32)])),
  ),
  database(`log/${rowKey.tile(0, 3n)}`, 'added', ({ log }) => log.put(rowKey.tile(0, 3n), bytes(1))),
  database(`log/${rowKey.tile(1, 0n)}`, 'an upper hash changed', ({ log }) =>
    flip(log, rowKey.tile(1, 0n), 40),
  ),
  database(`log/${rowKey.tile(1, 0n)}`, 'an upper tile removed', ({ log }) => log.del(rowKey.tile(1, 0n))),
  database(`log/${rowKey.tile(1, 1n)}`, 'an upper tile added', ({ log }) =>
    log.put(rowKey.tile(1, 1n), bytes(1)),
  ),
  database(`log/${rowKey.tile(2, 0n)}`, 'a level added', ({ log }) => log.put(rowKey.tile(2, 0n), bytes(1))),
  database(`log/${checkpoint}`, 'its signature changed', ({ log }) => flip(log, `${checkpoint}`, -8)),
  database(`log/${checkpoint}`, 'its text changed', ({ log }) => flip(log, `${checkpoint}`, 30)),
  database(`log/${checkpoint}`, 'that of another size', async ({ log }) =>
    log.put(`${checkpoint}`, (await log.get(rowKey.checkpoint(1n))) as Uint8Array),
  ),
  database(`log/${checkpoint}`, 'signed, with another root', async ({ log }) =>
    log.put(`${checkpoint}`, await signedNote(LAST + 1n, digestOf(bytes(1)))),
  ),
  database(`log/${checkpoint}`, 'signed, with another size', async ({ log }) =>
    log.put(`${checkpoint}`, await signedNote(LAST, await rootOf(log, `${checkpoint}`))),
  ),
  database(`log/${checkpoint}`, 'the last one removed', ({ log }) => log.del(`${checkpoint}`)),
  database(`log/${rowKey.checkpoint(0n)}`, 'the first one removed', ({ log }) =>
    log.del(rowKey.checkpoint(0n)),
  ),
  database(`log/${rowKey.checkpoint(3n)}`, 'added', async ({ log }) =>
    log.put(rowKey.checkpoint(3n), (await log.get(`${checkpoint}`)) as Uint8Array),
  ),
  database('log/checkpoint/x', 'added without a size', ({ log }) => log.put('checkpoint/x', bytes(1))),
  database(`log/${rowKey.checkpoint(9999n)}`, 'added past the end, unsigned', ({ log }) =>
    log.put(rowKey.checkpoint(9999n), bytes(1)),
  ),
  database('log/clock', 'removed', ({ log }) => log.del('clock')),
  database('log/cosigned', 'added, of no log', ({ log }) => log.put('cosigned', bytes(1))),
  database('log/cosigned', 'added, of a size that was not published', async ({ log }) => {
    await log.put('cosigned', (await log.get(rowKey.checkpoint(1n))) as Uint8Array);
    await log.del(rowKey.checkpoint(1n));
  }),
  database('log/unsigned', 'added, of no log', ({ log }) => log.put('unsigned', bytes(1))),
  database('log/hello', 'a row of no kind', ({ log }) => log.put('hello', bytes(1))),
  database(`ct/${rowKey.entry(0n)}`, 'its time changed', ({ ct }) => flip(ct, rowKey.entry(0n), 3)),
  database(`ct/${rowKey.entry(0n)}`, 'its certificate changed', ({ ct }) => flip(ct, rowKey.entry(0n), 90)),
  database(`ct/${rowKey.entry(0n)}`, 'its precertificate changed', ({ ct }) =>
    flip(ct, rowKey.entry(0n), -70),
  ),
  database(`ct/${rowKey.entry(0n)}`, 'its chain changed', ({ ct }) => flip(ct, rowKey.entry(0n), -1)),
  database(`ct/${rowKey.leaf(0n)}`, 'changed', ({ ct }) => flip(ct, rowKey.leaf(0n), 60)),
  database(`ct/${rowKey.leaf(0n)}`, 'removed', ({ ct }) => ct.del(rowKey.leaf(0n))),
  database('ct/identity/…', 'removed', async ({ ct }) => ct.del(await identityKey(ct, 0n))),
  database(`ct/${rowKey.checkpoint(1n)}`, 'its time changed', ({ ct }) =>
    flip(ct, rowKey.checkpoint(1n), -80),
  ),
  database('ct/clock', 'changed', ({ ct }) => flip(ct, 'clock', 7)),
  database('bundle/…', 'changed', ({ table }) => flip(table('bundle'), bundle, 40)),
  database('bundle/…', 'removed', ({ table }) => table('bundle').del(bundle)),
  database('bundle/x', 'added', ({ table }) => table('bundle').put('x', bytes(1))),
  database('fact/…', 'removed', ({ table }) => table('fact').del(bundle)),
  database('fact/…', 'changed', ({ table }) => table('fact').put(bundle, Buffer.from('{}'))),
  database(`bySubject/${sha256('x')}/…`, 'removed', ({ table }) =>
    table('bySubject').del(`${sha256('x')}\0${bundle}`),
  ),
  ...['bySubject', 'byMaterial', 'byInput', 'byDependency', 'bySbom', 'byEvidence'].map((name) =>
    database(`${name}/y/…`, 'added', ({ table }) => table(name).put(`y\0${bundle}`, Buffer.from('null'))),
  ),
  [
    `state/blobs/sha256/${sha256('x').slice(0, 2)}/${sha256('x')}`,
    'changed',
    () => writeFile(blobPath(), 'y'),
  ],
  [
    'state/blobs/sha256/00/x',
    'added',
    async () => {
      await mkdir(at('blobs/sha256/00'), { recursive: true });
      await cp(blobPath(), at('blobs/sha256/00/x'));
    },
  ],
  ['state/blobs/sha256/zz', 'a file in place of a folder', () => writeFile(at('blobs/sha256/zz'), 'x')],
  [
    'state/blobs/sha256/00/y',
    'a folder in place of a file',
    () => mkdir(at('blobs/sha256/00/y'), { recursive: true }),
  ],
  [
    'state/blobs/sha256/…',
    'that of a published target removed',
    async () => rm(at(`blobs/sha256/${(await trustedRoot()).slice(0, 2)}`), { recursive: true }),
  ],
  ['state/blobs/sha256/…', 'all removed', () => rm(at('blobs/sha256'), { recursive: true })],
  [
    'state/db',
    'a file of the database removed',
    async () => {
      const [name] = (await readdir(at('db'))).filter((file) => file.endsWith('.ldb'));
      await rm(at(`db/${name}`));
    },
  ],
  [
    'state/db',
    'its files cut short',
    async () => {
      for (const name of (await readdir(at('db'))).filter((file) => file.endsWith('.ldb'))) {
        const path = at(`db/${name}`);
        const whole = await readFile(path);
        await writeFile(path, whole.subarray(0, whole.length / 2));
      }
    },
  ],
  database('log2/hello', 'rows of a shard without a key', ({ table }) =>
    (table('log2') as unknown as Level).sublevel('tlog').put('hello', 'x'),
  ),
  ['state/tuf', 'a role changed', () => appendFile(at('tuf/1.targets.json'), ' ')],
  ['head of log', 'removed', () => rm(at(`heads/${LOG}`))],
  ['head of log', 'changed', () => writeFile(at(`heads/${LOG}`), 'x')],
];
/** The digest of the trusted root that is published. */
async function trustedRoot(): Promise<string> {
  const targets = JSON.parse(await readFile(at('tuf/1.targets.json'), 'utf8'));
  return targets.signed.targets['trusted_root.json'].hashes.sha256;
}
const blobPath = () => at(`blobs/sha256/${sha256('x').slice(0, 2)}/${sha256('x')}`);

test.each(harms)('names %s: %s', async (place, _what, harm) => {
  try {
    await harm();
    const [first] = await check();
    const named = first?.at.replace(/(?<=\/)([0-9a-f]{2}\/)?[0-9a-f]{64}$/, (digest) =>
      place.endsWith('…') ? '…' : digest,
    );
    expect(named).toBe(place);
  } finally {
    await restore();
  }
});

test('a shard whose key was made and that no start has begun is sound; one with a head and no rows is not', async () => {
  await createLogKey({ folder, instance: 2 });
  expect(await check()).toEqual([]);
  const head = at('heads/log2.example.example');
  await cp(at(`heads/${LOG}`), head);
  expect((await check()).map((finding) => finding.at)).toContain('head of log2');
  await rm(head);
  await rm(join(folder, 'keys', 'log-2.pem'));
  await restore();
});

test('the database that is behind its head is named', async () => {
  await inDatabase(async ({ log }) => {
    await log.clear();
    await log.put(rowKey.checkpoint(0n), (await log.get(rowKey.checkpoint(0n))) ?? bytes(1));
  });
  const places = (await check()).map((finding) => finding.at);
  expect(places).toContain('head of log');
  await restore();
});

test('the command says so with exit codes, in words and as JSON, and stops at the first bad place unless told', async () => {
  const run = async (...more: string[]) => {
    const said = await say(['fsck', folder, ...more]);
    process.exitCode = undefined;
    return said;
  };
  const sound = await run();
  expect(sound.code).toBe(0);
  expect(sound.out).toContain(`  logEntries: ${ENTRIES + 1}\n  ctEntries: 1\n  attestations: 1\n`);
  expect(JSON.parse((await run('--json')).out)).toMatchObject({
    ok: true,
    findings: [],
    read: { ctEntries: 1 },
  });
  await inDatabase(async ({ log, ct }) => {
    await log.del(rowKey.tile(0, 0n));
    await ct.del('clock');
  });
  const bad = await run();
  expect(bad.code).toBe(1);
  expect(bad.out).toBe(`bad: log/${rowKey.tile(0, 0n)}: expected this tile, found none\n`);
  expect(bad.err).toMatch(
    /^waybill: REGISTRY_FSCK_DAMAGED: expected a sound data folder, got one bad place and looked no further; --all names the rest\n {2}what to do: It depends on the place\. A row, a head, or anything in state\/: do not serve/,
  );
  // Said once, as the result.
  expect(bad.err).not.toContain('expected this tile');
  const each = await run('--all');
  expect(each.out.split('\n')).toHaveLength(3);
  expect(each.err).toContain('got 2 bad places\n');
  const all = await run('--all', '--json');
  expect(all.code).toBe(1);
  const { ok, findings } = JSON.parse(all.out);
  expect([ok, findings.map((finding: Finding) => finding.at)]).toEqual([
    false,
    [`log/${rowKey.tile(0, 0n)}`, 'ct/clock'],
  ]);
  expect(all.err).toContain('REGISTRY_FSCK_DAMAGED');
});

test('a folder that was never served is sound, and says so; one that lost its database is not', async () => {
  const fresh = await makeDataFolder('http://127.0.0.1:1');
  const said = await say(['fsck', fresh.dataFolder]);
  expect(said).toMatchObject({ code: 0, err: '' });
  expect(said.out).toBe(
    `${fresh.dataFolder} is sound\n` +
      '  nothing was logged yet: `waybill serve` has not begun the logs of this folder\n' +
      '  logEntries: 0\n  ctEntries: 0\n  attestations: 0\n  blobs: 3\n',
  );
  expect(JSON.parse((await say(['fsck', fresh.dataFolder, '--json'])).out)).toMatchObject({
    ...{ ok: true, isBegun: false, read: { logEntries: 0, blobs: 3 } },
  });
  expect(await readdir(join(fresh.dataFolder, 'state'))).toEqual(['blobs', 'tuf']);
  // What is there is checked.
  await appendFile(join(fresh.dataFolder, 'state', 'tuf', '1.targets.json'), ' ');
  expect((await say(['fsck', fresh.dataFolder])).out).toMatch(/^bad: state\/tuf: /);
  process.exitCode = undefined;
  await rm(fresh.home, { recursive: true });

  await rm(at('db'), { recursive: true });
  const lost = await say(['fsck', folder, '--all', '--json']);
  process.exitCode = undefined;
  expect([lost.code, JSON.parse(lost.out).findings]).toEqual([
    1,
    [
      {
        at: 'state/db',
        problem: expect.stringMatching(`mount that: .* "${LOG}" with the published size ${ENTRIES + 1}, got`),
      },
    ],
  ]);
  expect(await readdir(at('.'))).not.toContain('db');
  await mkdir(at('db'));
  expect(await check()).toMatchObject([{ at: 'state/db' }]);
  expect(await readdir(at('db'))).toEqual([]);
  await restore();
});

test('files on which LevelDB ends the process are a finding, not the end of fsck', async () => {
  await restore();
  const db = new Level(at('db'));
  await db.open();
  // One table of all rows. Browsers have no such method, so the types that are common to all do not either.
  const rows = db as unknown as { compactRange(from: string, to: string): Promise<void> };
  await rows.compactRange('', '\u{10ffff}');
  await db.close();
  const [name = ''] = (await readdir(at('db'))).filter((file) => file.endsWith('.ldb'));
  const path = at(`db/${name}`);
  const whole = await readFile(path);
  // The header of the first entry: 0 bytes shared, so many not shared, so many of the value; then the key.
  const key = whole.indexOf('!');
  const header = [3, 4].map((back) => key - back).find((place) => whole[place] === 0) as number;
  whole[header + 1] = 1;
  await writeFile(path, whole);
  const blob = await readFile(blobPath());
  await writeFile(blobPath(), 'y');
  try {
    const said = await say(['fsck', folder, '--all', '--json']);
    process.exitCode = undefined;
    expect(said.code).toBe(1);
    const { ok, findings } = JSON.parse(said.out);
    const assertion = expect.stringMatching(/LevelDB ends the process: "Assertion `internal_key/);
    const digest = expect.stringContaining('expected bytes with this digest');
    expect([ok, findings]).toEqual([
      false,
      [
        { at: 'state/db', problem: assertion },
        { at: expect.stringMatching(/^state\/blobs\//), problem: digest },
      ],
    ]);
    await writeFile(blobPath(), blob);
  } finally {
    await restore();
  }
});

/** The check in a process of its own, which has just been started. */
function startedApart(signal: AbortSignal) {
  const config = { org: 'example', headFolder: undefined };
  return fsckApart({ dataFolder: folder, config, signal, progress: () => undefined }).next();
}

test('a check that ends otherwise is no finding', async () => {
  const next = startedApart(new AbortController().signal);
  const isChild = (pid: string) => {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ')[1];
      return (
        parent === `${process.pid}` && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('fsck-process')
      );
    } catch {
      return false;
    }
  };
  const child = (await readdir('/proc')).find((name) => /^[0-9]+$/.test(name) && isChild(name));
  process.kill(Number(child), 'SIGKILL');
  await expect(next).rejects.toMatchObject({
    code: 'REGISTRY_STORE_FAILED',
    message: expect.stringContaining('SIGKILL'),
  });
});

test('a folder that is open, no folder, and an interrupt', async () => {
  const db = new Level(at('db'));
  await db.open();
  expect((await say(['fsck', folder])).code).toBe(75);
  await db.close();
  const none = await say(['fsck', home]);
  expect([none.code, none.err]).toEqual([2, expect.stringContaining('REGISTRY_DATA_MISSING')]);
  await expect(check(AbortSignal.abort(new RangeError('told to stop')))).rejects.toThrow('told to stop');
  const stop = new AbortController();
  const next = startedApart(stop.signal);
  stop.abort(new RangeError('told to stop'));
  await expect(next).rejects.toThrow('told to stop');
  expect(await readFile(blobPath(), 'utf8')).toBe('x');
});
