// SPDX-License-Identifier: Apache-2.0
// Sigstore bundles [sigstore-bundle-v0.3 §Bundle], versions 0.1 to 0.3: a signature over a statement in a DSSE envelope [DSSE-v1.0.2 §Envelope] or
// over an artifact, and what proves who made it, when, and that it was logged.
// Stricter than [sigstore-bundle-v0.3 §Bundle]: unknown members, null, numbers without quotes and base64 that is not canonical are
// refused; the digest of an artifact is there, and is SHA-256.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { CORE } from '../faults.ts';
import { LIMITS } from '../limits.ts';

/** Media types by version; the newest has two. */
const VERSIONS = {
  'application/vnd.dev.sigstore.bundle+json;version=0.1': '0.1',
  'application/vnd.dev.sigstore.bundle+json;version=0.2': '0.2',
  'application/vnd.dev.sigstore.bundle+json;version=0.3': '0.3',
  'application/vnd.dev.sigstore.bundle.v0.3+json': '0.3',
} as const;
const MEDIA_TYPES = Object.keys(VERSIONS) as readonly (keyof typeof VERSIONS)[];

/** What was signed. */
export type BundleContent =
  | {
      readonly kind: 'dsse';
      readonly payloadType: string;
      readonly payload: Uint8Array;
      /** Empty if the envelope names no key. */
      readonly keyId: string;
    }
  /** `digest` is SHA-256, and only says which artifact is meant. */
  | { readonly kind: 'message'; readonly digest: Uint8Array };

/** With what it was signed: DER certificates, the signer's first, or the hint of a key known to the verifier. */
export type BundleSigner =
  | { readonly kind: 'certificate'; readonly certificate: Uint8Array; readonly others: readonly Uint8Array[] }
  | { readonly kind: 'key'; readonly hint: string };

/** An inclusion proof as the bundle gives it. */
export interface BundleProof {
  readonly index: bigint;
  readonly size: bigint;
  readonly rootHash: Uint8Array;
  /** Leaf to root. */
  readonly hashes: readonly Uint8Array[];
  /** Signed note. */
  readonly checkpoint: string;
}

/** A log entry as the bundle gives it. */
export interface BundleLogEntry {
  /** Index outside the proof. */
  readonly index: bigint;
  readonly logId: Uint8Array;
  readonly kind: string;
  readonly version: string;
  /** Seconds since 1970, 0 if the log says nothing. */
  readonly integratedTimeS: number;
  /** Signed entry timestamp of Rekor v1. */
  readonly promise: Uint8Array | undefined;
  /** Undefined unless there is a checkpoint too. */
  readonly proof: BundleProof | undefined;
  /** The leaf. */
  readonly body: Uint8Array;
}

/** The parts of a bundle of any version. Unauthenticated. */
export interface AnyBundle {
  /** The media type as written. */
  readonly mediaType: keyof typeof VERSIONS;
  readonly version: (typeof VERSIONS)[keyof typeof VERSIONS];
  readonly content: BundleContent;
  readonly signature: Uint8Array;
  readonly signer: BundleSigner;
  readonly entries: readonly BundleLogEntry[];
  /** DER TimeStampResp, each. */
  readonly timestamps: readonly Uint8Array[];
}

/** Parses a bundle. @throws SIGSTORE_BUNDLE_MALFORMED */
export function parseAnyBundle(bytes: Uint8Array): AnyBundle {
  const refuse = (message: string, at: string) => CORE.reject('SIGSTORE_BUNDLE_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse }, LIMITS.bundleSizeBytes);
  root.only('mediaType', 'verificationMaterial', 'dsseEnvelope', 'messageSignature');
  const mediaType = root.field('mediaType').word(...MEDIA_TYPES);
  const version = VERSIONS[mediaType];
  const material = root.field('verificationMaterial');
  material.only(
    'certificate',
    'x509CertificateChain',
    'publicKey',
    'tlogEntries',
    'timestampVerificationData',
  );
  const timestamps = material.optional('timestampVerificationData')?.only('rfc3161Timestamps');
  return {
    mediaType,
    version,
    ...readContent(root),
    signer: readSigner(material, version),
    entries: elements(material, 'tlogEntries').map(readEntry),
    timestamps:
      timestamps === undefined
        ? []
        : elements(timestamps, 'rfc3161Timestamps').map((node) =>
            octets(node.only('signedTimestamp').field('signedTimestamp')),
          ),
  };
}

function readContent(root: DocumentNode): Pick<AnyBundle, 'content' | 'signature'> {
  const envelope = root.optional('dsseEnvelope')?.only('payloadType', 'payload', 'signatures');
  const message = root.optional('messageSignature')?.only('messageDigest', 'signature');
  if (envelope !== undefined && message === undefined) {
    const [signature, ...more] = envelope.field('signatures').someElements() as [DocumentNode];
    if (more.length > 0)
      throw envelope.field('signatures').wrong(`expected exactly one element, got ${more.length + 1}`);
    const keyId = signature.only('sig', 'keyid').optional('keyid');
    const content = {
      kind: 'dsse',
      payloadType: envelope.field('payloadType').string(),
      payload: octets(envelope.field('payload')),
      keyId: keyId?.value === '' ? '' : (keyId?.string() ?? ''),
    } as const;
    return { content, signature: octets(signature.field('sig')) };
  }
  if (message !== undefined && envelope === undefined) {
    const digest = message.field('messageDigest').only('algorithm', 'digest');
    digest.field('algorithm').word('SHA2_256');
    const content = { kind: 'message', digest: octets(digest.field('digest'), 32) } as const;
    return { content, signature: octets(message.field('signature')) };
  }
  throw root.wrong('expected either an envelope or a message signature');
}

function readSigner(material: DocumentNode, version: AnyBundle['version']): BundleSigner {
  const certificate = material.optional('certificate');
  const chain = material.optional('x509CertificateChain');
  const key = material.optional('publicKey');
  if ([certificate, chain, key].filter((one) => one !== undefined).length !== 1) {
    throw material.wrong('expected one of certificate, certificate chain and public key');
  }
  if (key !== undefined) return { kind: 'key', hint: key.only('hint').field('hint').string() };
  if (certificate !== undefined) {
    return { kind: 'certificate', certificate: rawBytes(certificate), others: [] };
  }
  const list = (chain as DocumentNode).only('certificates').field('certificates');
  const [first, ...others] = list.someElements() as [DocumentNode];
  if (version === '0.3') throw list.wrong('expected a single certificate in a bundle of version 0.3');
  if (others.length >= LIMITS.chainLength) {
    throw list.wrong(`expected at most ${LIMITS.chainLength} certificates`);
  }
  return { kind: 'certificate', certificate: rawBytes(first), others: others.map(rawBytes) };
}

function rawBytes(node: DocumentNode): Uint8Array {
  return octets(node.only('rawBytes').field('rawBytes'));
}

function readEntry(node: DocumentNode): BundleLogEntry {
  node.only(
    'logIndex',
    'logId',
    'kindVersion',
    'integratedTime',
    'inclusionPromise',
    'inclusionProof',
    'canonicalizedBody',
  );
  const kindVersion = node.field('kindVersion').only('kind', 'version');
  const promise = node.optional('inclusionPromise')?.only('signedEntryTimestamp');
  return {
    index: whole(node, 'logIndex'),
    logId: octets(node.field('logId').only('keyId').field('keyId')),
    kind: kindVersion.field('kind').string(),
    version: kindVersion.field('version').string(),
    integratedTimeS: Number(whole(node, 'integratedTime')),
    promise: promise === undefined ? undefined : octets(promise.field('signedEntryTimestamp')),
    proof: readProof(node.optional('inclusionProof')),
    body: octets(node.field('canonicalizedBody')),
  };
}

function readProof(node: DocumentNode | undefined): BundleProof | undefined {
  if (node === undefined) return undefined;
  node.only('logIndex', 'rootHash', 'treeSize', 'hashes', 'checkpoint');
  const hashes = elements(node, 'hashes', LIMITS.proofHashCount).map((hash) => octets(hash, 32));
  const proof = {
    index: whole(node, 'logIndex'),
    size: whole(node, 'treeSize'),
    rootHash: octets(node.field('rootHash'), 32),
    hashes,
  };
  const checkpoint = node.optional('checkpoint')?.only('envelope').field('envelope').string();
  return checkpoint === undefined ? undefined : { ...proof, checkpoint };
}

/** A 64-bit number, which protobuf JSON writes as a string, and leaves out if it is 0. */
function whole(node: DocumentNode, name: string): bigint {
  return BigInt(node.optional(name)?.matching(/^(0|[1-9][0-9]{0,15})$/, 'a number in quotes') ?? '0');
}

/** A list, which protobuf JSON leaves out if it is empty. */
function elements(
  node: DocumentNode,
  name: string,
  countMax: number = LIMITS.bundleEvidenceCount,
): readonly DocumentNode[] {
  const found = node.optional(name);
  const list = found?.elements() ?? [];
  if (found !== undefined && list.length > countMax) {
    throw found.wrong(`expected at most ${countMax} elements, got ${list.length}`);
  }
  return list;
}

function octets(node: DocumentNode, sizeBytes?: number): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  if (sizeBytes !== undefined && bytes.length !== sizeBytes) {
    throw node.wrong(`expected ${sizeBytes} bytes, got ${bytes.length}`);
  }
  return bytes;
}
