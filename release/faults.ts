// SPDX-License-Identifier: Apache-2.0
// Codes of the offline roles: key ceremony, product delegation, gate's evidence, release, withdrawal.

import { faultsOf } from '../core/faults.ts';

export const RELEASE = faultsOf({
  REBUILD_EVIDENCE_MISSING: {
    class: 'rejection',
    meaning:
      'The registry does not hold all that is needed to build an image again: provenance of each step, definition, lock.',
    remedy: 'Run `waybill attest` on the whole build output with a current version, then rebuild.',
  },
  REBUILD_EVIDENCE_AMBIGUOUS: {
    class: 'rejection',
    meaning: 'Builds from different definitions or locks claim to have made this image.',
    remedy: 'Say whose build is meant with --builder-identity; find out why somebody else claims the image.',
  },
  CEREMONY_THRESHOLD_INVALID: {
    class: 'rejection',
    meaning: 'The numbers of keys of a role and of signatures asked of them do not make a threshold.',
    remedy:
      'Ask for at least one signature and for no more than there are keys: --root-threshold, --targets-threshold, --releases-threshold.',
    usage: true,
  },
  CEREMONY_KEY_EXISTS: {
    class: 'rejection',
    meaning: 'A private key would have been overwritten.',
    remedy: 'Choose an empty folder or another file name; Waybill never overwrites a private key.',
    usage: true,
  },
  CEREMONY_KEY_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'A private key could not be written; the keys of this run that were written have been removed.',
    remedy: 'Free space or choose another folder, then run the command again.',
  },
  CEREMONY_KEY_UNREADABLE: {
    class: 'rejection',
    meaning: 'A key file is missing or cannot be read.',
    remedy: 'Check the path and its permissions.',
    usage: true,
  },
  CEREMONY_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A key file does not hold a key of the kind that this role signs with.',
    remedy:
      'Ed25519 for TUF roles, ECDSA P-256 for gate and device and for every key in a token; `waybill key new` makes both. `waybill rotate` ' +
      'of ca or tsa takes the offline root of that authority, ca-root.pem or tsa-root.pem, or the folder that it is in.',
    usage: true,
  },
  CEREMONY_PASSPHRASE_MISSING: {
    class: 'rejection',
    meaning: 'A key is encrypted or lies in a token, and nobody could be asked for its passphrase or PIN.',
    remedy:
      'Run the command on a terminal, or give --passphrase-file (for a token also pin-source in its URI).',
    usage: true,
  },
  CEREMONY_PASSPHRASE_WRONG: {
    class: 'rejection',
    meaning:
      'The passphrase of a key file, or the PIN of a token, is another one; or the key file is damaged.',
    remedy: 'Try again with the right one. Most tokens lock themselves after a few wrong PINs.',
  },
  CEREMONY_PASSPHRASE_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A passphrase is too short, or its file is empty, too long or open to others.',
    remedy:
      'Take one of at least 16 characters, best drawn at random; a file has it as its only line, and mode 0600.',
    usage: true,
  },
  CEREMONY_PASSPHRASE_UNREPEATED: {
    class: 'rejection',
    meaning: 'The passphrase of new keys was another one when it was typed again.',
    remedy: 'Run the command again and type the same passphrase twice; nothing was made.',
    usage: true,
  },
  CEREMONY_TOKEN_URI_MALFORMED: {
    class: 'rejection',
    meaning: 'The name of a key in a token is not a PKCS#11 URI that Waybill reads.',
    remedy:
      'Write pkcs11:token=<label>;object=<label>?module-path=<path of the module>, or id=%01 instead of object; pin-source=file:<path> for its PIN.',
    usage: true,
  },
  CEREMONY_TOKEN_TOOL_MISSING: {
    class: 'rejection',
    meaning: 'The program that speaks to tokens is not installed.',
    remedy: 'Install OpenSC (Debian: the package opensc), which brings pkcs11-tool.',
    usage: true,
  },
  CEREMONY_TOKEN_KEY_UNKNOWN: {
    class: 'rejection',
    meaning: 'The token has no public key of that label or id, or several.',
    remedy: 'Look with `pkcs11-tool --list-objects --type pubkey`; name the key by its id.',
    usage: true,
  },
  CEREMONY_TOKEN_FAILED: {
    class: 'unavailable',
    meaning: 'A token is not there, cannot be reached through its module, or did not sign.',
    remedy: 'Plug it in, check token and module-path of the URI, then run the command again.',
  },
  CEREMONY_SIGNERS_MISSING: {
    class: 'rejection',
    meaning: 'Fewer private keys are at hand than the first root needs signatures.',
    remedy: 'Give private key files or tokens of as many officers as --root-threshold asks.',
    usage: true,
  },
  OFFLINE_ROLE_MALFORMED: {
    class: 'rejection',
    meaning: 'A file to be signed, published or compared with is no root or targets metadata.',
    remedy:
      'Give the file that `waybill tuf renew`, `update` or `sign` wrote with --out, as it is, and with --current the published `<version>.targets.json`; if it was changed since, make it anew.',
    usage: true,
  },
  OFFLINE_ROLE_STALE: {
    class: 'rejection',
    meaning: 'A file to be signed or published is not the next version after the one that is in force.',
    remedy: 'Make it anew from the present version; if your root.json is an old one, give the newest.',
  },
  OFFLINE_ROLE_UNSIGNED: {
    class: 'rejection',
    meaning: 'Root or targets lack signatures of some of the officers who must sign them.',
    remedy:
      'Write the file with --out, hand it to as many other officers as are missing for `waybill tuf sign`, then publish it.',
  },
  OFFLINE_ROLE_UNCHANGED: {
    class: 'rejection',
    meaning: 'Nothing of what was given differs from what is published.',
    remedy: 'Give what is to change; to sign a role again as it is, use `waybill tuf renew`.',
    usage: true,
  },
  OFFLINE_KEY_UNKNOWN: {
    class: 'rejection',
    meaning: 'A key that was to be removed is not one of the role.',
    remedy: 'Give the public half of the key, or its id in full, as `waybill tuf status` prints it.',
    usage: true,
  },
  OFFLINE_TARGETS_FIRST: {
    class: 'rejection',
    meaning:
      'The published targets do not bear enough signatures of the keys that the new root would name for it.',
    remedy:
      'Sign targets with old and new keys first: `waybill tuf renew` with --role targets and --new-key; then rotate.',
  },
  RELEASE_REGISTRY_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The registry did not answer, or answered that it cannot serve now.',
    remedy:
      'Check the address and that `waybill serve` runs, then run the command again. A certificate by an authority of your own needs NODE_EXTRA_CA_CERTS (docs/operating.md); ' +
      'ERR_SSL_WRONG_VERSION_NUMBER says that the address is http, not https; UND_ERR_SOCKET, that an http address may be https, or that the registry asks for a client certificate.',
  },
  RELEASE_REGISTRY_BUSY: {
    class: 'unavailable',
    meaning:
      'The registry answered that it cannot serve this now; its own code and remedy stand in the message.',
    remedy: 'Follow the remedy in the message, then run the command again.',
  },
  RELEASE_REGISTRY_REFUSED: {
    class: 'rejection',
    meaning: 'The registry refused a request; its own code and remedy stand in the message.',
    remedy: 'Follow the remedy in the message.',
  },
  RELEASE_REGISTRY_ANSWER_MALFORMED: {
    class: 'rejection',
    meaning: 'The registry answered something that docs/spec/registry-api.md does not allow.',
    remedy: 'Check that the address is that of `waybill serve` and that both sides have the same version.',
  },
  EVIDENCE_BUNDLE_DIGEST_MISMATCH: {
    class: 'rejection',
    meaning: 'The registry gave a bundle whose bytes are not those that it says, or that were asked for.',
    remedy:
      'Do not believe this registry: its store is damaged or it lies. Compare it with a copy or with the log.',
  },
  EVIDENCE_SUBJECT_ABSENT: {
    class: 'rejection',
    meaning: 'The registry gave a bundle as being about an artifact that its statement does not name.',
    remedy: 'Do not believe this registry: its index is damaged or it lies.',
  },
  EVIDENCE_WALK_ENDLESS: {
    class: 'rejection',
    meaning: 'Provenance leads to more artifacts than the way from source to image can have.',
    remedy: 'Look at the materials of the steps; a build names far more of them than it needs.',
  },
  EVIDENCE_WITHHELD: {
    class: 'rejection',
    meaning: 'The registry does not give something that a signed statement names by digest.',
    remedy: 'Submit it again with `waybill attest`; if the registry had it, find out why it is gone.',
  },
  RELEASE_SUMMARY_MISSING: {
    class: 'rejection',
    meaning: 'No trusted gate has passed this image as this version under a policy that devices accept.',
    remedy:
      'Run `waybill gate` for this image and version, with the key and policy that the device policy names.',
  },
  RELEASE_VERSION_NOT_HIGHER: {
    class: 'rejection',
    meaning: 'The version is not higher than every version released or withdrawn before.',
    remedy: 'Choose a higher version and build again: the version is part of the evidence.',
  },
  RELEASE_IMAGE_WITHDRAWN: {
    class: 'rejection',
    meaning: 'A signed denial says that this image must not run.',
    remedy: 'Correct what the denial names and release the corrected image.',
  },
  RELEASE_HARDWARE_UNKNOWN: {
    class: 'rejection',
    meaning: 'A hardware id is not one that the device policy names.',
    remedy: 'Correct the id, or add it to the device policy with `waybill product update`.',
    usage: true,
  },
  RELEASE_UNKNOWN: {
    class: 'rejection',
    meaning: 'No release of the product has this image.',
    remedy: 'Give the SHA-256 digest of a released image; `waybill release --list` shows them.',
    usage: true,
  },
  RELEASE_PRODUCT_UNKNOWN: {
    class: 'rejection',
    meaning: 'The repository has no delegation or no device policy for this product.',
    remedy: 'Check its name, or add the product with `waybill product add`.',
    usage: true,
  },
  RELEASE_PRODUCT_EXISTS: {
    class: 'rejection',
    meaning: 'The repository already has this product.',
    remedy: 'Change it with `waybill product update`, which keeps what it is not told to change.',
    usage: true,
  },
  RELEASE_KEY_NOT_DELEGATED: {
    class: 'rejection',
    meaning: 'The keys given are not enough of those that may sign this role.',
    remedy: 'Sign with the keys that the role above names; `waybill key show` prints the id of a key.',
  },
  RELEASE_KEYS_CUT_OFF: {
    class: 'rejection',
    meaning:
      'With these keys the product would be left with metadata that nobody accepts and nobody can replace.',
    remedy:
      'Name the old keys and the new ones together, have the new ones sign with `waybill release --renew`, then name the new ones alone.',
    usage: true,
  },
  RELEASE_LOG_SHARDS: {
    class: 'rejection',
    meaning:
      'The evidence of the release stands in different shards of the log, and a pack has one checkpoint.',
    remedy:
      'Sign all of it again with `waybill attest` and `waybill gate`: new entries stand in the shard that is in use.',
  },
  RELEASE_TARGET_LOST: {
    class: 'rejection',
    meaning: 'The registry asks for a file of an earlier version of the role, which it should have.',
    remedy: 'Restore the blobs of the registry from its backup.',
  },
});
