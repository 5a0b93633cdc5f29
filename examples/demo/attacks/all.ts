// SPDX-License-Identifier: Apache-2.0
// Every attack of the demo.

import type { Refusal, Scene } from '../scene.ts';
import type { Attack } from './attack.ts';
import { ATTEST_ATTACKS, GATE_ATTACKS, REGISTRY_ATTACKS, RELEASE_ATTACKS } from './desk.ts';
import { DEVICE_EVIDENCE_ATTACKS } from './device-evidence.ts';
import { DEVICE_TRUST_ATTACKS } from './device-trust.ts';
import { WITHDRAWAL_ATTACKS } from './withdrawal.ts';

/** Two lists that do not stand in each other's way: before the device, and at the device. */
export const LANES: readonly (readonly Attack[])[] = [
  [...ATTEST_ATTACKS, ...REGISTRY_ATTACKS, ...GATE_ATTACKS, ...RELEASE_ATTACKS],
  [...DEVICE_EVIDENCE_ATTACKS, ...DEVICE_TRUST_ATTACKS],
];

/** These come last: they change what devices are offered. */
export const LAST: readonly Attack[] = WITHDRAWAL_ATTACKS;

/** All of them, in the order of the road. */
export const ATTACKS: readonly Attack[] = [...LANES.flat(), ...LAST];

/** True if the attack was refused by the right check, as a refusal, and nothing was installed. */
export function isRefused(attack: Attack, refusal: Refusal): boolean {
  return refusal.code === attack.code && refusal.exitCode === 1 && refusal.untouched;
}

/** Mounts one attack; what goes wrong in mounting it is a failure of its own, not a refusal. */
export async function mount(attack: Attack, scene: Scene): Promise<Refusal> {
  try {
    return await attack.mount(scene);
  } catch (failure) {
    const text = failure instanceof Error ? failure.message : String(failure);
    return { code: `not mounted: ${text}`, exitCode: 70, untouched: true };
  }
}
