// SPDX-License-Identifier: Apache-2.0
// One attack: what is tried, who must refuse it, and with which code. The attacker owns every stage before that one.

import type { Refusal, Scene } from '../scene.ts';

export interface Attack {
  /** What the attacker does, and with whose keys. */
  readonly name: string;
  /** The stage that must refuse. */
  readonly stage: 'attest' | 'registry' | 'gate' | 'release' | 'device';
  /** The code that it must refuse with. */
  readonly code: string;
  mount(scene: Scene): Promise<Refusal>;
}
