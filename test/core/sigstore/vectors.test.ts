// SPDX-License-Identifier: Apache-2.0
// The cases of sigstore-conformance, each refused with the code that its README implies, by portable and by native cryptography.

import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { Rejection } from '../../../core/faults.ts';
import { signatureVerifier } from '../../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { CASE_POLICY, CASES, caseOf } from './cases.ts';

test('there are 41 cases, and each has a verdict', () => {
  expect(CASES).toHaveLength(41);
  for (const { name, expected } of CASES) {
    expect(expected === 'accepted', name).toBe(!name.endsWith('_fail'));
    expect(expected, name).toMatch(/^accepted$|^[A-Z0-9_]+$/);
  }
});

describe.each([
  ['portable', portableCrypto],
  ['native', nodeCrypto],
])('with %s cryptography', (_, crypto) => {
  test.each(CASES)(
    '$name: $expected',
    ({ bundle, trustedRoot, keys, artifact, expected, identity, issuer }) => {
      const verify = () =>
        signatureVerifier({ trustedRoot, keys, policy: CASE_POLICY }, crypto).verify(bundle, artifact);
      if (expected !== 'accepted') {
        expect(verify).toThrow(Rejection);
        expect(verify).toThrow(expect.objectContaining({ code: expected }));
        return;
      }
      const { signer } = verify();
      expect(signer).toEqual(
        keys[0] === undefined
          ? { kind: 'certificate', identity, issuer }
          : { kind: 'key', publicKey: keys[0].publicKey },
      );
    },
  );
});

test('what was learned of a bundle of Rekor v2', () => {
  const { bundle, trustedRoot, artifact } = caseOf('rekor2-happy-path');
  const policy = { timestamps: 'required', log: 'required', certificateLog: 'required' } as const;
  const verified = signatureVerifier({ trustedRoot, keys: [], policy }, nodeCrypto).verify(bundle, artifact);
  expect(verified).toMatchObject({
    times: [
      {
        by: 'authority',
        name: 'https://timestamp.sigstage.dev/api/v1/timestamp',
        timeMs: Date.parse('2025-06-12T12:02:20Z'),
      },
    ],
    signedAtMs: Date.parse('2025-06-12T12:02:20Z'),
    entries: [
      { origin: 'log2025-alpha1.rekor.sigstage.dev', index: 735n, treeSize: 736n, witnesses: 'none' },
    ],
    content: { kind: 'artifact' },
    certificate: {
      kind: 'uri',
      certificateLogs: ['2b30bcdc6888c9e2e1d826295e741f4839319602f29c33cb5e4340feb2ac867a'],
      claims: {
        sourceRepositoryUri: 'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon',
        runnerEnvironment: 'github-hosted',
        buildTrigger: 'workflow_dispatch',
      },
    },
    waived: [],
  });
});

test('what was learned of a bundle of Rekor v1, whose log gives the time', () => {
  const { bundle, trustedRoot, artifact } = caseOf('happy-path-v0.2');
  const verified = signatureVerifier({ trustedRoot, keys: [], policy: CASE_POLICY }, nodeCrypto).verify(
    bundle,
    artifact,
  );
  expect(verified).toMatchObject({
    times: [{ by: 'log', name: 'rekor.sigstore.dev', timeMs: 1689177396000 }],
    entries: [{ origin: 'rekor.sigstore.dev', index: 23083061n, treeSize: 23083062n }],
    waived: ['timestamps'],
  });
});
