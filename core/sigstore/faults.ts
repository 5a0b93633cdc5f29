// SPDX-License-Identifier: Apache-2.0
// Codes of Sigstore bundles and of what they are verified against [docs/errors.md].

import { faultsOf } from '../faults.ts';

export const SIGSTORE = faultsOf({
  SIGSTORE_TRUSTED_ROOT_MALFORMED: {
    class: 'rejection',
    meaning: 'The trusted root is not a Sigstore trusted_root.json whose authorities and logs can be read.',
    remedy: 'Publish a sound trusted_root.json.',
  },
  SIGSTORE_TRUSTED_ROOT_INCOMPLETE: {
    class: 'rejection',
    meaning: 'The trusted root names nobody for a kind of evidence that is demanded.',
    remedy: 'Publish a trusted_root.json with all its parts; nothing could be accepted under this one.',
  },
  SIGSTORE_POLICY_WITHOUT_TIME: {
    class: 'rejection',
    meaning:
      'Neither timestamps nor log entries are demanded, so nothing would say when a bundle was signed.',
    remedy: 'Demand timestamps or log entries.',
    usage: true,
  },
  SIGSTORE_BUNDLE_ROOT_INCLUDED: {
    class: 'rejection',
    meaning: 'The certificate chain in the bundle holds the certificate of a root authority.',
    remedy: 'Refuse; have it signed by a client that leaves trust to whoever verifies.',
  },
  SIGSTORE_KEY_UNKNOWN: {
    class: 'rejection',
    meaning: 'The bundle is signed with a key that nobody listed, or lists its hint in two ways.',
    remedy: 'Refuse; or list the key where the trust is configured.',
  },
  SIGSTORE_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'The key that signs is not of a kind that signs bundles.',
    remedy: 'Sign with ECDSA P-256.',
  },
  SIGSTORE_KEY_PERIOD: {
    class: 'rejection',
    meaning: 'A listed key was not valid at the time of signing.',
    remedy: 'Refuse; sign with a key that is in force.',
  },
  SIGSTORE_TIMESTAMP_MISSING: {
    class: 'rejection',
    meaning: 'The bundle has no timestamp of a trusted authority over its signature.',
    remedy: 'Refuse; have the statement signed again with the timestamp authority.',
  },
  SIGSTORE_TIMESTAMP_REPEATED: {
    class: 'rejection',
    meaning: 'The bundle holds two timestamps, or two promises of a log, with one time from one source.',
    remedy: 'Refuse; the bundle was put together from parts of others.',
  },
  SIGSTORE_TIME_MISSING: {
    class: 'rejection',
    meaning: 'Nobody who is trusted says when the bundle was signed.',
    remedy: 'Refuse; have the statement signed again with the timestamp authority.',
  },
  SIGSTORE_SIGNATURE_INVALID: {
    class: 'rejection',
    meaning: 'The signature does not fit the signed bytes.',
    remedy: 'Refuse; the statement or artifact was changed after it was signed.',
  },
  SIGSTORE_LOG_ENTRY_MISSING: {
    class: 'rejection',
    meaning: 'The bundle has no log entry.',
    remedy: 'Refuse; have the statement logged in the trusted log.',
  },
  SIGSTORE_LOG_ENTRY_REPEATED: {
    class: 'rejection',
    meaning: 'The bundle holds one log entry twice.',
    remedy: 'Refuse; the bundle was put together from parts of others.',
  },
  SIGSTORE_LOG_UNKNOWN: {
    class: 'rejection',
    meaning: 'A log entry is of a log that the trusted root does not name.',
    remedy: 'Refuse; have the statement logged in the trusted log.',
  },
  SIGSTORE_LOG_PERIOD: {
    class: 'rejection',
    meaning: 'A log entry is of a log that was not trusted at that time.',
    remedy: 'Refuse; have the statement logged in a log that is in force.',
  },
  SIGSTORE_LOG_PROMISE_INVALID: {
    class: 'rejection',
    meaning: "The log's promise of inclusion was not signed by the log, or is about another entry or time.",
    remedy: 'Refuse; the entry or its time was changed.',
  },
  SIGSTORE_LOG_PROOF_MISSING: {
    class: 'rejection',
    meaning: 'A log entry comes without an inclusion proof and the checkpoint that it leads to.',
    remedy: 'Refuse; have the statement signed again by a client that keeps the proof.',
  },
  SIGSTORE_LOG_PROOF_CONTRADICTED: {
    class: 'rejection',
    meaning: 'Index, tree size or root hash beside an inclusion proof are not those that the log signed.',
    remedy: 'Refuse; the bundle was put together from parts of others.',
  },
  SIGSTORE_LOG_ENTRY_UNSUPPORTED: {
    class: 'rejection',
    meaning:
      'A log entry is of a kind or version that this verifier does not know, or its parts cannot be read.',
    remedy: 'Use entries of the kind hashedrekord.',
  },
  SIGSTORE_LOG_ENTRY_MISMATCH: {
    class: 'rejection',
    meaning:
      "The bundle's log entry is about another artifact, signature, certificate or key than the bundle.",
    remedy: 'Refuse; the bundle was put together from parts of others.',
  },
  SIGSTORE_SIGNER_UNEXPECTED: {
    class: 'rejection',
    meaning: 'Somebody else signed than was expected.',
    remedy: 'Refuse; or ask for the identity and issuer, or the key, that should have signed.',
  },
  SIGSTORE_ARTIFACT_MISMATCH: {
    class: 'rejection',
    meaning: 'The artifact is not the one that the bundle is about.',
    remedy: 'Use the bundle that was made for this artifact; if there is none, the artifact was changed.',
  },
  SIGSTORE_CONTENT_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'The bundle signs something other than what is asked for here: a statement, or an artifact.',
    remedy: 'Use a bundle with an in-toto statement; for a signature over an artifact give the artifact.',
  },
});
