// SPDX-License-Identifier: Apache-2.0
// The field's own JavaScript client against `waybill serve` as a whole: it starts from the TUF root alone, signs with what the repository
// says, and the field's own verifier accepts what came of it. The log holds what follows from the bundle, byte for byte.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleFromJSON, bundleToJSON, type SerializedBundle } from '@sigstore/bundle';
import { SigningConfig, type TrustedRoot } from '@sigstore/protobuf-specs';
import {
  type BundleBuilder,
  bundleBuilderFromSigningConfig,
  DSSEBundleBuilder,
  FulcioSigner,
  RekorWitness,
  type Signer,
  TSAWitness,
} from '@sigstore/sign';
import { getTrustedRoot, initTUF } from '@sigstore/tuf';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newSigner } from '../../registry/trust/signer.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';
import { claimedEntry, loggedEntry, rebuildLeaf } from '../independent/leaf.ts';

const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
const TYPE = 'application/vnd.in-toto+json';
const image = Buffer.from('an image');
const statement = Buffer.from(
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'image.bin', digest: { sha256: createHash('sha256').update(image).digest('hex') } }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  }),
);
const managed = newSigner();

let registry: RegistryProcess;
let trustedRoot: TrustedRoot;
let signingConfig: SigningConfig;
beforeAll(async () => {
  registry = await startRegistry([managed.signer.spki], true);
  const trust = {
    mirrorURL: `${registry.url}/tuf`,
    rootPath: registry.root,
    cachePath: await mkdtemp(join(registry.folder, 'sigstore-js-')),
  };
  trustedRoot = await getTrustedRoot(trust);
  const text = await (await initTUF(trust)).getTarget('signing_config.v0.2.json');
  signingConfig = SigningConfig.fromJSON(JSON.parse(text));
}, 60_000);
afterAll(() => registry.close());

const identityProvider = { getToken: () => registry.issuer.token({ aud: 'sigstore' }) };

async function sign(builder: BundleBuilder, data: Buffer): Promise<string> {
  return JSON.stringify(bundleToJSON(await builder.create({ data, type: TYPE })));
}

/** The services by their addresses, as a client without TUF calls them. */
function byHand(signer: Signer): DSSEBundleBuilder {
  return new DSSEBundleBuilder({
    signer,
    witnesses: [
      new RekorWitness({ rekorBaseURL: `${registry.url}/log`, majorApiVersion: 2 }),
      new TSAWitness({ tsaBaseURL: `${registry.url}/tsa/api/v1/timestamp` }),
    ],
  });
}

const fulcio = (fulcioBaseURL: string) => new FulcioSigner({ fulcioBaseURL, identityProvider });
const fromConfig = (bundleType: 'dsseEnvelope' | 'messageSignature') =>
  bundleBuilderFromSigningConfig({ signingConfig, identityProvider, bundleType });

interface Policy {
  readonly subjectAlternativeName?: string;
  readonly extensions?: { readonly issuer: string };
}

/** At the library's default thresholds: one SCT, one log entry, one timestamp. */
function verify(bundle: string, policy: Policy = {}, data?: Buffer) {
  const verifier = new Verifier(toTrustMaterial(trustedRoot));
  const parsed = bundleFromJSON(JSON.parse(bundle) as SerializedBundle);
  return verifier.verify(toSignedEntity(parsed, data), policy);
}

async function expectLogged(bundle: string, publicKey?: string): Promise<void> {
  const { index, body } = claimedEntry(bundle);
  const rebuilt = rebuildLeaf(bundle, publicKey);
  expect(rebuilt).toBe(body);
  expect(rebuilt).toBe(await loggedEntry(`${registry.url}/log`, index));
}

test('from the TUF root alone it gets the trust material, byte for byte; from the root of another it gets none', async () => {
  const trust = { mirrorURL: `${registry.url}/tuf`, rootPath: registry.root };
  const cachePath = await mkdtemp(join(registry.folder, 'sigstore-js-'));
  const tuf = await initTUF({ ...trust, cachePath });
  for (const name of ['trusted_root.json', 'signing_config.v0.2.json']) {
    const published = await readFile(join(registry.dataFolder, 'trust', name), 'utf8');
    expect(await tuf.getTarget(name)).toBe(published);
  }
  const [other, offline] = [join(registry.folder, 'other'), join(registry.folder, 'other-offline')];
  await registry.cli.must(['init', other, '--offline', offline, '--url', registry.url, '--org', 'example']);
  const rootPath = join(other, 'root.json');
  const elsewhere = await mkdtemp(join(registry.folder, 'sigstore-js-'));
  await expect(getTrustedRoot({ ...trust, rootPath, cachePath: elsewhere })).rejects.toMatchObject({
    code: 'TUF_REFRESH_METADATA_ERROR',
  });
});

test.each([
  ['as the signing configuration says', () => fromConfig('dsseEnvelope')],
  ['by the addresses of the services', () => byHand(fulcio(`${registry.url}/ca`))],
  // sigstore-python gets no further than the host.
  ['with the authority asked at the root of its host', () => byHand(fulcio(registry.url))],
])('a statement signed %s is accepted by both verifiers; its leaf is what is logged', async (_, builder) => {
  const bundle = await sign(builder(), statement);
  expect(verify(bundle).identity?.subjectAlternativeName).toBe(IDENTITY);
  await expectLogged(bundle);
  const [file, artifact] = [join(registry.folder, 'statement.sigstore.json'), join(registry.folder, 'image')];
  await writeFile(file, bundle);
  await writeFile(artifact, image);
  const trust = ['--registry', registry.url, '--root', registry.root];
  const who = ['--identity', IDENTITY, '--issuer', registry.issuer.url];
  await registry.cli.must(['verify', file, artifact, ...trust, ...who]);
});

test('a blob signed as the signing configuration says; the log got its digest alone', async () => {
  const bundle = await sign(fromConfig('messageSignature'), image);
  verify(bundle, {}, image);
  expect(() => verify(bundle, {}, Buffer.from('another'))).toThrow(/signature verification failed/);
  await expectLogged(bundle);
});

test('with a listed key, and no certificate, the leaf holds the key', async () => {
  const spki = Buffer.from(managed.signer.spki).toString('base64');
  const publicKey = `-----BEGIN PUBLIC KEY-----\n${spki}\n-----END PUBLIC KEY-----\n`;
  const bundle = await sign(
    byHand({
      sign: async (message) => ({
        signature: Buffer.from(managed.signer.sign(message)),
        key: { $case: 'publicKey', publicKey, hint: 'gate' },
      }),
    }),
    statement,
  );
  await expectLogged(bundle, spki);
});

test('the wrong identity, issuer, payload and log are refused', async () => {
  const bundle = await sign(fromConfig('dsseEnvelope'), statement);
  const issuer = registry.issuer.url;
  verify(bundle, { subjectAlternativeName: IDENTITY, extensions: { issuer } });
  expect(() => verify(bundle, { subjectAlternativeName: `${IDENTITY}x` })).toThrow(/certificate identity/);
  expect(() => verify(bundle, { extensions: { issuer: `${issuer}/` } })).toThrow(
    /invalid certificate extension/,
  );
  const changed = JSON.parse(bundle) as { dsseEnvelope: { payload: string } };
  changed.dsseEnvelope.payload = Buffer.from('{}').toString('base64');
  expect(() => verify(JSON.stringify(changed))).toThrow(/digest mismatch/);
  const other = { ...trustedRoot, tlogs: [] };
  const verifier = new Verifier(toTrustMaterial(other));
  const parsed = bundleFromJSON(JSON.parse(bundle) as SerializedBundle);
  expect(() => verifier.verify(toSignedEntity(parsed))).toThrow(/invalid checkpoint signature/);
});
