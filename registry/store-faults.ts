// SPDX-License-Identifier: Apache-2.0
// Codes of the registry's server, store, TUF repository and device API.

import { faultsOf } from '../core/faults.ts';

export const STORE = faultsOf({
  REGISTRY_CONFIG_MALFORMED: {
    class: 'rejection',
    meaning: "The registry's config.yaml has a mistake.",
    remedy: 'Correct config.yaml at the place named; docs/spec/registry-api.md lists its members.',
    usage: true,
  },
  REGISTRY_DATA_MISSING: {
    class: 'rejection',
    meaning:
      'The data folder, or a file in it that the registry cannot start without, is missing or unreadable.',
    remedy:
      'Check the path and its permissions, and where it is a symbolic link, that the disk is mounted to which it leads; make a data folder that never was there with `waybill init`.',
    usage: true,
  },
  REGISTRY_DATA_LOCKED: {
    class: 'unavailable',
    meaning: 'Another process has the data folder open.',
    remedy:
      'Stop the other `waybill serve`, or wait for the other `waybill rotate` or `waybill fsck`; one process at a time has a data folder open.',
  },
  REGISTRY_DATA_DAMAGED: {
    class: 'rejection',
    meaning: 'Files of the data folder do not fit each other.',
    remedy: 'Restore the data folder as a whole from a backup; do not mix files of different states.',
  },
  REGISTRY_FOLDER_MOUNTED: {
    class: 'rejection',
    meaning:
      'A database should begin in a folder that is a mount point. It is made beside its place and moved there whole, so that no power cut leaves half of it, and nothing can be moved in the place of a mount point.',
    remedy:
      'Mount the disk at a folder above, the data folder or its `state/`, or mount it elsewhere and put a symbolic link to a folder on it in this place: `ln -s /mnt/disk/db <data folder>/state/db`.',
    usage: true,
  },
  REGISTRY_FSCK_DAMAGED: {
    class: 'rejection',
    meaning: '`waybill fsck` found a row or file of a data folder that does not follow from the rest.',
    remedy:
      'It depends on the place. A row, a head, or anything in state/: do not serve this folder, restore it whole from the newest copy that passes; ' +
      'if that is behind what was published, both logs need new shards (`waybill rotate <folder> log` and `waybill rotate <folder> ct`), by the steps of docs/operating.md, "An older copy was restored"; ' +
      'with one alone the other forks. A mode in keys/: `chmod 600` on the file, `chmod 700` on the folder, and rotate the key if others could have read it. All else in keys/ and the certificates ' +
      '`trust/*-chain*.pem`: the next start needs them, restore those from a copy. root.json and the rest of trust/: no service reads them, so it may go on; ' +
      'put the published file in its place, where there is one to compare with (docs/spec/fsck.md says where it is).',
  },
  REGISTRY_FOLDER_NOT_EMPTY: {
    class: 'rejection',
    meaning: 'A folder that `waybill init` would fill is there already and holds files.',
    remedy: 'Name a folder that does not exist yet; init never overwrites keys.',
    usage: true,
  },
  REGISTRY_FOLDERS_NESTED: {
    class: 'rejection',
    meaning: 'The folder for offline keys and the data folder lie one inside the other.',
    remedy: 'Name an offline folder elsewhere, best on a medium that leaves this machine.',
    usage: true,
  },
  REGISTRY_ADDRESS_UNAVAILABLE: {
    class: 'unavailable',
    meaning: 'A registry or witness cannot listen on its port: it is taken, or is not for this user.',
    remedy:
      'Stop the process that holds the port, or choose another port: `listen` in config.yaml, `--port` of a witness.',
  },
  REGISTRY_ADDRESS_FOREIGN: {
    class: 'unavailable',
    meaning: 'The host on which a registry or witness should listen is no address of this machine.',
    remedy:
      'Correct `listen.host` or `metrics.host` in config.yaml, `--host` of a witness: 127.0.0.1 behind a proxy, 0.0.0.0 for all addresses of the machine.',
  },
  REGISTRY_REQUEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A request does not have the form that docs/spec/registry-api.md gives.',
    remedy: 'Correct the request at the place named.',
  },
  REGISTRY_REQUEST_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A request body is larger than its endpoint takes.',
    remedy: 'Send large bodies as blobs and refer to them by digest.',
  },
  REGISTRY_BODIES_TOO_LARGE: {
    class: 'unavailable',
    meaning:
      'The bodies of the requests under way, of one client or of all, are larger together than the registry holds.',
    remedy:
      'Send fewer large requests at once, or try again later; raise limits.bodyBytes or limits.bodyBytesPerClient if the clients are yours.',
  },
  REGISTRY_REQUEST_HEADERS: {
    class: 'rejection',
    meaning: 'A request has more headers, or longer ones, than the registry reads.',
    remedy: 'Send fewer headers; a proxy on the way may add many.',
  },
  REGISTRY_REQUEST_SLOW: {
    class: 'unavailable',
    meaning: 'A request did not arrive whole in time.',
    remedy: 'Send it again; on a slow line, raise `limits` in config.yaml.',
  },
  REGISTRY_CLIENT_UNCERTIFIED: {
    class: 'rejection',
    meaning:
      'The registry asks clients for a TLS certificate of its `clientAuthorities`, and there was none.',
    remedy:
      'Connect with a client certificate (commands of Waybill: WAYBILL_CLIENT_CERT and WAYBILL_CLIENT_KEY), or through a proxy that has one.',
  },
  REGISTRY_STOPPING: {
    class: 'unavailable',
    meaning: 'The registry is being stopped and takes no more requests.',
    remedy: 'Send the request again; what was not acknowledged may be repeated.',
  },
  REGISTRY_ROLE_EXPIRED: {
    class: 'unavailable',
    meaning: 'An online TUF role has expired, so clients refuse the repository.',
    remedy: 'Look in the log for why it could not be signed again; check disk and clock.',
  },
  REGISTRY_TLS_UNREADABLE: {
    class: 'rejection',
    meaning: 'A certificate or key for TLS cannot be read as PEM.',
    remedy:
      'Correct the file, or its path: in `listen.tls` of config.yaml, relative to the data folder; in the options of ' +
      '`waybill witness serve`; in WAYBILL_CLIENT_CERT and WAYBILL_CLIENT_KEY.',
    usage: true,
  },
  REGISTRY_TLS_KEY_EXPOSED: {
    class: 'rejection',
    meaning: 'A private key for TLS can be read or changed by others than its owner.',
    remedy: 'Run `chmod 600` on it, and replace the key if others could have read it.',
    usage: true,
  },
  REGISTRY_TLS_MISMATCH: {
    class: 'rejection',
    meaning: 'A certificate for TLS is not that of the key named with it.',
    remedy: 'Name a certificate and a key that belong together, the own certificate first in its file.',
    usage: true,
  },
  REGISTRY_REQUEST_UNKNOWN: {
    class: 'rejection',
    meaning: 'The registry has no such endpoint.',
    remedy: 'Check method and path against docs/spec/registry-api.md.',
  },
  REGISTRY_REQUEST_RATE: {
    class: 'unavailable',
    meaning: 'One client sends more requests than the registry takes from one client.',
    remedy: 'Wait as long as Retry-After says; raise limits.requestsPerMinute if the client is yours.',
  },
  REGISTRY_SIGNATURES_WRONG: {
    class: 'unavailable',
    meaning:
      'One client sent the signature log so many wrong signatures that none of its requests is looked at for now.',
    remedy:
      'Wait as long as Retry-After says, and see why the client signs with another key than it shows; ' +
      'limits.wrongSignaturesPerMinute is how many are let pass.',
  },
  REGISTRY_STORE_FAILED: {
    class: 'unavailable',
    meaning:
      'A registry, monitor, witness or signer could not read or write its storage; nothing was acknowledged.',
    remedy:
      'Look at free space and at the disk, and run as the user to whom the folder belongs; then try again. What is there stays as it is: do not begin anew.',
  },
  REGISTRY_STORE_STOPPED: {
    class: 'unavailable',
    meaning:
      'An earlier write to the database failed, so the registry takes no more until it is started again: what came after a torn ' +
      'record could be lost.',
    remedy: 'Free space or repair the disk, then restart `waybill serve`; nothing acknowledged is lost.',
  },
  REGISTRY_INTERNAL: {
    class: 'unavailable',
    meaning: 'The registry failed in a way that nobody foresaw; nothing was acknowledged.',
    remedy: "Report it with the request id; the registry's log holds the details.",
  },
  REGISTRY_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'A registry did not answer, or could not.',
    remedy:
      'Check the address and that `waybill serve` runs, then try again. A certificate by an authority of your own needs NODE_EXTRA_CA_CERTS (docs/operating.md); ' +
      'ERR_SSL_WRONG_VERSION_NUMBER says that the address is http, not https; UND_ERR_SOCKET, that an http address may be https, or that the registry asks for a client certificate.',
  },
  REGISTRY_REFUSED: {
    class: 'rejection',
    meaning: 'A registry refused to answer a question.',
    remedy: 'Correct what its own code, given in the message, speaks of.',
  },
  REGISTRY_ANSWER_MALFORMED: {
    class: 'rejection',
    meaning: 'The answer of a registry does not have the form that docs/spec/registry-api.md gives.',
    remedy: 'Check that the address is that of a registry of this version.',
  },
  REGISTRY_ATTESTATION_UNKNOWN: {
    class: 'rejection',
    meaning: 'The registry holds no attestation with this digest.',
    remedy: 'Check the digest; only attestations that were accepted are kept.',
  },
  REGISTRY_LEAF_UNKNOWN: {
    class: 'rejection',
    meaning: "The log entry inside a bundle is not the one at that index of this registry's log.",
    remedy:
      'Sign again with `waybill attest` against this registry; treat a valid-looking foreign entry as an attack.',
  },
  REGISTRY_DEPENDENCY_MALFORMED: {
    class: 'rejection',
    meaning:
      'A provenance statement names a package by something that is not a package URL, or without a role.',
    remedy: 'Build again; `waybill build` writes package URLs with their roles.',
  },
  REGISTRY_PURL_MALFORMED: {
    class: 'rejection',
    meaning: 'A question names a package by something that is not a package URL.',
    remedy: 'Write pkg:type/namespace/name or pkg:type/namespace/name@version.',
    usage: true,
  },
  REGISTRY_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A listed key, of config.yaml or of a device policy, is not a P-256 public key.',
    remedy: 'List the gate key that `waybill key new` made, as DER SubjectPublicKeyInfo in base64.',
  },
  REGISTRY_TRACE_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A question about a package has more answers than one reply holds.',
    remedy: 'Ask for one version of the package.',
  },
  TUF_REPOSITORY_ROLE_UNKNOWN: {
    class: 'rejection',
    meaning: 'The TUF repository has no such role, or top-level targets does not delegate to it.',
    remedy: 'Publish the product first with `waybill product`.',
  },
  TUF_REPOSITORY_FILE_UNKNOWN: {
    class: 'rejection',
    meaning: 'The TUF repository has published no such file.',
    remedy:
      'Start from timestamp.json; a root version that is not there yet is how clients learn that they hold the last.',
  },
  TUF_REPOSITORY_METADATA_MALFORMED: {
    class: 'rejection',
    meaning: 'Role metadata does not follow TUF 1.0 or the profile of docs/spec/tuf-repository.md.',
    remedy: 'Have the role signed again by the tool that made it.',
  },
  TUF_REPOSITORY_THRESHOLD_UNMET: {
    class: 'rejection',
    meaning: 'Role metadata lacks the signatures that its delegation asks for.',
    remedy: 'Sign with enough of the keys that the delegation lists.',
  },
  TUF_REPOSITORY_VERSION_WRONG: {
    class: 'rejection',
    meaning: 'Role metadata does not carry the version that follows the published one.',
    remedy: 'Fetch the current metadata, repeat the change on it, and sign the next version.',
  },
  TUF_REPOSITORY_EXPIRED: {
    class: 'rejection',
    meaning: 'Role metadata to be published has expired already.',
    remedy: 'Sign it again with a later expiry; check the clock of the signing machine.',
  },
  TUF_REPOSITORY_TARGET_FORBIDDEN: {
    class: 'rejection',
    meaning: 'A role names a target that is not its to name.',
    remedy: 'Top-level targets names trust material only; a product role its own images/ and packs/ only.',
  },
  TUF_REPOSITORY_DELEGATION_FORBIDDEN: {
    class: 'rejection',
    meaning: 'A delegation is not one terminating role for one product with its own paths and distinct keys.',
    remedy: 'Make delegations with `waybill product`.',
  },
  TUF_REPOSITORY_TARGET_SIZE: {
    class: 'rejection',
    meaning: 'Role metadata gives a stored target file another length than it has.',
    remedy: 'Sign the role again over the file as it is.',
  },
  TUF_REPOSITORY_ROOT_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A new root would leave the repository without valid online roles or valid top-level targets.',
    remedy:
      'Name the snapshot and timestamp keys of this registry, and sign targets with the new keys first.',
  },
  TUF_REPOSITORY_TRUST_MISSING: {
    class: 'rejection',
    meaning: 'Top-level targets does not name a trusted root with logs and authorities in it.',
    remedy:
      'Sign targets again with a complete trusted_root.json among its targets; an empty one would trust nobody.',
  },
  TUF_TARGETS_MISSING: {
    class: 'rejection',
    meaning:
      'Role metadata is sound, but the registry lacks target files that it names; it is kept as pending.',
    remedy: 'Upload the files named in `missing` as blobs, then send the metadata again.',
  },
  BLOB_DIGEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A blob is not named by a SHA-256 digest of 64 lower-case hex digits.',
    remedy: 'Put the digest of the bytes into the path.',
  },
  BLOB_NOT_NAMED: {
    class: 'rejection',
    meaning:
      'No stored attestation and no TUF metadata names this digest, so the registry does not keep the bytes.',
    remedy: 'Send the attestation or the role metadata first.',
  },
  BLOB_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A blob is larger than the registry takes.',
    remedy: 'Raise limits.blobSizeBytes in config.yaml if the file is meant to be that large.',
  },
  BLOB_SPACE_SHORT: {
    class: 'unavailable',
    meaning: 'The disk of the registry has no room for a blob beside what its database needs.',
    remedy:
      'Free disk space at the registry, or add some; limits.diskReserveBytes in config.yaml says how much blobs leave free.',
  },
  BLOB_DIGEST_MISMATCH: {
    class: 'rejection',
    meaning: 'The bytes of a blob do not have the digest in its path.',
    remedy: 'Upload the file again; if it stays so, the file is not the one that was signed.',
  },
  BLOB_TRUNCATED: {
    class: 'rejection',
    meaning: 'The connection ended before all bytes of a blob had come.',
    remedy: 'Upload the file again.',
  },
  BLOB_UNKNOWN: {
    class: 'rejection',
    meaning: 'The registry holds no blob with this digest.',
    remedy: 'Check the digest; a blob comes after the attestation that names it.',
  },
  BLOB_SBOM_MALFORMED: {
    class: 'rejection',
    meaning:
      'A blob that an attestation names as SBOM is not a CycloneDX document that the registry can read.',
    remedy: 'Build again; `waybill build` validates its SBOM against the schema.',
  },
  DEVICE_ENROL_MALFORMED: {
    class: 'rejection',
    meaning: 'An enrolment request does not have the form that docs/spec/registry-api.md gives.',
    remedy: 'Update the device agent.',
  },
  DEVICE_ENROL_UNAUTHORIZED: {
    class: 'rejection',
    meaning: 'An enrolment request lacks the enrolment token, or it is another one.',
    remedy: 'Pass the token from keys/enrolment.token of the data folder.',
  },
  DEVICE_ENROL_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A device key is not an ECDSA P-256 key in its canonical form.',
    remedy: 'Run `waybill device init` again.',
  },
  DEVICE_ENROL_PROOF_WRONG: {
    class: 'rejection',
    meaning: 'The sender of an enrolment request did not prove that it holds the private key.',
    remedy: 'Enrol from the device that holds the key.',
  },
  DEVICE_ENROL_CONFLICT: {
    class: 'rejection',
    meaning: 'A device with this id is enrolled already with another key, product or hardware id.',
    remedy: 'Give the device an id of its own; a known id never changes its key silently.',
  },
  DEVICE_UNKNOWN: {
    class: 'rejection',
    meaning: 'No device with this id is enrolled.',
    remedy: 'Run `waybill device enrol` first.',
  },
  DEVICE_REPORT_ENVELOPE_MALFORMED: {
    class: 'rejection',
    meaning: 'A device report is not a DSSE envelope with one signature over an in-toto statement.',
    remedy: 'Update the device agent.',
  },
  DEVICE_REPORT_SIGNATURE_WRONG: {
    class: 'rejection',
    meaning: 'A device report is not signed by the key that the device enrolled with.',
    remedy: 'Refuse it; if the device is yours, look for a copy of its id or a lost key.',
  },
  DEVICE_REPORT_MISMATCH: {
    class: 'rejection',
    meaning: 'A device report speaks of another device or product than the one that enrolled.',
    remedy:
      'Send each report to the device that made it; reinstalling for another product needs a new enrolment.',
  },
  DEVICE_REPORT_REPLAYED: {
    class: 'rejection',
    meaning: "A device report's counter is not greater than the last one that was stored.",
    remedy: 'If the device did not send it twice, look for a copy of the device or a restored state.',
  },
});
