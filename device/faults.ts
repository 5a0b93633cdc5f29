// SPDX-License-Identifier: Apache-2.0
// Codes of the update agent. DEVICE: its folder and its registry; SLOT: where images lie; UPDATE: links of the chain that
// only a device checks [docs/spec/device.md §Order of an update].

import { faultsOf } from '../core/faults.ts';

export const DEVICE = faultsOf({
  DEVICE_SETTING_MALFORMED: {
    class: 'rejection',
    meaning: 'A setting given to `waybill device init` is not one that a device can have.',
    remedy: 'Correct the option named; see `waybill device init --help`.',
    usage: true,
  },
  DEVICE_EXISTS: {
    class: 'rejection',
    meaning: 'The folder already holds a device.',
    remedy:
      'Choose another folder; a device is never made anew over an old one, since its counter and floor would go back.',
    usage: true,
  },
  DEVICE_NOT_INITIALISED: {
    class: 'rejection',
    meaning: 'The folder does not hold a device.',
    remedy: 'Make one with `waybill device init`.',
    usage: true,
  },
  DEVICE_NOT_ENROLLED: {
    class: 'rejection',
    meaning: 'The device was not registered, so that nobody would believe its reports.',
    remedy:
      'Register it with `waybill device enrol <folder> --token-file <file>`; the token is keys/enrolment.token in the data folder of the registry.',
    usage: true,
  },
  DEVICE_STATE_DAMAGED: {
    class: 'rejection',
    meaning: 'A file of the device folder and its copy are both missing or damaged.',
    remedy: 'Restore the device from its factory image; do not edit the folder by hand.',
  },
  DEVICE_STATE_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The device folder could not be read or written; what was there before still holds.',
    remedy: 'Check free space and permissions, then run the command again.',
  },
  DEVICE_BUSY: {
    class: 'unavailable',
    meaning: 'Another agent is at work in this device folder.',
    remedy: 'Wait for it to finish, then run the command again.',
  },
  DEVICE_REGISTRY_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The registry did not answer, or answered that it cannot serve now.',
    remedy:
      'Check the address, the network and that `waybill serve` runs there, then run the command again. A certificate by an authority of your own needs NODE_EXTRA_CA_CERTS (docs/operating.md); ' +
      'ERR_SSL_WRONG_VERSION_NUMBER says that the address is http, not https; UND_ERR_SOCKET, that an http address may be https, or that the registry asks for a client certificate.',
  },
  DEVICE_ENROLMENT_REFUSED: {
    class: 'rejection',
    meaning: 'The registry refused to register the device.',
    remedy:
      'See the reason in the message: another enrolment token, another device id, or the base address of the registry.',
  },
  TUF_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The update repository could not be reached or did not answer in time.',
    remedy:
      'Check the address, the network and that `waybill serve` runs there, then try again. A certificate by an authority of your own needs NODE_EXTRA_CA_CERTS (docs/operating.md); ' +
      'ERR_SSL_WRONG_VERSION_NUMBER says that the address is http, not https; UND_ERR_SOCKET, that an http address may be https, or that the registry asks for a client certificate.',
  },
  TUF_STATE_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The folder that keeps verified metadata cannot be read or written.',
    remedy: 'Check free space and permissions of the folder, and try again.',
  },
  SLOT_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'The inactive slot could not be written or read; the active one was not touched.',
    remedy: 'Check free space and the medium, then run the update again.',
  },
  SLOT_ACTIVE_DAMAGED: {
    class: 'rejection',
    meaning: 'The active slot does not hold the image that was installed in it.',
    remedy:
      'Release a higher version, which goes to the other slot; then find out whether the storage is faulty or somebody wrote to it.',
  },
  SLOT_READBACK_MISMATCH: {
    class: 'rejection',
    meaning: 'The slot does not hold the bytes that were verified while they were written.',
    remedy: 'Run the update again; if it stays so, the storage is faulty or someone else writes to it.',
  },
  UPDATE_POLICY_MISMATCH: {
    class: 'rejection',
    meaning: 'The device policy is for another product or does not name this hardware.',
    remedy: 'Publish the policy of this product and hardware with `waybill product`.',
  },
  UPDATE_PRODUCT_MISMATCH: {
    class: 'rejection',
    meaning: "The index of releases is another product's.",
    remedy: 'Refuse; release again with `waybill release`.',
  },
  UPDATE_HARDWARE_MISMATCH: {
    class: 'rejection',
    meaning: 'Releases are offered, but none for this hardware.',
    remedy: 'Release for this hardware id, or correct the id of the device.',
  },
  UPDATE_WITHDRAWN: {
    class: 'rejection',
    meaning: 'The release on offer was withdrawn by a signed denial.',
    remedy: 'Release a corrected version.',
  },
  UPDATE_INSTALLED_WITHDRAWN: {
    class: 'rejection',
    meaning: 'A signed denial names the image that runs now, and nothing newer is offered.',
    remedy: 'Release a corrected version; the device installs it at its next update.',
  },
  UPDATE_TARGET_MISMATCH: {
    class: 'rejection',
    meaning: 'The index of releases and the signed targets of the delegation disagree about a file.',
    remedy: 'Release again with `waybill release`.',
  },
  UPDATE_PACK_DIGEST: {
    class: 'rejection',
    meaning: 'The evidence pack is not the one that the index of releases names.',
    remedy:
      'Get the pack again, from the registry; if it is the registry that gives this one, release again with `waybill release`.',
  },
  UPDATE_CLOCK_BEHIND: {
    class: 'rejection',
    meaning: 'The clock stands before a time that evidence of the installed release was verified to have.',
    remedy: 'Set the clock of the device.',
  },
  UPDATE_LOG_INCONSISTENT: {
    class: 'rejection',
    meaning:
      'The log is smaller than it was when the installed release was verified, or another log of the same size.',
    remedy: "Refuse, and tell the log's operator: a log only grows, so two histories of it were shown.",
  },
  UPDATE_IMAGE_TOO_LONG: {
    class: 'rejection',
    meaning: 'The download of the image has more bytes than the signed metadata announces.',
    remedy: 'Refuse; the file was changed in the repository.',
  },
  UPDATE_IMAGE_MISMATCH: {
    class: 'rejection',
    meaning: 'The downloaded image is not the one that the evidence is about.',
    remedy: 'Fetch again; if it stays so, the file was changed in the repository.',
  },
  UPDATE_DOWNLOAD_INTERRUPTED: {
    class: 'unavailable',
    meaning: 'The download of the image did not start, stalled or broke off.',
    remedy: 'Run the update again when the network is back.',
  },
  UPDATE_CANCELLED: {
    class: 'unavailable',
    meaning: 'The update was cancelled before the switch; the active slot was not touched.',
    remedy: 'Run the update again.',
  },
  UPDATE_VERSION_FLOOR: {
    class: 'rejection',
    meaning: "The release is below the device's version floor, or not newer than what is installed.",
    remedy: 'Release a higher version; a device never goes back.',
  },
});
