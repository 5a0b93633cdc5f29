// SPDX-License-Identifier: Apache-2.0
// Verifies a bundle with nothing of Waybill: @sigstore/verify with its default thresholds (one SCT, one log entry, one
// timestamp), a trusted root, the bundle, the image, and the identity and issuer that are expected.
//
//   node verify-bundle.mjs trusted_root.json bundle.sigstore.json image.bin IDENTITY ISSUER
//
// The library checks neither the subject's digest nor anchors its identity patterns: both are compared here, as strings.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

// The library takes parsed documents; their parsers are its own dependencies, resolved from where it lies.
const itsOwn = createRequire(createRequire(import.meta.url).resolve('@sigstore/verify'));
const { bundleFromJSON } = itsOwn('@sigstore/bundle');
const { TrustedRoot } = itsOwn('@sigstore/protobuf-specs');

const [rootPath, bundlePath, imagePath, identity, issuer] = process.argv.slice(2);
if (issuer === undefined) {
  console.error('usage: verify-bundle.mjs trusted_root.json bundle image identity issuer');
  process.exit(2);
}
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

try {
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(readJson(rootPath))));
  const bundle = bundleFromJSON(readJson(bundlePath));
  const signer = verifier.verify(toSignedEntity(bundle));

  const got = {
    identity: signer.identity?.subjectAlternativeName,
    issuer: signer.identity?.extensions?.issuer,
  };
  if (got.identity !== identity) throw new Error(`expected identity ${identity}, got ${got.identity}`);
  if (got.issuer !== issuer) throw new Error(`expected issuer ${issuer}, got ${got.issuer}`);

  const { payloadType, payload } = bundle.content.dsseEnvelope;
  if (payloadType !== 'application/vnd.in-toto+json') throw new Error(`payload type ${payloadType}`);
  const digest = createHash('sha256').update(readFileSync(imagePath)).digest('hex');
  const { subject } = JSON.parse(payload.toString('utf8'));
  if (!subject.some((one) => one.digest.sha256 === digest))
    throw new Error(`no subject has sha256 ${digest}`);
  console.log(`verified: sha256 ${digest} signed by ${got.identity} (${got.issuer})`);
} catch (failure) {
  console.error(`refused: ${failure.message}`);
  process.exit(1);
}
