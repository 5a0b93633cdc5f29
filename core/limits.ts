// SPDX-License-Identifier: Apache-2.0
// Every maximum of core, with its reason. Checked before work is done.

export const LIMITS = {
  /** A JSON document in one piece. An evidence pack of 64 bundles of 64 KiB stays below it. */
  jsonSizeBytes: 16 * 1024 * 1024,
  /** Nesting of JSON; CycloneDX and in-toto stay below 20. */
  jsonDepth: 64,
  /** One Sigstore bundle; a predicate over 64 KiB goes by digest (docs/spec/evidence-pack.md). */
  bundleSizeBytes: 1024 * 1024,
  /** One in-toto statement (DSSE payload). */
  statementSizeBytes: 512 * 1024,
  /** The index of a product's releases: some 10,000 of them. Who publishes one and who reads it ask the same. */
  releaseIndexSizeBytes: 4 * 1024 * 1024,
  /** Bundles in one evidence pack. */
  packBundleCount: 64,
  /** A log entry [C2SP-tlog-tiles-v0.1.0 §Log entries]: its length is a 16-bit number. */
  logEntrySizeBytes: 65535,
  /** Signature lines of a note; [C2SP-signed-note-v1.0.0 §Format] asks for at least 16. */
  noteSignatureCount: 64,
  /** A signed note as a whole. */
  noteSizeBytes: 64 * 1024,
  /** One certificate or signed timestamp; those of Fulcio and of known authorities stay below 8 KiB. */
  derSizeBytes: 64 * 1024,
  /** Nesting of DER; a certificate inside a timestamp stays below 16. */
  derDepth: 24,
  /** Certificates from a signer to the trust anchor. */
  chainLength: 8,
  /** Signed certificate timestamps in one certificate. */
  sctCount: 8,
  /** Timestamps in one bundle, and log entries. */
  bundleEvidenceCount: 8,
  /** Authorities or logs of one kind in a trusted root. Retired ones stay in it for ever. */
  trustedRootCount: 256,
  /** Hashes of one Merkle proof: the tree has at most 2^63 leaves. */
  proofHashCount: 64,
  /** Update metadata by role: the sizes of the field's clients; a role above may announce less, never more. */
  tufRootSizeBytes: 512_000,
  tufTimestampSizeBytes: 16_384,
  tufSnapshotSizeBytes: 2_000_000,
  tufTargetsSizeBytes: 5_000_000,
  /** New roots that one update follows [TUF-1.0.34 §5.3.3]. */
  tufRootRotations: 256,
  /** Delegated roles that one search of a target visits [TUF-1.0.34 §5.6.7]. */
  tufRolesVisited: 32,
  /** Members of anything that a role lists [docs/spec/tuf-repository.md §Roles]. */
  tufListedCount: 1024,
  /** Text of one key: RSA with 8192 bits in PEM has 1,500 characters. */
  tufKeyCharacters: 4096,
  /** A role's name in a URL and as a file: file systems end at 255. */
  tufRoleNameCharacters: 200,
  /** How far two honest clocks may be apart: those of a timestamp authority, a witness, a host. Milliseconds. */
  clockSkewMs: 5 * 60_000,
} as const;

// A bundle holds its statement in base64, which adds a third.
if (LIMITS.statementSizeBytes * 4 > LIMITS.bundleSizeBytes * 3)
  throw new Error('statement does not fit a bundle');
if (LIMITS.packBundleCount * 64 * 1024 > LIMITS.jsonSizeBytes) throw new Error('bundles do not fit a pack');
