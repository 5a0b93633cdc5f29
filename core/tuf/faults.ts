// SPDX-License-Identifier: Apache-2.0
// Codes of update metadata [docs/errors.md]: each names what a TUF client checks, whoever runs it.

import { faultsOf } from '../faults.ts';

export const TUF = faultsOf({
  TUF_METADATA_MALFORMED: {
    class: 'rejection',
    meaning: 'Update metadata is not TUF 1.0 metadata in strict JSON, or is too large.',
    remedy: 'Refuse the repository until its operator has published sound metadata.',
  },
  TUF_SIGNATURE_THRESHOLD: {
    class: 'rejection',
    meaning: 'A role is not signed by enough of the keys that may sign it.',
    remedy:
      'Refuse. The root that you trust may be that of another registry: compare. If it is the right one, the role must be signed by its key holders.',
  },
  TUF_KEY_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'A role lacks signatures, and some of those it has are by keys that this host cannot check.',
    remedy: 'Sign the role with Ed25519 or ECDSA P-256 keys, or give the host a check of RSA-PSS.',
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
      'Check the clock; otherwise the role must be signed again: `waybill release --renew`, `waybill tuf renew`; `snapshot` and `timestamp` by `waybill serve`. A copy of a repository must be made again, or asked as of a time when it was good (`--at`).',
  },
  TUF_METADATA_DIGEST: {
    class: 'rejection',
    meaning: 'Update metadata is not the file that the role above it names.',
    remedy: 'Refuse; parts of different repository states were mixed.',
  },
  TUF_ROLE_MISSING: {
    class: 'rejection',
    meaning: 'The product has no terminating delegation of its own, or a role has no metadata yet.',
    remedy: 'Add the product with `waybill product add` and make a first release.',
  },
  TUF_TARGET_MISSING: {
    class: 'rejection',
    meaning: 'No role that may name this file names it.',
    remedy:
      'Check the name that was asked for, such as the name of a product; if it is right, publish the file in the role that is meant for it.',
  },
  TUF_TARGET_NAME: {
    class: 'rejection',
    meaning: 'The name of a target is no relative path: it would lead out of the folder of targets.',
    remedy: 'Publish the file under a name without empty, `.` and `..` segments.',
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
});
