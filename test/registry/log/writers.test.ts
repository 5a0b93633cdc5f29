// SPDX-License-Identifier: Apache-2.0
// What the log remembers of certificates, and what is asked anew all the same.

import { createPublicKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { verifyRequest } from '../../../registry/log/rekor-request.ts';
import { Writers } from '../../../registry/log/writers.ts';
import { extendedKeyUsage, keyUsage, OID } from '../../../registry/trust/certificate.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { codeOf } from '../../core/tlog/refusal.ts';
import { TestAuthority } from './log-server.ts';

test('a certificate that was admitted before is asked for its time again', async () => {
  let nowMs = Date.now();
  const authority = await TestAuthority.make('ours');
  const writers = new Writers({
    authorities: [authority.chain],
    isListedKey: () => false,
    clock: () => nowMs,
  });
  const { signer } = newSigner();
  const certificate = await authority.issue(signer.spki, { notAfterMs: nowMs + 10_000 });
  expect(writers.admit(certificate, 'certificate').form).toBe('certificate');
  nowMs += 9000;
  // The same bytes elsewhere in memory, as the next request brings them.
  const again = Buffer.concat([Buffer.alloc(3), certificate]).subarray(3);
  expect(writers.admit(again, 'certificate').key).toBe(writers.admit(certificate, 'certificate').key);
  nowMs += 2000;
  expect(codeOf(() => writers.admit(certificate, 'certificate'))).toBe('LOG_CERTIFICATE_EXPIRED');
});

test('a certificate that was admitted under an authority which counts no more is not', async () => {
  const [before, after] = [await TestAuthority.make('ours'), await TestAuthority.make('ours')];
  const rules = { authorities: [before.chain], isListedKey: () => false, clock: Date.now };
  const writers = new Writers(rules);
  const certificate = await before.issue(newSigner().signer.spki);
  writers.admit(certificate, 'certificate');
  rules.authorities = [after.chain];
  expect(codeOf(() => writers.admit(certificate, 'certificate'))).toBe('LOG_CERTIFICATE_UNTRUSTED');
  const other = await after.issue(newSigner().signer.spki);
  expect(codeOf(() => writers.admit(other, 'certificate'))).toBe('accepted');
});

test('a certificate like one that was admitted, but for its signature, is not', async () => {
  const authority = await TestAuthority.make('ours');
  const writers = new Writers({
    authorities: [authority.chain],
    isListedKey: () => false,
    clock: Date.now,
  });
  const { signer } = newSigner();
  const certificate = await authority.issue(signer.spki);
  writers.admit(certificate, 'certificate');
  const bent = certificate.slice();
  const last = bent.length - 1;
  bent[last] = (bent[last] as number) ^ 1;
  expect(codeOf(() => writers.admit(bent, 'certificate'))).toBe('LOG_CERTIFICATE_UNTRUSTED');
});

test('a certificate that was issued here is verified no more, and all else of it is asked', async () => {
  let nowMs = Date.now();
  const [ours, foreign] = [await TestAuthority.make('ours'), await TestAuthority.make('foreign')];
  const writers = new Writers({ authorities: [ours.chain], isListedKey: () => false, clock: () => nowMs });
  const make = async (authority: TestAuthority) => {
    const { spki } = newSigner().signer;
    const der = await authority.issue(spki, { notAfterMs: nowMs + 10_000 });
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return { der, key, chain: authority.chain };
  };
  const issued = await make(ours);
  // Only a memory lets this one in: its signature is wrong.
  const last = issued.der.length - 1;
  issued.der[last] = (issued.der[last] as number) ^ 1;
  writers.issued(issued);
  expect(writers.admit(issued.der.slice(), 'certificate').key).toBe(issued.key);
  const other = issued.der.slice();
  // In the serial number.
  other[18] = (other[18] as number) ^ 1;
  expect(codeOf(() => writers.admit(other, 'certificate'))).toBe('LOG_CERTIFICATE_UNTRUSTED');
  // Whatever else the authority may certify one day, it writes nothing here.
  const spki = newSigner().signer.spki;
  const extensions = [keyUsage('digitalSignature'), extendedKeyUsage(OID.timeStamping)];
  const stamping = { ...issued, der: await ours.issue(spki, { extensions }) };
  writers.issued(stamping);
  expect(codeOf(() => writers.admit(stamping.der, 'certificate'))).toBe('LOG_CERTIFICATE_UNTRUSTED');
  const elsewhere = await make(foreign);
  writers.issued(elsewhere);
  expect(codeOf(() => writers.admit(elsewhere.der, 'certificate'))).toBe('LOG_CERTIFICATE_UNTRUSTED');
  nowMs += 11_000;
  expect(codeOf(() => writers.admit(issued.der, 'certificate'))).toBe('LOG_CERTIFICATE_EXPIRED');
});

test('a request that is no UTF-8 is not read', () => {
  const writers = new Writers({ authorities: [], isListedKey: () => false, clock: Date.now });
  const body = Buffer.from('{"x":"\xff"}', 'latin1');
  expect(() => verifyRequest(body, writers, () => false)).toThrow('not UTF-8');
});
