// SPDX-License-Identifier: Apache-2.0
// What a device asks of a release [docs/spec/device-policy.md], target `device-policy/<product>.json` of top-level targets.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { CORE } from '../faults.ts';
import type { LogPolicy } from '../tlog/log-policy.ts';
import { checkFreshness, type Witnesses } from '../tlog/quorum.ts';
import { EXPECTATION_MEMBERS, type Expectations, parseExpectations } from './expectations.ts';

const DAY_MS = 86_400_000;

/** The gate as a pair (key, verifier id), and the policies in whose name it may speak. */
export interface TrustedGate {
  readonly verifierId: string;
  /** DER SubjectPublicKeyInfo of a P-256 key. */
  readonly publicKey: Uint8Array;
  readonly policies: readonly { readonly uri: string; readonly sha256: string }[];
}

/** What is asked of the cosignatures behind a checkpoint, besides that they are the log policy's quorum. */
export interface WitnessDemand {
  /** Days after which a cosignature is too old to count. */
  readonly checkpointAgeMaxDays: number | 'none';
}

export interface DevicePolicy extends Expectations {
  readonly hardwareIds: readonly string[];
  readonly gate: TrustedGate;
  /** `none`, which must be written out: the log policy may do without a quorum. */
  readonly witnesses: 'none' | WitnessDemand;
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
    witnesses: readWitnessDemand(root.field('witnesses')),
  };
}

function readWitnessDemand(node: DocumentNode): DevicePolicy['witnesses'] {
  if (typeof node.value === 'string') return node.word('none');
  const age = node.only('checkpointAgeMaxDays').field('checkpointAgeMaxDays');
  return { checkpointAgeMaxDays: age.value === 'none' ? 'none' : age.integer(1, 36500) };
}

/**
 * Checks who stands behind the pack's checkpoint, as the device policy asks and as of now. Cosignatures later than now are refused
 * whatever it asks.
 * @throws TLOG_QUORUM_ABSENT, TLOG_COSIGNATURE_FUTURE, TLOG_CHECKPOINT_STALE
 */
export function checkWitnesses(
  { witnesses: demand }: Pick<DevicePolicy, 'witnesses'>,
  logPolicy: LogPolicy,
  witnesses: Witnesses,
  nowMs: number,
): void {
  if (demand === 'none' && witnesses === 'none') return;
  const days = demand === 'none' ? 'none' : demand.checkpointAgeMaxDays;
  const ageMaxMs = days === 'none' ? Number.POSITIVE_INFINITY : days * DAY_MS;
  checkFreshness(logPolicy, witnesses, { nowMs, ageMaxMs });
}
