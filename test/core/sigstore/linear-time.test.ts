// SPDX-License-Identifier: Apache-2.0
// Time of the parsers grows with the size of hostile input, not with its square: eight times the input takes at most forty times as long.

import { expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { CORE } from '../../../core/faults.ts';
import { parseAnyBundle } from '../../../core/sigstore/any-bundle.ts';
import { checkEntry } from '../../../core/sigstore/log-entry.ts';
import { parseTrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { parseCertificate } from '../../../core/x509/certificate.ts';
import { parseDer } from '../../../core/x509/der.ts';
import { parseSctList } from '../../../core/x509/sct.ts';
import { parseTimestamp } from '../../../core/x509/timestamp.ts';
import { OID } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { Forge } from './forge.ts';
import { forgeBundle } from './forged-bundle.ts';
import { attribute, timestamp } from './forged-timestamp.ts';

const forge = new Forge();
const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
const many = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));
const json = (value: unknown) => utf8(JSON.stringify(value));
const subject = {
  signedDigest: new Uint8Array(32),
  payload: { digest: () => new Uint8Array(32), type: 'x' },
  signature: new Uint8Array(8),
  verifier: { publicKey: new Uint8Array(8) },
};
const intoto = (pem: string) =>
  json({
    apiVersion: '0.0.2',
    kind: 'intoto',
    spec: {
      content: {
        envelope: {
          payloadType: 'x',
          signatures: [{ publicKey: Buffer.from(pem).toString('base64'), sig: 'AAAA' }],
        },
        hash: { algorithm: 'sha256', value: 'a'.repeat(64) },
        payloadHash: { algorithm: 'sha256', value: 'a'.repeat(64) },
      },
    },
  });
const bundle = JSON.parse(Buffer.from(forgeBundle(forge)).toString());
const root = JSON.parse(Buffer.from(forge.trustedRoot()).toString());
const deep = (n: number): Uint8Array => (n === 0 ? der.sequence() : der.sequence(deep(n - 1)));

/** Input of a size, in thousands, and what reads it. */
const CASES: Readonly<Record<string, (n: number) => () => unknown>> = {
  'DER of empty values': (n) => {
    const bytes = der.sequence(...many(n * 350, () => der.tlv(0x05)));
    return () => parseDer(bytes, refuse);
  },
  'DER nested as deep as may be': (n) => {
    const bytes = der.sequence(...many(n * 14, () => deep(20)));
    return () => parseDer(bytes, refuse);
  },
  'DER of long object identifiers': (n) => {
    const bytes = der.sequence(...many(n * 14, () => der.tlv(0x06, new Uint8Array(64).fill(1))));
    return () => parseDer(bytes, refuse).children.map((node) => node.oid());
  },
  'a certificate of many extensions': (n) => {
    const extensions = many(n * 30, (i) => ({ oid: `1.2.${i}`, value: utf8('x') }));
    const certificate = forge.signer({ extensions: (list) => [...list, ...extensions] }).der;
    return () => parseCertificate(certificate);
  },
  'a certificate of many certificate timestamps': (n) => {
    const certificate = parseCertificate(forge.signer({ scts: (sct) => many(n * 6, () => sct) }).der);
    return () => parseSctList(certificate);
  },
  'a certificate of many purposes': (n) => {
    const value = der.sequence(...many(n * 60, (i) => der.oid(`1.2.${i}`)));
    const certificate = forge.signer({
      extensions: (list) => [...list, { oid: `${OID.extKeyUsage}`, value }].slice(2),
    }).der;
    return () => parseCertificate(certificate);
  },
  'a timestamp of many attributes': (n) => {
    const attributes = many(n * 50, (i) => attribute(`1.2.${i}`, der.small(1)));
    const bytes = timestamp(forge.tsa, forge.tsaRoot.name, utf8('x'), {
      attributes: (list) => [...list, ...attributes],
    });
    return () => parseTimestamp(bytes);
  },
  'a bundle of many unknown members': (n) => {
    const bytes = json({
      ...bundle,
      verificationMaterial: Object.fromEntries(many(n * 1500, (i) => [`m${i}`, i])),
    });
    return () => parseAnyBundle(bytes);
  },
  'a bundle of a long payload': (n) => {
    const payload = Buffer.alloc(n * 12_000).toString('base64');
    const bytes = json({ ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, payload } });
    return () => parseAnyBundle(bytes);
  },
  'a bundle of many timestamps': (n) => {
    const rfc3161Timestamps = many(n * 500, () => ({ signedTimestamp: 'AAAA' }));
    const verificationMaterial = {
      ...bundle.verificationMaterial,
      timestampVerificationData: { rfc3161Timestamps },
    };
    const bytes = json({ ...bundle, verificationMaterial });
    return () => parseAnyBundle(bytes);
  },
  'a trusted root of many authorities': (n) => {
    const certificateAuthorities = many(n * 30, () => root.certificateAuthorities[0]);
    const bytes = json({ ...root, certificateAuthorities });
    return () => parseTrustedRoot(bytes);
  },
  'an entry of much that is like PEM': (n) => {
    const body = intoto(`-----BEGIN CERTIFICATE-----\n${'\n-----END CERTIFICATE---- '.repeat(n * 400)}`);
    return () => checkEntry({ kind: 'intoto', version: '0.0.2', body }, subject, '');
  },
  'an entry of many lines of PEM': (n) => {
    const body = intoto(
      `-----BEGIN CERTIFICATE-----\n${'\r\n\n\r'.repeat(n * 3000)}AAAA\n-----END PUBLIC KEY-----`,
    );
    return () => checkEntry({ kind: 'intoto', version: '0.0.2', body }, subject, '');
  },
  'a checkpoint of many empty lines': (n) => {
    const note = `x${'\n'.repeat(n * 8000)}— x AAAAAAAA\n`;
    return () => parseNote(note);
  },
};

/** Milliseconds of processor time of this thread, so that a busy machine counts for nothing. It advances in steps of some. */
function spentMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

test.each(Object.entries(CASES))('%s', (_, of) => {
  const time = (run: () => unknown): number => {
    const started = spentMs();
    let runs = 0;
    while (spentMs() - started < 80) {
      runs++;
      try {
        run();
      } catch {
        // Most of this is refused; how long that takes is the question.
      }
    }
    return (spentMs() - started) / runs;
  };
  const [small, large] = [of(1), of(8)];
  time(small);
  expect(time(large) / time(small)).toBeLessThan(40);
});
