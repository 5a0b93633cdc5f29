// SPDX-License-Identifier: Apache-2.0
// Quorums of a log policy against their definition, and how old cosignatures may be (A45, A47, A49).

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { type VerifiedCosignature, verifyCosignatures } from '../../../core/tlog/cosignature.ts';
import { type LogPolicy, parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatNote, formatVerifierKey, noteKeyId, parseNote } from '../../../core/tlog/note.ts';
import { checkFreshness, checkQuorum, describeWitnesses } from '../../../core/tlog/quorum.ts';
import { witnessSigner } from './note-signers.ts';
import { codeOf } from './refusal.ts';

const COUNT = 8;
const TEXT = 'log.example\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n';
const NOW_S = 1_780_000_000;
const NOW_MS = NOW_S * 1000;
const DAY_S = 86_400;
const signers = Array.from({ length: COUNT }, (_, i) => witnessSigner(`w${i}.example`));
const WITNESS_LINES = signers.map(({ vkey }, i) => `witness w${i} ${vkey}\n`).join('');
const policyOf = (rules: string) => parseLogPolicy(utf8(`${WITNESS_LINES}${rules}`), portableCrypto);
const two = policyOf('group g 2 w0 w1 w2\nquorum g\n');

/** Verified cosignatures, made as they come to be: by number of the witness, with the seconds that they are old. */
function cosigned(policy: LogPolicy, ages: Readonly<Record<number, number>>): readonly VerifiedCosignature[] {
  const signatures = Object.entries(ages).map(([i, age]) =>
    (signers[Number(i)] as (typeof signers)[number]).cosign(TEXT, NOW_S - age),
  );
  if (signatures.length === 0) return [];
  return verifyCosignatures(
    parseNote(formatNote({ text: TEXT, signatures })),
    policy.witnesses,
    portableCrypto,
  );
}

/** "Has witnessed" as [C2SP-tlog-policy-1896a5a §Defining a witness group] says it, from the top. */
function hasWitnessed(policy: LogPolicy, name: string, by: ReadonlySet<string>): boolean {
  const group = policy.groups.find((other) => other.name === name);
  if (group === undefined) return by.has(name);
  return group.members.filter((member) => hasWitnessed(policy, member, by)).length >= group.threshold;
}

/** Policies of any shape: each group takes some of the names that no group has yet. */
const policies = fc
  .array(fc.record({ take: fc.integer({ min: 1, max: 4 }), from: fc.nat(), rule: fc.nat() }), {
    maxLength: 6,
  })
  .chain((groups) => {
    const free = signers.map((_, i) => `w${i}`);
    const lines: string[] = [];
    groups.forEach(({ take, from, rule }, i) => {
      const members = free.splice(from % free.length, take);
      const threshold = ['all', 'any', String(1 + (rule % members.length))][rule % 3];
      lines.push(`group g${i} ${threshold} ${members.join(' ')}\n`);
      free.push(`g${i}`);
    });
    const names = [...signers.map((_, i) => `w${i}`), ...lines.map((_, i) => `g${i}`)];
    return fc.constantFrom(...names).map((quorum) => policyOf(`${lines.join('')}quorum ${quorum}\n`));
  });

describe('a quorum', () => {
  test('is met as the definition has it, whatever the groups', () => {
    const all = cosigned(two, Object.fromEntries(signers.map((_, i) => [i, 0])));
    fc.assert(
      fc.property(policies, fc.subarray([...all]), (policy, some) => {
        const met = hasWitnessed(policy, policy.quorum, new Set(some.map(({ name }) => name)));
        expect(codeOf(() => checkQuorum(policy, some))).toBe(met ? 'accepted' : 'TLOG_QUORUM_UNMET');
      }),
      { numRuns: 1000 },
    );
  });

  test('is counted in witnesses that it reaches, and no others are named', () => {
    const found = checkQuorum(two, cosigned(two, { 0: 0, 2: 0, 5: 0 }));
    expect(describeWitnesses(found)).toBe('witnesses "w0", "w2"');
  });

  test('of none is said in so many words', () => {
    const none = policyOf('quorum none\n');
    expect(checkQuorum(none, cosigned(none, { 0: 0 }))).toBe('none');
    expect(describeWitnesses('none')).toBe('witness quorum none');
  });

  test('that is not met says who is missing', () => {
    expect(() => checkQuorum(two, cosigned(two, { 1: 0, 5: 0 }))).toThrow(
      'expected the quorum "g" (2 of 3), got cosignatures of "w1"; missing: "w0", "w2"',
    );
    expect(() => checkQuorum(policyOf('quorum w3\n'), [])).toThrow(
      'expected the quorum "w3", got cosignatures of none; missing: "w3"',
    );
  });

  test('that is not met says whose kind of key is not verified', () => {
    const publicKey = new Uint8Array(1312);
    const key = { name: 'x', keyId: noteKeyId('x', 6, publicKey, portableCrypto), type: 6, publicKey };
    const policy = policyOf(`witness x ${formatVerifierKey(key)}\ngroup g all w0 x\nquorum g\n`);
    expect(() => checkQuorum(policy, cosigned(policy, { 0: 0 }))).toThrow(
      'missing: "x" (whose kind of key is not verified here)',
    );
  });

  test('of an Ed25519 key of another length is refused with the policy', () => {
    const publicKey = new Uint8Array(33);
    const key = { name: 'x', keyId: noteKeyId('x', 4, publicKey, portableCrypto), type: 4, publicKey };
    expect(codeOf(() => policyOf(`witness x ${formatVerifierKey(key)}\nquorum x\n`))).toBe(
      'TLOG_POLICY_MALFORMED',
    );
  });
});

describe('the age of a quorum', () => {
  const codeWith = (ages: Readonly<Record<number, number>>, ageMaxMs: number, nowMs = NOW_MS) =>
    codeOf(() => checkFreshness(two, checkQuorum(two, cosigned(two, ages)), { nowMs, ageMaxMs }));
  const month = 30 * DAY_S;

  test('is that of its cosignatures; those that are too old do not count (A47)', () => {
    expect(codeWith({ 0: month, 1: month }, month * 1000)).toBe('accepted');
    expect(codeWith({ 0: month + 1, 1: month + 1 }, month * 1000)).toBe('TLOG_CHECKPOINT_STALE');
    expect(codeWith({ 0: 0, 1: month + 1 }, month * 1000)).toBe('TLOG_CHECKPOINT_STALE');
    expect(codeWith({ 0: 0, 1: month + 1, 2: month }, month * 1000)).toBe('accepted');
    expect(codeWith({ 0: 0, 1: 99 * month }, Number.POSITIVE_INFINITY)).toBe('accepted');
    expect(codeWith({ 0: 0, 1: 0 }, Number.NaN)).toBe('TLOG_CHECKPOINT_STALE');
  });

  test('is told in days', () => {
    const found = checkQuorum(two, cosigned(two, { 0: 0, 1: 40 * DAY_S }));
    expect(() => checkFreshness(two, found, { nowMs: NOW_MS, ageMaxMs: month * 1000 })).toThrow(
      'expected the quorum "g" (2 of 3) in cosignatures of at most 30 days; too old: "w1", 40 days',
    );
  });

  test('is never below that of a clock five minutes slow (A49)', () => {
    expect(codeWith({ 0: 0, 1: -300 }, Number.POSITIVE_INFINITY)).toBe('accepted');
    expect(codeWith({ 0: 0, 1: 0, 2: -301 }, Number.POSITIVE_INFINITY)).toBe('TLOG_COSIGNATURE_FUTURE');
    expect(codeWith({ 0: 0, 1: 0 }, month * 1000, 0)).toBe('TLOG_COSIGNATURE_FUTURE');
    expect(codeWith({ 0: 0, 1: 0 }, month * 1000, Number.NaN)).toBe('TLOG_COSIGNATURE_FUTURE');
    expect(codeWith({ 0: 0, 1: 0 }, month * 1000, Date.UTC(2100))).toBe('TLOG_CHECKPOINT_STALE');
  });

  test('that is of the future is told by both clocks', () => {
    const found = checkQuorum(two, cosigned(two, { 0: 0, 1: 0 }));
    const limits = { nowMs: NOW_MS - 400_000, ageMaxMs: Number.POSITIVE_INFINITY };
    expect(() => checkFreshness(two, found, limits)).toThrow(
      'expected cosignatures of 2026-05-28T20:20:00Z or before, got one of "w0" of 2026-05-28T20:26:40Z',
    );
  });

  test('of no quorum is no age', () => {
    const limits = { nowMs: NOW_MS, ageMaxMs: Number.POSITIVE_INFINITY };
    expect(codeOf(() => checkFreshness(policyOf('quorum none\n'), 'none', limits))).toBe(
      'TLOG_QUORUM_ABSENT',
    );
  });
});
