// SPDX-License-Identifier: Apache-2.0
// Cosignatures against vectors, three of public witnesses among them, and against notes that were changed in any place.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import {
  formatCosignature,
  formatCosignedMessage,
  parseCosignature,
  verifyCosignatures,
} from '../../../core/tlog/cosignature.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatNote, parseNote } from '../../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../../core/tlog/proof.ts';
import { makeCases, readCases } from './cosignature-cases.ts';
import { witnessSigner } from './note-signers.ts';
import { codeOf } from './refusal.ts';

const verify = (checkpoint: string, policy: string) =>
  verifyWitnessedCheckpoint(checkpoint, parseLogPolicy(utf8(policy), portableCrypto), portableCrypto);

describe('vectors', () => {
  test.each(readCases())('%s', (_, { checkpoint, policy, verdict }) => {
    expect(codeOf(() => verify(checkpoint, policy))).toBe(verdict.code);
    if (verdict.code !== 'accepted') return;
    const { witnesses } = verify(checkpoint, policy);
    const found = witnesses === 'none' ? 'none' : witnesses.map(({ name, timeMs }) => ({ name, timeMs }));
    expect(found).toEqual(verdict.witnesses);
  });

  test('are what their script makes', () => {
    expect(Object.fromEntries(readCases())).toEqual(Object.fromEntries(makeCases()));
  });
});

describe('the form of cosignatures', () => {
  const signature = fc.uint8Array({ minLength: 64, maxLength: 64 });
  const timestampS = fc.integer({ min: 1, max: 253_402_300_799 });

  test('parse and format are inverses', () => {
    fc.assert(
      fc.property(fc.record({ timestampS, signature }), (made) => {
        expect(parseCosignature(formatCosignature(made))).toEqual(made);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        if (codeOf(() => parseCosignature(bytes)) === 'accepted')
          expect(formatCosignature(parseCosignature(bytes))).toEqual(bytes);
      }),
    );
  });

  test('the time is eight bytes, the highest first, wherever the bytes lie', () => {
    const bytes = new Uint8Array(80);
    bytes.set([0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcb], 3);
    expect(parseCosignature(bytes.subarray(3, 75)).timestampS).toBe(0x641850cb);
  });

  test('what is signed is that of the specification', () => {
    const text = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
    expect(formatCosignedMessage(1679315147, text)).toBe(`cosignature/v1\ntime 1679315147\n${text}`);
  });
});

describe('verification of cosignatures', () => {
  const text = 'log.example\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n';
  const one = witnessSigner('one.example');
  const two = witnessSigner('two.example');
  const policy = [one, two].map(({ key }, i) => ({ name: `w${i + 1}`, key }));
  const sound = formatNote({ text, signatures: [two.cosign(text, 20), one.cosign(text, 10)] });
  const verifyAll = (note: string, witnesses = policy) =>
    verifyCosignatures(parseNote(note), witnesses, portableCrypto);

  test('says who, under which key and when, in the order of the policy', () => {
    expect(verifyAll(sound)).toEqual([
      { name: 'w1', keyId: one.key.keyId, timeMs: 10_000 },
      { name: 'w2', keyId: two.key.keyId, timeMs: 20_000 },
    ]);
    expect(verifyAll(sound, [])).toEqual([]);
  });

  test('keys that share name and id are all tried', () => {
    const twin = { name: 'twin', key: { ...two.key, name: one.key.name, keyId: one.key.keyId } };
    expect(verifyAll(sound, [twin, ...policy]).map(({ name }) => name)).toEqual(['w1', 'w2']);
  });

  test('a key of a log is none of a witness', () => {
    const asLog = policy.map(({ name, key }) => ({ name, key: { ...key, type: 1 } }));
    expect(verifyAll(sound, asLog)).toEqual([]);
  });

  test('no change of a byte adds a witness, and none is a foreign exception', () => {
    const before = verifyAll(sound);
    fc.assert(
      fc.property(
        fc.nat({ max: sound.length - 1 }),
        fc.string({ unit: 'binary', minLength: 0, maxLength: 2 }),
        (at, put) => {
          const bent = sound.slice(0, at) + put + sound.slice(at + 1);
          try {
            const found = verifyAll(bent);
            expect(before).toEqual(expect.arrayContaining([...found]));
            if (found.length > 0) expect(parseNote(bent).text).toBe(text);
          } catch (failure) {
            expect(failure).toBeInstanceOf(Rejection);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
