// SPDX-License-Identifier: Apache-2.0
// Codes of the logs: what stores refuse, and what the signature log's endpoints answer.

import { faultsOf } from '../core/faults.ts';

export const LOG = faultsOf({
  LOG_STORE_LOCKED: {
    class: 'unavailable',
    meaning: 'Another process writes to this log.',
    remedy: 'Stop the other `waybill serve`, or give this one a data folder of its own.',
  },
  LOG_STORE_UNOPENED: {
    class: 'unavailable',
    meaning: 'The store of the log could not be opened.',
    remedy: 'Check the data folder and its permissions; restore it from a copy if it is damaged.',
  },
  LOG_STORE_INCONSISTENT: {
    class: 'rejection',
    meaning: 'What is stored does not give the root that the last published checkpoint names.',
    remedy:
      'Find the bad place with `waybill fsck <folder>`, and restore the data folder whole. If there is no sound copy, retire this log: ' +
      '`waybill rotate <folder> log` (or `ct`, whichever it is) begins a new shard; then the registry starts, without this one. Never ' +
      'publish two trees of one size.',
  },
  LOG_STORE_BEHIND: {
    class: 'rejection',
    meaning:
      'The log published more than its database holds, or something else: the data folder was restored from an older copy.',
    remedy:
      'Restore the newer state. If it is lost, retire both logs, also the one that is not named here, since they lie in one database: `waybill rotate <folder> log` ' +
      'and `waybill rotate <folder> ct` begin new shards; then the registry starts, and the older state can be read. Never go on from the older state: it would ' +
      'sign a second tree of a size that others have seen.',
  },
  LOG_SHARD_LOST: {
    class: 'unavailable',
    meaning:
      'This shard of the log lost entries that it had published, or is damaged. It takes no entry any more, and can be read only where it ' +
      'fits its last checkpoint.',
    remedy: 'Publish the trust material that `waybill rotate` made: the newer shard takes entries then.',
  },
  LOG_HEAD_MISSING: {
    class: 'rejection',
    meaning:
      'The file that says what a log published last is not there, although the log has entries, or had them before its database was lost.',
    remedy:
      'Put the state back, this file with it, or correct headFolder in config.yaml. If the file alone is lost, and you know that nothing newer ' +
      'than this database was published, make an empty one in its place; the next start fills it. If the state is lost, retire this log: ' +
      '`waybill rotate <folder> log` (or `ct`, whichever it is) begins a new shard, and then the registry starts. If the key is with a ' +
      'signer and was never used, finish `waybill rotate` first.',
    usage: true,
  },
  LOG_HEAD_MALFORMED: {
    class: 'rejection',
    meaning: 'The file that says what a log published last holds no checkpoint of that log.',
    remedy:
      'Restore it from the disk that it was kept on. If it is lost, and you know that nothing newer than this database was published, make ' +
      'it empty; the next start fills it.',
  },
  LOG_HEAD_CHANGED: {
    class: 'unavailable',
    meaning: 'Another process wrote what a log published last, so the log takes no more entries.',
    remedy:
      'Stop all processes that serve a copy of this data folder but one, whose database has the largest tree.',
  },
  LOG_STORE_ORIGIN: {
    class: 'rejection',
    meaning: 'The store belongs to a log of another origin or key.',
    remedy: 'Start with the configuration and key that the data folder was made with.',
    usage: true,
  },
  LOG_STORE_FAILED: {
    class: 'unavailable',
    meaning: 'A write to the store failed, so the log takes no more entries until it is opened again.',
    remedy:
      'Free space, repair the disk, or give the folder named to the user of the service; then restart. Nothing acknowledged is lost.',
  },
  LOG_SELF_CHECK: {
    class: 'unavailable',
    meaning: 'The log could not prove an entry to itself, so it took no more.',
    remedy: 'Restore the damaged tiles from a copy, then restart.',
  },
  LOG_CLOSED: {
    class: 'unavailable',
    meaning: 'The log is shutting down.',
    remedy: 'Send the entry again.',
  },
  LOG_BUSY: {
    class: 'unavailable',
    meaning: 'More entries wait than the log takes at once.',
    remedy: 'Send the entry again after a moment.',
  },
  LOG_SHARD_INACTIVE: {
    class: 'rejection',
    meaning: 'This shard of the log takes no entries: another one does.',
    remedy: 'Fetch the signing configuration again and write to the log that it names.',
  },
  LOG_SIZE_UNPUBLISHED: {
    class: 'rejection',
    meaning: 'A proof is asked for a tree size that the log has not published.',
    remedy: 'Ask for a size for which there is a checkpoint.',
  },
  LOG_QUORUM_PENDING: {
    class: 'unavailable',
    meaning:
      'The witnesses that the log policy asks for have not cosigned a checkpoint that covers the entry yet.',
    remedy:
      'Ask again after a moment; if it stays so, the log of the server says which witness does not answer, and why.',
  },
  LOG_ENTRY_SIZE: {
    class: 'rejection',
    meaning: 'A log entry is larger than 65,535 bytes, or empty.',
    remedy: 'Log a digest; keep the body beside the log.',
  },
  LOG_KEY_UNREADABLE: {
    class: 'rejection',
    meaning: 'The key file of the log holds no Ed25519 private key.',
    remedy: 'Restore keys/log.pem from its copy; a new key would be a new log.',
    usage: true,
  },
  LOG_AUTHORITY_MALFORMED: {
    class: 'rejection',
    meaning: 'A certificate authority whose certificates may write to the log is not a chain up to its root.',
    remedy: 'Configure the chain as [intermediate, root], each certificate issued by the next.',
    usage: true,
  },
  LOG_REQUEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A request to the log is not one of its documented forms.',
    remedy: 'Send a hashedRekordRequestV002 or dsseRequestV002; see docs/spec/log.md.',
  },
  LOG_REQUEST_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A request to the log is larger than 1 MiB.',
    remedy: 'Sign a statement that names large bodies by digest.',
  },
  LOG_KEY_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'The signature was made with another kind of key than ECDSA P-256 with SHA-256.',
    remedy: 'Sign with a P-256 key and say PKIX_ECDSA_P256_SHA_256.',
  },
  LOG_CERTIFICATE_MALFORMED: {
    class: 'rejection',
    meaning: 'The verifier of an entry is neither one DER certificate nor one DER public key.',
    remedy: 'Send the DER of the signing certificate alone, or of the SubjectPublicKeyInfo.',
  },
  LOG_CERTIFICATE_UNTRUSTED: {
    class: 'rejection',
    meaning:
      'The signing certificate is not a code-signing certificate of an authority that may write to this log.',
    remedy: 'Get a certificate from the certificate authority of this registry.',
  },
  LOG_CERTIFICATE_EXPIRED: {
    class: 'rejection',
    meaning: 'The signing certificate, or one above it, is not valid now.',
    remedy: 'Log the signature within the life of its certificate; check the clock of the server.',
  },
  LOG_WRITER_UNLISTED: {
    class: 'rejection',
    meaning: 'The key that made the signature may not write to this log.',
    remedy: 'List the key in the configuration of the registry, or name it as a gate in a device policy.',
  },
  LOG_SIGNATURE_WRONG: {
    class: 'rejection',
    meaning: 'The signature does not verify with the key or certificate that came with it.',
    remedy: 'Sign again; the log keeps no signature that it could not verify.',
  },
  LOG_TILE_UNKNOWN: {
    class: 'rejection',
    meaning: 'The published tree has no such tile or bundle.',
    remedy: 'Fetch the checkpoint first, and only tiles that its size requires.',
  },
});
