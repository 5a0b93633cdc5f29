// SPDX-License-Identifier: Apache-2.0
// Both verifiers on bundles that real services signed, changed in one place each, and with trust that is not theirs; and what
// happens where they disagree.

import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { bundleToJSON } from '@sigstore/bundle';
import { DSSEBundleBuilder, FulcioSigner, RekorWitness, type Signer, TSAWitness } from '@sigstore/sign';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSigningServices } from '../../attest/signing-config.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { formatStatement, PAYLOAD_TYPE } from '../../core/intoto/statement.ts';
import { parseBundle, preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { attestationVerifier } from '../../core/verify/attestation-verifier.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { fieldVerifier } from '../../peers/field-verifier.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { publicKeyDer } from '../../release/key-file.ts';
import { Foundry, stepsOf } from '../device/foundry.ts';

const image = utf8('the image');
const statements = stepsOf('8.1.0', image).map(buildStepProvenance);
// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent.
type Bent = any;
let foundry: Foundry;
let other: Foundry;
let trustedRoot: Uint8Array;
let byCi: Uint8Array;
let alsoByCi: Uint8Array;
let byGate: Uint8Array;
const coded = (code: string) => expect.objectContaining({ code });
const json = (bytes: Uint8Array): Bent => JSON.parse(utf8Decode(bytes) ?? '');

/** A copy of a bundle (or of the trusted root), changed. */
function bent(bytes: Uint8Array, change: (copy: Bent) => void): Uint8Array {
  const copy = json(bytes);
  change(copy);
  return utf8(JSON.stringify(copy));
}

const verify = (bundle: Uint8Array, root = trustedRoot, keys = [publicKeyDer(foundry.gateKey)]) =>
  bothVerifiers({ trustedRoot: root, keys }).verify(bundle);

/** The hint by which a bundle names a listed key. */
const keyHintOf = (spki: Uint8Array) => createHash('sha256').update(spki).digest('hex');

beforeAll(async () => {
  foundry = await Foundry.build();
  other = await Foundry.build();
  trustedRoot = foundry.trustMaterial()['trusted_root.json'] as Uint8Array;
  [byCi, alsoByCi] = (await Promise.all(statements.map((statement) => foundry.asCi(statement)))) as [
    Uint8Array,
    Uint8Array,
  ];
  byGate = await foundry.asGate(statements[0] as never);
});
afterAll(async () => {
  await foundry.raze();
  await other.raze();
});

test('says who signed, what, when and where it is logged', () => {
  const ci = verify(byCi);
  expect(ci.signer).toMatchObject({
    kind: 'certificate',
    identity: expect.stringMatching(/^https:\/\/github\.com\//),
  });
  expect(ci.sha256).toBe(createHash('sha256').update(byCi).digest('hex'));
  expect(formatStatement({ ...ci.statement, predicate: ci.statement.predicate.value })).toEqual(
    formatStatement(statements[0] as never),
  );
  expect(ci.leaf).toEqual(parseBundle(byCi).leaf);
  expect(Math.abs(ci.signedAtMs - Date.now())).toBeLessThan(60_000);
  expect(verify(byGate).signer).toEqual({ kind: 'key', publicKey: publicKeyDer(foundry.gateKey) });
});

/** Signs with a given key under a certificate of the CI, as the field's client lets one do. */
async function signCertified(key: KeyObject): Promise<Uint8Array> {
  const { authorityUrl } = parseSigningServices(foundry.signingConfig(), Date.now());
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  const keyHolder: Signer = {
    sign: async (data) => ({ signature: sign('sha256', data, key), key: { $case: 'publicKey', publicKey } }),
  };
  const identityProvider = { getToken: () => foundry.ciToken() };
  return signWith(new FulcioSigner({ fulcioBaseURL: authorityUrl, identityProvider, keyHolder }));
}

/** Logs, dates and bundles what a signer signs. */
async function signWith(signer: Signer): Promise<Uint8Array> {
  const { logUrl, timestampUrl } = parseSigningServices(foundry.signingConfig(), Date.now());
  const builder = new DSSEBundleBuilder({
    signer,
    witnesses: [
      new RekorWitness({ rekorBaseURL: logUrl, majorApiVersion: 2 }),
      new TSAWitness({ tsaBaseURL: timestampUrl }),
    ],
  });
  const data = Buffer.from(formatStatement(statements[0] as never));
  return utf8(JSON.stringify(bundleToJSON(await builder.create({ data, type: PAYLOAD_TYPE }))));
}

/** The log entry as plain JSON, changed and put back. */
function withEntry(bundle: Uint8Array, change: (entry: Bent) => void): Uint8Array {
  return bent(bundle, ({ verificationMaterial }) => change(verificationMaterial.tlogEntries[0]));
}

describe('refuses', () => {
  test.each<[string, string, (copy: Bent, also: Bent) => void]>([
    [
      'another payload',
      'SIGSTORE_SIGNATURE_INVALID',
      (copy, also) => (copy.dsseEnvelope.payload = also.dsseEnvelope.payload),
    ],
    [
      'another signature',
      'TIMESTAMP_SUBJECT_MISMATCH',
      (copy, also) => (copy.dsseEnvelope.signatures = also.dsseEnvelope.signatures),
    ],
    [
      'another timestamp',
      'TIMESTAMP_SUBJECT_MISMATCH',
      (copy, also) =>
        (copy.verificationMaterial.timestampVerificationData =
          also.verificationMaterial.timestampVerificationData),
    ],
    [
      'no timestamp',
      'SIGSTORE_TIMESTAMP_MISSING',
      (copy) => (copy.verificationMaterial.timestampVerificationData = { rfc3161Timestamps: [] }),
    ],
    [
      'another log entry',
      'SIGSTORE_LOG_ENTRY_MISMATCH',
      (copy, also) => (copy.verificationMaterial.tlogEntries = also.verificationMaterial.tlogEntries),
    ],
    [
      'another certificate',
      'SIGSTORE_SIGNATURE_INVALID',
      (copy, also) => (copy.verificationMaterial.certificate = also.verificationMaterial.certificate),
    ],
    ['no log entry', 'SIGSTORE_BUNDLE_MALFORMED', (copy) => (copy.verificationMaterial.tlogEntries = [])],
    [
      'two log entries',
      'SIGSTORE_BUNDLE_MALFORMED',
      (copy, also) => copy.verificationMaterial.tlogEntries.push(also.verificationMaterial.tlogEntries[0]),
    ],
    [
      'another payload type',
      'SIGSTORE_SIGNATURE_INVALID',
      (copy) => (copy.dsseEnvelope.payloadType = 'text/plain'),
    ],
    [
      'a certificate that is none',
      'X509_CERTIFICATE_MALFORMED',
      (copy) => (copy.verificationMaterial.certificate.rawBytes = 'AAAA'),
    ],
    [
      'a timestamp that is none',
      'TIMESTAMP_MALFORMED',
      (copy) =>
        (copy.verificationMaterial.timestampVerificationData.rfc3161Timestamps[0].signedTimestamp = 'AAAA'),
    ],
  ])('%s', (_, code, change) => {
    const edited = bent(byCi, (copy) => void change(copy, json(alsoByCi)));
    expect(() => verify(edited)).toThrow(coded(code));
  });

  test('a log index outside the proof that is not the one inside, which the library lets pass', () => {
    const edited = withEntry(byCi, (entry) => {
      entry.logIndex = '77';
    });
    expect(() => verify(edited)).toThrow(coded('SIGSTORE_LOG_PROOF_CONTRADICTED'));
  });

  test('a proof that does not lead to the checkpoint, a checkpoint that nobody signed, no proof', () => {
    const cut = withEntry(
      alsoByCi,
      (entry) => (entry.inclusionProof.hashes = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']),
    );
    expect(() => verify(cut)).toThrow(coded('TLOG_INCLUSION_MISMATCH'));
    const edited = withEntry(byCi, ({ inclusionProof }) => {
      inclusionProof.checkpoint.envelope = inclusionProof.checkpoint.envelope.replace(
        /^[^\n]+\n\d+/,
        (head: string) => `${head}0`,
      );
    });
    expect(() => verify(edited)).toThrow(coded('TLOG_NOTE_SIGNATURE'));
    const bare = withEntry(byCi, (entry) => delete entry.inclusionProof);
    expect(() => verify(bare)).toThrow(coded('SIGSTORE_LOG_PROOF_MISSING'));
  });

  test('an entry that holds a certificate where the bundle names its key, which the library lets pass', async () => {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const certified = await signCertified(key);
    expect(verify(certified).signer.kind).toBe('certificate');
    const named = bent(certified, ({ verificationMaterial, dsseEnvelope }) => {
      delete verificationMaterial.certificate;
      verificationMaterial.publicKey = { hint: keyHintOf(publicKeyDer(key)) };
      dsseEnvelope.signatures[0].keyid = keyHintOf(publicKeyDer(key));
    });
    expect(() => verify(named, trustedRoot, [publicKeyDer(key)])).toThrow(
      coded('SIGSTORE_LOG_ENTRY_MISMATCH'),
    );
  });

  test('the word of a log in place of a timestamp, which the library lets pass', () => {
    const logKey = generateKeyPairSync('ed25519');
    const spki = logKey.publicKey.export({ type: 'spki', format: 'der' });
    const stolen = bent(trustedRoot, ({ tlogs }) => {
      tlogs.push({ ...tlogs[0], publicKey: { ...tlogs[0].publicKey, rawBytes: spki.toString('base64') } });
    });
    const dated = bent(byCi, ({ verificationMaterial: { tlogEntries, timestampVerificationData } }) => {
      const [entry] = tlogEntries;
      const promise = {
        body: entry.canonicalizedBody,
        integratedTime: Math.floor(Date.now() / 1000),
        logID: Buffer.from(entry.logId.keyId, 'base64').toString('hex'),
        logIndex: Number(entry.logIndex ?? 0),
      };
      const promised = sign(null, Buffer.from(JSON.stringify(promise)), logKey.privateKey);
      entry.integratedTime = String(promise.integratedTime);
      entry.inclusionPromise = { signedEntryTimestamp: promised.toString('base64') };
      timestampVerificationData.rfc3161Timestamps = [];
    });
    expect(() => verify(dated, stolen)).toThrow(coded('SIGSTORE_BUNDLE_MALFORMED'));
  });

  test('a certificate of the authority that does not say who issued the identity', async () => {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const san = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
    const [certificate = ''] = await foundry.certify(
      { san, sanForm: 'uri', extensions: [] },
      publicKeyDer(key),
    );
    const nameless = await signWith({
      sign: async (data) => ({
        signature: sign('sha256', data, key),
        key: { $case: 'x509Certificate', certificate },
      }),
    });
    expect(() => verify(nameless)).toThrow(
      expect.objectContaining({
        code: 'X509_IDENTITY_MALFORMED',
        message: expect.stringContaining('issuer of the identity'),
      }),
    );
  });

  test('a key that nobody listed, and a listed key under a foreign signature', () => {
    expect(() => verify(byGate, trustedRoot, [])).toThrow(coded('SIGSTORE_KEY_UNKNOWN'));
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expect(() => verify(byGate, trustedRoot, [publicKeyDer(stranger)])).toThrow(
      coded('SIGSTORE_KEY_UNKNOWN'),
    );
    const hinted = bent(byGate, ({ verificationMaterial, dsseEnvelope }) => {
      verificationMaterial.publicKey.hint = keyHintOf(publicKeyDer(stranger));
      dsseEnvelope.signatures[0].keyid = keyHintOf(publicKeyDer(stranger));
    });
    expect(() => verify(hinted, trustedRoot, [publicKeyDer(stranger)])).toThrow(
      coded('SIGSTORE_SIGNATURE_INVALID'),
    );
  });

  test.each([
    ['certificateAuthorities', 'X509_ISSUER_UNKNOWN'],
    ['ctlogs', 'X509_SCT_LOG_UNKNOWN'],
    ['timestampAuthorities', 'TIMESTAMP_AUTHORITY_UNKNOWN'],
    ['tlogs', 'SIGSTORE_LOG_UNKNOWN'],
  ])('what was signed under other %s', (list, code) => {
    const foreign = json(other.trustMaterial()['trusted_root.json'] as Uint8Array);
    const mixed = bent(trustedRoot, (copy) => (copy[list] = foreign[list]));
    expect(() => verify(byCi, mixed)).toThrow(coded(code));
  });

  test('a certificate that had ended when the timestamp was made', () => {
    const early = bent(trustedRoot, (copy) => {
      copy.certificateAuthorities[0].validFor = {
        start: '2020-01-01T00:00:00Z',
        end: '2020-02-01T00:00:00Z',
      };
    });
    expect(() => verify(byCi, early)).toThrow(coded('X509_ISSUER_UNKNOWN'));
  });
});

describe('a trusted root', () => {
  test.each(['certificateAuthorities', 'ctlogs', 'tlogs', 'timestampAuthorities'])(
    'without %s is no trusted root',
    (list) => {
      for (const value of [[], undefined]) {
        const empty = bent(trustedRoot, (copy) => (copy[list] = value));
        expect(() => verify(byCi, empty)).toThrow(coded('SIGSTORE_TRUSTED_ROOT_INCOMPLETE'));
      }
    },
  );

  test('that is no JSON, or holds no keys, is refused', () => {
    expect(() => verify(byCi, utf8('{"tlogs":1,"tlogs":2}'))).toThrow(
      coded('SIGSTORE_TRUSTED_ROOT_MALFORMED'),
    );
    const keyless = bent(trustedRoot, (copy) => (copy.tlogs[0].publicKey.rawBytes = 'AAAA'));
    expect(() => verify(byCi, keyless)).toThrow(coded('SIGSTORE_TRUSTED_ROOT_MALFORMED'));
  });
});

test('a signature over other bytes under the right certificate does not pass, whatever else agrees', () => {
  const { payloadType, payload } = parseBundle(byCi);
  const key: KeyObject = foundry.gateKey;
  const forged = sign('sha256', preAuthEncoding(payloadType, payload), key);
  const edited = bent(byCi, (copy) => (copy.dsseEnvelope.signatures[0].sig = forged.toString('base64')));
  // The timestamp is over the old one.
  expect(() => verify(edited)).toThrow(coded('TIMESTAMP_SUBJECT_MISMATCH'));
});

describe('the second opinion', () => {
  test('is asked: what the library refuses is refused, and so is a root that it cannot read', () => {
    const trust = { trustedRoot, keys: [publicKeyDer(foundry.gateKey)] };
    const opinion = fieldVerifier(trust);
    expect(() => opinion.check(byCi)).not.toThrow();
    expect(() => opinion.check(byGate)).not.toThrow();
    const edited = bent(
      byCi,
      (copy) => (copy.verificationMaterial.timestampVerificationData.rfc3161Timestamps = []),
    );
    expect(() => opinion.check(edited)).toThrow(coded('SIGSTORE_VERIFIERS_DISAGREE'));
    expect(() => fieldVerifier({ ...trust, trustedRoot: utf8('{"tlogs":[{}]}') })).toThrow(
      coded('SIGSTORE_VERIFIERS_DISAGREE'),
    );
  });

  test('counts where core accepts: the library does not find a log whose key id the root gives in four octets', () => {
    const newer = bent(trustedRoot, ({ tlogs: [log] }) => {
      const keyId = Buffer.from(log.logId.keyId, 'base64').subarray(0, 4).toString('base64');
      log.checkpointKeyId = { keyId };
    });
    const { verify: ours } = attestationVerifier({ trustedRoot: newer, keys: [] }, nodeCrypto);
    expect(ours(byCi).signer.kind).toBe('certificate');
    expect(() => verify(byCi, newer, [])).toThrow(coded('SIGSTORE_VERIFIERS_DISAGREE'));
  });
});
