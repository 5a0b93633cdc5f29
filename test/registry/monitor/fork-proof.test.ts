// SPDX-License-Identifier: Apache-2.0
// Proofs of forks: each pair of sizes of a log that forked is proven, no honest pair is, and nothing else passes for a proof.

import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { verifyCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { hashLeaf, hashNode, hashPart, type TreeNode } from '../../../core/tlog/merkle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { checkForkProof, formatForkProof, prefixParts } from '../../../registry/monitor/fork-proof.ts';
import { ORIGIN, witnessedLog } from '../witness/witnessed-log.ts';

const SIZE = 20n;
const [honest, forked] = [witnessedLog(ORIGIN), witnessedLog(ORIGIN, 'other ')];

/** Hashes of the tree whose leaves begin with the salt, as `witnessedLog` makes them. */
function hashesOf(salt: string, from: bigint, to: bigint): Uint8Array[] {
  const node = ({ level, index }: TreeNode): Uint8Array =>
    level === 0
      ? hashLeaf(utf8(`${salt}${index}`), nodeCrypto)
      : hashNode(
          node({ level: level - 1, index: 2n * index }),
          node({ level: level - 1, index: 2n * index + 1n }),
          nodeCrypto,
        );
  return prefixParts(from, to).map((part) => hashPart(part, node, nodeCrypto));
}

const verify = (note: string) => ({
  ...verifyCheckpoint(note, { origin: ORIGIN, keys: [honest.signer.key] }, nodeCrypto),
  note,
});
const check = (proof: string) => checkForkProof(utf8(proof), verify, nodeCrypto);
const fault = (code: string) => expect.objectContaining({ code });

/** The proof that the newer tree, of that salt, does not begin with the older honest one. */
const proofOf = (from: bigint, to: bigint, salt: string) =>
  formatForkProof({
    older: honest.checkpoint(from),
    newer: (salt === '' ? honest : forked).checkpoint(to),
    hashes: hashesOf(salt, from, to),
  });

describe('of all sizes up to twenty', () => {
  test('a fork is proven, and an honest log never is', () => {
    for (let to = 1n; to <= SIZE; to++) {
      for (let from = 1n; from <= to; from++) {
        const { older, newer } = check(proofOf(from, to, 'other '));
        expect([older.size, newer.size]).toEqual([from, to]);
        expect(() => check(proofOf(from, to, '')), `${from} to ${to}`).toThrow(fault('MONITOR_PROOF_EMPTY'));
      }
    }
  });

  test('whoever bends a hash proves nothing, not even against an honest log', () => {
    for (let to = 2n; to <= SIZE; to++) {
      for (let from = 1n; from < to; from++) {
        const hashes = hashesOf('', from, to);
        hashes.forEach((_, i) => {
          const bent = hashes.map((hash, j) => (i === j ? hash.map((octet) => octet ^ 1) : hash));
          const proof = { older: honest.checkpoint(from), newer: honest.checkpoint(to), hashes: bent };
          expect(() => check(formatForkProof(proof))).toThrow(fault('MONITOR_PROOF_MALFORMED'));
        });
      }
    }
  });
});

describe('what is no proof', () => {
  const sound = JSON.parse(proofOf(5n, 9n, 'other ')) as Record<string, unknown>;
  const bend = (change: Record<string, unknown>) => JSON.stringify({ ...sound, ...change });

  test('notes of another key, and notes that were changed', () => {
    const stranger = witnessedLog('log.other.example');
    expect(() => check(bend({ newer: stranger.checkpoint(9n) }))).toThrow(fault('TLOG_NOTE_UNSIGNED'));
    expect(() => check(bend({ newer: forked.checkpoint(9n).replace('\n9\n', '\n8\n') }))).toThrow(
      fault('TLOG_NOTE_SIGNATURE'),
    );
  });

  test.each([
    ['another format', { format: 'waybill-fork-proof-v2' }],
    ['a member more', { more: 1 }],
    ['no older note', { older: undefined }],
    ['the larger tree first', { older: sound.newer, newer: sound.older }],
    ['an empty older tree', { older: honest.checkpoint(0n) }],
    ['too few hashes', { hashes: (sound.hashes as string[]).slice(1) }],
    ['too many hashes', { hashes: [...(sound.hashes as string[]), (sound.hashes as string[])[0]] }],
    ['hashes between equal sizes', { older: honest.checkpoint(9n) }],
    ['a short hash', { hashes: ['AAAA'] }],
    ['no hashes', { hashes: 'none' }],
  ])('%s', (_, change) => {
    expect(() => check(bend(change))).toThrow(fault('MONITOR_PROOF_MALFORMED'));
  });

  test('checkpoints of two logs that one key signed', () => {
    let asked = 0;
    const verifyOther = (note: string) => ({ ...verify(note), origin: `log ${asked++}` });
    expect(() => checkForkProof(utf8(JSON.stringify(sound)), verifyOther, nodeCrypto)).toThrow(
      fault('MONITOR_PROOF_MALFORMED'),
    );
  });

  test('no JSON, and too much of it', () => {
    expect(() => check('')).toThrow(fault('MONITOR_PROOF_MALFORMED'));
    expect(() => check(bend({ format: 'x'.repeat(300_000) }))).toThrow(fault('MONITOR_PROOF_MALFORMED'));
  });
});
