// SPDX-License-Identifier: Apache-2.0
// What a device asks of a release [docs/spec/device-policy.md], target `device-policy/<product>.json` of top-level targets.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { CORE } from '../faults.ts';
import { EXPECTATION_MEMBERS, type Expectations, parseExpectations } from './expectations.ts';

/** The gate as a pair (key, verifier id), and the policies in whose name it may speak. */
export interface TrustedGate {
  readonly verifierId: string;
  /** DER SubjectPublicKeyInfo of a P-256 key. */
  readonly publicKey: Uint8Array;
  readonly policies: readonly { readonly uri: string; readonly sha256: string }[];
}

export interface DevicePolicy extends Expectations {
  readonly hardwareIds: readonly string[];
  readonly gate: TrustedGate;
  /** Witness quorum asked of the checkpoint; `none` must be written out and is shown in every verdict. */
  readonly witnesses: 'none';
}

/** TUF target name of a product's device policy. */
export function devicePolicyName(product: string): string {
  return `device-policy/${product}.json`;
}

/** Parses the published JSON. @throws DEVICE_POLICY_MALFORMED */
export function parseDevicePolicy(bytes: Uint8Array): DevicePolicy {
  const refuse = (message: string, at: string) => CORE.reject('DEVICE_POLICY_MALFORMED', message, { at });
  return readDevicePolicy(parseDocument(bytes, { refuse }));
}

/** Reads a policy from an open document (JSON or a user's YAML). @throws the document's fault */
export function readDevicePolicy(root: DocumentNode): DevicePolicy {
  root.only(...EXPECTATION_MEMBERS, 'hardwareIds', 'gate', 'witnesses');
  const gate = root.field('gate').only('verifierId', 'publicKey', 'policies');
  const publicKey = base64Decode(gate.field('publicKey').string());
  if (publicKey === undefined) throw gate.field('publicKey').wrong('expected a DER public key in base64');
  return {
    ...parseExpectations(root),
    hardwareIds: root
      .field('hardwareIds')
      .someElements()
      .map((id) => id.string()),
    gate: {
      verifierId: gate.field('verifierId').string(),
      publicKey,
      policies: gate
        .field('policies')
        .someElements()
        .map((policy) => {
          policy.only('uri', 'sha256');
          return { uri: policy.field('uri').string(), sha256: policy.field('sha256').sha256() };
        }),
    },
    witnesses: root.field('witnesses').word('none'),
  };
}
