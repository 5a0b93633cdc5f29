// SPDX-License-Identifier: Apache-2.0
// Whether enough witnesses stand behind a checkpoint [C2SP-tlog-policy-1896a5a §Defining the quorum, §Defining a witness group], and
// whether they did so lately.

import { formatInstant } from '../encoding/document.ts';
import { quote, several } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import type { VerifiedCosignature } from './cosignature.ts';
import { TLOG } from './faults.ts';
import type { LogPolicy, PolicyWitness } from './log-policy.ts';
import { ED25519_COSIGNATURE } from './note.ts';

const DAY_MS = 86_400_000;

/** Who stands behind a checkpoint. `none`: the log policy says so explicitly; printed in every verdict. */
export type Witnesses = 'none' | readonly VerifiedCosignature[];

/**
 * Checks that the quorum of the policy is met; returns the cosignatures that count for it. Whoever the quorum does not reach counts for
 * nothing. Stricter than [C2SP-tlog-policy-1896a5a §Public key representation]: witnesses with an ML-DSA-44 key never count.
 * @throws TLOG_QUORUM_UNMET
 */
export function checkQuorum(policy: LogPolicy, cosigned: readonly VerifiedCosignature[]): Witnesses {
  if (policy.quorum === 'none') return 'none';
  const asked = namesBelow(policy);
  const counted = cosigned.filter(({ name }) => asked.has(name));
  if (isQuorum(policy, namesIn(counted))) return counted;
  const missing = policy.witnesses.filter(
    ({ name }) => asked.has(name) && !counted.some((other) => other.name === name),
  );
  throw TLOG.reject(
    'TLOG_QUORUM_UNMET',
    `expected the quorum ${describeQuorum(policy)}, got cosignatures of ${namesOf(counted)}; ` +
      `missing: ${several(missing.map(describeMissing))}`,
  );
}

/**
 * Checks that no cosignature is later than now, and that those of at most this age still are a quorum.
 * @param limits `nowMs` is the verifier's clock; an `ageMaxMs` of Infinity takes any age
 * @throws TLOG_QUORUM_ABSENT where the policy asks for no witness; TLOG_COSIGNATURE_FUTURE; TLOG_CHECKPOINT_STALE
 */
export function checkFreshness(
  policy: LogPolicy,
  witnesses: Witnesses,
  limits: { readonly nowMs: number; readonly ageMaxMs: number },
): void {
  const { nowMs, ageMaxMs } = limits;
  if (witnesses === 'none') {
    throw TLOG.reject(
      'TLOG_QUORUM_ABSENT',
      'expected a log policy that asks for witnesses, got `quorum none`',
    );
  }
  // Not a number compares false with everything: asked this way round, it fails.
  const early = witnesses.find(({ timeMs }) => !(timeMs <= nowMs + LIMITS.clockSkewMs));
  if (early !== undefined) {
    throw TLOG.reject(
      'TLOG_COSIGNATURE_FUTURE',
      `expected cosignatures of ${formatInstant(nowMs)} or before, got one of ${quote(early.name)} of ` +
        formatInstant(early.timeMs),
    );
  }
  const fresh = witnesses.filter(({ timeMs }) => nowMs - timeMs <= ageMaxMs);
  if (isQuorum(policy, namesIn(fresh))) return;
  const old = witnesses.filter((witness) => !fresh.includes(witness));
  throw TLOG.reject(
    'TLOG_CHECKPOINT_STALE',
    `expected the quorum ${describeQuorum(policy)} in cosignatures of at most ${days(ageMaxMs)} days; too old: ` +
      several(old.map(({ name, timeMs }) => `${quote(name)}, ${days(nowMs - timeMs)} days`)),
  );
}

/** One line for people: who was counted. */
export function describeWitnesses(witnesses: Witnesses): string {
  return witnesses === 'none' ? 'witness quorum none' : `witnesses ${namesOf(witnesses)}`;
}

/** Whether these witnesses would be the quorum, whatever they signed. Groups name only what is defined above them, so one pass is enough. */
export function isQuorum({ groups, quorum }: LogPolicy, names: Iterable<string>): boolean {
  const witnessing = new Set(names);
  for (const { name, threshold, members } of groups) {
    if (members.filter((member) => witnessing.has(member)).length >= threshold) witnessing.add(name);
  }
  return witnessing.has(quorum);
}

const namesIn = (cosigned: readonly VerifiedCosignature[]): string[] => cosigned.map(({ name }) => name);

/** The quorum and every group and witness below it. */
function namesBelow({ groups, quorum }: LogPolicy): ReadonlySet<string> {
  const names = new Set([quorum]);
  for (const { name, members } of [...groups].reverse()) {
    if (names.has(name)) for (const member of members) names.add(member);
  }
  return names;
}

function describeQuorum({ groups, quorum }: LogPolicy): string {
  const group = groups.find(({ name }) => name === quorum);
  return group === undefined
    ? quote(quorum)
    : `${quote(quorum)} (${group.threshold} of ${group.members.length})`;
}

function namesOf(cosigned: readonly VerifiedCosignature[]): string {
  return cosigned.length === 0 ? 'none' : several(cosigned.map(({ name }) => quote(name)));
}

function describeMissing({ name, key }: PolicyWitness): string {
  return key.type === ED25519_COSIGNATURE
    ? quote(name)
    : `${quote(name)} (whose kind of key is not verified here)`;
}

function days(ms: number): number {
  return Math.floor(ms / DAY_MS);
}
