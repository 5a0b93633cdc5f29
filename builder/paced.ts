// SPDX-License-Identifier: Apache-2.0
// Progress of many things, told at a pace that people can read.

const PACE_MS = 1000;

/** Tells what is done, of how many: once a second at most, and the last. */
export function paced<D extends { readonly count: number; readonly of: number }>(
  tell: (done: D) => void,
): (done: D) => void {
  let toldMs = performance.now();
  return (done) => {
    if (done.count < done.of && performance.now() - toldMs < PACE_MS) return;
    toldMs = performance.now();
    tell(done);
  };
}
