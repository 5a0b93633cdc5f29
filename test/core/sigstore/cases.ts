// SPDX-License-Identifier: Apache-2.0
// The cases of test/vectors/sigstore-bundle as their README says: bundle, trust, artifact, signer and verdict.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Artifact, EvidencePolicy, ListedKey } from '../../../core/verify/evidence.ts';

const FOLDER = new URL('../../vectors/sigstore-bundle/', import.meta.url);

/** What the cases demand: old bundles have no timestamp. */
export const CASE_POLICY: EvidencePolicy = {
  timestamps: 'none',
  log: 'required',
  certificateLog: 'required',
};

export interface BundleCase {
  readonly name: string;
  readonly bundle: Uint8Array;
  readonly trustedRoot: Uint8Array;
  readonly keys: readonly ListedKey[];
  readonly artifact: Artifact & { readonly bytes: Uint8Array };
  readonly identity: string;
  readonly issuer: string;
  /** `accepted`, or the code of the refusal. */
  readonly expected: string;
}

const expected: Record<string, string> = JSON.parse(read('expected.json').toString());

function read(path: string): Buffer {
  return readFileSync(new URL(path, FOLDER));
}

/** All cases, by name. */
export const CASES: readonly BundleCase[] = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => {
    const own = (file: string) => existsSync(new URL(`${name}/${file}`, FOLDER));
    const text = (file: string, otherwise: string) =>
      own(file) ? read(`${name}/${file}`).toString().trim() : otherwise;
    return {
      name,
      bundle: new Uint8Array(read(`${name}/bundle.sigstore.json`)),
      trustedRoot: new Uint8Array(
        read(own('trusted_root.json') ? `${name}/trusted_root.json` : 'public-good.trusted_root.json'),
      ),
      keys: own('key.pub') ? [{ publicKey: derOf(read(`${name}/key.pub`).toString()) }] : [],
      artifact: { bytes: new Uint8Array(read(own('artifact') ? `${name}/artifact` : 'a.txt')) },
      identity: text(
        'identity',
        'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main',
      ),
      issuer: text('issuer', 'https://token.actions.githubusercontent.com'),
      expected: expected[name] ?? 'no verdict in expected.json',
    };
  })
  .sort((a, b) => (a.name < b.name ? -1 : 1));

/** The case of that name. */
export function caseOf(name: string): BundleCase {
  const found = CASES.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no case ${name}`);
  return found;
}

/** The octets of a PEM block; one of the keys is no point of its curve, which no host would open. */
function derOf(pem: string): Uint8Array {
  return new Uint8Array(Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64'));
}
