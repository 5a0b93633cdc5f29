// SPDX-License-Identifier: Apache-2.0
// Reading a gate policy: what is accepted, what is refused and where.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openYaml } from '../../cli/files.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { POLICY } from '../../policy/faults.ts';
import { RULE_IDS, readPolicy } from '../../policy/policy.ts';

const PATH = new URL('../../examples/optiboot/policy.yaml', import.meta.url).pathname;
const EXAMPLE = readFileSync(PATH, 'utf8');

function read(text: string) {
  const refuse = (message: string, at: string) => POLICY.reject('POLICY_MALFORMED', message, { at });
  return readPolicy(openYaml('policy.yaml', utf8(text), refuse));
}

test('the example is a policy that asks every rule', () => {
  const policy = read(EXAMPLE);
  expect(policy.rules).toEqual(RULE_IDS);
  expect(policy.steps).toEqual(['compile', 'image']);
  expect(policy.evidenceMaxAgeDays).toBe('none');
});

test('rules are kept in one order, and evidence must always be there', () => {
  const policy = read(EXAMPLE.replace('rules: all', 'rules: [version-higher, build-hermetic]'));
  expect(policy.rules).toEqual(['evidence-present', 'build-hermetic', 'version-higher']);
});

test.each([
  [
    'an unknown rule',
    'rules: all',
    'rules: [builder-trusted, LOL]',
    /expected "evidence-present" or .* got "LOL"/,
  ],
  ['a rule twice', 'rules: all', 'rules: [sbom-bound, sbom-bound]', /expected rule sbom-bound once/],
  ['no rule', 'rules: all', 'rules: []', /at least one element/],
  ['a word instead of rules', 'rules: all', 'rules: most', /expected `all` or a list of rules/],
  ['rules left out', 'rules: all', '', /expected a member "rules"/],
  ['an unknown member', 'rules: all', 'rules: all\nruels: all', /unknown member "ruels"/],
  ['a silent absence of witnesses', 'witnesses: none', '', /expected a member "witnesses"/],
  [
    'a silent absence of a maximum age',
    'evidenceMaxAgeDays: none',
    '',
    /expected a member "evidenceMaxAgeDays"/,
  ],
  ['a maximum age of zero', 'evidenceMaxAgeDays: none', 'evidenceMaxAgeDays: 0', /whole number from 1/],
  [
    'a name that is no URI',
    'uri: https://waybill.example/policies/optiboot/v1',
    'uri: mine',
    /expected a URI/,
  ],
  ['no builder', /builders:[\s\S]*7070/, 'builders: []', /at least one element/],
  ['no step', 'steps: [compile, image]', 'steps: []', /at least one element/],
])('%s is refused', (_, from, to, message) => {
  const text = EXAMPLE.replace(from, to);
  expect(text).not.toBe(EXAMPLE);
  expect(() => read(text)).toThrow(
    expect.objectContaining({ code: 'POLICY_MALFORMED', message: expect.stringMatching(message) }),
  );
});

test('a mistake is reported with file, line and column', () => {
  expect(() => read(EXAMPLE.replace('rules: all', 'rules: any'))).toThrow(
    expect.objectContaining({ at: expect.stringMatching(/^policy\.yaml:17:8: "rules: any"$/) }),
  );
});
