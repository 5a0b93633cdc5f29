// SPDX-License-Identifier: Apache-2.0
// A registry that lies to gate and release: each lie has its own code, and nothing is signed because of it.

import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTrust } from '../../cli/trust.ts';
import { portableCrypto } from '../../core/crypto.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import type { VerifiedBundle } from '../../core/verify/verified.ts';
import { collectEvidence } from '../../release/evidence.ts';
import { proveInclusion } from '../../release/inclusion.ts';
import { Registry } from '../../release/registry.ts';
import { witnessSigner } from '../core/tlog/note-signers.ts';
import { examplePolicy } from '../policy/evidence.ts';
import { type Build, House, type Lie, sha256, withLiar } from './house.ts';

let house: House;
let build: Build;
beforeAll(async () => {
  house = await House.open();
  await house.product('add');
  build = await house.build('8.1.0');
  await house.attestBuild(build);
  await house.gate(build);
});
afterAll(() => house.close());

/** What the registry gives for a query of bundles. */
interface Listing {
  attestations: { sha256: string; bundle: string }[];
}

const isListing = (path: string) => path.startsWith('/api/v1/attestations?');

/** Changes listings of bundles. */
const inListings =
  (change: (listing: Listing) => Listing): Lie =>
  (path, body) =>
    isListing(path) ? { body: JSON.stringify(change(JSON.parse(body.toString()))) } : undefined;

const gateBehind = (lie: Lie) => withLiar(house.url, lie, (registry) => house.gate(build, { registry }));
const releaseBehind = (lie: Lie) =>
  withLiar(house.url, lie, (registry) => house.release(build, { registry }));

/** A bundle whose statement says something else than what was signed, under its true digest. */
function tampered(
  bundle: string,
  from = 'bubblewrap',
  to = 'bubblewarp',
): { sha256: string; bundle: string } {
  const json = JSON.parse(bundle);
  const payload = Buffer.from(json.dsseEnvelope.payload, 'base64').toString();
  json.dsseEnvelope.payload = Buffer.from(payload.replace(from, to)).toString('base64');
  const text = JSON.stringify(json);
  return { sha256: sha256(text), bundle: text };
}

test('the truth through the liar passes', async () => {
  await expect(gateBehind(() => undefined)).resolves.toMatchObject({ decision: { result: 'PASSED' } });
});

test('a bundle with changed bytes under the old digest', async () => {
  const lie = inListings(({ attestations }) => ({
    attestations: attestations.map((one) => ({ ...one, bundle: tampered(one.bundle).bundle })),
  }));
  await expect(gateBehind(lie)).rejects.toMatchObject({ code: 'EVIDENCE_BUNDLE_DIGEST_MISMATCH' });
});

test('a changed statement under a digest that fits', async () => {
  const lie = inListings(({ attestations }) => ({
    attestations: attestations.map((one) => tampered(one.bundle)),
  }));
  await expect(gateBehind(lie)).rejects.toMatchObject({ code: 'SIGSTORE_SIGNATURE_INVALID' });
});

test('a true bundle about something else', async () => {
  const other = await house.build('8.2.0');
  const digest = await house.attest(buildStepProvenance(other.image));
  const bundle = Buffer.from((await new Registry(house.url).bundle(digest)).bytes).toString();
  const lie = inListings(({ attestations }) => ({
    attestations: [...attestations, { sha256: digest, bundle }],
  }));
  await expect(gateBehind(lie)).rejects.toMatchObject({ code: 'EVIDENCE_SUBJECT_ABSENT' });
});

test('bundles that are withheld fail the rules that need them', async () => {
  const { decision, summary } = await gateBehind(inListings(() => ({ attestations: [] })));
  expect(decision.result).toBe('DENIED');
  expect(summary).toBeUndefined();
});

test('an SBOM that is withheld, or exchanged', async () => {
  const isSbom = (path: string) => path === `/api/v1/blobs/${sha256(build.sbom)}`;
  const sbomVerdict = async (lie: Lie) =>
    (await gateBehind(lie)).decision.rules.find(({ id }) => id === 'sbom-bound')?.code;
  const gone: Lie = (path) => (isSbom(path) ? { status: 404, body: '{}' } : undefined);
  const exchanged: Lie = (path) => (isSbom(path) ? { body: '{}' } : undefined);
  expect(await sbomVerdict(gone)).toBe('POLICY_SBOM_WITHHELD');
  expect(await sbomVerdict(exchanged)).toBe('SBOM_DIGEST_MISMATCH');
  await expect(releaseBehind(gone)).rejects.toMatchObject({ code: 'EVIDENCE_WITHHELD' });
  await expect(releaseBehind(exchanged)).rejects.toMatchObject({ code: 'SBOM_DIGEST_MISMATCH' });
});

test('release: a bundle that the gate used is withheld, or exchanged for another', async () => {
  const isBundle = (path: string) => /^\/api\/v1\/attestations\/[0-9a-f]{64}$/.test(path);
  await expect(
    releaseBehind((path) => (isBundle(path) ? { status: 404, body: '{}' } : undefined)),
  ).rejects.toMatchObject({ code: 'EVIDENCE_WITHHELD' });
  await expect(
    releaseBehind((path, body) => (isBundle(path) ? { body: tampered(body.toString()).bundle } : undefined)),
  ).rejects.toMatchObject({ code: 'EVIDENCE_BUNDLE_DIGEST_MISMATCH' });
});

test('release: a summary that the registry made up or changed', async () => {
  const lie = inListings(({ attestations }) => ({
    attestations: attestations.map((one) => tampered(one.bundle, 'optiboot@8.1.0', 'optiboot@8.1.1')),
  }));
  await expect(releaseBehind(lie)).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
    message: expect.stringContaining('SIGSTORE_SIGNATURE_INVALID'),
  });
});

const isProof = (path: string) => path.startsWith('/log/api/v2/proof?');

test.each<[string, (proof: Record<string, unknown>) => unknown, string]>([
  [
    'another leaf',
    (proof) => ({ ...proof, index: Number(proof.index) + 1 }),
    'RELEASE_REGISTRY_ANSWER_MALFORMED',
  ],
  [
    'another size',
    (proof) => ({ ...proof, size: Number(proof.size) + 1 }),
    'RELEASE_REGISTRY_ANSWER_MALFORMED',
  ],
  [
    'a wrong hash',
    ({ hashes, ...proof }) => ({ ...proof, hashes: flipped(hashes) }),
    'TLOG_INCLUSION_MISMATCH',
  ],
  [
    'a changed checkpoint',
    (proof) => ({ ...proof, checkpoint: changed(proof.checkpoint) }),
    'TLOG_NOTE_SIGNATURE',
  ],
  ['short hashes', (proof) => ({ ...proof, hashes: ['AAAA'] }), 'RELEASE_REGISTRY_ANSWER_MALFORMED'],
  ['no proof', () => ({}), 'RELEASE_REGISTRY_ANSWER_MALFORMED'],
])('release: the log proves %s', async (_, change, code) => {
  const lie: Lie = (path, body) =>
    isProof(path) ? { body: JSON.stringify(change(JSON.parse(body.toString()))) } : undefined;
  await expect(releaseBehind(lie)).rejects.toMatchObject({ code });
});

function flipped(hashes: unknown): string[] {
  const [first = '', ...rest] = hashes as string[];
  const bytes = Buffer.from(first, 'base64');
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  return [bytes.toString('base64'), ...rest];
}

/** The checkpoint with another tree size. */
function changed(checkpoint: unknown): string {
  return String(checkpoint).replace(/\n\d+\n/, '\n99\n');
}

test('release: a proof that says another size than its checkpoint', async () => {
  const { tlogPolicy, verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const registry = new Registry(house.url);
  const [one] = await collectEvidence(
    { registry, verifier: await verifier([]) },
    build.imageSha256,
    examplePolicy,
  );
  const verified = one as VerifiedBundle;
  const policy = parseLogPolicy(await tlogPolicy(), portableCrypto);
  // The same lie twice, so that the two answers agree with each other.
  let answer = '';
  const lie: Lie = (path, body) => {
    if (!isProof(path)) return undefined;
    if (!path.includes('size=')) answer = JSON.stringify({ ...JSON.parse(body.toString()), size: 1000 });
    return { status: 200, body: answer };
  };
  await withLiar(house.url, lie, async (url) => {
    await expect(
      proveInclusion(new Registry(url), policy, [{ bytes: new Uint8Array(), verified }], portableCrypto),
    ).rejects.toMatchObject({
      code: 'RELEASE_REGISTRY_ANSWER_MALFORMED',
      message: expect.stringContaining('1000'),
    });
  });
});

test('a proof by the key of another log is refused', async () => {
  const { tlogPolicy, verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const registry = new Registry(house.url);
  const source = { registry, verifier: await verifier([]) };
  const [one] = await collectEvidence(source, build.imageSha256, examplePolicy);
  const { publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const policy = parseLogPolicy(await tlogPolicy(), portableCrypto);
  const logs = policy.logs.map(({ key }) => ({ key: { ...key, publicKey: new Uint8Array(raw) } }));
  const kept = [{ bytes: new Uint8Array(), verified: one as VerifiedBundle }];
  await expect(proveInclusion(registry, { ...policy, logs }, kept, portableCrypto)).rejects.toMatchObject({
    code: 'TLOG_NOTE_SIGNATURE',
  });
});

test('evidence in two shards of the log has no checkpoint in common', async () => {
  const { tlogPolicy, verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const registry = new Registry(house.url);
  const source = { registry, verifier: await verifier([]) };
  const [one] = await collectEvidence(source, build.imageSha256, examplePolicy);
  const policy = parseLogPolicy(await tlogPolicy(), portableCrypto);
  const verified = one as VerifiedBundle;
  const entries = verified.evidence.entries.map((entry) => ({ ...entry, origin: 'log2.example' }));
  const later = { ...verified, evidence: { ...verified.evidence, entries } };
  const kept = [verified, later].map((each) => ({ bytes: new Uint8Array(), verified: each }));
  await expect(proveInclusion(registry, policy, kept, portableCrypto)).rejects.toMatchObject({
    code: 'RELEASE_LOG_SHARDS',
  });
});

test('a proof without the witnesses of the log policy is refused', async () => {
  const { tlogPolicy, verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const registry = new Registry(house.url);
  const source = { registry, verifier: await verifier([]) };
  const [one] = await collectEvidence(source, build.imageSha256, examplePolicy);
  const policy = parseLogPolicy(await tlogPolicy(), portableCrypto);
  const witnesses = [{ name: 'w', key: witnessSigner('w.example').key }];
  const kept = [{ bytes: new Uint8Array(), verified: one as VerifiedBundle }];
  await expect(proveInclusion(registry, policy, kept, portableCrypto)).resolves.toMatchObject({
    witnesses: 'none',
  });
  await expect(
    proveInclusion(registry, { ...policy, witnesses, quorum: 'w' }, kept, portableCrypto),
  ).rejects.toMatchObject({ code: 'TLOG_QUORUM_UNMET' });
});

test('release: devices that ask for witnesses get nothing that none has seen', async () => {
  const devicePolicy = house.path('device-policy-with-witnesses.yaml');
  const text = await readFile(house.path('device-policy.yaml'), 'utf8');
  await writeFile(
    devicePolicy,
    text.replace(/^witnesses: none$/m, 'witnesses: { checkpointAgeMaxDays: 30 }'),
  );
  await house.product('update', { devicePolicy });
  await expect(house.release(build)).rejects.toMatchObject({ code: 'TLOG_QUORUM_ABSENT' });
  await house.product('update');
});

test('provenance that leads through ever more artifacts is not followed without end', async () => {
  const materials = Array.from({ length: 300 }, (_, i) => ({
    name: `part-${i}`,
    sha256: sha256(`part ${i}`),
    annotations: { role: 'material', step: 'compile' },
  }));
  const wide = await house.build('9.0.0');
  await house.attest(buildStepProvenance({ ...wide.image, resolvedDependencies: materials }));
  const builders = examplePolicy.builders.map((builder) => ({ ...builder, issuer: house.issuer.url }));
  const { verifier } = await openTrust({ registryUrl: house.url, rootPath: house.root });
  const source = { registry: new Registry(house.url), verifier: await verifier([]) };
  await expect(
    collectEvidence(source, wide.imageSha256, { ...examplePolicy, builders }),
  ).rejects.toMatchObject({ code: 'EVIDENCE_WALK_ENDLESS' });
  // The same from a stranger leads nowhere.
  const strange = await house.build('9.0.1');
  const claims = { job_workflow_ref: 'example/firmware/.github/workflows/other.yml@refs/heads/main' };
  await house.attest(buildStepProvenance({ ...strange.image, resolvedDependencies: materials }), claims);
  const found = await collectEvidence(source, strange.imageSha256, { ...examplePolicy, builders });
  expect(found).toHaveLength(1);
});

test('a registry that refuses, fails, is gone, or answers something else', async () => {
  const answers: readonly (readonly [Lie, string])[] = [
    [
      (path) => (isListing(path) ? { status: 403, body: '{"error":{"code":"NO"}}' } : undefined),
      'RELEASE_REGISTRY_REFUSED',
    ],
    [(path) => (isListing(path) ? { status: 503, body: '' } : undefined), 'RELEASE_REGISTRY_BUSY'],
    [(path) => (isListing(path) ? { body: '[]' } : undefined), 'RELEASE_REGISTRY_ANSWER_MALFORMED'],
    [
      (path) => (isListing(path) ? { body: '{"attestations":[{}]}' } : undefined),
      'RELEASE_REGISTRY_ANSWER_MALFORMED',
    ],
  ];
  for (const [lie, code] of answers) await expect(gateBehind(lie)).rejects.toMatchObject({ code });
  await expect(new Registry('http://127.0.0.1:9').bundlesAbout(sha256(''))).rejects.toMatchObject({
    code: 'RELEASE_REGISTRY_UNREACHABLE',
  });
});

test('an answer that is too large is not read to its end', async () => {
  await withLiar(
    house.url,
    () => ({ body: Buffer.alloc(2 * 1024 * 1024) }),
    async (url) => {
      await expect(new Registry(url).bundle(sha256(''))).rejects.toMatchObject({
        code: 'RELEASE_REGISTRY_ANSWER_MALFORMED',
        message: expect.stringContaining('at most 1048576 bytes'),
      });
    },
  );
});

test('release: files of earlier releases that the registry has lost, and one that never has enough', async () => {
  const missing = { name: 'images/optiboot/old.bin', sha256: sha256('old'), sizeBytes: 3 };
  const asksFor =
    (file: object): Lie =>
    (path, _, method) =>
      method === 'PUT' && path.startsWith('/api/v1/tuf/')
        ? { status: 409, body: JSON.stringify({ error: { code: 'TUF_TARGETS_MISSING' }, missing: [file] }) }
        : undefined;
  await expect(releaseBehind(asksFor(missing))).rejects.toMatchObject({ code: 'RELEASE_TARGET_LOST' });
  const sbom = { name: 'packs/optiboot/optiboot-8.1.0.cdx.json', sha256: sha256(build.sbom), sizeBytes: 1 };
  await expect(releaseBehind(asksFor(sbom))).rejects.toMatchObject({
    code: 'RELEASE_REGISTRY_ANSWER_MALFORMED',
    message: expect.stringContaining('still asks for'),
  });
  const conflict: Lie = (path, _, method) =>
    method === 'PUT' && path.startsWith('/api/v1/tuf/')
      ? { status: 409, body: '{"error":{"code":"X"}}' }
      : undefined;
  await expect(releaseBehind(conflict)).rejects.toMatchObject({ code: 'RELEASE_REGISTRY_REFUSED' });
});

test('after all those lies the truth is released', async () => {
  await expect(house.release(build)).resolves.toMatchObject({ action: 'released' });
});
