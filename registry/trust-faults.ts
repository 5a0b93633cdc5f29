// SPDX-License-Identifier: Apache-2.0
// Codes of the trust services: certificate authority, certificate transparency log, timestamp authority, identity tokens.

import { faultsOf } from '../core/faults.ts';

export const TRUST = faultsOf({
  CA_REQUEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A certificate request is not one of the two forms of the signing API.',
    remedy: 'Send one of publicKeyRequest and certificateSigningRequest; see docs/spec/trust-services.md.',
  },
  CA_REQUEST_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A certificate request is larger than any honest one.',
    remedy: 'Send only the token and one public key or signing request.',
  },
  CA_KEY_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'The public key to certify is not an ECDSA P-256 key in its one accepted encoding.',
    remedy: 'Make a P-256 key and send its SubjectPublicKeyInfo with an uncompressed point.',
  },
  CA_PROOF_WRONG: {
    class: 'rejection',
    meaning:
      'The proof of possession is absent or was not made over the challenge of the token by the key to certify.',
    remedy:
      'Sign the claim that /ca/api/v2/configuration names for the issuer, with the private key whose public key is sent.',
  },
  CA_CSR_MALFORMED: {
    class: 'rejection',
    meaning: 'The certificate signing request is not a PKCS#10 request in PEM.',
    remedy: 'Send the base64 of a PEM signing request made for a P-256 key with SHA-256.',
  },
  CA_CSR_SIGNATURE_WRONG: {
    class: 'rejection',
    meaning: 'The signing request is not signed by the key that it asks to certify.',
    remedy: 'Make the signing request with the private key that belongs to its public key.',
  },
  CA_FILES_EXIST: {
    class: 'rejection',
    meaning: 'A key or certificate would have been overwritten.',
    remedy:
      'Keys that exist are never replaced: choose another folder, or remove the file if a command that was broken off made it and nothing uses it.',
    usage: true,
  },
  CA_FILES_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'A key or certificate could not be written.',
    remedy: 'Free space or choose another folder, remove what was made, then run the command again.',
  },
  CA_FILES_UNREADABLE: {
    class: 'rejection',
    meaning: 'A key or certificate of the trust services is missing or cannot be read.',
    remedy: 'Point at the data folder that `waybill init` made, or restore the file from its backup.',
    usage: true,
  },
  CA_KEY_EXPOSED: {
    class: 'rejection',
    meaning:
      'A private key or the enrolment token can be read or changed by others than its owner, or the folder of the keys or a file that names a signer changed.',
    remedy:
      'Run `chmod 600` on the file, `chmod 700` on the folder, and rotate the key, or write another token, if others could have read it. A key that a group must read belongs to root, with mode 0640 or 0440.',
    usage: true,
  },
  CA_KEY_MISMATCH: {
    class: 'rejection',
    meaning: 'A private key of the trust services does not belong to its certificate.',
    remedy: 'Restore key and certificate from the same backup.',
    usage: true,
  },
  CA_CHAIN_NOT_VALID: {
    class: 'unavailable',
    meaning: 'A certificate of the trust services is not valid at this time, so nothing is issued under it.',
    remedy: 'Check the clock of the server; renew the certificate with the offline root if it has expired.',
  },
  TRUST_KEY_UNPUBLISHED: {
    class: 'unavailable',
    meaning:
      'The published trusted root names none of the keys of this service for now, so nobody could verify what it signs.',
    remedy:
      'Publish trust/trusted_root.json of the data folder with `waybill tuf update`; see docs/rotation.md.',
  },
  TRUST_KEY_GONE: {
    class: 'unavailable',
    meaning:
      'A key of this service that was followed by a newer one was not there when the server started, and is asked to sign.',
    remedy:
      'Check the clock of the server: by it, the newer key is not in force. If the older key shall sign again, put it back and restart.',
  },
  TRUST_KEY_UNREAD: {
    class: 'rejection',
    meaning:
      'The data folder has keys that were made after the server started, so it cannot sign with them yet.',
    remedy: 'Restart `waybill serve`, then publish again.',
  },
  TRUST_ROOT_BEHIND: {
    class: 'rejection',
    meaning:
      'A trusted_root.json, that of the data folder or the one to be published, lacks an instance that is published; publishing it would forget that one.',
    remedy: 'Begin with the published trusted_root.json, and change nothing but what must change.',
    usage: true,
  },
  TRUST_CONFIG_BEHIND: {
    class: 'rejection',
    meaning:
      'A signing configuration or log policy, that to be published or the one published before, does not name the log that takes entries by the trusted root beside it: nobody could sign, or nobody would believe the log.',
    remedy:
      'Publish the three files of trust/ in the data folder at once: `waybill tuf update` with --trusted-root, and with --signing-config and --log-policy too.',
  },
  TRUST_ROOT_REOPENS: {
    class: 'rejection',
    meaning:
      'A trusted_root.json to be published takes back, or puts off, the end of a key that the published one has ended: a stolen key would count again.',
    remedy:
      'Begin with the published trusted_root.json; it is an older one otherwise. If the key is to count again, say so with --allow-reopen.',
    usage: true,
  },
  TRUST_ROTATE_EARLY: {
    class: 'rejection',
    meaning:
      'A key was to be made of a service whose newest key is not published yet: it would be left unused.',
    remedy:
      'Publish the key that is there first: restart the server, then `waybill tuf update` with what changed in trust/ of the data folder. With --stolen-since one more is made all the same.',
    usage: true,
  },
  TRUST_STOLEN_EARLY: {
    class: 'rejection',
    meaning:
      'Keys were to end at a time before the service had any: nothing that it ever signed would be valid.',
    remedy:
      'Give the time from which on somebody else may have had the key; what was signed before stays valid. If that is its whole life, give the time that is named.',
    usage: true,
  },
  TRUST_RETIRE_EARLY: {
    class: 'rejection',
    meaning: 'Older instances of a service cannot be retired: there is none, or the newest is not published.',
    remedy:
      'Rotate the key and publish the new trusted root first; the servers must sign with the new key before the old one ends.',
    usage: true,
  },
  TRUST_ROOT_KEY_WRONG: {
    class: 'rejection',
    meaning: 'The offline key given is not the one of the root that issued the current certificate.',
    remedy: 'Give the key of that root, or begin with a new root.',
    usage: true,
  },
  SIGNER_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The signer that holds a key of this service does not answer.',
    remedy:
      'Start `waybill signer serve` at the socket that the .signer file in keys/ names; then try again. If it runs and the reason is EACCES, put the user of the server into the ' +
      'group of the socket, let that group into its folder, and restart the server: it has the groups that it was started with.',
  },
  SIGNER_ANSWER_WRONG: {
    class: 'unavailable',
    meaning:
      'The signer answered with something else than a signature by the key that it had when the server started.',
    remedy: 'Give the signer the right key and purpose, then restart both.',
  },
  SIGNER_DATA_REFUSED: {
    class: 'rejection',
    meaning: 'A signer was asked to sign what its key is not for.',
    remedy: 'Find out who asked: the server sends a signer nothing but what its service signs.',
  },
  SIGNER_MEMORY_UNUSABLE: {
    class: 'rejection',
    meaning:
      'The file in which the signer of a log remembers the largest tree that it signed is damaged, or belongs to another key or log.',
    remedy:
      'Check --origin first, then --key: the message says which log and key were asked for, and which the file is of. Else name the right file with --memory, or restore it. Only if it is ' +
      'lost, and you know the last tree that was published, make an empty file in its place: the signer then begins with what it is asked first, and no longer keeps the log from a fork of what it signed.',
    usage: true,
  },
  SIGNER_SOCKET_UNUSABLE: {
    class: 'unavailable',
    meaning: 'The signer cannot listen at its socket.',
    remedy: 'Choose another path in a folder of its user, or stop the signer that listens there.',
  },
  SIGNER_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'The key given to a signer is not of the kind that its service signs with.',
    remedy: 'Give a P-256 key for ca, ct and tsa, an Ed25519 key for log.',
    usage: true,
  },
  CT_RESOURCE_UNKNOWN: {
    class: 'rejection',
    meaning: 'The certificate transparency log has no such tile or issuer.',
    remedy: 'Read the checkpoint first and ask only for tiles that its size implies.',
  },
  TSA_REQUEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A timestamp request is neither the JSON form nor a DER TimeStampReq.',
    remedy: 'Send {artifactHash, hashAlgorithm} as JSON or a TimeStampReq as application/timestamp-query.',
  },
  TSA_REQUEST_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A timestamp request is larger than any honest one.',
    remedy: 'Send a digest, never the data itself.',
  },
  TSA_HASH_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'A timestamp was asked over a digest other than SHA-256.',
    remedy: 'Hash the data with SHA-256.',
  },
  TSA_POLICY_UNKNOWN: {
    class: 'rejection',
    meaning: 'A timestamp was asked under a policy that this authority does not have.',
    remedy: 'Leave the policy out, or ask for 1.3.6.1.4.1.57264.2.',
  },
  TSA_EXTENSION_UNSUPPORTED: {
    class: 'rejection',
    meaning: 'A timestamp request carries an extension; this authority knows none.',
    remedy: 'Leave extensions out of the request.',
  },
  OIDC_CONFIG_MALFORMED: {
    class: 'rejection',
    meaning: 'An issuer entry of the configuration holds a value that cannot work.',
    remedy: 'Correct the entry at the place named; see docs/spec/trust-services.md.',
    usage: true,
  },
  OIDC_CONFIG_UNRESTRICTED: {
    class: 'rejection',
    meaning:
      'An issuer entry does not say which of its tokens it accepts: no id of a project or its owner, or no claim at all.',
    remedy: 'Add one of the claims named to "require"; names can change hands, ids cannot.',
    usage: true,
  },
  OIDC_CONFIG_URL_INSECURE: {
    class: 'rejection',
    meaning: 'An issuer address is neither https nor loopback http with its switch on.',
    remedy: 'Use https; allowLoopbackHttp: true is for tests on this machine alone.',
    usage: true,
  },
  OIDC_TOKEN_MISSING: {
    class: 'rejection',
    meaning: 'No identity token came with the request, or two different ones.',
    remedy: 'Send the token as credentials.oidcIdentityToken or as Authorization: Bearer.',
  },
  OIDC_TOKEN_MALFORMED: {
    class: 'rejection',
    meaning: 'The identity token is not a signed JSON Web Token.',
    remedy: 'Fetch a token from the issuer and send it unchanged.',
  },
  OIDC_TOKEN_ALGORITHM_REFUSED: {
    class: 'rejection',
    meaning: 'The identity token is unsigned or signed with an algorithm that is not a public-key signature.',
    remedy: 'Have the issuer sign with RS256, PS256, ES256, EdDSA or a stronger one of these families.',
  },
  OIDC_TOKEN_ISSUER_UNKNOWN: {
    class: 'rejection',
    meaning: 'The identity token names an issuer that this authority does not accept.',
    remedy: 'Use a configured issuer; the name must match byte by byte, a trailing slash included.',
  },
  OIDC_TOKEN_SIGNATURE_WRONG: {
    class: 'rejection',
    meaning: 'The identity token is not signed by a current key of its issuer.',
    remedy: 'Fetch a fresh token from the issuer.',
  },
  OIDC_TOKEN_AUDIENCE_WRONG: {
    class: 'rejection',
    meaning: 'The identity token was made for somebody else.',
    remedy: 'Ask the issuer for a token with this authority as its only audience.',
  },
  OIDC_TOKEN_EXPIRED: {
    class: 'rejection',
    meaning: 'The identity token is no longer valid.',
    remedy: 'Fetch a fresh token from the issuer; check the clock of the server.',
  },
  OIDC_TOKEN_NOT_YET_VALID: {
    class: 'rejection',
    meaning: 'The identity token lies in the future.',
    remedy: 'Check the clocks of issuer and server.',
  },
  OIDC_TOKEN_CLAIM_MALFORMED: {
    class: 'rejection',
    meaning: 'A claim that goes into the certificate is missing or has no safe form.',
    remedy: 'Use an issuer of the configured kind; see the claims in docs/spec/trust-services.md.',
  },
  OIDC_TOKEN_EMAIL_UNVERIFIED: {
    class: 'rejection',
    meaning: 'The issuer does not say that the e-mail address of the token belongs to its holder.',
    remedy: 'Confirm the address at the issuer, or have the issuer send email_verified.',
  },
  OIDC_TOKEN_REPLAYED: {
    class: 'rejection',
    meaning: 'The identity token was used before for another key: somebody may have copied it.',
    remedy:
      'Fetch a fresh token for each key; if you used this one only once, look for who else could read it. See docs/spec/trust-services.md for jobs that get one token.',
  },
  OIDC_TOKENS_TOO_MANY: {
    class: 'unavailable',
    meaning: 'More tokens are in use than the authority can remember, so a replay would go unnoticed.',
    remedy: 'Wait until tokens expire; have the issuer give tokens a shorter life.',
  },
  OIDC_TOKEN_IDENTITY_REFUSED: {
    class: 'rejection',
    meaning: 'The token is genuine, but names a repository, workflow or other property that is not accepted.',
    remedy: 'Run in the repository and workflow that the issuer entry names, or change the entry.',
  },
  OIDC_ISSUER_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The discovery document or the keys of an issuer could not be fetched.',
    remedy: 'Check that the issuer is up and reachable from the server, then try again.',
  },
});
