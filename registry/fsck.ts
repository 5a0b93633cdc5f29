// SPDX-License-Identifier: Apache-2.0
// Checks a whole data folder from its bytes [docs/spec/fsck.md]: both logs, their heads, attestations and what is indexed of them, blobs,
// TUF repository, trust material. Nobody else may have the folder open, and nothing in it is changed.

import { createHash } from 'node:crypto';
import { createReadStream, type Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { quote, Rejection } from '../core/faults.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import { verifyCheckpoint } from '../core/tlog/checkpoint.ts';
import { parseHashedRekord } from '../core/tlog/hashed-rekord.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { parseVerifierKey } from '../core/tlog/note.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { RegistryConfig } from './config.ts';
import { readTileLeaf, verifyTreeHeadNote } from './ct/stored-entry.ts';
import { type AttestationFacts, indexRows } from './facts.ts';
import { checkModes, NamedTrust, shardKey } from './fsck-keys.ts';
import { checkTrust } from './fsck-trust.ts';
import { hasBegun } from './log/begun-shard.ts';
import { nodeHasher } from './log/hash-tiles.ts';
import { type Finding, LogCheck, type LogCheckOptions } from './log/log-check.ts';
import { headFolder, LogHead } from './log/log-head.ts';
import { logVerifierKey } from './log/log-key.ts';
import { type LogRows, rowKey, rowsOf } from './log/tile-store.ts';
import { blobPath } from './store/blobs.ts';
import { Database, type Table } from './store/database.ts';
import { diskFiles, storeFailure } from './store/durable-files.ts';
import { hasDatabase } from './store/level-folder.ts';
import { type LogService, shardName, shardOrigin } from './trust/instances.ts';
import { serviceNames } from './trust/services.ts';
import { unbegunPath } from './trust/unbegun.ts';
import { readPublished, readState } from './tuf/repository-state.ts';
import { targetsOf } from './tuf/role-document.ts';

export type { Finding } from './log/log-check.ts';

export interface FsckOptions {
  readonly dataFolder: string;
  readonly config: Pick<RegistryConfig, 'org' | 'headFolder'>;
  /** True for a copy whose registry went on, when the heads of the logs are elsewhere: they are ahead of it, and are not compared. */
  readonly withoutHeads?: boolean;
  /** Ends the check. */
  readonly signal: AbortSignal;
  /** What is read now, and how much of it was. */
  readonly progress: (what: string, count: bigint) => void;
  /** How the database is checked: in this process by default, which damaged files can end. */
  readonly checkDatabase?: (options: FsckOptions) => AsyncGenerator<Finding, DatabaseCounts>;
}

/** Places as an operator finds them in the data folder. */
const DATABASE = 'state/db';
const BLOBS = 'state/blobs/sha256';
const TUF = 'state/tuf';

/** How much was read of the database. */
export interface DatabaseCounts {
  readonly logEntries: bigint;
  readonly ctEntries: bigint;
  readonly attestations: bigint;
}

/** How much was read. */
export interface FsckCounts extends DatabaseCounts {
  readonly blobs: bigint;
}

/** What was looked at. */
export interface FsckResult {
  readonly read: FsckCounts;
  /** False for a folder that no `waybill serve` has begun yet: neither log has a database or a head. */
  readonly isBegun: boolean;
}

/**
 * Tells what is wrong, in the order of reading; nothing if all is well. The result says how much was read.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_LOCKED, REGISTRY_STORE_FAILED, CA_FILES_UNREADABLE, and the signal's reason
 */
export async function* fsck(options: FsckOptions): AsyncGenerator<Finding, FsckResult> {
  const { dataFolder, checkDatabase = fsckDatabase } = options;
  const names = serviceNames(options.config.org);
  const isBegun = yield* findDatabase(dataFolder);
  let ofDatabase: DatabaseCounts = { logEntries: 0n, ctEntries: 0n, attestations: 0n };
  if (isBegun) ofDatabase = yield* checkDatabase(options);
  else if (isBegun === false) yield* checkUnbegun(options);
  const blobs = yield* checkBlobs(options);
  yield* checkTuf(dataFolder);
  yield* checkTrust(dataFolder, names);
  yield* checkModes(dataFolder);
  return { read: { ...ofDatabase, blobs }, isBegun: isBegun !== false };
}

/** Whether there is a database; undefined if there are files of one that cannot be opened. */
async function* findDatabase(dataFolder: string): AsyncGenerator<Finding, boolean | undefined> {
  try {
    return await hasDatabase(join(dataFolder, DATABASE));
  } catch (failure) {
    if (!(failure instanceof Rejection && failure.code === 'REGISTRY_DATA_DAMAGED')) throw failure;
    yield { at: DATABASE, problem: failure.message };
    return undefined;
  }
}

/** Without a database nothing may have been published. */
async function* checkUnbegun({ dataFolder, config }: FsckOptions): AsyncGenerator<Finding> {
  const names = serviceNames(config.org);
  const named = await NamedTrust.read(dataFolder, names);
  for (const service of ['log', 'ct'] as const) {
    const shardCount = await named.countShards(dataFolder, service);
    for (let shard = 1; shard <= shardCount; shard++) {
      const origin = shardOrigin(service, names[service], shard);
      const unbegun = unbegunPath(dataFolder, service, shard);
      const head = LogHead.in(headFolder(dataFolder, config.headFolder), origin, unbegun);
      try {
        await head.check({ origin, size: 0n, note: undefined, noteOf: async () => undefined });
      } catch (cause) {
        if (!(cause instanceof Rejection)) throw cause;
        const what = 'expected the database of logs that have begun, found none here';
        yield { at: DATABASE, problem: `${what}; if it is on another disk, mount that: ${cause.message}` };
        return;
      }
    }
  }
}

/** Checks the database alone, which is there. @throws as `fsck` */
export async function* fsckDatabase(options: FsckOptions): AsyncGenerator<Finding, DatabaseCounts> {
  const read = { logEntries: 0n, ctEntries: 0n, attestations: 0n };
  let database: Database | undefined;
  try {
    database = await Database.open(join(options.dataFolder, DATABASE));
    yield* checkRows(options, database, read);
  } catch (failure) {
    // What was opened once can be read: its files are cut short then.
    const codes = ['LEVEL_CORRUPTION', ...(database === undefined ? [] : ['LEVEL_IO_ERROR'])];
    if (!isCausedBy(failure, codes)) throw failure;
    yield { at: DATABASE, problem: 'expected a database that can be read, got a damaged one' };
  } finally {
    await database?.close();
  }
  return read;
}

function isCausedBy(failure: unknown, codes: readonly string[]): boolean {
  const { code, cause } = (failure ?? {}) as { readonly code?: string; readonly cause?: unknown };
  return codes.includes(code ?? '') || (cause !== undefined && isCausedBy(cause, codes));
}

async function* checkRows(
  options: FsckOptions,
  database: Database,
  read: { logEntries: bigint; ctEntries: bigint; attestations: bigint },
): AsyncGenerator<Finding> {
  const { dataFolder } = options;
  const names = serviceNames(options.config.org);
  const named = await NamedTrust.read(dataFolder, names);
  const shards: LogRows[] = [];
  const logCount = await named.countShards(dataFolder, 'log');
  for (let shard = 1; shard <= logCount; shard++) {
    const rows = rowsOf(database.sublevel(shardName('log', shard)));
    const key = yield* shardKey(dataFolder, 'log', shard, named);
    if (key === undefined) yield* checkUnkeyed(named, rows, 'log', shard);
    else read.logEntries += yield* checkLog(options, rows, shard, key.subarray(-32));
    shards.push(rows);
  }
  yield* checkNoMore(named, database, 'log', logCount);
  const chains = named.chains('ca');
  const ctCount = await named.countShards(dataFolder, 'ct');
  for (let shard = 1; shard <= ctCount; shard++) {
    const rows = rowsOf(database.sublevel(shardName('ct', shard)));
    const spki = yield* shardKey(dataFolder, 'ct', shard, named);
    if (spki === undefined) yield* checkUnkeyed(named, rows, 'ct', shard);
    // A trusted root without authorities, or none, is a finding of its own; by it each entry would be one.
    else if (chains.length > 0) read.ctEntries += yield* checkCtLog(options, rows, shard, { spki, chains });
  }
  yield* checkNoMore(named, database, 'ct', ctCount);
  const rowsOfShard = (shard: number) =>
    // Where no trusted root says how many there are, the attestations do.
    shards[shard - 1] ??
    (named.own || !Number.isSafeInteger(shard)
      ? undefined
      : rowsOf(database.sublevel(shardName('log', shard))));
  read.attestations = yield* checkAttestations(options, database, rowsOfShard);
}

/** Rows of a shard that nothing names: nothing of it would be served, nor looked at. */
function checkNoMore(
  named: NamedTrust,
  database: Database,
  service: LogService,
  count: number,
): AsyncGenerator<Finding> {
  return checkUnkeyed(named, rowsOf(database.sublevel(shardName(service, count + 1))), service, count + 1);
}

async function* checkUnkeyed(
  named: NamedTrust,
  rows: LogRows,
  service: LogService,
  shard: number,
): AsyncGenerator<Finding> {
  // The trusted root that cannot be read, which is a finding of its own, may be what names the shard.
  if (named.own === undefined) return;
  const [key] = await rows.keys({ limit: 1 }).all();
  if (key === undefined) return;
  const at = `${shardName(service, shard)}/${key}`;
  yield {
    at,
    problem: 'expected no such row: neither a trusted root nor a key file has a key of this shard',
  };
}

async function* checkLog(
  options: FsckOptions,
  rows: LogRows,
  shard: number,
  publicKey: Uint8Array,
): AsyncGenerator<Finding, bigint> {
  const origin = shardOrigin('log', serviceNames(options.config.org).log, shard);
  const keys = [parseVerifierKey(logVerifierKey(origin, publicKey), nodeHasher)];
  return yield* checkTiles(
    options,
    { service: 'log', number: shard },
    {
      rows,
      name: shardName('log', shard),
      origin,
      verifyNote: (note) => {
        verifyCheckpoint(note, { origin, keys }, nodeCrypto);
        return undefined;
      },
      readEntry: (entry) => {
        parseHashedRekord(entry);
        return { leaf: entry, identity: nodeHasher.sha256(entry) };
      },
    },
  );
}

async function* checkCtLog(
  options: FsckOptions,
  rows: LogRows,
  shard: number,
  { spki, chains }: { readonly spki: Uint8Array; readonly chains: readonly (readonly Uint8Array[])[] },
): AsyncGenerator<Finding, bigint> {
  const origin = shardOrigin('ct', serviceNames(options.config.org).ct, shard);
  return yield* checkTiles(
    options,
    { service: 'ct', number: shard },
    {
      rows,
      name: shardName('ct', shard),
      origin,
      verifyNote: (note) => verifyTreeHeadNote(note, origin, spki),
      readEntry: (entry, index) => readTileLeafOfAny(entry, index, chains),
    },
  );
}

/** Reads an entry that one of the folder's authorities issued. @throws what `readTileLeaf` throws of the last of them */
function readTileLeafOfAny(entry: Uint8Array, index: bigint, chains: readonly (readonly Uint8Array[])[]) {
  let failure: unknown;
  for (const chain of chains) {
    try {
      return readTileLeaf(entry, index, chain);
    } catch (cause) {
      failure = cause;
    }
  }
  throw failure;
}

async function* checkTiles(
  options: FsckOptions,
  shard: { readonly service: LogService; readonly number: number },
  log: Omit<LogCheckOptions, 'progress'>,
): AsyncGenerator<Finding, bigint> {
  const { rows, name, origin } = log;
  const progress = (index: bigint) => {
    options.signal.throwIfAborted();
    options.progress(`entries of ${origin}`, index);
  };
  const unbegun = unbegunPath(options.dataFolder, shard.service, shard.number);
  const head = LogHead.in(headFolder(options.dataFolder, options.config.headFolder), origin, unbegun);
  // Of a shard that no start has begun, as its mark says, there is nothing.
  if ((await head.mayBegin()) && !(await hasBegun(rows, head))) return 0n;
  const size = yield* new LogCheck({ ...log, progress }).run();
  const noteOf = async (of: bigint) => {
    const note = await rows.get(rowKey.checkpoint(of));
    return note === undefined ? undefined : Buffer.from(note).toString();
  };
  if (options.withoutHeads === true) return size;
  try {
    await head.check({ origin, size, note: await noteOf(size), noteOf });
  } catch (cause) {
    const { message, at } = cause as Rejection;
    yield { at: `head of ${name}`, problem: at === undefined ? message : `${message}: ${quote(at)}` };
  }
  return size;
}

/** Tables whose keys end in, or hold, the digest of a bundle, and at which part. */
const INDEXES: readonly (readonly [Table, number])[] = [
  ['bySubject', 1],
  ['byLeaf', 1],
  ['byMaterial', 1],
  ['byInput', 1],
  ['byDependency', 1],
  ['bySbom', 1],
  ['byEvidence', 1],
];

async function* checkAttestations(
  { signal, progress }: FsckOptions,
  database: Database,
  rowsOfShard: (shard: number) => LogRows | undefined,
): AsyncGenerator<Finding, bigint> {
  let count = 0n;
  const at = (table: Table, ...key: readonly string[]) => [table, ...key].join('/');
  for await (const [[sha256 = ''], bytes] of database.rowsOf('bundle')) {
    signal.throwIfAborted();
    progress('attestations', count++);
    const row = await database.bytes('fact', sha256);
    const shard = (row === undefined ? undefined : readFacts(row))?.logShard ?? 1;
    const problem = await problemOfBundle(sha256, bytes, rowsOfShard(shard));
    if (problem !== undefined) yield { at: at('bundle', sha256), problem };
    if (row === undefined) {
      yield { at: at('fact', sha256), problem: 'expected the facts of a stored attestation, found none' };
    }
  }
  for await (const [[sha256 = ''], bytes] of database.rowsOf('fact')) {
    signal.throwIfAborted();
    const facts = readFacts(bytes);
    const bundle = await database.bytes('bundle', sha256);
    if (bundle === undefined) {
      yield {
        at: at('bundle', sha256),
        problem: 'expected the attestation whose facts are stored, found none',
      };
    }
    if (facts?.sha256 !== sha256 || (bundle !== undefined && leafIndexOf(bundle) !== facts.leafIndex)) {
      yield {
        at: at('fact', sha256),
        problem: 'expected facts of the attestation with this digest, got others',
      };
      continue;
    }
    for (const { table, key } of indexRows(facts)) {
      if (await database.has(table, ...key)) continue;
      yield { at: at(table, ...key), problem: 'expected a row by which an attestation is found, found none' };
    }
  }
  for (const [table, part] of INDEXES) {
    for await (const [key] of database.rowsOf(table)) {
      signal.throwIfAborted();
      const row = await database.bytes('fact', key[part] ?? '');
      const facts = row === undefined ? undefined : readFacts(row);
      const isIndexed =
        facts !== undefined &&
        indexRows(facts).some((each) => each.table === table && each.key.join('/') === key.join('/'));
      if (!isIndexed)
        yield { at: at(table, ...key), problem: 'expected no such row: no attestation says this' };
    }
  }
  return count;
}

function readFacts(bytes: Uint8Array): AttestationFacts | undefined {
  try {
    const facts = JSON.parse(Buffer.from(bytes).toString()) as AttestationFacts;
    indexRows(facts);
    return facts;
  } catch {
    return undefined;
  }
}

function leafIndexOf(bundle: Uint8Array): number | undefined {
  try {
    return Number(parseBundle(bundle).leafIndex);
  } catch {
    return undefined;
  }
}

async function problemOfBundle(
  sha256: string,
  bytes: Uint8Array,
  log: LogRows | undefined,
): Promise<string | undefined> {
  const digest = createHash('sha256').update(bytes).digest('hex');
  if (digest !== sha256) return `expected bytes with this digest, got ${digest}`;
  try {
    const { leafIndex, leaf } = parseBundle(bytes);
    const logged = await log?.get(rowKey.entry(leafIndex));
    if (logged !== undefined && sameBytes(logged, leaf)) return undefined;
    return `expected the log entry ${leafIndex} that it carries, got ${logged === undefined ? 'none' : 'another'}`;
  } catch (cause) {
    return (cause as Error).message;
  }
}

async function* checkBlobs({ dataFolder, signal, progress }: FsckOptions): AsyncGenerator<Finding, bigint> {
  const folder = join(dataFolder, BLOBS);
  let count = 0n;
  const parts = await readdir(folder, { withFileTypes: true }).catch(noFolder);
  if (parts === undefined) yield { at: BLOBS, problem: 'expected a folder of blobs, got something else' };
  for (const part of parts ?? []) {
    if (!part.isDirectory()) {
      yield { at: `${BLOBS}/${part.name}`, problem: 'expected a folder of blobs' };
      continue;
    }
    for (const file of await readdir(join(folder, part.name), { withFileTypes: true })) {
      signal.throwIfAborted();
      progress('blobs', count++);
      const at = `${BLOBS}/${part.name}/${file.name}`;
      if (!file.isFile()) {
        yield { at, problem: 'expected a blob, got something else than a file' };
        continue;
      }
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(join(folder, part.name, file.name))) {
        signal.throwIfAborted();
        hash.update(chunk);
      }
      const digest = hash.digest('hex');
      if (digest === file.name && digest.startsWith(part.name)) continue;
      yield { at, problem: `expected bytes with this digest, got ${digest}` };
    }
  }
  return count;
}

const noFolder = (cause: NodeJS.ErrnoException): Dirent[] | undefined => {
  if (cause.code === 'ENOENT') return [];
  if (cause.code === 'ENOTDIR') return undefined;
  throw storeFailure('could not read the folder of blobs', cause);
};

/** The published roles, and that what they name is there; its bytes are looked at with all other blobs. */
async function* checkTuf(dataFolder: string): AsyncGenerator<Finding> {
  try {
    const [folder, keysFolder] = [join(dataFolder, TUF), join(dataFolder, 'keys')];
    const { state } = await readPublished(folder, diskFiles);
    for (const [role, { metadata }] of state.roles) {
      for (const { name, sha256, sizeBytes } of targetsOf(metadata)) {
        const found = await stat(blobPath(join(dataFolder, 'state', 'blobs'), sha256)).catch(() => undefined);
        if (found?.size === sizeBytes) continue;
        const problem = `expected ${sizeBytes} bytes that ${role} names ${quote(name)}, found ${found?.size ?? 'none'}`;
        yield { at: `${BLOBS}/${sha256.slice(0, 2)}/${sha256}`, problem };
      }
    }
    // Of a copy without keys nothing is asked of them.
    const isHeld = (await diskFiles.list(keysFolder)).some((name) => /^tuf-.*\.pem$/.test(name));
    if (isHeld) await readState({ folder, keysFolder }, diskFiles);
  } catch (cause) {
    // A key that others may read is a finding of its own, below keys/.
    if (cause instanceof Rejection && cause.code === 'CA_KEY_EXPOSED') return;
    yield { at: TUF, problem: (cause as Error).message };
  }
}
