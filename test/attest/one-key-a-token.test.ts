// SPDX-License-Identifier: Apache-2.0
// A source that gives the same token again gets the same key, a fresh token gets a fresh one.

import { expect, test } from 'vitest';
import { keyForToken } from '../../attest/certificate-signer.ts';
import type { IdentitySource } from '../../attest/identity/token.ts';

test('one key for one token of one source', () => {
  const source = (): IdentitySource => ({ origin: 'test', token: async () => 'a' });
  const [one, other] = [source(), source()];
  const first = keyForToken(one, 'a');
  expect(keyForToken(one, 'a')).toBe(first);
  expect(keyForToken(other, 'a')).not.toBe(first);
  const second = keyForToken(one, 'b');
  expect(second).not.toBe(first);
  expect(second.publicKey.equals(first.publicKey)).toBe(false);
});
