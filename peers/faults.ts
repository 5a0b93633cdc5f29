// SPDX-License-Identifier: Apache-2.0
// Codes for what the field's verifiers refuse: each names what was checked, whoever checks it.

import { faultsOf } from '../core/faults.ts';

export const PEERS = faultsOf({
  TUF_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The update repository could not be reached or did not answer in time.',
    remedy: 'Check the address, the network and that `waybill serve` runs there, then try again.',
  },
  TUF_STATE_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The folder that keeps verified metadata cannot be read or written.',
    remedy: 'Check free space and permissions of the folder, and try again.',
  },
  TUF_METADATA_MALFORMED: {
    class: 'rejection',
    meaning: 'Update metadata is not TUF 1.0 metadata in strict JSON, or is too large.',
    remedy: 'Refuse the repository until its operator has published sound metadata.',
  },
  TUF_SIGNATURE_THRESHOLD: {
    class: 'rejection',
    meaning: 'A role is not signed by enough of the keys that may sign it.',
    remedy: 'Refuse; have the role signed by its key holders.',
  },
  TUF_VERSION_ROLLBACK: {
    class: 'rejection',
    meaning: 'Update metadata is older than what was seen before, or is not the version that was announced.',
    remedy: 'Refuse; someone replays old metadata, or a backup was restored.',
  },
  TUF_ROLE_EXPIRED: {
    class: 'rejection',
    meaning: 'A role has expired: the repository is frozen, or its operator forgot to sign again.',
    remedy:
      'Check the clock; otherwise the role must be signed again: `waybill release --renew`, `waybill product update`.',
  },
  TUF_METADATA_DIGEST: {
    class: 'rejection',
    meaning: 'Update metadata is not the file that the role above it names.',
    remedy: 'Refuse; parts of different repository states were mixed.',
  },
  TUF_ROLE_MISSING: {
    class: 'rejection',
    meaning: 'The product has no terminating delegation of its own, or it has no metadata yet.',
    remedy: 'Add the product with `waybill product add` and make a first release.',
  },
  TUF_TARGET_MISSING: {
    class: 'rejection',
    meaning: 'The role that may name this file does not name it.',
    remedy: 'Publish the file in the role that is meant for it.',
  },
  TUF_GOODS_WRONG_ROLE: {
    class: 'rejection',
    meaning: 'Goods of a product are named by a role other than its own delegation.',
    remedy: 'Refuse; only releases-<product> may name images and packs of the product.',
  },
  TUF_TARGET_DIGEST: {
    class: 'rejection',
    meaning: 'A downloaded file does not have the size and digest that its role names.',
    remedy: 'Fetch again; if it stays so, the file was changed in the repository.',
  },
  SIGSTORE_CERTIFICATE_REFUSED: {
    class: 'rejection',
    meaning:
      'The signing certificate does not lead to a trusted authority, was not valid when it signed, or lacks its SCT.',
    remedy: 'Refuse; have the statement signed by an identity of the trusted authority.',
  },
  SIGSTORE_TIMESTAMP_REFUSED: {
    class: 'rejection',
    meaning: 'The bundle has no timestamp of a trusted authority over its signature.',
    remedy: 'Refuse; have the statement signed again with the timestamp authority.',
  },
  SIGSTORE_LOG_PROOF_REFUSED: {
    class: 'rejection',
    meaning: "The bundle's log entry is not proved by a checkpoint of a trusted log.",
    remedy: 'Refuse; have the statement logged in the trusted log.',
  },
});
