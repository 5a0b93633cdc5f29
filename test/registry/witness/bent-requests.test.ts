// SPDX-License-Identifier: Apache-2.0
// Bent requests: decided or rejected, never another exception; and what is cosigned is a tree that the log has.

import { expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { formatSignatureLine, parseNote } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { decide, parseCosignRequest, type WitnessedLog } from '../../../registry/witness/decision.ts';
import { noteSigner } from '../../core/tlog/note-signers.ts';
import { bend } from '../../hostile/bend.ts';
import { ORIGIN, witnessedLog } from './witnessed-log.ts';

const log = witnessedLog();
const { rootHash } = parseCheckpoint(log.text(7n));
const known: WitnessedLog = {
  key: log.signer.key,
  latest: { size: 7n, rootHash, note: log.checkpoint(7n) },
};
/** Lines of others: most bends hit these, and some of those leave a request that is as good as before. */
const strays = Array.from({ length: 40 }, (_, i) =>
  formatSignatureLine(noteSigner(`other-${i}.example`).sign('x')),
).join('');
const seeds = [
  log.request(7n, 12n),
  log.request(7n, 7n),
  log.request(0n, 5n),
  witnessedLog(ORIGIN, 'fork').request(7n, 12n),
].map((request) => utf8(`${request}${strays}`));
const honest = new Set([7n, 12n].map((size) => log.text(size)));

test('3,000 bent requests', { timeout: 60_000 }, () => {
  const seen = { cosign: 0, conflict: 0, rejected: 0 };
  for (let seed = 1; seed <= 3000; seed++) {
    const bytes = bend({ seeds, parse: parseCosignRequest }, seed);
    try {
      const decision = decide(parseCosignRequest(bytes), known, nodeCrypto);
      seen[decision.kind]++;
      if (decision.kind === 'cosign') expect(honest).toContain(parseNote(decision.tree.note).text);
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
      expect(failure.code).toMatch(/^WITNESS_/);
      seen.rejected++;
    }
  }
  // Some bends change nothing that matters: the test sees all answers.
  expect(seen.cosign + seen.conflict + seen.rejected).toBe(3000);
  expect(Math.min(seen.cosign, seen.conflict, seen.rejected)).toBeGreaterThan(0);
});
