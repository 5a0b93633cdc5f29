// SPDX-License-Identifier: Apache-2.0
// A tiled log that others made: tiles, roots and checkpoints recomputed from its entries; and the forms of paths and bundles.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { Rejection } from '../../../core/faults.ts';
import { verifyCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { formatEntryBundle, parseEntryBundle } from '../../../core/tlog/entry-bundle.ts';
import { hashLeaf, hashNode, type TreeNode, treeRoot } from '../../../core/tlog/merkle.ts';
import { parseVerifierKey } from '../../../core/tlog/note.ts';
import { formatTilePath, parseTilePath } from '../../../core/tlog/tile-path.ts';
import { codeOf } from './refusal.ts';

const LOG = join(import.meta.dirname, '../../vectors/tlog-tiles/log');
const file = (path: string) => new Uint8Array(readFileSync(join(LOG, path)));
const key = parseVerifierKey(
  'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx',
  portableCrypto,
);
const log = { origin: 'example.com/log/testdata', keys: [key] };
const sizes = Array.from({ length: 15 }, (_, i) => i + 1);
const hashes = parseEntryBundle(file('tile/entries/000.p/15')).map((entry) =>
  hashLeaf(entry, portableCrypto),
);

function node({ level, index }: TreeNode): Uint8Array {
  if (level === 0) return hashes[Number(index)] as Uint8Array;
  const left = node({ level: level - 1, index: 2n * index });
  return hashNode(left, node({ level: level - 1, index: 2n * index + 1n }), portableCrypto);
}

describe('the log of tessera', () => {
  test.each(sizes)('size %i: bundle, tile, root and checkpoint agree', (size) => {
    const bundle = file(formatTilePath({ level: 'entries', index: 0n, width: size }));
    const entries = parseEntryBundle(bundle);
    expect(entries).toHaveLength(size);
    expect(formatEntryBundle(entries)).toEqual(bundle);
    const tile = file(formatTilePath({ level: 0, index: 0n, width: size }));
    expect(Buffer.concat(entries.map((entry) => hashLeaf(entry, portableCrypto)))).toEqual(Buffer.from(tile));
    const note = new TextDecoder().decode(file(`checkpoint.${size}`));
    const checkpoint = verifyCheckpoint(note, log, portableCrypto);
    expect(checkpoint.size).toBe(BigInt(size));
    expect(treeRoot(BigInt(size), node, portableCrypto)).toEqual(checkpoint.rootHash);
  });

  test('the empty tree has a checkpoint too', () => {
    const note = new TextDecoder().decode(file('checkpoint.0'));
    const { size, rootHash } = verifyCheckpoint(note, log, portableCrypto);
    expect([size, rootHash]).toEqual([0n, treeRoot(0n, node, portableCrypto)]);
  });

  test('a checkpoint changed in any byte of its text is refused', () => {
    const bytes = file('checkpoint.15');
    const end = new TextDecoder().decode(bytes).indexOf('\n\n');
    for (let at = 0; at < end; at++) {
      const changed = new TextDecoder().decode(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
      expect(codeOf(() => verifyCheckpoint(changed, log, portableCrypto))).toMatch(
        /^TLOG_NOTE_(SIGNATURE|MALFORMED)$/,
      );
    }
  });
});

describe('paths', () => {
  test.each([
    ['tile/0/000', 0, 0n, 256],
    ['tile/0/x001/x234/067', 0, 1234067n, 256],
    ['tile/63/999.p/255', 63, 999n, 255],
    ['tile/entries/x001/000.p/1', 'entries', 1000n, 1],
    ['tile/data/007', 'data', 7n, 256],
  ] as const)('%s', (path, level, index, width) => {
    expect(parseTilePath(path)).toEqual({ level, index, width });
    expect(formatTilePath({ level, index, width })).toBe(path);
  });

  test.each([
    '',
    'tile/',
    '/tile/0/000',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/x000/001',
    'tile/0/001/x001',
    'tile/0/001/001',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000.p/',
    'tile/0/000/',
    'tile/0/000?x',
    'tile/0/%30%30%30',
    'tile/../0/000',
    'tile/leaf/000',
    `tile/0/${'x001/'.repeat(7)}001`,
  ])('refuses %j', (path) => {
    expect(codeOf(() => parseTilePath(path))).toBe('TLOG_PATH_MALFORMED');
  });

  test('parse and format are inverses', () => {
    const level = fc.oneof(fc.nat(63), fc.constantFrom('entries' as const, 'data' as const));
    fc.assert(
      fc.property(
        level,
        fc.bigInt(0n, 10n ** 21n - 1n),
        fc.integer({ min: 1, max: 256 }),
        (l, index, width) => {
          expect(parseTilePath(formatTilePath({ level: l, index, width }))).toEqual({
            level: l,
            index,
            width,
          });
        },
      ),
    );
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom('tile/', '0', '1', 'x', '/', '.p/', '000', 'entries'),
          maxLength: 9,
        }),
        (path) => {
          if (codeOf(() => parseTilePath(path)) === 'accepted')
            expect(formatTilePath(parseTilePath(path))).toBe(path);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('entry bundles', () => {
  test('parse and format are inverses; no foreign exception', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(entries, (list) => {
        expect(parseEntryBundle(formatEntryBundle(list))).toEqual(list);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          expect(formatEntryBundle(parseEntryBundle(bytes))).toEqual(bytes);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
      }),
    );
  });

  test.each([
    ['nothing', new Uint8Array(0)],
    ['half a length', Uint8Array.of(0)],
    ['an entry cut short', Uint8Array.of(0, 2, 1)],
    ['257 entries', new Uint8Array(514)],
  ])('refuses %s', (_what, bytes) => {
    expect(codeOf(() => parseEntryBundle(bytes))).toBe('TLOG_BUNDLE_MALFORMED');
  });

  test('cannot be made of too large an entry, or of none', () => {
    expect(codeOf(() => formatEntryBundle([new Uint8Array(65536)]))).toBe('TLOG_BUNDLE_MALFORMED');
    expect(codeOf(() => formatEntryBundle([]))).toBe('TLOG_BUNDLE_MALFORMED');
    expect(parseEntryBundle(formatEntryBundle([new Uint8Array(65535)]))).toHaveLength(1);
  });
});
