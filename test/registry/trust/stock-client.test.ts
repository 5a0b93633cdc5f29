// SPDX-License-Identifier: Apache-2.0
// The field's own client signs against the services, and the field's own verifier accepts what it got.

import { createHash, createPublicKey, generateKeyPairSync, verify, X509Certificate } from 'node:crypto';
import { bundleToJSON } from '@sigstore/bundle';
import { SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { bundleBuilderFromSigningConfig, DSSEBundleBuilder, FulcioSigner, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { Utf8String } from 'asn1js';
import { AttributeTypeAndValue, CertificationRequest } from 'pkijs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { parsePemChain } from '../../../registry/trust/authority.ts';
import { buildSigningConfig, buildTrustedRoot } from '../../../registry/trust/trusted-root.ts';
import { CLAIMS } from './loopback-issuer.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer();
});
afterAll(() => server.close());

const SAN = `https://github.com/${CLAIMS.job_workflow_ref}`;

/** A trust root as clients read it; the signature log's key plays no part here. */
function trustedRoot(): TrustedRoot {
  const log = { origin: server.material.names.log, publicKey: new Uint8Array(32).fill(9), startMs: 0 };
  const { publicKey } = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).subarray(12);
  const bytes = buildTrustedRoot(server.material, [{ ...log, publicKey: raw }]);
  return TrustedRoot.fromJSON(JSON.parse(Buffer.from(bytes).toString()));
}

async function signedBundle() {
  const builder = new DSSEBundleBuilder({
    signer: new FulcioSigner({
      fulcioBaseURL: `${server.url}/ca`,
      identityProvider: { getToken: () => server.issuer.token() },
    }),
    witnesses: [new TSAWitness({ tsaBaseURL: `${server.url}/tsa/api/v1/timestamp` })],
  });
  return builder.create({ type: 'application/vnd.in-toto+json', data: Buffer.from('{"any":"statement"}') });
}

test('@sigstore/sign gets certificate and timestamp; @sigstore/verify accepts chain, SCT and timestamp', async () => {
  const bundle = await signedBundle();
  const verifier = new Verifier(toTrustMaterial(trustedRoot()), {
    ctlogThreshold: 1,
    timestampThreshold: 1,
    tlogThreshold: 0,
  });
  const { identity } = verifier.verify(toSignedEntity(bundle));
  expect(identity?.subjectAlternativeName).toBe(SAN);
  expect(identity?.extensions?.issuer).toBe(server.issuer.url);
  const extensions = new Map(identity?.oids?.map(({ oid, value }) => [oid?.id.join('.'), value]));
  const text = (n: number): string =>
    Buffer.from(extensions.get(`1.3.6.1.4.1.57264.1.${n}`) ?? '').toString();
  expect([1, 2, 3, 4, 5, 6].map(text)).toEqual([
    server.issuer.url,
    'push',
    CLAIMS.sha,
    'Build and release',
    'example/firmware',
    'refs/heads/main',
  ]);
  const repository = 'https://github.com/example/firmware';
  const later = [
    server.issuer.url,
    SAN,
    CLAIMS.job_workflow_sha,
    'github-hosted',
    repository,
    CLAIMS.sha,
    'refs/heads/main',
    '1001',
    'https://github.com/example',
    '2002',
    `https://github.com/${CLAIMS.workflow_ref}`,
    CLAIMS.workflow_sha,
    'push',
    `${repository}/actions/runs/77/attempts/2`,
    'private',
    'production',
    CLAIMS.sub,
  ];
  // 8 to 24 are DER UTF8Strings: tag, length, text.
  later.forEach((expected, i) => {
    const value = Buffer.from(extensions.get(`1.3.6.1.4.1.57264.1.${i + 8}`) ?? '');
    const octets = Buffer.from(String(expected));
    expect(value).toEqual(Buffer.concat([Buffer.of(0x0c, octets.length), octets]));
  });
});

test('the certificate has the profile of Fulcio', async () => {
  const bundle = bundleToJSON(await signedBundle());
  const raw = (bundle.verificationMaterial as { certificate: { rawBytes: string } }).certificate.rawBytes;
  const leaf = new X509Certificate(Buffer.from(raw, 'base64'));
  const [intermediate, root] = server.services.ca.chain.map((der) => new X509Certificate(der)) as [
    X509Certificate,
    X509Certificate,
  ];
  expect(leaf.subject ?? '').toBe('');
  expect(leaf.subjectAltName).toBe(`URI:${SAN}`);
  expect(leaf.checkIssued(intermediate) && leaf.verify(intermediate.publicKey)).toBe(true);
  expect(intermediate.checkIssued(root) && intermediate.verify(root.publicKey)).toBe(true);
  expect(leaf.serialNumber).toHaveLength(40);
  expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.3']);
  expect(leaf.ca).toBe(false);
  // Key usage digitalSignature alone, critical; a critical alternative name; the issuer's key by its own identifier.
  const octets = Buffer.from(raw, 'base64').toString('hex');
  expect(octets).toContain('0603551d0f0101ff040403020780');
  expect(octets).toContain('0603551d110101ff04');
  const identifier = Buffer.from(server.services.ca.certificate.keyIdentifier).toString('hex');
  expect(octets).toContain(`0603551d23041830168014${identifier}`);
  expect(octets).not.toContain('060a2b06010401d679020403');
  expect(leaf.validToDate.getTime() - leaf.validFromDate.getTime()).toBe(600_000);
  expect(leaf.validFromDate.getTime()).toBeLessThanOrEqual(Date.now());
});

test('the SCT points at the entry of the log, and the log proves it', async () => {
  const bundle = await signedBundle();
  const material = (bundleToJSON(bundle).verificationMaterial as { certificate: { rawBytes: string } })
    .certificate;
  const leaf = Buffer.from(material.rawBytes, 'base64');
  // leaf_index: type 0, five octets long; the bytes before are the extensions' own length.
  const at = leaf.indexOf(Buffer.from('00080000050000', 'hex'));
  const index = leaf.readUIntBE(at + 5, 5);
  const { size } = server.ctLog.tiles.checkpoint();
  expect(BigInt(index)).toBe(size - 1n);

  const note = parseNote(await (await fetch(`${server.url}/ct/checkpoint`)).text());
  const checkpoint = parseCheckpoint(note.text);
  expect(checkpoint.origin).toBe('ct.waybill.example');
  // TreeHeadSignature [RFC6962 §3.5]: version 0, type 1, time, size, root.
  const [line] = note.signatures;
  const blob = Buffer.from(line?.signature ?? []);
  const signed = Buffer.alloc(50);
  signed[1] = 1;
  blob.copy(signed, 2, 0, 8);
  signed.writeBigUInt64BE(checkpoint.size, 10);
  signed.set(checkpoint.rootHash, 18);
  expect([blob[8], blob[9]]).toEqual([4, 3]);
  const key = { key: Buffer.from(server.material.ctSpki), format: 'der', type: 'spki' } as const;
  expect(verify('sha256', signed, createPublicKey(key), blob.subarray(12))).toBe(true);
  const hash = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest();
  const logId = hash(server.material.ctSpki);
  expect(line?.keyId).toBe(
    hash(Buffer.concat([Buffer.from('ct.waybill.example\n'), Buffer.of(5), logId])).toString('hex', 0, 4),
  );

  const width = Number(checkpoint.size % 256n);
  const data = Buffer.from(await (await fetch(`${server.url}/ct/tile/data/000.p/${width}`)).arrayBuffer());
  const hashes = Buffer.from(await (await fetch(`${server.url}/ct/tile/0/000.p/${width}`)).arrayBuffer());
  const entries = splitTile(data);
  expect(entries).toHaveLength(width);
  entries.forEach(({ timestamped, fingerprints }, i) => {
    const merkleLeaf = Buffer.concat([Buffer.of(0, 0), timestamped]);
    const expected = hashLeaf(merkleLeaf, { sha256: (bytes) => new Uint8Array(hash(bytes)) });
    expect(hashes.subarray(32 * i, 32 * i + 32)).toEqual(Buffer.from(expected));
    expect(fingerprints).toEqual(server.services.ca.chain.map((der) => hash(der).toString('hex')));
  });
  for (const fingerprint of entries[0]?.fingerprints ?? []) {
    const der = Buffer.from(await (await fetch(`${server.url}/ct/issuer/${fingerprint}`)).arrayBuffer());
    expect(hash(der).toString('hex')).toBe(fingerprint);
  }
});

/** Splits a data tile [C2SP-static-ct-api-v1.0.0 §Log Entries] by the lengths it holds. */
function splitTile(data: Buffer): { timestamped: Buffer; fingerprints: string[] }[] {
  const found: { timestamped: Buffer; fingerprints: string[] }[] = [];
  for (let at = 0; at < data.length; ) {
    const start = at;
    at += 8 + 2 + 32;
    at += 3 + data.readUIntBE(at, 3);
    at += 2 + data.readUInt16BE(at);
    const timestamped = data.subarray(start, at);
    at += 3 + data.readUIntBE(at, 3);
    const end = at + 2 + data.readUInt16BE(at);
    const fingerprints: string[] = [];
    for (at += 2; at < end; at += 32) fingerprints.push(data.toString('hex', at, at + 32));
    found.push({ timestamped, fingerprints });
  }
  return found;
}

test('a signing request in PKCS#10 form with the token in the header, as Python sends it', async () => {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const csr = new CertificationRequest();
  csr.subject.typesAndValues.push(
    new AttributeTypeAndValue({ type: '2.5.4.3', value: new Utf8String({ value: 'somebody else' }) }),
  );
  await csr.subjectPublicKeyInfo.importKey(keys.publicKey);
  await csr.sign(keys.privateKey, 'SHA-256');
  const pem = (der: ArrayBuffer): string =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${await server.issuer.token()}` },
    body: JSON.stringify({
      certificateSigningRequest: Buffer.from(pem(csr.toSchema().toBER())).toString('base64'),
    }),
  });
  expect(response.status).toBe(200);
  const body = (await response.json()) as {
    signedCertificateEmbeddedSct: { chain: { certificates: string[] } };
  };
  const [leaf = '', ...chain] = body.signedCertificateEmbeddedSct.chain.certificates;
  expect(chain).toHaveLength(2);
  const certificate = new X509Certificate(leaf);
  expect(certificate.subjectAltName).toBe(`URI:${SAN}`);
  const spki = Buffer.from(await crypto.subtle.exportKey('spki', keys.publicKey));
  expect(certificate.publicKey.export({ type: 'spki', format: 'der' })).toEqual(spki);
});

test('trustBundle and configuration say what is trusted', async () => {
  const bundle = (await (await fetch(`${server.url}/ca/api/v2/trustBundle`)).json()) as {
    chains: { certificates: string[] }[];
  };
  expect(parsePemChain((bundle.chains[0]?.certificates ?? []).join(''))).toEqual(server.services.ca.chain);
  const configuration = await (await fetch(`${server.url}/ca/api/v2/configuration`)).json();
  expect(configuration).toEqual({
    issuers: [
      {
        issuerUrl: server.issuer.url,
        audience: 'waybill',
        challengeClaim: 'sub',
        spiffeTrustDomain: '',
        issuerType: 'ci-provider',
        subjectDomain: '',
        skipEmailVerification: false,
      },
    ],
  });
});

test('the signing configuration leads the client of the field to the services', () => {
  const { org, startMs } = server.material;
  const text = Buffer.from(buildSigningConfig({ url: 'http://127.0.0.1:9/', org, startMs })).toString();
  const config = SigningConfig.fromJSON(JSON.parse(text));
  expect(config.caUrls[0]?.url).toBe('http://127.0.0.1:9/ca');
  expect(config.rekorTlogUrls[0]?.majorApiVersion).toBe(2);
  expect(config.tsaUrls[0]?.url).toBe('http://127.0.0.1:9/tsa/api/v1/timestamp');
  const identityProvider = { getToken: () => server.issuer.token() };
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: config,
    identityProvider,
    bundleType: 'dsseEnvelope',
  });
  expect(builder).toBeInstanceOf(DSSEBundleBuilder);
});
