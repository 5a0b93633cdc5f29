// SPDX-License-Identifier: Apache-2.0
// The content store, and fetching into it from mirrors that fail or lie.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fetchBlobs, fetchPackages, wantedPackage } from '../../builder/fetch.ts';
import type { LockedPackage } from '../../builder/lock-file.ts';
import { ContentStore, cacheFolder } from '../../builder/store.ts';
import { type Mirror, serveMirror } from './archive.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-fetch-'));
const entries = ['a+b_1%3a2.deb', 'c.deb', 'd.deb', 'e.deb', 'f.deb'].map((file, i): LockedPackage => {
  const bytes = Buffer.alloc(200_000, `${i}`);
  mkdirSync(join(base, 'mirror/pool'), { recursive: true });
  writeFileSync(join(base, 'mirror/pool', file), bytes);
  return {
    name: `p${i}`,
    version: '1',
    architecture: 'all',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    sizeBytes: bytes.length,
    path: `pool/${file}`,
  };
});
const [first, second] = entries as [LockedPackage, LockedPackage];
let mirror: Mirror;
let store: ContentStore;
beforeAll(async () => {
  mirror = await serveMirror(join(base, 'mirror'));
});
beforeEach(() => {
  mirror.behave(() => false);
  mirror.requested.length = 0;
  store = new ContentStore(mkdtempSync(join(base, 'cache-')));
});
afterAll(async () => {
  await mirror.close();
  rmSync(base, { recursive: true });
});

const fetchFrom = (url: string, packages: readonly LockedPackage[], more = {}) =>
  fetchPackages(store, packages, { mirrorOf: async () => url, ...more });
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (failure: { code?: string }) => failure.code,
  );
/** Everything in the store's folder: kept files and leftovers. */
const kept = () =>
  readdirSync(store.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);

describe('fetching', () => {
  test('over HTTP, several at once, each once; then nothing more is asked', async () => {
    const seen: number[] = [];
    const result = await fetchFrom(mirror.url, entries, {
      onProgress: ({ count }: { count: number }) => seen.push(count),
    });
    expect(result.fetchedSizeBytes).toBe(1_000_000);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    expect(mirror.requested.sort()).toEqual(entries.map(({ path }) => path).sort());
    expect(await fetchFrom('http://127.0.0.1:9/', entries)).toEqual({ fetchedSizeBytes: 0 });
    expect(kept().sort()).toEqual(entries.map(({ sha256 }) => sha256).sort());
  });

  test('from a folder', async () => {
    await fetchFrom(pathToFileURL(join(base, 'mirror/')).href, [first]);
    expect(await store.holds(first)).toBe(true);
    const gone = { ...second, path: 'pool/nosuch.deb' };
    expect(await code(fetchFrom(pathToFileURL(join(base, 'mirror/')).href, [gone]))).toBe('FETCH_GONE');
  });

  test('from a folder, but not out of a pipe or another folder', async () => {
    const folder = mkdtempSync(join(base, 'pipes-'));
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    for (const path of ['pipe', ''])
      expect(await code(fetchFrom(pathToFileURL(`${folder}/`).href, [{ ...first, path }]))).toBe(
        'FETCH_GONE',
      );
  });

  test('again when the store was corrupted', async () => {
    await fetchFrom(mirror.url, [first]);
    writeFileSync(store.path(first.sha256), 'rotten');
    await fetchFrom(mirror.url, [first]);
    expect(mirror.requested.length).toBe(2);
    expect(readFileSync(store.path(first.sha256)).length).toBe(first.sizeBytes);
  });

  test('by two builds at once', async () => {
    await Promise.all([fetchFrom(mirror.url, entries), fetchFrom(mirror.url, entries)]);
    expect(kept().sort()).toEqual(entries.map(({ sha256 }) => sha256).sort());
  });
});

describe('a bad mirror', () => {
  test('is named with the input, and without who asks it', async () => {
    mirror.behave((_, bytes, response) => {
      response.end(Buffer.alloc(bytes.length, 'x'));
      return true;
    });
    const from = (url: string) => [wantedPackage(first, { input: 'tools', mirrorOf: async () => url })];
    const said = /^expected p0 1 of input tools from http:\/\/127\.0\.0\.1:\d+\/pool\/\S+ with SHA-256 /;
    await expect(fetchBlobs(store, from(mirror.url), {})).rejects.toMatchObject({
      code: 'FETCH_DIGEST_MISMATCH',
      message: expect.stringMatching(said),
    });
    const asked = from(mirror.url.replace('://', '://user:secret@'));
    await expect(fetchBlobs(store, asked, {})).rejects.toMatchObject({
      code: 'FETCH_UNREACHABLE',
      message: expect.not.stringContaining('secret'),
    });
  });

  test.each<[string, Parameters<Mirror['behave']>[0]]>([
    [
      'FETCH_DIGEST_MISMATCH',
      (_, bytes, response) => {
        response.end(Buffer.alloc(bytes.length, 'x'));
        return true;
      },
    ],
    [
      'FETCH_TOO_LARGE',
      (_, bytes, response) => {
        response.end(Buffer.concat([bytes, bytes]));
        return true;
      },
    ],
    [
      'FETCH_TRUNCATED',
      (_, bytes, response) => {
        response.end(bytes.subarray(0, 1000));
        return true;
      },
    ],
    [
      'FETCH_TRUNCATED',
      (_, bytes, response) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 1000), () => response.destroy());
        return true;
      },
    ],
    [
      'FETCH_GONE',
      (_, __, response) => {
        response.writeHead(404).end();
        return true;
      },
    ],
    [
      'FETCH_UNREACHABLE',
      (_, __, response) => {
        response.writeHead(500).end();
        return true;
      },
    ],
    [
      'FETCH_UNREACHABLE',
      (_, bytes, response) => {
        response.write(bytes.subarray(0, 1000));
        return true;
      },
    ],
  ])('is refused with %s and nothing is kept', async (expected, how) => {
    mirror.behave(how);
    expect(await code(fetchFrom(mirror.url, [first], { stallTimeoutMs: 300 }))).toBe(expected);
    expect(kept()).toEqual([]);
  });

  test('that is not there', async () => {
    expect(await code(fetchFrom('http://127.0.0.1:9/', entries))).toBe('FETCH_UNREACHABLE');
    expect(kept()).toEqual([]);
  });

  test('one bad package stops the rest; what was good is kept', async () => {
    mirror.behave((path, _, response) => {
      if (path !== second.path) return false;
      response.writeHead(404).end();
      return true;
    });
    expect(await code(fetchFrom(mirror.url, entries))).toBe('FETCH_GONE');
    expect(await store.holds(second)).toBe(false);
  });
});

describe('a registry that keeps blobs by digest', () => {
  /** Answers every question for a blob; 200 with these bytes, or a status alone. */
  const registryOf = async (answer: Buffer | number, work: (registry: string) => Promise<void>) => {
    const asked: string[] = [];
    const registry = createServer((request, response) => {
      asked.push(request.url ?? '');
      if (typeof answer === 'number') response.writeHead(answer).end();
      else response.end(answer);
    });
    await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
    try {
      await work(`http://127.0.0.1:${(registry.address() as { port: number }).port}/`);
      expect(asked).toEqual([`/api/v1/blobs/${first.sha256}`]);
    } finally {
      registry.closeAllConnections();
      await new Promise((resolve) => registry.close(resolve));
    }
  };
  const right = readFileSync(join(base, 'mirror', first.path));
  const lie = (_: string, bytes: Buffer, response: ServerResponse) => {
    response.end(Buffer.alloc(bytes.length, 'x'));
    return true;
  };

  test('is asked first: an original that became something else does not matter then', async () => {
    mirror.behave(lie);
    expect(await code(fetchFrom(mirror.url, [first]))).toBe('FETCH_DIGEST_MISMATCH');
    mirror.requested.length = 0;
    await registryOf(right, async (registry) => {
      await fetchFrom(mirror.url, [first], { registry });
    });
    expect(mirror.requested).toEqual([]);
    expect(await store.holds(first)).toBe(true);
  });

  test('is enough where no mirror is known', async () => {
    const mirrorOf = () => Promise.reject(new Error('no mirror is known'));
    await registryOf(right, async (registry) => {
      await fetchPackages(store, [first], { mirrorOf, registry });
    });
    expect(await store.holds(first)).toBe(true);
  });

  test.each<[string, Buffer | number]>([
    ['has it not', 404],
    ['is in trouble', 503],
    ['has half of it', right.subarray(0, 1000)],
  ])('that %s leaves it to the mirror', async (_what, answer) => {
    await registryOf(answer, async (registry) => {
      await fetchFrom(mirror.url, [first], { registry });
    });
    expect(mirror.requested).toEqual([first.path]);
    expect(await store.holds(first)).toBe(true);
  });

  test('that lies is a reason to stop', async () => {
    await registryOf(Buffer.alloc(right.length, 'x'), async (registry) => {
      expect(await code(fetchFrom(mirror.url, [first], { registry }))).toBe('FETCH_DIGEST_MISMATCH');
    });
    expect(mirror.requested).toEqual([]);
    expect(kept()).toEqual([]);
  });

  test('that has it no more than the mirror: what the mirror said is told', async () => {
    await registryOf(404, async (registry) => {
      expect(await code(fetchFrom('http://127.0.0.1:9/', [first], { registry }))).toBe('FETCH_UNREACHABLE');
    });
  });
});

test('an interrupt ends a fetch and leaves nothing half-written', async () => {
  const stop = new AbortController();
  mirror.behave((_, bytes, response) => {
    response.write(bytes.subarray(0, 1000), () => stop.abort(new Error('stop')));
    return true;
  });
  await expect(fetchFrom(mirror.url, entries, { signal: stop.signal })).rejects.toThrow('stop');
  expect(kept()).toEqual([]);
});

test('a store that cannot be written is said to be that', async () => {
  const file = join(base, 'file');
  writeFileSync(file, '');
  store = new ContentStore(file);
  expect(await code(fetchFrom(mirror.url, [first]))).toBe('FETCH_STORE_UNWRITABLE');
});

test('the cache folder follows XDG, which ignores relative paths', () => {
  expect(cacheFolder({}, '/home/a')).toBe('/home/a/.cache/waybill');
  expect(cacheFolder({ XDG_CACHE_HOME: '/c' }, '/home/a')).toBe('/c/waybill');
  expect(cacheFolder({ XDG_CACHE_HOME: 'c' }, '/home/a')).toBe('/home/a/.cache/waybill');
  expect(() => cacheFolder({}, '')).toThrow(expect.objectContaining({ code: 'BUILD_FOLDER_UNWRITABLE' }));
});
