// SPDX-License-Identifier: Apache-2.0
// Every rule of a gate, passed and failed, and what evaluation promises.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Case, Decision } from '../../policy/case.ts';
import { evaluate } from '../../policy/evaluate.ts';
import { explain } from '../../policy/explain.ts';
import type { RuleId } from '../../policy/policy.ts';
import {
  asBundle,
  compile,
  ELF,
  examplePolicy,
  IMAGE,
  image,
  NOW_MS,
  reference,
  refers,
  SBOM,
  sbomOf,
  sha256,
  soundCase,
  step,
  strangerSigner,
  trusted,
} from './evidence.ts';

const DAY_MS = 86_400_000;
/** What the example asks: every rule but that of rebuilders, whom it does not name. */
const RULE_IDS = examplePolicy.rules;
const byStranger = { signer: strangerSigner };

/** The failed rules with their codes. */
function failures(decision: Decision): Record<string, string | undefined> {
  const failed = decision.rules.filter(({ verdict }) => verdict === 'fail');
  return Object.fromEntries(failed.map(({ id, code }) => [id, code]));
}

const otherStep = (changes: Partial<typeof image>) => ({ ...image, ...changes });
const hermetic = { ...image.sandbox, hermetic: false };

test('a sound case passes every rule, with a reason each, and names the bundles used', () => {
  const given = soundCase();
  const decision = evaluate(given);
  expect(failures(decision)).toEqual({});
  expect(decision.result).toBe('PASSED');
  expect(decision.rules.map(({ id }) => id)).toEqual([...RULE_IDS]);
  expect(decision.rules.every(({ reason }) => reason.length > 0)).toBe(true);
  expect(decision.bundles).toEqual(given.evidence.map((bundle) => bundle.sha256).sort());
  expect(decision.setAside).toEqual([]);
  expect(decision.notAsked).toEqual([
    'maximum age of evidence',
    'independent rebuilds',
    'witnesses of the log',
  ]);
});

const twoPredicates = [step(compile), step(image), refers(reference)];
const nextProvenance = asBundle({
  subjects: [{ name: 'optiboot.bin', sha256: IMAGE }],
  predicateType: 'https://slsa.dev/provenance/v2',
  predicate: {},
});

/** How a sound case is spoiled, and the rule and code that must say so. */
const SPOILED: readonly (readonly [string, Partial<Case>, Partial<Record<RuleId, string>>])[] = [
  ['a higher version released', { lastVersion: '8.1.0' }, { 'version-higher': 'POLICY_VERSION_NOT_HIGHER' }],
  ['8.10 released before 8.9', { lastVersion: '8.10' }, { 'version-higher': 'POLICY_VERSION_NOT_HIGHER' }],
  ['the SBOM withheld', { sbom: undefined }, { 'sbom-bound': 'POLICY_SBOM_WITHHELD' }],
  [
    'the SBOM exchanged',
    { sbom: { bytes: sbomOf(ELF), sha256: sha256(sbomOf(ELF)) } },
    { 'sbom-bound': 'SBOM_DIGEST_MISMATCH' },
  ],
  [
    'a signed SBOM of another image',
    {
      evidence: [step(compile), step(image), refers({ ...reference, sbomSha256: sha256(sbomOf(ELF)) })],
      sbom: { bytes: sbomOf(ELF), sha256: sha256(sbomOf(ELF)) },
    },
    { 'sbom-bound': 'SBOM_NOT_BOUND' },
  ],
  [
    'no reference to the SBOM',
    { evidence: [step(compile), step(image)] },
    { 'sbom-bound': 'SBOM_REFERENCE_MISSING' },
  ],
  [
    'a reference to the SBOM by a stranger',
    { evidence: [step(compile), step(image), refers(reference, byStranger)] },
    { 'sbom-bound': 'CHAIN_BUILDER_NOT_TRUSTED' },
  ],
  [
    'a step signed by a stranger',
    { evidence: [step(compile), step(image, byStranger), refers(reference)] },
    { 'builder-trusted': 'CHAIN_BUILDER_NOT_TRUSTED' },
  ],
  [
    'a trusted identity that claims another builder',
    { evidence: [step(compile), step(otherStep({ builderId: 'https://other.example' })), refers(reference)] },
    { 'builder-trusted': 'CHAIN_BUILDER_NOT_TRUSTED' },
  ],
  [
    'a step that was not hermetic',
    { evidence: [step(compile), step(otherStep({ sandbox: hermetic })), refers(reference)] },
    { 'build-hermetic': 'CHAIN_STEP_NOT_HERMETIC' },
  ],
  [
    'the first step missing',
    { evidence: [step(image), refers(reference)] },
    { 'chain-complete': 'CHAIN_STEP_MISSING' },
  ],
  [
    'provenance of another version',
    {
      evidence: [
        step({ ...compile, version: '8.0.0' }),
        step({ ...image, version: '8.0.0' }),
        refers(reference),
      ],
    },
    { 'chain-complete': 'CHAIN_PRODUCT_MISMATCH' },
  ],
  [
    'provenance of another image',
    {
      evidence: [
        step(compile),
        step(otherStep({ products: [{ name: 'optiboot.bin', sha256: sha256('another') }] })),
        refers(reference),
      ],
    },
    { 'chain-complete': 'CHAIN_IMAGE_NOT_PRODUCED' },
  ],
  [
    'a material that no step made',
    {
      evidence: [
        step({ ...compile, products: [{ name: 'optiboot.elf', sha256: sha256('other elf') }] }),
        step(image),
        refers(reference),
      ],
    },
    { 'chain-complete': 'CHAIN_MATERIAL_MISMATCH' },
  ],
  [
    'a step that the policy does not know',
    { evidence: [...twoPredicates, step({ ...compile, step: 'patch' })] },
    { 'chain-complete': 'CHAIN_STEP_UNEXPECTED' },
  ],
  [
    'two trusted statements that disagree about a step',
    {
      evidence: [
        ...twoPredicates,
        step({ ...compile, products: [...compile.products, { name: 'more.elf', sha256: sha256('more') }] }),
      ],
    },
    { 'evidence-consistent': 'CHAIN_STEP_CONTRADICTED', 'chain-complete': 'CHAIN_STEP_CONTRADICTED' },
  ],
  [
    'two trusted statements that disagree about the SBOM',
    { evidence: [...twoPredicates, refers({ ...reference, sbomSha256: sha256('other sbom') })] },
    { 'evidence-consistent': 'SBOM_REFERENCE_CONTRADICTED', 'sbom-bound': 'SBOM_REFERENCE_CONTRADICTED' },
  ],
  [
    'provenance in a version that the gate does not know',
    { evidence: [...twoPredicates, nextProvenance] },
    { 'evidence-consistent': 'POLICY_PREDICATE_UNKNOWN' },
  ],
  [
    'evidence from the future',
    { evidence: [step(compile, { signedAtMs: NOW_MS + 6 * 60_000 }), step(image), refers(reference)] },
    { 'evidence-fresh': 'POLICY_EVIDENCE_FROM_FUTURE' },
  ],
  [
    'evidence without a readable time',
    { evidence: [step(compile, { signedAtMs: Number.NaN }), step(image), refers(reference)] },
    { 'evidence-fresh': 'POLICY_EVIDENCE_FROM_FUTURE' },
  ],
  [
    'evidence that is too old',
    {
      policy: { ...examplePolicy, evidenceMaxAgeDays: 30 },
      evidence: [step(compile, { signedAtMs: NOW_MS - 31 * DAY_MS }), step(image), refers(reference)],
    },
    { 'evidence-fresh': 'POLICY_EVIDENCE_STALE' },
  ],
];

test.each(SPOILED)('%s: denied by exactly the rules that ask for it', (_, changes, expected) => {
  const decision = evaluate(soundCase(changes));
  expect(failures(decision)).toEqual(expected);
  expect(decision.result).toBe('DENIED');
});

test('an image that nobody attested fails every rule about evidence', () => {
  const decision = evaluate(soundCase({ evidence: [] }));
  expect(decision.result).toBe('DENIED');
  expect(failures(decision)).toEqual({
    'evidence-present': 'POLICY_EVIDENCE_EMPTY',
    'evidence-consistent': 'POLICY_EVIDENCE_EMPTY',
    'evidence-fresh': 'POLICY_EVIDENCE_EMPTY',
    'builder-trusted': 'CHAIN_STEP_MISSING',
    'build-hermetic': 'CHAIN_STEP_MISSING',
    'chain-complete': 'CHAIN_STEP_MISSING',
    'sbom-bound': 'SBOM_REFERENCE_MISSING',
  });
});

test('evidence about other images alone is no evidence', () => {
  const decision = evaluate(soundCase({ imageSha256: sha256('unknown') }));
  expect(failures(decision)).toMatchObject({
    'evidence-present': 'POLICY_EVIDENCE_EMPTY',
    'chain-complete': 'CHAIN_IMAGE_NOT_PRODUCED',
  });
});

test('provenance that cannot be read fails the rules that need it', () => {
  const unreadable = asBundle({
    subjects: [{ name: 'optiboot.bin', sha256: IMAGE }],
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: { buildDefinition: { buildType: 'https://other.example/v1' } },
  });
  const decision = evaluate(soundCase({ evidence: [...twoPredicates, unreadable] }));
  expect(decision.result).toBe('DENIED');
  expect(failures(decision)).toMatchObject({ 'chain-complete': 'INTOTO_STATEMENT_MALFORMED' });
  expect(decision.bundles).toEqual([]);
});

test('a version that is none is denied, not thrown', () => {
  for (const lastVersion of [undefined, '8.0.0']) {
    const decision = evaluate(soundCase({ version: '8.1.0-rc1', lastVersion }));
    expect(failures(decision)).toMatchObject({ 'version-higher': 'RELEASE_VERSION_MALFORMED' });
  }
});

test('a first release needs no predecessor', () => {
  expect(evaluate(soundCase({ lastVersion: undefined })).result).toBe('PASSED');
});

describe('what does not count neither helps nor blocks', () => {
  test('statements of strangers beside those of trusted builders', () => {
    const junk = [
      step({ ...image, invocationId: 'junk', products: [{ name: 'x', sha256: IMAGE }] }, byStranger),
      step({ ...compile, step: 'patch' }, byStranger),
      refers({ ...reference, sbomSha256: sha256('junk') }, byStranger),
    ];
    const decision = evaluate(soundCase({ evidence: [...junk, ...twoPredicates] }));
    expect(failures(decision)).toEqual({});
    expect(decision.setAside).toEqual(junk.map((bundle) => bundle.sha256).sort());
    expect(decision.bundles).toEqual(twoPredicates.map((bundle) => bundle.sha256).sort());
  });

  test('statements of strangers that nobody can read', () => {
    const about = { subjects: [{ name: 'optiboot.bin', sha256: IMAGE }], predicate: {} };
    const junk = ['https://slsa.dev/provenance/v1', 'https://slsa.dev/provenance/v2'].map((predicateType) =>
      asBundle({ ...about, predicateType }, byStranger),
    );
    const decision = evaluate(soundCase({ evidence: [...junk, ...twoPredicates] }));
    expect(failures(decision)).toEqual({});
    expect(decision.setAside).toEqual(junk.map((bundle) => bundle.sha256).sort());
  });

  test('a step that made the same bytes in another version', () => {
    const before = step({ ...compile, version: '8.0.0' });
    const decision = evaluate(soundCase({ evidence: [before, ...twoPredicates] }));
    expect(decision.result).toBe('PASSED');
    expect(decision.setAside).toEqual([before.sha256]);
  });

  test('a step that made the same bytes for another product', () => {
    const other = step({ ...compile, product: 'other' });
    const decision = evaluate(soundCase({ evidence: [other, ...twoPredicates] }));
    expect(decision.result).toBe('PASSED');
    expect(decision.setAside).toEqual([other.sha256]);
  });

  test('the reference to the SBOM of an intermediate file', () => {
    const ofElf = refers({
      ...reference,
      subjects: [{ name: 'optiboot.elf', sha256: ELF }],
      sbomSha256: ELF,
    });
    const decision = evaluate(soundCase({ evidence: [ofElf, ...twoPredicates] }));
    expect(decision.result).toBe('PASSED');
    expect(decision.setAside).toEqual([ofElf.sha256]);
  });
});

test('a rebuild that agrees is no contradiction', () => {
  const again = step({ ...image, invocationId: 'run-2' });
  const decision = evaluate(soundCase({ evidence: [...twoPredicates, again] }));
  expect(decision.result).toBe('PASSED');
  expect(decision.bundles).toContain(again.sha256);
});

test('a policy without rules passes nothing', () => {
  expect(evaluate(soundCase({ policy: { ...examplePolicy, rules: [] } })).result).toBe('DENIED');
});

test('a statement about the image and something else is one about the image', () => {
  const both = [{ name: 'optiboot.hex', sha256: sha256('hex') }, ...image.products];
  const evidence = [
    step(compile),
    step({ ...image, products: both }),
    refers({ ...reference, subjects: both }),
  ];
  const decision = evaluate(soundCase({ evidence }));
  expect(failures(decision)).toEqual({});
  const [present] = decision.rules;
  expect(present).toMatchObject({ id: 'evidence-present', bundles: { length: 2 } });
});

test('of several builders each is known, and what one of them says must be understood', () => {
  const second = { ...trusted, builderId: 'https://second.example' };
  const policy = { ...examplePolicy, builders: [second, trusted] };
  const decision = evaluate(soundCase({ policy, evidence: [...twoPredicates, nextProvenance] }));
  expect(failures(decision)).toEqual({ 'evidence-consistent': 'POLICY_PREDICATE_UNKNOWN' });
});

test('what a trusted builder says about other matters is set aside', () => {
  const predicateType = 'https://in-toto.io/attestation/scai/v0.3';
  const matter = asBundle({ subjects: image.products, predicateType, predicate: {} });
  const decision = evaluate(soundCase({ evidence: [...twoPredicates, matter] }));
  expect(decision.result).toBe('PASSED');
  expect(decision.setAside).toEqual([matter.sha256]);
  expect(explain(decision)).toContain('  note  1 further bundle set aside');
});

test('signatures of exactly the allowed age, and of a clock exactly as far ahead as is allowed, are fresh', () => {
  const policy = { ...examplePolicy, evidenceMaxAgeDays: 30 };
  for (const signedAtMs of [NOW_MS - 30 * DAY_MS, NOW_MS + 300_000]) {
    const evidence = [step(compile, { signedAtMs }), step(image), refers(reference)];
    const decision = evaluate(soundCase({ policy, evidence }));
    expect(decision.result).toBe('PASSED');
    expect(decision.notAsked).not.toContain('maximum age of evidence');
  }
});

test('a rule that the policy leaves out is not asked, and the decision says so', () => {
  const policy = { ...examplePolicy, rules: RULE_IDS.filter((id) => id !== 'sbom-bound') };
  const decision = evaluate(soundCase({ policy, sbom: undefined }));
  expect(decision.result).toBe('PASSED');
  expect(decision.notAsked).toContain('rule sbom-bound');
  expect(explain(decision).join('\n')).toContain('none  the policy does not ask for: rule sbom-bound');
});

test('an exception that is no refusal is a bug and stays one', () => {
  const broken = {
    get bytes(): Uint8Array {
      throw new TypeError('our bug');
    },
    sha256: sha256(SBOM),
  };
  expect(() => evaluate(soundCase({ sbom: broken }))).toThrow('our bug');
});

const POOL = [
  ...twoPredicates,
  step({ ...compile, version: '8.0.0' }),
  step(image, byStranger),
  refers(reference, byStranger),
  step(otherStep({ sandbox: hermetic })),
  nextProvenance,
  // Two that fail one rule, for different reasons: which is named must not depend on their order.
  step(otherStep({ builderId: 'https://a.example' })),
  step(otherStep({ builderId: 'https://b.example' })),
];

test('property: the decision depends on the set of evidence alone, not on its order or repetition', () => {
  fc.assert(
    fc.property(fc.subarray(POOL), fc.array(fc.nat()), (evidence, seeds) => {
      const shuffled = [...evidence, ...evidence]
        .map((bundle, i) => ({ bundle, key: seeds[i % Math.max(1, seeds.length)] ?? i }))
        .sort((a, b) => a.key - b.key)
        .map(({ bundle }) => bundle);
      expect(evaluate(soundCase({ evidence: shuffled }))).toEqual(evaluate(soundCase({ evidence })));
    }),
    { numRuns: 200 },
  );
});

test('property: without all of the evidence nothing passes, whatever the policy asks', () => {
  fc.assert(
    fc.property(fc.subarray([...RULE_IDS]), fc.boolean(), (rules, withSbom) => {
      const policy = { ...examplePolicy, rules };
      const sbom = withSbom ? soundCase().sbom : undefined;
      expect(evaluate(soundCase({ policy, evidence: [], sbom })).result).toBe('DENIED');
    }),
  );
  for (const left of twoPredicates) {
    const evidence = twoPredicates.filter((bundle) => bundle !== left);
    expect(evaluate(soundCase({ evidence })).result).toBe('DENIED');
  }
});

test('the explanation shows each rule with verdict, reason, code and remedy', () => {
  const text = explain(evaluate(soundCase({ lastVersion: '9' }))).join('\n');
  for (const id of RULE_IDS) expect(text).toMatch(new RegExp(`^  (pass|fail)  ${id} `, 'm'));
  expect(text).toContain(
    'fail  version-higher       POLICY_VERSION_NOT_HIGHER: expected a version higher than 9',
  );
  expect(text.match(/what to do: /g)).toEqual(['what to do: ']);
  expect(text).toContain('what to do: Choose a higher version');
  expect(text).not.toContain('undefined');
  expect(text).not.toContain('set aside');
  expect(text).toContain('DENIED: 7 of 8 rules hold, policy https://waybill.example/policies/optiboot/v1');
});
