// SPDX-License-Identifier: Apache-2.0
// What a certificate says for the tokens of each kind of issuer: name and extensions, octet by octet, over the server and through
// the field's own verifier. Expected texts are those of Fulcio's own tests (v1.8.8, pkg/server/grpc_server_test.go:
// TestAPIWithCiProvider, TestAPIWithGitLab, TestAPIWithEmail, TestAPIWithUriSubject) and of its table of claims.

import { generateKeyPairSync } from 'node:crypto';
import { bundleToJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { DSSEBundleBuilder, FulcioSigner, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { fromBER, Utf8String } from 'asn1js';
import { Certificate } from 'pkijs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseCertificate } from '../../../core/x509/certificate.ts';
import { readIdentity } from '../../../core/x509/identity.ts';
import { buildTrustedRoot } from '../../../registry/trust/trusted-root.ts';
import { BUILDKITE, ENTRIES, GITHUB, GITLAB } from './kinds-of-claims.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer(ENTRIES);
});
afterAll(() => server.close());

interface Expected {
  readonly claims: object;
  readonly san: string;
  /** Tag of the name: 0x82 would be a host, 0x81 an address, 0x86 a URI [RFC5280 §4.2.1.6]. */
  readonly tag: number;
  /** All extensions of Fulcio by number, besides the two of the issuer. */
  readonly texts: Readonly<Record<number, string>>;
}

const cases: Readonly<Record<string, (issuerUrl: string) => Expected>> = {
  'GitHub Actions': () => ({
    claims: GITHUB,
    san: 'https://github.com/sigstore/fulcio/.github/workflows/foo.yaml@refs/heads/main',
    tag: 0x86,
    texts: {
      2: 'trigger',
      3: 'sha',
      4: 'workflow',
      5: 'sigstore/fulcio',
      6: 'refs/heads/main',
      9: 'https://github.com/sigstore/fulcio/.github/workflows/foo.yaml@refs/heads/main',
      10: 'example-sha',
      11: 'cloud-hosted',
      12: 'https://github.com/sigstore/fulcio',
      13: 'sha',
      14: 'refs/heads/main',
      15: '12345',
      16: 'https://github.com/username',
      17: '345',
      18: 'https://github.com/sigstore/other/.github/workflows/foo.yaml@refs/heads/main',
      19: 'example-sha-other',
      20: 'trigger',
      21: 'https://github.com/sigstore/fulcio/actions/runs/42/attempts/1',
      22: 'public',
      23: 'production',
      24: 'repo:sigstore/fulcio:ref:refs/heads/main',
    },
  }),
  'GitLab, without an environment': () => ({
    claims: GITLAB,
    san: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
    tag: 0x86,
    texts: {
      9: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
      10: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      11: 'gitlab-hosted',
      12: 'https://gitlab.com/cpanato/testing-cosign',
      13: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      14: 'refs/heads/main',
      15: '42831435',
      16: 'https://gitlab.com/cpanato',
      17: '1730270',
      18: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
      19: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      20: 'push',
      21: 'https://gitlab.com/cpanato/testing-cosign/-/jobs/3659681386',
      22: 'public',
      24: 'project_path:cpanato/testing-cosign:ref_type:branch:ref:main',
    },
  }),
  'GitLab, a tag in an environment': () => ({
    claims: { ...GITLAB, ref: 'v1.0 #2', ref_type: 'tag', environment: 'production' },
    san: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
    tag: 0x86,
    texts: {
      9: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
      10: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      11: 'gitlab-hosted',
      12: 'https://gitlab.com/cpanato/testing-cosign',
      13: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      14: 'refs/tags/v1.0 #2',
      15: '42831435',
      16: 'https://gitlab.com/cpanato',
      17: '1730270',
      18: 'https://gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
      19: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      20: 'push',
      21: 'https://gitlab.com/cpanato/testing-cosign/-/jobs/3659681386',
      22: 'public',
      23: 'production',
      24: 'project_path:cpanato/testing-cosign:ref_type:branch:ref:main',
    },
  }),
  Buildkite: () => ({
    claims: BUILDKITE,
    san: 'https://buildkite.com/acme-inc/super-duper-app',
    tag: 0x86,
    texts: {
      11: 'buildkite-hosted',
      13: '9f3182061f1e2cca4702c368cbc039b7dc9d4485',
      20: 'ui',
      21: 'https://buildkite.com/acme-inc/super-duper-app/builds/1#0184990a-477b-4fa8-9968-496074483cee',
      24: 'organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:9f3182061f1e2cca4702c368cbc039b7dc9d4485:step:build',
    },
  }),
  'an e-mail address': () => ({
    claims: { aud: 'waybill', sub: '1234567', email: 'foo@example.com', email_verified: true },
    san: 'foo@example.com',
    tag: 0x81,
    texts: { 24: '1234567' },
  }),
  'an e-mail address whose issuer sends words': () => ({
    claims: { aud: ['waybill'], sub: 'CgExEgRtb2Nr', email: 'foo@example.com', email_verified: 'true' },
    san: 'foo@example.com',
    tag: 0x81,
    texts: { 24: 'CgExEgRtb2Nr' },
  }),
  'a SPIFFE ID': () => ({
    claims: { aud: 'waybill', sub: 'spiffe://foo.com/bar' },
    san: 'spiffe://foo.com/bar',
    tag: 0x86,
    texts: { 24: 'spiffe://foo.com/bar' },
  }),
  'a URI in the domain of its issuer': (issuerUrl) => ({
    claims: { aud: 'waybill', sub: `${issuerUrl}/users/1`, team: 'firmware' },
    san: `${issuerUrl}/users/1`,
    tag: 0x86,
    texts: { 24: `${issuerUrl}/users/1` },
  }),
};

describe.each(Object.entries(cases))('%s', (_name, expectedOf) => {
  test('name and extensions, octet by octet; the verifier of the field finds them', async () => {
    const { issuer } = server;
    const { claims, san, tag, texts } = expectedOf(issuer.url);
    const bundle = await signedBundle(() => issuer.sign({ ...claims }));
    const { rawBytes } = (bundleToJSON(bundle).verificationMaterial as { certificate: { rawBytes: string } })
      .certificate;
    // Our own reader finds the same name and issuer.
    expect(readIdentity(parseCertificate(new Uint8Array(Buffer.from(rawBytes, 'base64'))))).toMatchObject({
      kind: tag === 0x81 ? 'email' : 'uri',
      identity: san,
      issuer: issuer.url,
      claims: { tokenSubject: texts[24] },
    });
    const leaf = new Certificate({ schema: fromBER(Buffer.from(rawBytes, 'base64')).result });
    const found = new Map(
      (leaf.extensions ?? []).map(({ extnID, extnValue }) => [
        extnID,
        Buffer.from(extnValue.valueBlock.valueHexView).toString('hex'),
      ]),
    );
    const expected = new Map<string, string>();
    for (const [number, text] of Object.entries({ 1: issuer.url, ...texts, 8: issuer.url })) {
      const raw = Buffer.from(text).toString('hex');
      const der = Buffer.from(new Utf8String({ value: text }).toBER()).toString('hex');
      expected.set(`1.3.6.1.4.1.57264.1.${number}`, Number(number) <= 6 ? raw : der);
    }
    const ofFulcio = [...found].filter(([oid]) => oid.startsWith('1.3.6.1.4.1.57264.'));
    expect(Object.fromEntries(ofFulcio)).toEqual(Object.fromEntries(expected));
    // One name alone: SEQUENCE, length, tag, length, text. All of them are shorter than 128 octets.
    const name = Buffer.from(san, 'latin1');
    const names = Buffer.concat([Buffer.of(0x30, name.length + 2, tag, name.length), name]);
    expect(found.get('2.5.29.17')).toBe(names.toString('hex'));
    // Nothing else: usage, extended usage, both identifiers, name, SCT.
    expect([...found.keys()].filter((oid) => !oid.startsWith('1.3.6.1.4.1.57264.')).sort()).toEqual([
      '1.3.6.1.4.1.11129.2.4.2',
      '2.5.29.14',
      '2.5.29.15',
      '2.5.29.17',
      '2.5.29.35',
      '2.5.29.37',
    ]);

    const options = { ctlogThreshold: 1, timestampThreshold: 1, tlogThreshold: 0 };
    const verifier = new Verifier(toTrustMaterial(trustedRoot()), options);
    const policy = (subjectAlternativeName: string) => ({
      subjectAlternativeName,
      extensions: { issuer: issuer.url },
    });
    const literal = san.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    expect(
      verifier.verify(toSignedEntity(bundle), policy(`^${literal}$`)).identity?.subjectAlternativeName,
    ).toBe(san);
    expect(() => verifier.verify(toSignedEntity(bundle), policy('^https://github.com/other/'))).toThrow();
  });
});

async function signedBundle(getToken: () => Promise<string>) {
  const builder = new DSSEBundleBuilder({
    signer: new FulcioSigner({ fulcioBaseURL: `${server.url}/ca`, identityProvider: { getToken } }),
    witnesses: [new TSAWitness({ tsaBaseURL: `${server.url}/tsa/api/v1/timestamp` })],
  });
  return builder.create({ type: 'application/vnd.in-toto+json', data: Buffer.from('{"any":"statement"}') });
}

/** A trust root as clients read it; the signature log's key plays no part here. */
function trustedRoot(): TrustedRoot {
  const { publicKey } = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).subarray(12);
  const log = { origin: server.material.names.log, publicKey: raw, startMs: 0 };
  return TrustedRoot.fromJSON(JSON.parse(Buffer.from(buildTrustedRoot(server.material, [log])).toString()));
}

test('the configuration says for each issuer what its clients have to sign', async () => {
  const answer = await fetch(`${server.url}/ca/api/v2/configuration`);
  const entry = (members: object) => ({
    issuerUrl: server.issuer.url,
    audience: 'waybill',
    challengeClaim: 'sub',
    spiffeTrustDomain: '',
    issuerType: 'ci-provider',
    subjectDomain: '',
    skipEmailVerification: false,
    ...members,
  });
  expect(await answer.json()).toEqual({
    issuers: [
      entry({}),
      entry({ challengeClaim: 'email', issuerType: 'email' }),
      entry({ issuerType: 'spiffe', spiffeTrustDomain: 'foo.com' }),
      entry({ issuerType: 'uri', subjectDomain: server.issuer.url }),
    ],
  });
});
