// SPDX-License-Identifier: Apache-2.0
// Bundles whose log entry is wrong in one place, everything else truly signed, at the verifier's own entry point; and the
// entries of all kinds that are read.

import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { sha256 } from '../../../registry/trust/certificate.ts';
import { Forge, LOG, leafOf, NOW_MS, OLD_LOG, PAYLOAD_TYPE, type Signer, STATEMENT } from './forge.ts';
import {
  type BundleParts,
  certifiedSigner,
  forgeBundle,
  hashedRekordV1,
  hintOf,
  pemOf,
  verifyForged,
} from './forged-bundle.ts';

const forge = new Forge();
const signer = certifiedSigner(forge);
const coded = (code: string) => expect.objectContaining({ code });
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const DIGEST = sha256(preAuthEncoding(PAYLOAD_TYPE, STATEMENT));
// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;
/** Logs of Rekor v1 date; no authority is needed. */
const DATED_BY_LOG = { timestamps: 'none', log: 'required', certificateLog: 'required' } as const;

const attempt = (parts: BundleParts) => () => verifyForged(forge, forgeBundle(forge, { signer, ...parts }));
const withEntry = (change: (entry: Bent) => void) =>
  attempt({
    entries: (leaf) => {
      const entry = forge.entry(leaf);
      change(entry);
      return [entry];
    },
  });

describe('an entry of Rekor v2', () => {
  test.each<[string, string, (entry: Bent) => void]>([
    [
      'of a log that nobody named',
      'SIGSTORE_LOG_UNKNOWN',
      (entry) => (entry.logId.keyId = b64(sha256(utf8('x')))),
    ],
    [
      'under the id of another log',
      'TLOG_NOTE_UNSIGNED',
      (entry) => (entry.logId.keyId = b64(sha256(forge.oldLog.spki))),
    ],
    ['without proof', 'SIGSTORE_LOG_PROOF_MISSING', (entry) => delete entry.inclusionProof],
    ['without checkpoint', 'SIGSTORE_LOG_PROOF_MISSING', (entry) => delete entry.inclusionProof.checkpoint],
    [
      'with a false index outside the proof',
      'SIGSTORE_LOG_PROOF_CONTRADICTED',
      (entry) => (entry.logIndex = '7'),
    ],
    [
      'with a false index inside and outside',
      'TLOG_INCLUSION_MISMATCH',
      (entry) => (entry.logIndex = entry.inclusionProof.logIndex = '0'),
    ],
    [
      'with an index past the tree',
      'TLOG_INDEX_OUTSIDE_TREE',
      (entry) => (entry.logIndex = entry.inclusionProof.logIndex = '3'),
    ],
    [
      'with a false tree size',
      'SIGSTORE_LOG_PROOF_CONTRADICTED',
      (entry) => (entry.inclusionProof.treeSize = '4'),
    ],
    [
      'with a false root hash',
      'SIGSTORE_LOG_PROOF_CONTRADICTED',
      (entry) => (entry.inclusionProof.rootHash = b64(sha256(utf8('x')))),
    ],
    [
      'with a false hash',
      'TLOG_INCLUSION_MISMATCH',
      (entry) => (entry.inclusionProof.hashes[0] = b64(sha256(utf8('x')))),
    ],
    ['with a hash too few', 'TLOG_INCLUSION_MISMATCH', (entry) => entry.inclusionProof.hashes.pop()],
    [
      'with a checkpoint that was changed',
      'TLOG_NOTE_SIGNATURE',
      ({ inclusionProof: { checkpoint } }) =>
        (checkpoint.envelope = checkpoint.envelope.replace('\n3\n', '\n4\n')),
    ],
    [
      'with a checkpoint of another tree',
      'TLOG_INCLUSION_MISMATCH',
      ({ inclusionProof: { checkpoint } }) =>
        (checkpoint.envelope = forge.checkpoint(LOG, 3n, sha256(utf8('x')))),
    ],
    [
      'with a checkpoint under another name',
      'TLOG_CHECKPOINT_ORIGIN',
      ({ inclusionProof: { checkpoint, rootHash } }) =>
        (checkpoint.envelope = forge.checkpoint('other.example', 3n, Buffer.from(rootHash, 'base64'))),
    ],
    [
      'with a tree number, which only old logs have',
      'TLOG_CHECKPOINT_ORIGIN',
      ({ inclusionProof: { checkpoint, rootHash } }) =>
        (checkpoint.envelope = forge.checkpoint(`${LOG} - 77`, 3n, Buffer.from(rootHash, 'base64'))),
    ],
    [
      'with a checkpoint that is none',
      'TLOG_NOTE_MALFORMED',
      (entry) => (entry.inclusionProof.checkpoint.envelope = 'x\n'),
    ],
    [
      'that says another kind of itself',
      'SIGSTORE_LOG_ENTRY_UNSUPPORTED',
      (entry) => (entry.kindVersion.kind = 'rekord'),
    ],
    [
      'that says another version of itself',
      'SIGSTORE_LOG_ENTRY_UNSUPPORTED',
      (entry) => (entry.kindVersion.version = '0.0.1'),
    ],
    [
      'of a kind that every object has',
      'SIGSTORE_LOG_ENTRY_UNSUPPORTED',
      (entry) => (entry.kindVersion.kind = 'constructor'),
    ],
  ])('%s: %s', (_, code, change) => {
    expect(withEntry(change)).toThrow(coded(code));
  });

  test.each<[string, (signature: Uint8Array) => Uint8Array]>([
    ['another payload', (signature) => leafOf(signer, signature, utf8('{}'))],
    ['another signature', () => leafOf(signer, signer.key.sign(preAuthEncoding(PAYLOAD_TYPE, STATEMENT)))],
    ['another certificate', (signature) => leafOf(certifiedSigner(forge), signature)],
    ['a key in place of the certificate', (signature) => leafOf({ key: signer.key }, signature)],
    ['another spelling of the same', (signature) => utf8(`${Buffer.from(leafOf(signer, signature))} `)],
  ])('about %s', (_, body) => {
    const entries = (_leaf: Uint8Array, signature: Uint8Array) => [forge.entry(body(signature))];
    expect(attempt({ entries })).toThrow(coded('SIGSTORE_LOG_ENTRY_MISMATCH'));
  });

  test('none, two, and one twice', () => {
    expect(attempt({ entries: () => [] })).toThrow(coded('SIGSTORE_LOG_ENTRY_MISSING'));
    const both = (leaf: Uint8Array, signature: Uint8Array) => [
      forge.entry(leaf),
      forge.oldEntry(hashedRekordV1(signer, DIGEST, signature), { kind: 'hashedrekord', version: '0.0.1' }),
    ];
    expect(attempt({ entries: both })()).toMatchObject({ entries: [{ origin: LOG }, { origin: OLD_LOG }] });
    const twice = (leaf: Uint8Array) => [forge.entry(leaf), forge.entry(leaf)];
    expect(attempt({ entries: twice })).toThrow(coded('SIGSTORE_LOG_ENTRY_REPEATED'));
  });

  test('of a log that was not trusted at the time of signing', () => {
    const trustedRoot = forge.trustedRoot((root) => {
      root.tlogs[0].publicKey.validFor.end = new Date(NOW_MS - 1000).toISOString();
    });
    expect(() => verifyForged(forge, forgeBundle(forge), { trustedRoot })).toThrow(
      coded('SIGSTORE_LOG_PERIOD'),
    );
    const last = forge.trustedRoot((root) => {
      root.tlogs[0].publicKey.validFor.end = new Date(NOW_MS).toISOString();
    });
    expect(verifyForged(forge, forgeBundle(forge), { trustedRoot: last }).signedAtMs).toBe(NOW_MS);
  });

  test('of a log whose key is of no kind that is known', () => {
    const trustedRoot = forge.trustedRoot((root) => {
      root.tlogs[0].publicKey = { ...root.tlogs[0].publicKey, keyDetails: 'PKIX_ECDSA_P521_SHA_512' };
    });
    expect(() => verifyForged(forge, forgeBundle(forge), { trustedRoot })).toThrow(
      coded('TLOG_NOTE_UNSIGNED'),
    );
  });
});

/** What Rekor v1 and the beginnings of v2 keep of an envelope, by kind and version. */
const KINDS: Readonly<Record<string, (signer: Signer, signature: Uint8Array) => object>> = {
  'dsse 0.0.1': (by, signature) => ({
    envelopeHash: { algorithm: 'sha256', value: hex(sha256(utf8('the envelope as it was sent'))) },
    payloadHash: { algorithm: 'sha256', value: hex(sha256(STATEMENT)) },
    signatures: [{ signature: b64(signature), verifier: pemOf(by) }],
  }),
  'intoto 0.0.2': (by, signature) => ({
    content: {
      envelope: {
        payloadType: PAYLOAD_TYPE,
        signatures: [{ publicKey: pemOf(by), sig: b64(utf8(b64(signature))) }],
      },
      hash: { algorithm: 'sha256', value: hex(sha256(utf8('the envelope as it was sent'))) },
      payloadHash: { algorithm: 'sha256', value: hex(sha256(STATEMENT)) },
    },
  }),
  'dsse 0.0.2': (by, signature) => ({
    dsseV002: {
      payloadHash: { algorithm: 'SHA2_256', digest: b64(sha256(STATEMENT)) },
      signatures: [
        {
          content: b64(signature),
          verifier: {
            ...(by.certificate === undefined
              ? { publicKey: { rawBytes: b64(by.key.spki) } }
              : { x509Certificate: { rawBytes: b64(by.certificate) } }),
            keyDetails: 'PKIX_ECDSA_P256_SHA_256',
          },
        },
      ],
    },
  }),
};
const bodyOf = (name: string, spec: object): [Uint8Array, object] => {
  const [kind, version] = name.split(' ');
  return [utf8(JSON.stringify({ apiVersion: version, kind, spec })), { kind, version }];
};

describe.each(Object.entries(KINDS))('an entry of the kind %s', (name, specOf) => {
  const of =
    (by: Signer, change: (spec: Bent) => void = () => undefined) =>
    (_leaf: Uint8Array, signature: Uint8Array) => {
      const spec = specOf(by, signature);
      change(spec);
      return [forge.entry(...bodyOf(name, spec))];
    };
  test('is read, for a certificate and for a listed key', () => {
    expect(attempt({ entries: of(signer) })().entries).toMatchObject([{ origin: LOG }]);
    const key = { key: forge.listed };
    const bundle = forgeBundle(forge, { signer: key, entries: of(key) });
    const keys = [{ publicKey: forge.listed.spki }];
    expect(verifyForged(forge, bundle, { keys }).signer).toMatchObject({ kind: 'key' });
  });

  test('about another payload, signature, certificate or key', () => {
    const foreign = sha256(utf8('x'));
    const bend = (change: (text: string) => string) => (spec: Bent) =>
      Object.assign(spec, JSON.parse(change(JSON.stringify(spec))));
    const digest = bend((text) =>
      text.replace(hex(sha256(STATEMENT)), hex(foreign)).replace(b64(sha256(STATEMENT)), b64(foreign)),
    );
    const mismatch = coded('SIGSTORE_LOG_ENTRY_MISMATCH');
    expect(attempt({ entries: of(signer, digest) })).toThrow(mismatch);
    expect(attempt({ entries: of(certifiedSigner(forge)) })).toThrow(mismatch);
    expect(attempt({ entries: of({ key: signer.key }) })).toThrow(mismatch);
    const resigned = (_leaf: Uint8Array) =>
      of(signer)(_leaf, signer.key.sign(preAuthEncoding(PAYLOAD_TYPE, STATEMENT)));
    expect(attempt({ entries: resigned })).toThrow(mismatch);
  });

  test('with two signatures, an unknown member, or a body of another kind', () => {
    const unsupported = coded('SIGSTORE_LOG_ENTRY_UNSUPPORTED');
    const listIn = (spec: Bent): Bent[] =>
      spec.signatures ?? spec.content?.envelope.signatures ?? spec.dsseV002.signatures;
    expect(attempt({ entries: of(signer, (spec) => listIn(spec).push(listIn(spec)[0])) })).toThrow(
      unsupported,
    );
    expect(attempt({ entries: of(signer, (spec) => (listIn(spec)[0].stranger = 1)) })).toThrow(unsupported);
    const entries = (_leaf: Uint8Array, signature: Uint8Array) => {
      const [body] = bodyOf('hashedrekord 0.0.1', specOf(signer, signature));
      return [forge.entry(body, bodyOf(name, {})[1])];
    };
    expect(attempt({ entries })).toThrow(unsupported);
  });
});

test('an intoto entry about another payload type, or with what is no PEM', () => {
  const of = (change: (spec: Bent) => void) => (_leaf: Uint8Array, signature: Uint8Array) => {
    const spec = KINDS['intoto 0.0.2']?.(signer, signature);
    change(spec);
    return [forge.entry(...bodyOf('intoto 0.0.2', spec as object))];
  };
  const mismatch = coded('SIGSTORE_LOG_ENTRY_MISMATCH');
  expect(attempt({ entries: of((spec) => (spec.content.envelope.payloadType = 'text/plain')) })).toThrow(
    mismatch,
  );
  expect(
    attempt({ entries: of((spec) => (spec.content.envelope.signatures[0].sig = b64(utf8('*')))) }),
  ).toThrow(mismatch);
  const pem = (text: string) =>
    of((spec) => (spec.content.envelope.signatures[0].publicKey = b64(utf8(text))));
  expect(attempt({ entries: pem('-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n') })).toThrow(
    coded('SIGSTORE_LOG_ENTRY_UNSUPPORTED'),
  );
});

describe('a promise of Rekor v1', () => {
  const RECORD = { kind: 'hashedrekord', version: '0.0.1' };
  const old = (signature: Uint8Array, timeS?: number) =>
    forge.oldEntry(hashedRekordV1(signer, DIGEST, signature), RECORD, timeS);
  const dated = (change: (entry: Bent) => void, timeS?: number, version = '0.2'): Uint8Array =>
    forgeBundle(forge, {
      signer,
      timestamps: () => [],
      entries: (_leaf, signature) => {
        const entry = old(signature, timeS);
        change(entry);
        return [entry];
      },
      change: (bundle) => {
        bundle.mediaType = `application/vnd.dev.sigstore.bundle+json;version=${version}`;
      },
    });
  const verify = (bundle: Uint8Array) => verifyForged(forge, bundle, { policy: DATED_BY_LOG });

  test('dates a bundle where no authority is demanded, and not where one is', () => {
    const bundle = dated(() => undefined);
    expect(verify(bundle)).toMatchObject({
      signedAtMs: NOW_MS,
      times: [{ by: 'log', name: OLD_LOG }],
      entries: [{ origin: OLD_LOG, index: 1n, treeSize: 3n }],
      waived: ['timestamps'],
    });
    expect(() => verifyForged(forge, bundle)).toThrow(coded('SIGSTORE_TIMESTAMP_MISSING'));
  });

  test.each<[string, string, (entry: Bent) => void]>([
    [
      'about another time',
      'SIGSTORE_LOG_PROMISE_INVALID',
      (entry) => (entry.integratedTime = String(NOW_MS / 1000 + 1)),
    ],
    ['about another index', 'SIGSTORE_LOG_PROMISE_INVALID', (entry) => (entry.logIndex = '4002')],
    [
      'about another entry',
      'SIGSTORE_LOG_PROMISE_INVALID',
      (entry) => (entry.canonicalizedBody = b64(utf8('{}'))),
    ],
    ['of another log', 'SIGSTORE_LOG_PROMISE_INVALID', (entry) => (entry.logId.keyId = b64(forge.logId))],
    [
      'of a log that nobody named',
      'SIGSTORE_LOG_UNKNOWN',
      (entry) => (entry.logId.keyId = b64(sha256(utf8('x')))),
    ],
    ['taken away', 'SIGSTORE_TIME_MISSING', (entry) => delete entry.inclusionPromise],
    [
      'without a proof, from version 0.2 on',
      'SIGSTORE_LOG_PROOF_MISSING',
      (entry) => delete entry.inclusionProof,
    ],
  ])('%s: %s', (_, code, change) => {
    expect(() => verify(dated(change))).toThrow(coded(code));
  });

  test('when the certificate was not valid, or the log not trusted', () => {
    expect(() => verify(dated(() => undefined, NOW_MS / 1000 + 601))).toThrow(
      coded('X509_TIME_OUTSIDE_VALIDITY'),
    );
    const trustedRoot = forge.trustedRoot((root) => {
      root.tlogs[1].publicKey.validFor.end = new Date(NOW_MS - 1000).toISOString();
    });
    const bundle = dated(() => undefined);
    expect(() => verifyForged(forge, bundle, { policy: DATED_BY_LOG, trustedRoot })).toThrow(
      coded('SIGSTORE_LOG_PERIOD'),
    );
  });

  test('is enough in bundles of version 0.1, where a proof without promise is not', () => {
    const bare = dated((entry) => delete entry.inclusionProof, undefined, '0.1');
    expect(verify(bare).entries).toMatchObject([{ origin: OLD_LOG, index: 4001n, treeSize: undefined }]);
    const neither = dated(
      (entry) => {
        delete entry.inclusionProof;
        delete entry.inclusionPromise;
      },
      undefined,
      '0.1',
    );
    expect(() => verify(neither)).toThrow(coded('SIGSTORE_TIME_MISSING'));
  });

  test('twice with one time from one log is no second time', () => {
    const bundle = forgeBundle(forge, {
      signer,
      entries: (_leaf, signature) => [old(signature), old(signature)],
    });
    expect(() => verify(bundle)).toThrow(coded('SIGSTORE_TIMESTAMP_REPEATED'));
  });

  test('does not date what an authority dates; both times count for the certificate', () => {
    const both = (timeS: number) =>
      forgeBundle(forge, { signer, entries: (_leaf, signature) => [old(signature, timeS)] });
    expect(verify(both(NOW_MS / 1000 - 1)).signedAtMs).toBe(NOW_MS);
    expect(() => verify(both(NOW_MS / 1000 - 60))).toThrow(coded('X509_TIME_OUTSIDE_VALIDITY'));
  });

  test('a key that is listed signs under Rekor v1 too', () => {
    const key = { key: forge.listed };
    const bundle = forgeBundle(forge, {
      signer: key,
      entries: (_leaf, signature) => [forge.oldEntry(hashedRekordV1(key, DIGEST, signature), RECORD)],
    });
    const keys = [{ publicKey: forge.listed.spki }];
    expect(verifyForged(forge, bundle, { keys }).signer).toEqual({
      kind: 'key',
      publicKey: forge.listed.spki,
    });
    expect(hintOf(forge.listed.spki)).toHaveLength(64);
  });
});
