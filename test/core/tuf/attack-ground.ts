// SPDX-License-Identifier: Apache-2.0
// Where update metadata is attacked: a repository with a delegation, and a client that is up to date.

import { beforeEach, expect } from 'vitest';
import { codeOf } from '../tlog/refusal.ts';
import { bytesOf, Client, type Signed, type SimulatedKey, Simulator } from './simulator.ts';

export const OWN = 'releases-one';
export const GOODS = 'packs/one/index.json';
export const START = { [OWN]: 1, root: 1, snapshot: 2, targets: 2, timestamp: 2 };
export let simulator: Simulator;
export let client: Client;

/** Everything that a client of this repository does: a refresh, and a search in the delegation. */
export const update = () => client.find(GOODS);

/** Makes them anew before each test of a file. */
export function useAttackedRepository(): void {
  beforeEach(() => {
    simulator = new Simulator();
    simulator.delegate('targets', OWN, { paths: ['packs/one/*'], terminating: true });
    simulator.add(OWN, GOODS, bytesOf('{}'));
    simulator.files.clear();
    for (const [role, signed] of simulator.roles) signed.version = role === 'root' ? 1 : 0;
    for (const role of ['snapshot', 'timestamp', 'targets']) simulator.roles.get(role).version = 1;
    simulator.sign('root');
    simulator.publish('targets', OWN);
    simulator.add(OWN, GOODS, bytesOf('{}'));
    client = new Client(simulator);
    update();
    expect(client.versions()).toEqual(START);
  });
}

/** The next update is refused with this code; then only the named roles are newer than at the start. */
export function refused(code: string, newer: Record<string, number> = {}): void {
  expect(codeOf(update)).toBe(code);
  expect(client.versions()).toEqual({ ...START, ...newer });
}

/** Undoes the bending of a document; what was published stays published. */
export function bend(role: string, change: (signed: Signed) => void): () => void {
  const before = structuredClone(simulator.roles.get(role));
  change(simulator.roles.get(role));
  return () => {
    const { version } = simulator.roles.get(role);
    simulator.roles.set(role, { ...before, version: Math.max(version, before.version) });
  };
}

/** With everything sound again, the client comes up to date. */
export function recovers(): void {
  simulator.publish('targets', OWN);
  update();
  for (const role of ['snapshot', 'targets', 'timestamp', OWN]) {
    expect(client.kept.get(role), role).toEqual(simulator.current(role));
  }
}

export const signers = (role: string) => simulator.keys.get(role) as readonly SimulatedKey[];
