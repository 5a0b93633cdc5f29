// SPDX-License-Identifier: Apache-2.0
// Verifying one bundle: core with native cryptography against @sigstore/verify, on the same bundle under the same trust, everything demanded. Warm,
// in one process; and cold, a whole process each, beside the field's command lines where they are at hand. The bundles are of test/vectors/:
// certificate, DSSE, one log entry, timestamp.

import { readFileSync } from 'node:fs';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { portableCrypto } from '../core/crypto.ts';
import { STRICT_POLICY } from '../core/verify/evidence.ts';
import { signatureVerifier } from '../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { type ColdWay, coldWays } from './bundle/rivals.ts';
import { type Figure, figure, pairedFigure, runsPerSecond } from './figure.ts';

const VECTORS = new URL('../test/vectors/sigstore-differences/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, VECTORS)));

/** Figures of the verifier. @throws Error if either side refuses the bundle, which would make the comparison void */
export async function bench(): Promise<Figure[]> {
  const trustedRoot = read('trusted_root.json');
  // The difference of this case shows only where an artifact is asked about.
  const bundle = read('subject-not-the-artifact/bundle.sigstore.json');
  const trust = { trustedRoot, keys: [], policy: STRICT_POLICY };
  const native = signatureVerifier(trust, nodeCrypto);
  const portable = signatureVerifier(trust, portableCrypto);
  const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(Buffer.from(trustedRoot).toString())));
  const library = new Verifier(material);
  const theirs = () =>
    library.verify(toSignedEntity(bundleFromJSON(JSON.parse(Buffer.from(bundle).toString()))));
  const [ours = 0, rival = 0, pure = 0] = runsPerSecond(
    [() => native.verify(bundle), theirs, () => portable.verify(bundle)],
    { rounds: 5, roundMs: 300 },
  );
  const against = (name: string, rate: number, target: number) =>
    figure({
      name,
      value: 1000 / rate,
      unit: 'ms',
      better: 'smaller',
      rival: '@sigstore/verify 4.1',
      rivalValue: 1000 / rival,
      target,
    });
  const limit = { name: 'one bundle, warm, native cryptography', unit: 'ms', better: 'smaller' } as const;
  return [
    figure({ ...limit, value: 1000 / ours, rival: 'limit', rivalValue: 1, target: 1 }),
    against('one bundle, warm, native cryptography', ours, 0.25),
    against('one bundle, warm, portable cryptography', pure, 10),
    ...(await measureCold()),
  ];
}

const COLD_ROUNDS = 9;

/** Whole processes, in turns. */
async function measureCold(): Promise<Figure[]> {
  const { ways, end } = await coldWays((text) => process.stderr.write(`    ${text}\n`));
  try {
    const times = ways.map((): number[] => []);
    for (let round = 0; round <= COLD_ROUNDS; round++) {
      for (const [i, { once }] of ways.entries()) {
        const startedMs = performance.now();
        await once();
        if (round > 0) times[i]?.push(performance.now() - startedMs);
      }
    }
    const [ours = [], ...rivals] = times;
    return rivals.map((theirs, i) => {
      const rival = (ways[i + 1] as ColdWay).name;
      const common = { name: 'one bundle, a process of its own', unit: 'ms', better: 'smaller' } as const;
      return pairedFigure({ ...common, rival, target: 1 }, ours, theirs);
    });
  } finally {
    await end();
  }
}
