// SPDX-License-Identifier: Apache-2.0
// k of n independent rebuilders: who counts, what counts, and that identities are counted.

import { describe, expect, test } from 'vitest';
import { buildRebuildReport, parseRebuildReport, type RebuildReport } from '../../core/intoto/rebuild.ts';
import { formatStatement, parseStatement } from '../../core/intoto/statement.ts';
import type { VerifiedBundle, VerifiedSigner } from '../../core/verify/verified.ts';
import { evaluate } from '../../policy/evaluate.ts';
import { type Policy, RULE_IDS } from '../../policy/policy.ts';
import {
  asBundle,
  compile,
  ELF,
  examplePolicy,
  image,
  rebuild,
  rebuilt,
  reference,
  refers,
  sha256,
  soundCase,
  step,
  trustedSigner,
} from './evidence.ts';

const ISSUER = 'https://issuer.example';
const KEY = new Uint8Array(91).fill(7);
const person = (name: string): VerifiedSigner & { kind: 'certificate' } => ({
  kind: 'certificate',
  identity: `${name}@example.com`,
  issuer: ISSUER,
});
const byKey = { signer: { kind: 'key', publicKey: KEY } };
const by = (name: string, more = {}) => ({ signer: person(name), ...more });

/** Two of ann, ben, a key, and the builder itself, who is listed by mistake. */
const policy: Policy = {
  ...examplePolicy,
  rules: RULE_IDS,
  rebuilders: {
    threshold: 2,
    listed: [
      { identity: person('ann').identity, issuer: ISSUER },
      { identity: person('ben').identity, issuer: ISSUER },
      { publicKey: Buffer.from(KEY).toString('base64') },
      ...(trustedSigner.kind === 'certificate'
        ? [{ identity: trustedSigner.identity, issuer: trustedSigner.issuer }]
        : []),
    ],
  },
};
const differs: RebuildReport = {
  ...rebuilt,
  verdict: 'differs',
  outputs: [{ step: 'image', name: 'optiboot.bin', claimedSha256: rebuilt.image.sha256, rebuiltSha256: ELF }],
  differences: [
    { output: 'image/optiboot.bin', offset: 9, sizeBytes: 1, cause: 'unknown', detail: 'a byte' },
  ],
};

const asked = (...rebuilds: VerifiedBundle[]) => {
  const evidence = [step(compile), step(image), refers(reference), ...rebuilds];
  const decision = evaluate(soundCase({ policy, evidence }));
  const rule = decision.rules.find(({ id }) => id === 'rebuild-agreed');
  return { decision, rule };
};

test('two rebuilders of three are enough, and devices need not know of them', () => {
  const rebuilds = [rebuild(rebuilt, by('ann')), rebuild(rebuilt, byKey)];
  const { decision, rule } = asked(...rebuilds);
  expect(decision.result).toBe('PASSED');
  expect(rule).toMatchObject({ verdict: 'pass', reason: '2 independent rebuilders agree, 2 asked' });
  expect(rule?.bundles).toEqual(rebuilds.map((bundle) => bundle.sha256).sort());
  for (const { sha256 } of rebuilds) expect(decision.bundles).not.toContain(sha256);
});

describe('what does not count', () => {
  test.each([
    ['one rebuilder twice', [rebuild(rebuilt, by('ann')), rebuild(rebuilt, by('ann', { salt: '2' }))]],
    ['a stranger', [rebuild(rebuilt, by('ann')), rebuild(rebuilt, by('eve'))]],
    [
      'a listed name from another issuer',
      [
        rebuild(rebuilt, by('ann')),
        rebuild(rebuilt, { signer: { ...person('ben'), issuer: 'https://evil.example' } }),
      ],
    ],
    ['the builder itself', [rebuild(rebuilt, by('ann')), rebuild(rebuilt)]],
    [
      'an unknown key',
      [
        rebuild(rebuilt, by('ann')),
        rebuild(rebuilt, { signer: { kind: 'key', publicKey: new Uint8Array(91) } }),
      ],
    ],
    [
      'a rebuild from another lock',
      [rebuild(rebuilt, by('ann')), rebuild({ ...rebuilt, lockSha256: sha256('x') }, by('ben'))],
    ],
    [
      'a rebuild from another definition',
      [rebuild(rebuilt, by('ann')), rebuild({ ...rebuilt, definitionSha256: sha256('x') }, by('ben'))],
    ],
    [
      'a rebuild of another version',
      [rebuild(rebuilt, by('ann')), rebuild({ ...rebuilt, version: '8.0.0' }, by('ben'))],
    ],
    [
      'a rebuild of another product',
      [rebuild(rebuilt, by('ann')), rebuild({ ...rebuilt, product: 'other' }, by('ben'))],
    ],
    [
      'a statement that cannot be read',
      [
        rebuild(rebuilt, by('ann')),
        asBundle(
          {
            subjects: [rebuilt.image],
            predicateType: 'https://waybill.example/predicates/rebuild/v1',
            predicate: {},
          },
          by('ben'),
        ),
      ],
    ],
  ])('%s', (_, rebuilds) => {
    const { decision, rule } = asked(...rebuilds);
    expect(decision.result).toBe('DENIED');
    expect(rule).toMatchObject({
      code: 'POLICY_REBUILDS_TOO_FEW',
      reason: expect.stringContaining('expected 2 independent rebuilders to agree, got 1'),
    });
  });

  test('a stranger who differs blocks nothing, nor does a rebuild of what a stranger attested', () => {
    const { decision } = asked(
      rebuild(rebuilt, by('ann')),
      rebuild(rebuilt, by('ben')),
      rebuild(differs, by('eve')),
      rebuild({ ...differs, lockSha256: sha256('x') }, byKey),
    );
    expect(decision.result).toBe('PASSED');
  });
});

test('one rebuilder who differs denies, however many agree, and even if he agreed before', () => {
  for (const who of [byKey, by('ann')]) {
    const { rule } = asked(rebuild(rebuilt, by('ann')), rebuild(rebuilt, by('ben')), rebuild(differs, who));
    expect(rule).toMatchObject({
      verdict: 'fail',
      code: 'POLICY_REBUILD_DIFFERS',
      reason: expect.stringContaining('first at byte 9 of image/optiboot.bin'),
    });
  }
});

describe('the statement', () => {
  const parse = (report: RebuildReport) =>
    parseRebuildReport(parseStatement(formatStatement(buildRebuildReport(report))));

  test('parsing is the inverse of building', () => {
    const placed = [{ ...differs.differences[0], section: '.text', symbol: 'main' }] as never;
    for (const report of [rebuilt, differs, { ...differs, differences: placed }])
      expect(parse(report)).toEqual(report);
  });

  test.each([
    ['agrees although the digests do not', { ...differs, verdict: 'agrees' as const }],
    ['differs although the digests agree', { ...rebuilt, verdict: 'differs' as const }],
    ['agrees and lists differences', { ...rebuilt, differences: differs.differences }],
    ['does not list the image', { ...rebuilt, image: { name: 'other', sha256: ELF } }],
  ])('one that %s is malformed', (_, report) => {
    expect(() => parse(report)).toThrow(expect.objectContaining({ code: 'REBUILD_STATEMENT_MALFORMED' }));
  });
});
