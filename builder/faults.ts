// SPDX-License-Identifier: Apache-2.0
// Codes of the builder: definition, lock, fetching, sandbox, steps, SBOM.

import { faultsOf } from '../core/faults.ts';

export const BUILDER = faultsOf({
  DEFINITION_MALFORMED: {
    class: 'rejection',
    meaning: 'waybill.yaml does not follow docs/spec/build-definition.md.',
    remedy: 'Correct the definition at the file, line and column named.',
    usage: true,
  },
  DEFINITION_NAME_UNKNOWN: {
    class: 'rejection',
    meaning: 'waybill.yaml refers to an input, step or output that it does not define.',
    remedy: 'Correct the name at the place named, or define it.',
    usage: true,
  },
  DEFINITION_NAME_DUPLICATE: {
    class: 'rejection',
    meaning: 'waybill.yaml gives one name to two things, or lists one thing twice.',
    remedy: 'Rename or remove one of them at the place named.',
    usage: true,
  },
  DEFINITION_STEPS_CYCLIC: {
    class: 'rejection',
    meaning: 'The steps of waybill.yaml need each other in a circle.',
    remedy: 'Take out one of the materials that close the circle.',
    usage: true,
  },
  LOCK_MALFORMED: {
    class: 'rejection',
    meaning: 'waybill.lock does not follow docs/spec/lock.md.',
    remedy: 'Do not edit the lock; run `waybill lock` to make it again.',
    usage: true,
  },
  LOCK_OUTDATED: {
    class: 'rejection',
    meaning: 'waybill.lock was made from other inputs than waybill.yaml names.',
    remedy: 'Run `waybill lock`, look at what changed, and keep both files together.',
  },
  LOCK_UPGRADE_UNKNOWN: {
    class: 'rejection',
    meaning: 'What is to be upgraded is no input of waybill.yaml and no locked package of one.',
    remedy: 'Give `--upgrade <input>` or `--upgrade <input>/<package>`.',
    usage: true,
  },
  LOCK_MIRROR_UNKNOWN: {
    class: 'rejection',
    meaning: 'No mirror is known for the distribution and suite of an input.',
    remedy:
      'Give one with --mirror or WAYBILL_MIRROR; the host has no apt source for that distribution and suite.',
    usage: true,
  },
  LOCK_MIRROR_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The mirror did not serve the signed index of the suite.',
    remedy: 'Check the network and the mirror, then run the command again.',
  },
  LOCK_KEYRING_UNREADABLE: {
    class: 'rejection',
    meaning: 'The keyring of an input is missing or is not a binary OpenPGP keyring.',
    remedy: 'Install the package that holds it (debian-archive-keyring), or convert it with `gpg --dearmor`.',
    usage: true,
  },
  LOCK_SIGNATURE_INVALID: {
    class: 'rejection',
    meaning: 'The index of the suite is not validly signed by a key of the keyring.',
    remedy: 'Do not use this mirror; if the archive has new keys, update the keyring package.',
  },
  LOCK_SUITE_MISMATCH: {
    class: 'rejection',
    meaning: 'The mirror serves a validly signed index of another distribution or suite.',
    remedy: 'Name the distribution and suite that the mirror serves, or another mirror.',
  },
  LOCK_PACKAGE_UNKNOWN: {
    class: 'rejection',
    meaning: 'A package that waybill.yaml names does not exist in the suite.',
    remedy: 'Correct the name, or add the component of the archive that holds it.',
    usage: true,
  },
  LOCK_CLOSURE_UNRESOLVABLE: {
    class: 'rejection',
    meaning: 'The packages of an input cannot be installed together.',
    remedy: 'Read what apt says, and split the packages over several inputs or choose others.',
  },
  FETCH_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'An input could not be fetched from where it was locked.',
    remedy: 'Check the network and the server, then run the command again; what was fetched is kept.',
  },
  FETCH_TRUNCATED: {
    class: 'unavailable',
    meaning: 'A download ended before the size that the lock names.',
    remedy: 'Run the command again; nothing of the short file was kept.',
  },
  FETCH_GONE: {
    class: 'rejection',
    meaning: 'What the lock names is no longer where it was locked.',
    remedy:
      'Give what still has it: --snapshot for old packages, --archive or --registry for any input; or run `waybill lock`.',
  },
  FETCH_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A download is larger than the lock says.',
    remedy: 'Do not use this server.',
  },
  FETCH_DIGEST_MISMATCH: {
    class: 'rejection',
    meaning: 'A download is not the file that the lock pins.',
    remedy:
      'If waybill.lock was edited or merged by hand, restore it. Else do not use the server that was asked; if the origin itself changed the file, find out why before locking again.',
  },
  FETCH_STORE_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The content store under the cache folder cannot be written.',
    remedy: 'Free space or set XDG_CACHE_HOME to a writable folder, then run the command again.',
  },
  INPUT_ARCHIVE_MALFORMED: {
    class: 'rejection',
    meaning: 'An input that is to be unpacked is not an archive that Waybill can read, or is damaged.',
    remedy: 'Name a tar (plain, gzip, xz, bzip2 or zstd) or zip archive of files, folders and links.',
  },
  INPUT_ARCHIVE_TOO_LARGE: {
    class: 'rejection',
    meaning: 'An input expands to more files or bytes than any firmware needs.',
    remedy: 'Do not use this archive; if it is right, split it.',
  },
  INPUT_PATH_ESCAPES: {
    class: 'rejection',
    meaning: 'An input holds a path that leads out of it, or through one of its own links.',
    remedy: 'Do not use this input: nothing that is packed honestly looks like that.',
  },
  INPUT_PATH_TWICE: {
    class: 'rejection',
    meaning: 'An input holds two files of one path, so that readers may disagree on what is in it.',
    remedy: 'Have the archive packed again with each file once.',
  },
  INPUT_LINK_ESCAPES: {
    class: 'rejection',
    meaning: 'A symbolic link of an input leads out of it.',
    remedy: 'Replace the link by what it points to, or take in the folder that holds both.',
  },
  INPUT_FOLDER_UNREADABLE: {
    class: 'rejection',
    meaning:
      'A folder that waybill.yaml names is missing, or holds something other than files, folders and links.',
    remedy: 'Correct the path, or remove the socket, pipe or device that the message names.',
    usage: true,
  },
  INPUT_FOLDER_CHANGING: {
    class: 'unavailable',
    meaning: 'A file of a folder changed while it was read.',
    remedy: 'Wait until nothing writes to the folder, then run the command again.',
  },
  INPUT_GIT_UNUSABLE: {
    class: 'rejection',
    meaning:
      'A git repository does not hold the commit, revision or submodule asked for, or may not be used.',
    remedy: 'Correct url and commit; a location must start with https://, ssh:// or file://.',
  },
  INPUT_IMAGE_UNUSABLE: {
    class: 'rejection',
    meaning: 'A container image is not one that Waybill can use as root file system.',
    remedy: 'Name an image of the platform asked for by the digest of its manifest or index.',
  },
  INPUT_WEST_UNUSABLE: {
    class: 'rejection',
    meaning: 'A west manifest cannot be resolved to projects and commits.',
    remedy: 'Correct the manifest at the place named in the message.',
  },
  SANDBOX_TOOL_MISSING: {
    class: 'unavailable',
    meaning: 'A program of the host that Waybill needs is not installed, or is too old.',
    remedy: 'Install the Debian package named in the message.',
  },
  SANDBOX_NAMESPACES_DENIED: {
    class: 'unavailable',
    meaning: 'This machine does not let bubblewrap make the namespaces of a sandbox.',
    remedy: 'Do what the message says for this machine; nothing was run outside a sandbox.',
  },
  SANDBOX_START_FAILED: {
    class: 'unavailable',
    meaning: 'bubblewrap could not set up the sandbox of a step.',
    remedy: 'Read what bubblewrap says; the step was not run.',
  },
  SANDBOX_FILTER_MISSING: {
    class: 'unavailable',
    meaning: 'There is no filter of system calls for the processor of this machine.',
    remedy: 'Build on x86-64 or 64-bit ARM.',
  },
  SANDBOX_CPUS_MISSING: {
    class: 'unavailable',
    meaning: 'This machine has fewer CPUs than a step asks for.',
    remedy: 'Lower `cpus` of the step, or build on a machine with that many.',
  },
  SANDBOX_GROUP_FAILED: {
    class: 'unavailable',
    meaning: 'The control group of a step could not be made, read or removed, or lost its bounds.',
    remedy: 'Run the command again; if it stays, see who else manages the control groups of this machine.',
  },
  SANDBOX_MEMORY_EXHAUSTED: {
    class: 'unavailable',
    meaning: 'The machine, or a control group around the builder, ran out of memory while a step ran.',
    remedy: 'Free memory, or raise the bound around the builder, then run the command again.',
  },
  SANDBOX_ROOT_CONFLICT: {
    class: 'rejection',
    meaning:
      'Two packages of one root file system disagree: two versions of one package, or one file in two packages.',
    remedy: 'Lock the inputs together, or use them in different steps.',
  },
  SANDBOX_ROOT_UNPACKABLE: {
    class: 'unavailable',
    meaning: 'A package could not be unpacked into the root file system of a step.',
    remedy: 'Free space under the cache folder, then run the command again; nothing half-made was kept.',
  },
  STEP_FAILED: {
    class: 'rejection',
    meaning: "A step's command ended with a failure.",
    remedy: "Read the end of the step's log above; in the sandbox only the locked packages exist.",
  },
  STEP_TIMEOUT: {
    class: 'rejection',
    meaning: 'A step ran longer than its time limit and was killed.',
    remedy: 'Raise timeoutSeconds of the step, or find out what it waits for.',
  },
  STEP_WORK_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A step filled more of its work folder than its limit, in blocks or with holes counted.',
    remedy: 'Raise workMebibytes of the step, or find out why it writes so much.',
  },
  STEP_WORK_TOO_MANY: {
    class: 'rejection',
    meaning: 'A step left more files and folders in its work folder than are looked at for evidence.',
    remedy: 'Have the step remove what it unpacked or made and is no part of the image.',
  },
  STEP_MEMORY_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A step needed more memory than its limit and was killed.',
    remedy:
      'Raise memoryMebibytes of the step, or run fewer of its processes at one time; files in /tmp and /dev/shm count too.',
  },
  STEP_OUTPUT_MISSING: {
    class: 'rejection',
    meaning: 'A step ended well but did not make an output that it promises.',
    remedy: 'Correct the path of the output, or the command.',
  },
  STEP_OUTPUT_NOT_REGULAR: {
    class: 'rejection',
    meaning:
      'An output is not a regular file of its own: a link, folder, device, pipe, or reached through a link.',
    remedy: 'Have the step copy the content into a plain file.',
  },
  STEP_OUTPUT_PRIVILEGED: {
    class: 'rejection',
    meaning: 'An output has the set-uid, set-gid or sticky bit.',
    remedy: 'Have the step make a plain file.',
  },
  STEP_OUTPUT_TOO_LARGE: {
    class: 'rejection',
    meaning: 'The outputs of a step are larger than its limit.',
    remedy: 'Raise outputMebibytes of the step, or find out why it writes so much.',
  },
  STEP_OUTPUT_DIFFERS: {
    class: 'rejection',
    meaning: 'An output is not the file that the package of `published` holds.',
    remedy: 'Find out which is wrong: compare both files; the build was not kept.',
  },
  STEP_PUBLISHED_MISSING: {
    class: 'rejection',
    meaning: 'The package named by `published` is not an input of the step or does not hold that path.',
    remedy: 'Correct package and path of `published` in waybill.yaml.',
    usage: true,
  },
  BUILD_FOLDER_OCCUPIED: {
    class: 'rejection',
    meaning: 'The output folder exists already.',
    remedy: 'Choose another with --out; `waybill build` replaces an earlier build with --force.',
    usage: true,
  },
  BUILD_FOLDER_INSIDE: {
    class: 'rejection',
    meaning: 'The output folder would lie in a folder that is an input, and change it.',
    remedy: 'Choose a folder elsewhere with --out.',
    usage: true,
  },
  BUILD_FOLDER_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The output folder or the cache folder cannot be written.',
    remedy: 'Free space or choose another place, then run the command again; nothing half-written was left.',
  },
  REBUILD_CLAIM_CONTRADICTED: {
    class: 'rejection',
    meaning: 'Provenance claims a product, version, step or output that its own definition does not have.',
    remedy: 'Do not trust this provenance: the builder that signed it did not build from that definition.',
  },
  SBOM_EVIDENCE_MALFORMED: {
    class: 'rejection',
    meaning: 'The linker map or the ELF file named as evidence is not one that Waybill can read.',
    remedy: 'Name a map written by GNU ld (-Wl,-Map=…) and the ELF file of the same link.',
  },
  SBOM_IMAGES_EQUAL: {
    class: 'rejection',
    meaning:
      'Two images of one definition have the same bytes: evidence goes by digest, and theirs would contradict each other.',
    remedy: 'Name one of them in `products`, or make them differ.',
  },
  SBOM_INVALID: {
    class: 'rejection',
    meaning: 'The SBOM does not follow the schema of CycloneDX 1.6.',
    remedy: 'This is a mistake of Waybill, please report it with the message; no SBOM was written.',
  },
});
