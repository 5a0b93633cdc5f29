// SPDX-License-Identifier: Apache-2.0
// A sound evidence pack whose bits are changed: the vector, verified for the release that it is about.

import { readFileSync } from 'node:fs';
import { parseDevicePolicy } from '../../core/release/device-policy.ts';
import { parsePack } from '../../core/release/pack.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { attestationVerifier } from '../../core/verify/attestation-verifier.ts';
import { verifyPack } from '../../core/verify/verify-pack.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { saidOf } from './single-bits.ts';

const VECTORS = new URL('../vectors/packs/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, VECTORS)));

/** The pack, what its verdict says, and which octets of its text nothing signs: where the SBOM lies, and how long it is. */
export function soundPack() {
  const pack = read('sound/pack.waybill');
  const policy = parseDevicePolicy(read('device-policy.json'));
  const keys = [policy.gate.publicKey];
  const trust = {
    policy,
    logPolicy: parseLogPolicy(read('tlog-policy'), nodeCrypto),
    verifier: attestationVerifier({ trustedRoot: read('trusted_root.json'), keys }, nodeCrypto),
  };
  const { version, imageSha256, imageSizeBytes, bundles } = parsePack(pack);
  const question = { trust, release: { version, imageSha256, imageSizeBytes }, nowMs: Date.UTC(2100, 0) };
  const text = Buffer.from(pack).toString('latin1');
  const bodies = { from: text.indexOf('"bodies"'), to: text.indexOf('"bundles"') };
  return {
    pack,
    within: bundles.map((_, i) => `/bundles/${i}/bundle`),
    verify: (bytes: Uint8Array): object => {
      const { pack: found, bundles, summary, chain, sbom } = verifyPack(bytes, question, nodeCrypto);
      const { bodies: _, ...signed } = found;
      const steps = chain.map(({ step, bundle }) => [step, bundle.sha256]);
      return {
        signed,
        bundles: bundles.map(({ evidence }) => saidOf(evidence)),
        summary,
        steps,
        sbom: sbom.sha256,
      };
    },
    isFree: (place: string, offset: number) => place === 'text' && offset > bodies.from && offset < bodies.to,
  };
}
