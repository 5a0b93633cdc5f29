// SPDX-License-Identifier: Apache-2.0
// Codes of attest: reading the build output again, identity, signing, submission.

import { faultsOf } from '../core/faults.ts';

export const ATTEST = faultsOf({
  ATTEST_FOLDER_INCOMPLETE: {
    class: 'rejection',
    meaning: 'The folder is not a build output: a part of it is missing.',
    remedy: 'Give the folder that `waybill build --out` wrote, whole and unchanged.',
    usage: true,
  },
  ATTEST_FILE_IRREGULAR: {
    class: 'rejection',
    meaning: 'The build output holds a link or special file where only regular files and folders may be.',
    remedy: 'Build again into an empty folder; do not link files into a build output.',
  },
  ATTEST_FILE_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A statement or the lock in the build output is larger than any that `waybill build` writes.',
    remedy: 'Build again into an empty folder.',
  },
  ATTEST_STATEMENT_FILE_UNKNOWN: {
    class: 'rejection',
    meaning: 'A file in statements/ is not one that the builder writes.',
    remedy: 'Remove the file, or build again into an empty folder.',
  },
  ATTEST_STATEMENT_MISSING: {
    class: 'rejection',
    meaning:
      'Statements are not numbered without a gap from 01, or the SBOM reference or all provenance is missing.',
    remedy: 'Build again into an empty folder and attest the result untouched.',
  },
  ATTEST_STATEMENT_NOT_CANONICAL: {
    class: 'rejection',
    meaning:
      'A statement is not in the canonical bytes that the builder writes, so it was edited after the build.',
    remedy: 'Build again; find out who may write into the build output between build and attest.',
  },
  ATTEST_STATEMENT_MISNAMED: {
    class: 'rejection',
    meaning: 'A statement file holds another step than its name says, or a step twice.',
    remedy: 'Build again into an empty folder and attest the result untouched.',
  },
  ATTEST_STATEMENTS_DISAGREE: {
    class: 'rejection',
    meaning:
      'The statements name different builders, products, versions or invocations: they are not of one build.',
    remedy: 'Build again into an empty folder; do not mix the statements of two builds.',
  },
  ATTEST_SUBJECT_WITHOUT_FILE: {
    class: 'rejection',
    meaning: 'A statement names an output that is not in the folder.',
    remedy: 'Build again and attest the result untouched.',
  },
  ATTEST_OUTPUT_CHANGED: {
    class: 'rejection',
    meaning:
      'An output does not have the digest that its statement gives: one of them was changed after the build.',
    remedy: 'Build again; find out who may write into the build output between build and attest.',
  },
  ATTEST_OUTPUT_UNNAMED: {
    class: 'rejection',
    meaning: 'A file among the outputs or products is named by no statement.',
    remedy: 'Remove the file, or build again into an empty folder.',
  },
  ATTEST_PRODUCT_UNBUILT: {
    class: 'rejection',
    meaning: 'A product is not an output of any step, by name and digest.',
    remedy: 'Build again; products are copies of step outputs and nothing else.',
  },
  ATTEST_MATERIAL_BROKEN: {
    class: 'rejection',
    meaning: 'A statement takes a material that is not an output of the earlier step it names.',
    remedy: 'Build again; do not mix the statements of two builds.',
  },
  ATTEST_AUDIT_CHANGED: {
    class: 'rejection',
    meaning:
      'An audit statement is about another image, or about an audit, SBOM, definition or lock that is not in the folder.',
    remedy: 'Build again with `waybill build --audit` and attest the result untouched.',
  },
  ATTEST_LOCK_CHANGED: {
    class: 'rejection',
    meaning: 'waybill.lock is not the one that the steps were built with.',
    remedy: 'Build again with the lock file that you mean to ship.',
  },
  ATTEST_LOCK_MALFORMED: {
    class: 'rejection',
    meaning: 'waybill.lock in the build output is not a lock of version 1.',
    remedy: 'Build again with this version of Waybill.',
  },
  ATTEST_DEFINITION_CHANGED: {
    class: 'rejection',
    meaning: 'waybill.yaml is not the one that the steps were built with.',
    remedy: 'Build again with the definition that you mean to ship.',
  },
  ATTEST_INPUT_UNBOUND: {
    class: 'rejection',
    meaning: 'A step does not name waybill.lock and waybill.yaml once each.',
    remedy: 'Build again with this version of Waybill.',
  },
  ATTEST_INPUT_NOT_LOCKED: {
    class: 'rejection',
    meaning: 'A step names a package that waybill.lock does not pin with that digest.',
    remedy: 'Build again; a build sees only what the lock pins.',
  },
  ATTEST_INPUT_MISSING: {
    class: 'rejection',
    meaning: 'An input that is to be archived is neither in the registry nor on this machine.',
    remedy:
      'Build again with `--archive FOLDER`, which fetches every input into that folder, and attest with the same `--archive`.',
  },
  ATTEST_SBOM_CHANGED: {
    class: 'rejection',
    meaning: 'An SBOM is not the document that the SBOM reference names.',
    remedy: 'Build again; an SBOM is not edited after the build.',
  },
  IDENTITY_NONE: {
    class: 'rejection',
    meaning: 'No identity token was found.',
    remedy:
      'In GitHub Actions give the job `permissions: id-token: write`; elsewhere pass --token-file or set WAYBILL_ID_TOKEN.',
    usage: true,
  },
  IDENTITY_TOKEN_UNREADABLE: {
    class: 'rejection',
    meaning: 'The token file is missing or cannot be read.',
    remedy: 'Check the path given as --token-file and its permissions.',
    usage: true,
  },
  IDENTITY_TOKEN_MALFORMED: {
    class: 'rejection',
    meaning: 'The identity token is not a JSON Web Token with subject, audience and expiry.',
    remedy: 'Pass the token alone, as the issuer gave it, without quotes or prefix.',
  },
  IDENTITY_TOKEN_AUDIENCE: {
    class: 'rejection',
    meaning: 'The identity token was made for another audience, so it is not shown to the registry.',
    remedy: "Ask the issuer for a token whose audience is the registry's (--audience).",
  },
  IDENTITY_TOKEN_EXPIRED: {
    class: 'rejection',
    meaning: 'The identity token has expired.',
    remedy: 'Get a new token; tokens of CI systems live for minutes.',
  },
  IDENTITY_ISSUER_REFUSED: {
    class: 'rejection',
    meaning: 'The CI refused to give an identity token.',
    remedy: 'Give the job `permissions: id-token: write`; jobs from forks get no token.',
  },
  IDENTITY_ISSUER_UNREACHABLE: {
    class: 'unavailable',
    meaning: "The CI's token endpoint did not answer.",
    remedy: 'Run the job again.',
  },
  IDENTITY_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A private key is not an unencrypted ECDSA P-256 key in PKCS#8 PEM.',
    remedy: 'Make one with `waybill key`.',
    usage: true,
  },
  SIGN_CONFIG_MALFORMED: {
    class: 'rejection',
    meaning:
      'The signing configuration does not name authority, log and timestamp service as Sigstore v0.2 asks.',
    remedy: 'Publish a corrected signing_config.v0.2.json with `waybill init`.',
  },
  SIGN_CONFIG_NO_SERVICE: {
    class: 'rejection',
    meaning: 'The signing configuration names no service of a kind and version that can be used now.',
    remedy: 'Publish a signing configuration with a valid authority, log (API 2) and timestamp service.',
  },
  SIGN_URL_INSECURE: {
    class: 'rejection',
    meaning: 'A service that gets tokens or evidence would be reached over plain http outside this machine.',
    remedy: 'Serve it over https; plain http is for loopback addresses only.',
  },
  SIGN_SERVICE_REFUSED: {
    class: 'rejection',
    meaning: 'The certificate authority, log or timestamp service refused to take part in the signature.',
    remedy: 'Read the reason it gives; for the authority compare the token with its issuer entries.',
  },
  SIGN_SERVICE_UNAVAILABLE: {
    class: 'unavailable',
    meaning: 'The certificate authority, log or timestamp service did not answer.',
    remedy: 'Run the command again; statements that are already signed are kept.',
  },
  SIGN_ANSWER_MALFORMED: {
    class: 'rejection',
    meaning: 'A signing service answered with something that gives no complete bundle.',
    remedy: 'Check that the signing configuration names Sigstore services and not a proxy or login page.',
  },
  SUBMIT_URL_MALFORMED: {
    class: 'rejection',
    meaning: 'The registry address is not an http or https URL, or has a user, a query or a fragment.',
    remedy: 'Pass --registry as in http://127.0.0.1:8080 or https://waybill.example.',
    usage: true,
  },
  SUBMIT_REFUSED: {
    class: 'rejection',
    meaning: 'The registry refused a bundle or a file.',
    remedy: 'Follow what the registry says in the message.',
  },
  SUBMIT_UNAVAILABLE: {
    class: 'unavailable',
    meaning: 'The registry could not be reached or could not answer.',
    remedy: 'Run the command again; what is signed and stored already is not done twice.',
  },
  SUBMIT_ANSWER_MALFORMED: {
    class: 'rejection',
    meaning: 'The registry acknowledged something else than what was sent, or not in its own format.',
    remedy: 'Check that --registry is the address of `waybill serve` and not of a proxy or login page.',
  },
});
