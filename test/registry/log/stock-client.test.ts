// SPDX-License-Identifier: Apache-2.0
// The field's own client logs a DSSE envelope here, and the field's own verifier accepts the bundle at its default thresholds.

import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { bundleToJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { DSSEBundleBuilder, FulcioSigner, RekorWitness, type Signer, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import Fastify from 'fastify';
import { Level } from 'level';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseBundle, preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { Cosigning } from '../../../registry/log/cosigning.ts';
import { createLogKey, openLogKey } from '../../../registry/log/log-key.ts';
import { rekorRoutes } from '../../../registry/log/rekor-routes.ts';
import { SignatureLog } from '../../../registry/log/signature-log.ts';
import { Writers } from '../../../registry/log/writers.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { buildTrustedRoot } from '../../../registry/trust/trusted-root.ts';
import { startTrustServer, type TrustServer } from '../trust/trust-server.ts';
import { makeFolder } from './log-folder.ts';
import { sha256 } from './numbered-entry.ts';

let trust: TrustServer;
let log: SignatureLog;
let logUrl: string;
let publicKey: Uint8Array;
const managed = newSigner();
const undo: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  trust = await startTrustServer();
  undo.unshift(() => trust.close());
  const { folder, remove } = await makeFolder();
  undo.unshift(remove);
  publicKey = await createLogKey({ folder });
  const db = new Level(join(folder, 'state'));
  undo.unshift(() => db.close());
  const key = await openLogKey({ folder });
  log = await SignatureLog.open({ db, origin: trust.material.names.log, key, clock: Date.now });
  undo.unshift(() => log.close());
  const app = Fastify({ logger: false });
  await app.register(rekorRoutes, {
    prefix: '/log',
    log,
    cosigning: await Cosigning.open({ tiles: log.tiles, policy: () => undefined }),
    writers: new Writers({
      authorities: [trust.material.caChain],
      isListedKey: (spki) => Buffer.compare(spki, managed.signer.spki) === 0,
      clock: Date.now,
    }),
  });
  logUrl = `${await app.listen({ host: '127.0.0.1', port: 0 })}/log`;
  undo.unshift(() => app.close());
});
afterAll(async () => {
  for (const step of undo) await step();
});

const data = Buffer.from('{"any":"statement"}');
const type = 'application/vnd.in-toto+json';
const digest = sha256(preAuthEncoding(type, data));

function builderWith(signer: Signer): DSSEBundleBuilder {
  return new DSSEBundleBuilder({
    signer,
    witnesses: [
      new RekorWitness({ rekorBaseURL: logUrl, majorApiVersion: 2 }),
      new TSAWitness({ tsaBaseURL: `${trust.url}/tsa/api/v1/timestamp` }),
    ],
  });
}

function trustMaterial(keys: Parameters<typeof toTrustMaterial>[1] = undefined) {
  const own = { origin: trust.material.names.log, publicKey, startMs: trust.material.startMs };
  const bytes = buildTrustedRoot(trust.material, [own]);
  return toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(Buffer.from(bytes).toString())), keys);
}

test('with a certificate: signed, logged, verified with SCT, entry and timestamp; the leaf is what the bundle says', async () => {
  const signer = new FulcioSigner({
    fulcioBaseURL: `${trust.url}/ca`,
    identityProvider: { getToken: () => trust.issuer.token() },
  });
  for (let n = 0; n < 3; n++) {
    const bundle = await builderWith(signer).create({ type, data });
    new Verifier(trustMaterial()).verify(toSignedEntity(bundle));
    const parsed = parseBundle(Buffer.from(JSON.stringify(bundleToJSON(bundle))));
    expect(parsed.leafIndex).toBe(BigInt(n));
    expect(Buffer.from(parsed.logId)).toEqual(Buffer.from(log.logId));
    const { signature, verifier } = parsed;
    if (!('certificate' in verifier)) throw new TypeError('expected a certificate');
    const rebuilt = formatHashedRekord({
      digest,
      signature,
      verifier,
      keyDetails: 'PKIX_ECDSA_P256_SHA_256',
    });
    expect(Buffer.from(rebuilt)).toEqual(Buffer.from((await log.tiles.leafBytes(parsed.leafIndex)) ?? []));
    expect(Buffer.from(rebuilt)).toEqual(Buffer.from(parsed.leaf));
  }
});

test('with a managed key, which the client sends as a certificate: logged as the key that it is', async () => {
  const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(managed.signer.spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
  const signer: Signer = {
    sign: async (message) => ({
      signature: Buffer.from(managed.signer.sign(message)),
      key: { $case: 'publicKey', publicKey: pem, hint: 'gate' },
    }),
  };
  const bundle = await builderWith(signer).create({ type, data });
  const parsed = parseBundle(Buffer.from(JSON.stringify(bundleToJSON(bundle))));
  const verifier = { publicKey: managed.signer.spki };
  const { signature } = parsed;
  const rebuilt = formatHashedRekord({ digest, signature, verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' });
  expect(Buffer.from(rebuilt)).toEqual(Buffer.from(parsed.leaf));
  const key = createPublicKey({ key: Buffer.from(managed.signer.spki), format: 'der', type: 'spki' });
  const keys = () => ({ publicKey: key, validFor: () => true });
  new Verifier(trustMaterial(keys)).verify(toSignedEntity(bundle));
});

test('a key that is not listed gets the log’s reason through the client', async () => {
  const { signer: stranger } = newSigner();
  const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(stranger.spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
  const signer: Signer = {
    sign: async (message) => ({
      signature: Buffer.from(stranger.sign(message)),
      key: { $case: 'publicKey', publicKey: pem, hint: 'stranger' },
    }),
  };
  const failure = await builderWith(signer)
    .create({ type, data })
    .catch((error: unknown) => error as Error & { cause: Error });
  expect(String((failure as Error & { cause: Error }).cause)).toContain('LOG_WRITER_UNLISTED');
});
