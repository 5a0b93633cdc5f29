// SPDX-License-Identifier: Apache-2.0
// Steps of verification about who signed, and what [docs/spec/verification.md §Bundle]: the key, the certificate's path and log,
// the signature and what it covers.

import { ecdsaCurveOf, verifyP256Digest } from '../crypto.ts';
import { base64Encode } from '../encoding/base64.ts';
import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import { PAYLOAD_TYPE, parseStatement } from '../intoto/statement.ts';
import { preAuthEncoding } from '../sigstore/bundle.ts';
import { SIGSTORE } from '../sigstore/faults.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { X509 } from '../x509/faults.ts';
import { readIdentity } from '../x509/identity.ts';
import { isWithin, verifyCertificate } from '../x509/path.ts';
import { verifyScts } from '../x509/sct.ts';
import { type Given, type Learned, type Step, signerOf, timesOf } from './evidence.ts';

const MATERIAL = '/verificationMaterial';
const CERTIFICATE = `${MATERIAL}/certificate`;

/** The artifact that is asked about is the one that the bundle says it is about; nothing is proved by that yet. */
export const matchArtifact: Step = ({ bundle: { content }, artifact, crypto }) => {
  if (content.kind !== 'message') return;
  if (artifact === undefined) {
    throw SIGSTORE.reject(
      'SIGSTORE_CONTENT_UNSUPPORTED',
      'expected a statement, or the artifact that was signed, got a signature over an artifact that is not at hand',
      { at: '/messageSignature' },
    );
  }
  const sha256 = 'bytes' in artifact ? crypto.sha256(artifact.bytes) : artifact.sha256;
  if (sameBytes(sha256, content.digest)) return;
  throw otherArtifact([hexEncode(content.digest)], sha256, '/messageSignature/messageDigest');
};

function otherArtifact(expected: readonly string[], got: Uint8Array, at: string) {
  return SIGSTORE.reject(
    'SIGSTORE_ARTIFACT_MISMATCH',
    `expected the artifact ${expected
      .slice(0, 5)
      .map((digest) => `sha256:${digest}`)
      .join(' or ')}, got sha256:${hexEncode(got)}`,
    { at },
  );
}

/** The signer's certificate says whose it is, or the hint names a listed key. Trust in the certificate comes later. */
export const findSigner: Step = (given, learned) => {
  const { signer } = given.bundle;
  learned.signer = signer.kind === 'key' ? listedKey(given, signer.hint) : certified(given);
  if (ecdsaCurveOf(learned.signer.publicKey) !== 'P-256') {
    throw SIGSTORE.reject('SIGSTORE_KEY_UNSUITABLE', 'expected a P-256 key, got another', { at: MATERIAL });
  }
};

function certified({ bundle: { signer } }: Given): NonNullable<Learned['signer']> {
  if (signer.kind !== 'certificate') throw new TypeError('asked for the certificate of a key');
  const certificate = parseCertificate(signer.certificate);
  for (const other of signer.others.map(parseCertificate)) {
    if (!sameBytes(other.issuer, other.subject)) continue;
    throw SIGSTORE.reject(
      'SIGSTORE_BUNDLE_ROOT_INCLUDED',
      'expected a chain without a root, whose trust is not for the signer to give, got one with it',
      { at: `${MATERIAL}/x509CertificateChain` },
    );
  }
  const identity = readIdentity(certificate);
  return { kind: 'certificate', publicKey: certificate.publicKey.spki, certificate, identity };
}

function listedKey(
  { bundle: { content }, keys, crypto }: Given,
  hint: string,
): NonNullable<Learned['signer']> {
  const named = keys.find(({ publicKey }) => {
    const digest = crypto.sha256(publicKey);
    return hint === hexEncode(digest) || hint === base64Encode(digest);
  });
  const unknown = (expected: string, got: string) =>
    SIGSTORE.reject('SIGSTORE_KEY_UNKNOWN', `expected ${expected}, got ${quote(got)}`, {
      at: `${MATERIAL}/publicKey/hint`,
    });
  if (named === undefined) throw unknown('the SHA-256 of a listed key', hint);
  // [sigstore-bundle-v0.3 §Bundle]: the two must be the same.
  if (content.kind === 'dsse' && content.keyId !== hint) {
    throw unknown(`the key id ${quote(hint)} in the envelope too`, content.keyId);
  }
  return { kind: 'key', publicKey: named.publicKey, validFor: named.validFor };
}

/** The certificate leads to a listed authority, or the listed key was in force, at each of the times. */
export const verifySignerTrust: Step = ({ root, crypto }, learned) => {
  const signer = signerOf(learned);
  const timesMs = timesOf(learned);
  if (signer.kind === 'certificate') {
    const question = { leaf: signer.certificate, purpose: 'codeSigning', timesMs, at: CERTIFICATE } as const;
    signer.issuers = verifyCertificate(question, root.certificateAuthorities, crypto);
    return;
  }
  const { validFor } = signer;
  if (validFor !== undefined && !timesMs.every((timeMs) => isWithin(validFor, timeMs))) {
    throw SIGSTORE.reject(
      'SIGSTORE_KEY_PERIOD',
      'expected a key in force at the time of signing, got one before or after',
      { at: `${MATERIAL}/publicKey` },
    );
  }
};

/** Certificate transparency: every timestamp in the certificate is that of a listed log, and there is one. */
export const verifyCertificateLog: Step = ({ root, policy, crypto }, learned) => {
  const signer = signerOf(learned);
  if (signer.kind === 'key') return;
  const [issuer] = signer.issuers ?? [];
  if (issuer === undefined) throw new TypeError('no step has found the issuer');
  learned.certificateLogs = verifyScts(signer.certificate, issuer, root.certificateLogs, crypto);
  if (learned.certificateLogs.length === 0 && policy.certificateLog === 'required') {
    throw X509.reject(
      'X509_SCT_MISSING',
      'expected a certificate with the timestamp of a log, got one without',
      { at: CERTIFICATE },
    );
  }
};

/** The signature is that of the signer's key over the artifact, or over the envelope's type and payload. */
export const verifyContentSignature: Step = (
  { bundle: { content, signature }, opened, artifact, crypto },
  learned,
) => {
  const { publicKey } = signerOf(learned);
  let fits: boolean;
  if (content.kind === 'dsse') {
    fits =
      crypto.verifyP256Digest === undefined
        ? crypto.verifyP256(publicKey, preAuthEncoding(content.payloadType, content.payload), signature)
        : crypto.verifyP256Digest(publicKey, opened.envelopeDigest(), signature);
  } else if (artifact === undefined) {
    fits = false;
  } else if ('bytes' in artifact) {
    fits = crypto.verifyP256(publicKey, artifact.bytes, signature);
  } else {
    fits = verifyP256Digest(publicKey, artifact.sha256, signature);
  }
  if (fits) return;
  throw SIGSTORE.reject(
    'SIGSTORE_SIGNATURE_INVALID',
    "expected a signature by the signer's key over what the bundle holds, got another",
    { at: content.kind === 'dsse' ? '/dsseEnvelope/signatures/0/sig' : '/messageSignature/signature' },
  );
};

/** What was signed: an in-toto statement about the artifact, if one is asked about, or the artifact itself. */
export const readSignedContent: Step = ({ bundle: { content }, artifact, crypto }, learned) => {
  if (content.kind === 'message') {
    learned.content = { kind: 'artifact', sha256: content.digest };
    return;
  }
  const { payloadType, payload } = content;
  if (payloadType !== PAYLOAD_TYPE) {
    throw SIGSTORE.reject(
      'SIGSTORE_CONTENT_UNSUPPORTED',
      `expected the payload type ${PAYLOAD_TYPE}, got ${quote(payloadType)}`,
      { at: '/dsseEnvelope/payloadType' },
    );
  }
  const statement = parseStatement(payload);
  learned.content = { kind: 'statement', statement, payload };
  if (artifact === undefined) return;
  const sha256 = 'bytes' in artifact ? crypto.sha256(artifact.bytes) : artifact.sha256;
  const subjects = statement.subjects.map((subject) => subject.sha256);
  if (!subjects.includes(hexEncode(sha256))) throw otherArtifact(subjects, sha256, '/dsseEnvelope/payload');
};
