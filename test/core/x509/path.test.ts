// SPDX-License-Identifier: Apache-2.0
// Paths at their own entry point: issuers that are none of each other, whoever put them together.

import { expect, test } from 'vitest';
import { parseCertificate } from '../../../core/x509/certificate.ts';
import { verifyPath } from '../../../core/x509/path.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { Forge, NOW_MS, pair } from '../sigstore/forge.ts';

const shared = { root: pair(), intermediate: pair() };
/** Two authorities with the same keys and other names, so that names alone tell them apart. */
const forge = new Forge({ root: { key: shared.root }, intermediate: { key: shared.intermediate } });
const leaf = parseCertificate(forge.signer().der);
const [intermediate, root, tsaRoot] = [forge.intermediate, forge.root, forge.tsaRoot].map(({ der }) =>
  parseCertificate(der),
) as [typeof leaf, typeof leaf, typeof leaf];
const verify = (issuers: readonly (typeof leaf)[]) => () =>
  verifyPath({ leaf, issuers, purpose: 'codeSigning', timesMs: [NOW_MS], at: '/x' }, nodeCrypto);
const unknown = (at: string) => expect.objectContaining({ code: 'X509_ISSUER_UNKNOWN', at });

test('in order up to the root is a path', () => {
  expect(verify([intermediate, root])).not.toThrow();
});

test('of nobody, of another, out of order, or that does not end in a root is none', () => {
  expect(verify([])).toThrow(unknown('/x'));
  expect(verify([root])).toThrow(unknown('/x'));
  expect(verify([intermediate, tsaRoot])).toThrow(unknown('/x, issuer 1'));
  expect(verify([intermediate])).toThrow(unknown('/x, issuer 1'));
  expect(verify([intermediate, root, root])).toThrow(
    expect.objectContaining({ code: 'X509_AUTHORITY_UNFIT' }),
  );
});

test('under an issuer of the same key and another name is none', () => {
  const renamed = { ...intermediate, subject: root.subject };
  expect(verify([renamed, root])).toThrow(unknown('/x'));
  const rerooted = { ...root, subject: tsaRoot.subject, issuer: tsaRoot.subject };
  expect(verify([intermediate, rerooted])).toThrow(unknown('/x, issuer 1'));
});

test('what was verified once is believed of that issuer and that cryptography alone', () => {
  expect(verify([intermediate, root])).not.toThrow();
  const checks: Uint8Array[] = [];
  const watching = {
    ...nodeCrypto,
    verifyEcdsa: (...args: Parameters<typeof nodeCrypto.verifyEcdsa>) => {
      checks.push(args[1]);
      return nodeCrypto.verifyEcdsa(...args);
    },
  };
  const question = { leaf, purpose: 'codeSigning', timesMs: [NOW_MS], at: '/x' } as const;
  // Another cryptography looks for itself, once.
  verifyPath({ ...question, issuers: [intermediate, root] }, watching);
  expect(checks).toHaveLength(3);
  verifyPath({ ...question, issuers: [intermediate, root] }, watching);
  expect(checks).toHaveLength(3);
  // The issuer's name and key identifier, and another key.
  const impostor = { ...intermediate, publicKey: root.publicKey };
  expect(() => verifyPath({ ...question, issuers: [impostor, root] }, watching)).toThrow(
    expect.objectContaining({ code: 'X509_SIGNATURE_INVALID', at: '/x' }),
  );
  const usurper = { ...root, publicKey: intermediate.publicKey };
  expect(() => verifyPath({ ...question, issuers: [intermediate, usurper] }, watching)).toThrow(
    expect.objectContaining({ code: 'X509_SIGNATURE_INVALID', at: '/x, issuer 1' }),
  );
});
