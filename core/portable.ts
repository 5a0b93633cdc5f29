// SPDX-License-Identifier: Apache-2.0
// The verifier for hosts other than Node [docs/spec/verification.md §Runtimes]: `npm run build:device` bundles from here, and what is exported
// here is all that such a host can call. Code of this repository imports the files themselves.

import { cryptoOver, portableCrypto, portableHashes } from './crypto.ts';
import { base64Decode, base64Encode } from './encoding/base64.ts';
import { hexDecode, hexEncode } from './encoding/hex.ts';
import { parseStrictJson } from './encoding/strict-json.ts';
import { utf8Decode, utf8Encode } from './encoding/utf8.ts';
import { Rejection } from './faults.ts';
import { parseDevicePolicy } from './release/device-policy.ts';
import { parsePack } from './release/pack.ts';
import { parseReleaseIndex } from './release/release-index.ts';
import { compareVersions } from './release/version.ts';
import { verifyCheckpoint } from './tlog/checkpoint.ts';
import { parseEntryBundle } from './tlog/entry-bundle.ts';
import { parseHashedRekord } from './tlog/hashed-rekord.ts';
import { parseLogPolicy } from './tlog/log-policy.ts';
import { checkConsistency, checkInclusion, hashLeaf, hashNode } from './tlog/merkle.ts';
import { parseVerifierKey } from './tlog/note.ts';
import { checkLogProof, verifyWitnessedCheckpoint } from './tlog/proof.ts';
import { isCovered } from './tuf/delegation.ts';
import { checkTargetBytes, checkTargetFile, verifiedTarget } from './tuf/target.ts';
import { Workflow } from './tuf/workflow.ts';
import { attestationVerifier } from './verify/attestation-verifier.ts';
import { signatureVerifier } from './verify/verify-bundle.ts';
import { checkPackImage, checkPackSbom, verifyPack } from './verify/verify-pack.ts';

export {
  attestationVerifier,
  base64Decode,
  base64Encode,
  checkConsistency,
  checkInclusion,
  checkLogProof,
  checkPackImage,
  checkPackSbom,
  checkTargetBytes,
  checkTargetFile,
  compareVersions,
  cryptoOver,
  hashLeaf,
  hashNode,
  hexDecode,
  hexEncode,
  isCovered,
  parseDevicePolicy,
  parseEntryBundle,
  parseHashedRekord,
  parseLogPolicy,
  parsePack,
  parseReleaseIndex,
  parseStrictJson,
  parseVerifierKey,
  portableCrypto,
  portableHashes,
  Rejection,
  signatureVerifier,
  utf8Decode,
  utf8Encode,
  verifiedTarget,
  verifyCheckpoint,
  verifyPack,
  verifyWitnessedCheckpoint,
  Workflow,
};
