// SPDX-License-Identifier: Apache-2.0
// Where core is stricter than the library: each difference of docs/spec/verification.md has a bundle that the library accepts and
// core refuses with the code named there. And none is looser, whatever is changed in valid bundles.

import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { STRICT_POLICY } from '../../core/verify/evidence.ts';
import { signatureVerifier } from '../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { CASES } from '../core/sigstore/cases.ts';
import { compare } from './differential.ts';
import { bothVerdicts } from './library-verdict.ts';
import { listedDifferences } from './listed-differences.ts';
import { makeDifferences } from './sigstore-differences.ts';

const FOLDER = new URL('../vectors/sigstore-differences/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, FOLDER)));
const expected: Record<string, string> = JSON.parse(Buffer.from(read('expected.json')).toString());
const listed = listedDifferences();

test('the page, the vectors and their makers name the same differences with the same codes', () => {
  const made = Object.entries(makeDifferences().differences).map(([name, { code }]) => [name, code]);
  expect(Object.fromEntries(made)).toEqual(expected);
  expect(Object.fromEntries(listed.map(({ name, code }) => [name, code]))).toEqual(expected);
});

describe.each([
  ['as kept', undefined],
  ['as made now', makeDifferences()],
])('%s', (_, made) => {
  test.each(Object.entries(expected))('%s: %s', (name, code) => {
    const own = (file: string) =>
      existsSync(new URL(`${name}/${file}`, FOLDER)) ? read(`${name}/${file}`) : undefined;
    const pem = own('key.pub');
    const kept = {
      bundle: read(`${name}/bundle.sigstore.json`),
      trustedRoot: own('trusted_root.json'),
      key:
        pem &&
        new Uint8Array(
          Buffer.from(
            Buffer.from(pem)
              .toString()
              .replace(/-----[A-Z ]+-----|\s/g, ''),
            'base64',
          ),
        ),
      artifact: own('artifact'),
    };
    const one = made?.differences[name] ?? kept;
    const trustedRoot = one.trustedRoot ?? made?.trustedRoot ?? read('trusted_root.json');
    const keys = one.key === undefined ? [] : [{ publicKey: one.key }];
    const { library } = bothVerdicts({ trustedRoot, keys, artifact: one.artifact ?? new Uint8Array(0) });
    expect(library(one.bundle)).toBe('accepted');
    const verifier = signatureVerifier({ trustedRoot, keys, policy: STRICT_POLICY }, nodeCrypto);
    const artifact = one.artifact === undefined ? undefined : { bytes: one.artifact };
    expect(() => verifier.verify(one.bundle, artifact)).toThrow(expect.objectContaining({ code }));
  });
});

test('on the cases of the field both agree, but for what is listed', () => {
  for (const { name, bundle, trustedRoot, keys, artifact } of CASES) {
    const { library, core } = bothVerdicts({ trustedRoot, keys, artifact: artifact.bytes });
    const [theirs, ours] = [library(bundle), core(bundle)];
    if (theirs === 'accepted' && ours !== 'accepted') {
      expect(
        listed.map(({ code }) => code),
        name,
      ).toContain(ours);
    } else expect(ours === 'accepted', `${name}: ${theirs}`).toBe(theirs === 'accepted');
  }
});

test('1,000 changed bundles: nothing passes core that the library refuses', { timeout: 300_000 }, () => {
  const { looser, stricter, agreed } = compare(1000, 1);
  expect(looser).toEqual([]);
  const codes = listed.map(({ code }) => code);
  expect(Object.keys(stricter).filter((code) => !codes.includes(code))).toEqual([]);
  // The changes reach both verdicts, and the differences.
  expect(agreed.refused).toBeGreaterThan(250);
  expect(agreed.accepted).toBeGreaterThan(25);
  expect(Object.keys(stricter).length).toBeGreaterThan(2);
});
