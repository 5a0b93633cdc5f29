// SPDX-License-Identifier: Apache-2.0
// The release manager's desk when the gate itself is bad: summaries that devices would not accept, and a lax gate that devices
// do accept, whose evidence is judged again before anything is signed.

import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { signStatement, signStatementWithKey } from '../../attest/sign.ts';
import { submitBundle } from '../../attest/submit.ts';
import { readDevicePolicyFile } from '../../cli/device-policy-file.ts';
import { openTrust } from '../../cli/trust.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildVerificationSummary, type VerificationSummary } from '../../core/intoto/vsa.ts';
import { LIMITS } from '../../core/limits.ts';
import { releaseUri } from '../../core/release/version.ts';
import { generateKey, publicKeyDer, readPrivateKey, writeKeyPair } from '../../release/key-file.ts';
import { Registry } from '../../release/registry.ts';
import { chooseSummary, type SummaryWanted } from '../../release/summary.ts';
import { NOW_MS } from '../policy/evidence.ts';
import { type Build, House, sha256 } from './house.ts';

/** The key of another product's gate. */
const OTHER = generateKey('p256');

let house: House;
let wanted: SummaryWanted;
let sound: VerificationSummary;
beforeAll(async () => {
  house = await House.open();
  const lax = (await readFile(house.path('policy.yaml'), 'utf8')).replace(
    'rules: all',
    'rules: [version-higher]',
  );
  await writeFile(house.path('policy.yaml'), lax);
  await house.product('add');
  // Another product, whose gate may write to the log, too.
  await writeKeyPair(house.path('other.pem'), OTHER);
  const policyText = await readFile(house.path('device-policy.yaml'), 'utf8');
  await writeFile(
    house.path('other.yaml'),
    policyText.replace('product: optiboot', 'product: other').replace('gate.pub', 'other.pub'),
  );
  await house.product('add', { product: 'other', devicePolicy: house.path('other.yaml') });
  const { gate } = (await readDevicePolicyFile(house.path('device-policy.yaml'), 'optiboot')).policy;
  const [policy] = gate.policies;
  wanted = { gate, product: 'optiboot', version: '8.1.0', imageSha256: sha256('image') };
  sound = {
    subjects: [{ name: 'optiboot-8.1.0.bin', sha256: wanted.imageSha256 }],
    verifierId: gate.verifierId,
    timeVerifiedMs: NOW_MS,
    resourceUri: releaseUri('optiboot', '8.1.0'),
    policyUri: policy?.uri ?? '',
    policySha256: policy?.sha256 ?? '',
    inputAttestations: [sha256('bundle')],
    result: 'PASSED',
    verifiedLevels: [],
  };
});
afterAll(() => house.close());

/** A summary, signed and logged: by the gate, by the key of someone else, or by the CI's certificate. */
async function signed(summary: VerificationSummary, signer: 'gate' | 'other' | 'certificate' = 'gate') {
  const trust = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const signingConfig = await trust.signingConfig();
  const statement = formatStatement(
    buildVerificationSummary(summary, new Date(summary.timeVerifiedMs).toISOString()),
  );
  const key = signer === 'other' ? OTHER : await readPrivateKey(house.path('gate.pem'), 'p256');
  const bytes =
    signer === 'certificate'
      ? await signStatement(statement, {
          signingConfig,
          identity: { origin: 'test', token: () => house.issuer.token() },
        })
      : await signStatementWithKey(statement, {
          signingConfig,
          privateKeyPem: key.export({ type: 'pkcs8', format: 'pem' }),
        });
  return { bytes, sha256: sha256(bytes) };
}

/** What the desk chooses, the verifier knowing the gate's key and, as a careless one would, the other one. */
async function choose(bundles: readonly { bytes: Uint8Array; sha256: string }[]) {
  const { verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  return chooseSummary(bundles, await verifier([wanted.gate.publicKey, publicKeyDer(OTHER)]), wanted);
}

test('of several sound summaries the newest is chosen, whatever stands beside them', async () => {
  const older = await signed(sound);
  const newer = await signed({ ...sound, timeVerifiedMs: NOW_MS + 1000 });
  const failed = await signed({ ...sound, result: 'FAILED', timeVerifiedMs: NOW_MS + 2000 });
  for (const bundles of [
    [older, newer, failed],
    [failed, newer, older],
  ]) {
    expect((await choose(bundles)).bundle.sha256).toBe(newer.sha256);
  }
});

test.each<[string, Partial<VerificationSummary>, 'gate' | 'other' | 'certificate', RegExp]>([
  ['signed by a certificate', {}, 'certificate', /not by the gate's key/],
  ['signed by another key', {}, 'other', /signed by a key that is not the gate/],
  ['of another verifier', { verifierId: 'https://other.example' }, 'gate', /another verifier id/],
  ['of another image', { subjects: [{ name: 'x', sha256: sha256('other') }] }, 'gate', /another image/],
  [
    'of another version',
    { resourceUri: releaseUri('optiboot', '8.1.1') },
    'gate',
    /another product or version/,
  ],
  ['of another product', { resourceUri: releaseUri('other', '8.1.0') }, 'gate', /another product or version/],
  ['under another policy', { policySha256: sha256('lax') }, 'gate', /the device policy does not name/],
  [
    'under another name of the policy',
    { policyUri: 'https://o.example' },
    'gate',
    /the device policy does not name/,
  ],
  ['that says FAILED', { result: 'FAILED' }, 'gate', /result FAILED/],
])('a summary %s does not release', async (_, changes, signer, reason) => {
  await expect(choose([await signed({ ...sound, ...changes }, signer)])).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
    message: expect.stringMatching(reason),
  });
});

test('a summary of the image and another one does not release', async () => {
  const subjects = [...sound.subjects, { name: 'x', sha256: sha256('other') }];
  await expect(choose([await signed({ ...sound, subjects })])).rejects.toMatchObject({
    message: expect.stringContaining('another image'),
  });
});

/** Attests a build that is not sound, and has the lax gate pass it. */
async function passLaxly(build: Build, claims: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await house.attest(buildStepProvenance(build.compile), claims);
  await house.attest(buildStepProvenance(build.image), claims);
  await house.attest(buildSbomReference(build.reference), claims);
  await new Registry(house.url).putBlob(sha256(build.sbom), build.sbom);
  expect((await house.gate(build)).decision.result).toBe('PASSED');
}

test.each<[string, string, (build: Build) => Build, Readonly<Record<string, unknown>>, string]>([
  [
    'an identity that devices do not trust',
    '8.2.0',
    (build) => build,
    { job_workflow_ref: 'example/firmware/.github/workflows/other.yml@refs/heads/main' },
    'CHAIN_BUILDER_NOT_TRUSTED',
  ],
  [
    'a step that was not hermetic',
    '8.2.1',
    (build) => ({
      ...build,
      image: { ...build.image, sandbox: { ...build.image.sandbox, hermetic: false } },
    }),
    {},
    'CHAIN_STEP_NOT_HERMETIC',
  ],
  [
    'a chain that is broken',
    '8.2.2',
    (build) => ({
      ...build,
      compile: { ...build.compile, resolvedDependencies: build.image.resolvedDependencies },
    }),
    {},
    'CHAIN_SOURCE_MISSING',
  ],
])('a lax gate passes %s; nothing is released', async (_, version, spoil, claims, code) => {
  const build = spoil(await house.build(version));
  await passLaxly(build, claims);
  await expect(house.release(build)).rejects.toMatchObject({ code });
});

test('a lax gate passes an SBOM of another image; nothing is released', async () => {
  const [build, other] = [await house.build('8.2.3'), await house.build('8.2.4')];
  const reference = { ...build.reference, sbomSha256: sha256(other.sbom) };
  const spoiled = { ...build, sbom: other.sbom, reference };
  await passLaxly(spoiled);
  await expect(house.release(spoiled)).rejects.toMatchObject({ code: 'SBOM_NOT_BOUND' });
});

/** Attests a sound build and what else the gate is to name, and submits a summary that names all of it. */
async function passAlso(version: string, ...more: readonly UnsignedStatement[]): Promise<Build> {
  const build = await house.build(version);
  const { compile, image, reference, sbom, imageSha256 } = build;
  const inputAttestations: string[] = [];
  for (const statement of [
    buildStepProvenance(compile),
    buildStepProvenance(image),
    buildSbomReference(reference),
    ...more,
  ]) {
    inputAttestations.push(await house.attest(statement));
  }
  await new Registry(house.url).putBlob(sha256(sbom), sbom);
  const resourceUri = releaseUri('optiboot', version);
  const subjects = [{ name: 'optiboot.bin', sha256: imageSha256 }];
  const summary = await signed({ ...sound, subjects, resourceUri, inputAttestations });
  await submitBundle(house.url, summary.bytes);
  return build;
}

test('a bad gate names a statement that no device can judge; nothing is released', async () => {
  const { imageSha256 } = await house.build('8.2.5');
  const build = await passAlso('8.2.5', {
    subjects: [{ name: 'optiboot.bin', sha256: imageSha256 }],
    predicateType: 'https://in-toto.io/attestation/scai/v0.3',
    predicate: { attributes: [] },
  });
  await expect(house.release(build)).rejects.toMatchObject({ code: 'INTOTO_PREDICATE_UNKNOWN' });
});

test('a gate names more bundles than a pack may hold; nothing is released', async () => {
  const { compile } = await house.build('8.2.6');
  const again = Array.from({ length: LIMITS.packBundleCount - 3 }, () => buildStepProvenance(compile));
  await expect(house.release(await passAlso('8.2.6', ...again))).rejects.toMatchObject({
    code: 'PACK_MALFORMED',
  });
}, 120_000);

test('a sound build passes the same desk', async () => {
  const build = await house.build('8.3.0');
  await passLaxly(build);
  await expect(house.release(build)).resolves.toMatchObject({ action: 'released' });
});
