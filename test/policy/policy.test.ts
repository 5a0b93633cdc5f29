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

const WITH_REBUILDERS = EXAMPLE.replace(
  'rebuilders: none',
  `rebuilders:
  threshold: 2
  identities:
    - { identity: a@example.com, issuer: https://issuer.example }
    - { identity: b@example.com, issuer: https://issuer.example }
  keys: ['${Buffer.alloc(91).toString('base64')}']`,
);

test('the example is a policy that asks every rule but that of rebuilders, whom it does not name', () => {
  const policy = read(EXAMPLE);
  expect(policy.rules).toEqual(RULE_IDS.filter((id) => id !== 'rebuild-agreed'));
  expect(policy.rebuilders).toBe('none');
  expect(policy.steps).toEqual(['compile', 'image']);
  expect(policy.evidenceMaxAgeDays).toBe('none');
});

test('rebuilders are identities and keys, and so many of them must agree', () => {
  const policy = read(WITH_REBUILDERS);
  expect(policy.rules).toEqual(RULE_IDS);
  expect(policy.rebuilders).toEqual({
    threshold: 2,
    listed: [
      { identity: 'a@example.com', issuer: 'https://issuer.example' },
      { identity: 'b@example.com', issuer: 'https://issuer.example' },
      { publicKey: Buffer.alloc(91).toString('base64') },
    ],
  });
});

test.each([
  ['more than are listed', 'threshold: 2', 'threshold: 4', /whole number from 1 to 3/],
  ['a threshold of zero', 'threshold: 2', 'threshold: 0', /whole number from 1 to 3/],
  ['no threshold', '  threshold: 2\n', '', /expected a member "threshold"/],
  ['one of them twice', 'b@example.com', 'a@example.com', /expected each rebuilder once/],
  ['a key that is none', /keys: .*/, "keys: ['AAAA']", /expected a P-256 public key/],
  ['an empty list', /keys: .*/, 'keys: []', /at least one element/],
  ['nobody', / {2}identities:[\s\S]*keys: .*/, '', /expected identities or keys of rebuilders/],
  ['rules without theirs', 'rules: all', 'rules: [sbom-bound]', /expected rule rebuild-agreed/],
  ['a word', /rebuilders:[\s\S]*keys: .*/, 'rebuilders: some', /expected `none`, or a threshold/],
  ['silence', /rebuilders:[\s\S]*keys: .*/, '', /expected a member "rebuilders"/],
])('rebuilders: %s is refused', (_, from, to, message) => {
  const text = WITH_REBUILDERS.replace(from, to);
  expect(text).not.toBe(WITH_REBUILDERS);
  expect(() => read(text)).toThrow(
    expect.objectContaining({ code: 'POLICY_MALFORMED', message: expect.stringMatching(message) }),
  );
});

test('the rule of rebuilders cannot be asked of a policy that names none', () => {
  expect(() => read(EXAMPLE.replace('rules: all', 'rules: [rebuild-agreed]'))).toThrow(
    /got "rebuild-agreed"/,
  );
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
  ['witnesses that nobody can count yet', 'witnesses: none', 'witnesses: any', /expected "none", got "any"/],
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
