// SPDX-License-Identifier: Apache-2.0
// Codes of the transparency-log documents [docs/errors.md].

import { faultsOf } from '../faults.ts';

export const TLOG = faultsOf({
  TLOG_NOTE_MALFORMED: {
    class: 'rejection',
    meaning: 'The text is not a C2SP signed note.',
    remedy: 'Fetch the checkpoint or note again; refuse it while it stays so.',
  },
  TLOG_KEY_MALFORMED: {
    class: 'rejection',
    meaning: 'A verifier key is not `name+hash+key` with the right hash.',
    remedy: 'Copy the verifier key again, whole, from its publisher.',
  },
  TLOG_KEY_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'A verifier key is of a kind that this verifier cannot check.',
    remedy: 'Use a log that signs its checkpoints with Ed25519.',
  },
  TLOG_NOTE_UNSIGNED: {
    class: 'rejection',
    meaning: 'The note carries no signature by any key that the verifier knows.',
    remedy: 'Check that the note comes from the log that the policy names.',
  },
  TLOG_NOTE_SIGNATURE: {
    class: 'rejection',
    meaning: 'A signature that names a known key does not verify over the note.',
    remedy: 'Refuse the note: it was altered, or made by somebody without the key.',
  },
  TLOG_CHECKPOINT_MALFORMED: {
    class: 'rejection',
    meaning: 'The note text is not a C2SP tlog checkpoint.',
    remedy: 'Fetch the checkpoint again; refuse it while it stays so.',
  },
  TLOG_CHECKPOINT_ORIGIN: {
    class: 'rejection',
    meaning: 'The checkpoint is of a log that the policy does not name.',
    remedy: 'Use evidence from the log that the policy names, or correct the policy.',
  },
  TLOG_INDEX_OUTSIDE_TREE: {
    class: 'rejection',
    meaning: 'A leaf index is not below the tree size.',
    remedy: 'Fetch a proof against a checkpoint that covers the entry.',
  },
  TLOG_INCLUSION_MISMATCH: {
    class: 'rejection',
    meaning: 'The inclusion proof does not lead from the leaf to the root.',
    remedy: 'Refuse the entry: the log does not hold it at that index.',
  },
  TLOG_CONSISTENCY_SIZES: {
    class: 'rejection',
    meaning: 'A consistency proof is asked between sizes that no proof can join.',
    remedy: 'Compare an older, non-empty checkpoint with a newer one.',
  },
  TLOG_CONSISTENCY_MISMATCH: {
    class: 'rejection',
    meaning: 'The newer tree does not extend the older one.',
    remedy: 'Keep both checkpoints: together they show that the log forked.',
  },
  TLOG_PATH_MALFORMED: {
    class: 'rejection',
    meaning: 'The path does not name a tile or an entry bundle.',
    remedy: 'Ask for tiles as docs/spec/log.md describes.',
  },
  TLOG_BUNDLE_MALFORMED: {
    class: 'rejection',
    meaning: 'An entry bundle is not a sequence of 1 to 256 length-prefixed entries.',
    remedy: 'Fetch the entry bundle again; if it stays so, the log is damaged.',
  },
  TLOG_POLICY_MALFORMED: {
    class: 'rejection',
    meaning: 'The log policy does not follow C2SP tlog-policy.',
    remedy: 'Correct the line named.',
    usage: true,
  },
  TLOG_QUORUM_UNMET: {
    class: 'rejection',
    meaning: 'Fewer witnesses cosigned the checkpoint than the quorum of the log policy asks for.',
    remedy:
      'Fetch the checkpoint again once the witnesses named have cosigned it; if they never do, the log may show you another tree.',
  },
  TLOG_QUORUM_ABSENT: {
    class: 'rejection',
    meaning: 'Witnesses are demanded, but the log policy has `quorum none`.',
    remedy: 'Publish a log policy with a quorum, or a device policy that says `witnesses: none`.',
  },
  TLOG_COSIGNATURE_MALFORMED: {
    class: 'rejection',
    meaning: 'A signature line that names a witness is no cosignature: its length or its time is impossible.',
    remedy: 'Fetch the checkpoint again; refuse it while it stays so.',
  },
  TLOG_COSIGNATURE_FUTURE: {
    class: 'rejection',
    meaning: 'A witness cosigned later than the clock here says it is.',
    remedy: 'Set the clock; if it is right, the clock of the witness is not.',
  },
  TLOG_CHECKPOINT_STALE: {
    class: 'rejection',
    meaning: 'Too few of the cosignatures of a checkpoint are recent enough.',
    remedy: 'Use evidence with a newer checkpoint; somebody may be holding the newer tree back.',
  },
  TLOG_LEAF_MALFORMED: {
    class: 'rejection',
    meaning: 'A log entry is not a hashedrekord 0.0.2 in canonical form.',
    remedy: 'Refuse the entry; our log holds no other form.',
  },
  TLOG_PROOF_MALFORMED: {
    class: 'rejection',
    meaning: 'The text is not a C2SP tlog-proof.',
    remedy: 'Fetch the proof again; refuse it while it stays so.',
  },
});
