// SPDX-License-Identifier: Apache-2.0
// Codes of certificates, their paths, certificate transparency and timestamps [docs/errors.md].

import { faultsOf } from '../faults.ts';

export const X509 = faultsOf({
  X509_CERTIFICATE_MALFORMED: {
    class: 'rejection',
    meaning: 'A certificate or a key in it is not X.509 version 3 in strict DER.',
    remedy: 'Refuse; have the statement signed again with a certificate of a sound authority.',
  },
  X509_ALGORITHM_UNSUPPORTED: {
    class: 'rejection',
    meaning:
      'A key or signature is of a kind that this verifier, or the machine that it runs on, cannot check.',
    remedy: 'Use ECDSA on P-256 or P-384 or Ed25519; RSA where the machine gives it.',
  },
  X509_ISSUER_UNKNOWN: {
    class: 'rejection',
    meaning:
      'No trusted authority of that name and key, valid at the time of signing, issued the certificate.',
    remedy: 'Refuse; or check that the trusted root is the one of the service that signed.',
  },
  X509_SIGNATURE_INVALID: {
    class: 'rejection',
    meaning: "A certificate was not signed by its issuer's key.",
    remedy: 'Refuse; the certificate was forged or changed.',
  },
  X509_TIME_OUTSIDE_VALIDITY: {
    class: 'rejection',
    meaning: 'A certificate was not valid at the time of signing.',
    remedy: 'Refuse; have the statement signed again while the certificate is valid.',
  },
  X509_AUTHORITY_UNFIT: {
    class: 'rejection',
    meaning:
      'A certificate that issued another is not that of an authority, or may not have so many below it.',
    remedy: 'Refuse; correct the authority named in the trusted root.',
  },
  X509_USAGE_FORBIDDEN: {
    class: 'rejection',
    meaning: 'A certificate may not be used for what its key was used for.',
    remedy: 'Refuse; use a certificate for code signing, or for timestamps alone.',
  },
  X509_EXTENSION_UNKNOWN: {
    class: 'rejection',
    meaning: 'A certificate has a critical extension that is not understood here.',
    remedy: 'Refuse; what is critical must not be passed over.',
  },
  X509_IDENTITY_MALFORMED: {
    class: 'rejection',
    meaning: 'A signing certificate does not name exactly one identity and who issued it.',
    remedy: 'Refuse; have the statement signed under a certificate of a Fulcio-compatible authority.',
  },
  X509_SCT_MALFORMED: {
    class: 'rejection',
    meaning: 'The list of certificate timestamps in a certificate cannot be read.',
    remedy: 'Refuse; have the statement signed again.',
  },
  X509_SCT_MISSING: {
    class: 'rejection',
    meaning: 'A signing certificate carries no proof that it was logged.',
    remedy: 'Refuse; have the certificate issued by an authority that logs what it issues.',
  },
  X509_SCT_LOG_UNKNOWN: {
    class: 'rejection',
    meaning: 'A certificate was logged in a log that the trusted root does not name for that time.',
    remedy: 'Refuse; or check that the trusted root is the one of the service that signed.',
  },
  X509_SCT_SIGNATURE_INVALID: {
    class: 'rejection',
    meaning:
      'The proof that a certificate was logged was not signed by the log, or is about another certificate.',
    remedy: 'Refuse; the certificate was not logged.',
  },
  TIMESTAMP_MALFORMED: {
    class: 'rejection',
    meaning: 'A timestamp is not a granted RFC 3161 response with one signer, in strict DER.',
    remedy: 'Refuse; have the statement signed again with another timestamp authority.',
  },
  TIMESTAMP_AUTHORITY_UNKNOWN: {
    class: 'rejection',
    meaning: 'A timestamp was made by an authority that the trusted root does not name for that time.',
    remedy: 'Refuse; have the statement signed again with the timestamp authority of the trusted root.',
  },
  TIMESTAMP_SUBJECT_MISMATCH: {
    class: 'rejection',
    meaning: 'A timestamp is about something other than the signature of the bundle.',
    remedy: 'Refuse; the timestamp belongs to another bundle.',
  },
  TIMESTAMP_SIGNATURE_INVALID: {
    class: 'rejection',
    meaning: 'A timestamp was not signed by the authority that it names.',
    remedy: 'Refuse; the timestamp was forged or changed.',
  },
  TIMESTAMP_SIGNER_UNBOUND: {
    class: 'rejection',
    meaning:
      "A timestamp does not name, under its signature, the certificate of the authority's key by a hash of SHA-2.",
    remedy: 'Refuse; use a timestamp authority that follows RFC 5816.',
  },
});
