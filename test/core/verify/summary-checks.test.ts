// SPDX-License-Identifier: Apache-2.0
// The gate's decision, spoiled one way at a time.

import { describe, expect, test } from 'vitest';
import { buildVerificationSummary, type VerificationSummary } from '../../../core/intoto/vsa.ts';
import type { TrustedGate } from '../../../core/release/device-policy.ts';
import { checkSummary } from '../../../core/verify/summary-checks.ts';
import type { VerifiedBundle } from '../../../core/verify/verified.ts';
import { asBundle, compile, IMAGE, image, reference, refers, sha256, step } from '../../policy/evidence.ts';

const coded = (code: string) => expect.objectContaining({ code });
const gateKey = new Uint8Array(91).fill(7);
const gate: TrustedGate = {
  verifierId: 'https://waybill.example/gates/main',
  publicKey: gateKey,
  policies: [
    { uri: 'https://waybill.example/policies/old', sha256: sha256('old') },
    { uri: 'https://waybill.example/policies/release', sha256: sha256('policy') },
  ],
};
const expected = { gate, product: 'optiboot', version: '8.1.0', imageSha256: IMAGE };
const evidence = [step(compile), step(image), refers(reference)];
const sound: VerificationSummary = {
  subjects: [{ name: 'optiboot.bin', sha256: IMAGE }],
  verifierId: gate.verifierId,
  timeVerifiedMs: Date.UTC(2026, 10, 20),
  resourceUri: 'pkg:generic/optiboot@8.1.0',
  policyUri: 'https://waybill.example/policies/release',
  policySha256: sha256('policy'),
  inputAttestations: evidence.map((bundle) => bundle.sha256),
  result: 'PASSED',
  verifiedLevels: [],
};
const byGate = { kind: 'key', publicKey: gateKey } as const;

function vsa(
  change: Partial<VerificationSummary> = {},
  signer: VerifiedBundle['signer'] = byGate,
  salt = '',
) {
  return asBundle(buildVerificationSummary({ ...sound, ...change }, '2026-11-20T00:00:00Z'), {
    signer,
    salt,
  });
}
const check = (change: Partial<VerificationSummary>) => () =>
  checkSummary([...evidence, vsa(change)], expected);

test('a sound summary is believed, wherever it lies in the pack', () => {
  const summary = vsa();
  expect(checkSummary([...evidence, summary], expected).bundle).toBe(summary);
  expect(checkSummary([summary, ...evidence], expected).summary.result).toBe('PASSED');
});

describe('refused is a summary', () => {
  test('that is missing, or not the only one', () => {
    expect(() => checkSummary(evidence, expected)).toThrow(coded('PACK_SUMMARY_MISSING'));
    const twice = [...evidence, vsa(), vsa({}, byGate, 'again')];
    expect(() => checkSummary(twice, expected)).toThrow(coded('PACK_SUMMARY_AMBIGUOUS'));
  });

  test('signed by another key, or by a certificate, even one of a trusted builder', () => {
    const other = { kind: 'key', publicKey: new Uint8Array(91).fill(8) } as const;
    expect(() => checkSummary([...evidence, vsa({}, other)], expected)).toThrow(coded('PACK_SUMMARY_KEY'));
    const [builder] = evidence as [VerifiedBundle];
    expect(() => checkSummary([...evidence, vsa({}, builder.signer)], expected)).toThrow(
      coded('PACK_SUMMARY_KEY'),
    );
  });

  test('of another verifier with the same key', () => {
    expect(check({ verifierId: 'https://waybill.example/gates/test' })).toThrow(
      coded('PACK_SUMMARY_VERIFIER'),
    );
  });

  test('about another image, or about several', () => {
    const other = { name: 'optiboot.bin', sha256: sha256('other') };
    expect(check({ subjects: [other] })).toThrow(coded('PACK_SUMMARY_SUBJECT'));
    expect(check({ subjects: [...sound.subjects, other] })).toThrow(coded('PACK_SUMMARY_SUBJECT'));
  });

  test('that did not pass', () => {
    expect(check({ result: 'FAILED' })).toThrow(coded('PACK_SUMMARY_FAILED'));
  });

  test('by another policy: another name, another text, or a mixture of two accepted ones', () => {
    expect(check({ policyUri: 'https://waybill.example/policies/lax' })).toThrow(
      coded('PACK_SUMMARY_POLICY'),
    );
    expect(check({ policySha256: sha256('lax') })).toThrow(coded('PACK_SUMMARY_POLICY'));
    expect(check({ policySha256: sha256('old') })).toThrow(coded('PACK_SUMMARY_POLICY'));
  });

  test('for another product or version', () => {
    for (const resourceUri of ['pkg:generic/other@8.1.0', 'pkg:generic/optiboot@8.1.1']) {
      expect(check({ resourceUri })).toThrow(coded('PACK_SUMMARY_RESOURCE'));
    }
  });

  test('whose evidence is not all in the pack, or that did not see all that is', () => {
    const withheld = [...evidence.slice(1), vsa()];
    expect(() => checkSummary(withheld, expected)).toThrow(coded('PACK_SUMMARY_INPUTS'));
    const added = [...evidence, step(compile, { salt: 'later' }), vsa()];
    expect(() => checkSummary(added, expected)).toThrow(coded('PACK_SUMMARY_INPUTS'));
  });
});
