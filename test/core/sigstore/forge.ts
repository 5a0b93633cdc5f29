// SPDX-License-Identifier: Apache-2.0
// A private Sigstore in a few functions, whose keys the test holds: it signs whatever it is asked to, sound or not. So an attack
// can be mounted at one place while everything before and after it is truly signed.

import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { portableCrypto as hasher } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { formatHashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { hashLeaf, hashPart, inclusionParts, treeRoot } from '../../../core/tlog/merkle.ts';
import { ED25519_NOTE, formatNote, type NoteSignature, noteKeyHash } from '../../../core/tlog/note.ts';
import { parseDer } from '../../../core/x509/der.ts';
import {
  merkleTreeLeaf,
  sctListExtension,
  signedCertificateTimestamp,
} from '../../../registry/ct/structures.ts';
import {
  authorityConstraints,
  authorityKeyIdentifier,
  buildName,
  buildTbs,
  type CertificateContent,
  EMPTY_NAME,
  type Extension,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  OID,
  sha256,
  subjectKeyIdentifier,
} from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';

/** When everything happens. */
export const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const YEAR_MS = 365 * 86_400_000;
export const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
export const ISSUER = 'https://token.example';
export const LOG = 'log.example';
export const OLD_LOG = 'rekor.example';
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

/** A key pair. */
export interface Pair {
  readonly spki: Uint8Array;
  /** DER AlgorithmIdentifier of its signatures. */
  readonly algorithm: Uint8Array;
  readonly sign: (data: Uint8Array) => Uint8Array;
}

/** A key on a curve, P-256 unless told otherwise. */
export function pair(namedCurve = 'P-256', hash = 'sha256'): Pair {
  const algorithm = der.sequence(der.oid(`1.2.840.10045.4.3.${hash === 'sha256' ? 2 : 3}`));
  return pairOf(generateKeyPairSync('ec', { namedCurve }), hash, algorithm);
}

export function ed25519Pair(): Pair {
  return pairOf(generateKeyPairSync('ed25519'), null, der.sequence(der.oid('1.3.101.112')));
}

export function rsaPair(): Pair {
  const algorithm = der.sequence(der.oid('1.2.840.113549.1.1.11'), der.tlv(0x05));
  return pairOf(generateKeyPairSync('rsa', { modulusLength: 2048 }), 'sha256', algorithm);
}

function pairOf(
  keys: { publicKey: KeyObject; privateKey: KeyObject },
  hash: string | null,
  algorithm: Uint8Array,
): Pair {
  const spki = new Uint8Array(keys.publicKey.export({ type: 'spki', format: 'der' }));
  return { spki, algorithm, sign: (data) => new Uint8Array(sign(hash, data, keys.privateKey)) };
}

/** A certificate and its key. */
export interface Certified {
  readonly der: Uint8Array;
  readonly key: Pair;
  readonly name: Uint8Array;
  readonly serial: Uint8Array;
}

/** What may be changed of a certificate. */
export interface CertificateChange {
  readonly content?: Partial<CertificateContent>;
  readonly extensions?: (sound: readonly Extension[]) => readonly Extension[];
  /** Signs in the issuer's stead. */
  readonly signedBy?: Pair;
  readonly key?: Pair;
  /** Takes the place of the finished extension list's certificate timestamps, by log id. */
  readonly scts?: (sound: Uint8Array) => readonly Uint8Array[];
  /** Takes the place of the extension's value, a DER octet string. */
  readonly wrapScts?: (sound: Uint8Array) => Uint8Array;
}

let serials = 1;

/** Makes a certificate under an issuer, or its own issuer. */
export function certify(
  sound: { name: Uint8Array; extensions: readonly Extension[]; lifeMs: number },
  issuer: Certified | undefined,
  change: CertificateChange = {},
): Certified {
  const key = change.key ?? pair();
  const serial = Uint8Array.of(0x40, ...Buffer.from(String(serials++).padStart(8, '0')));
  const extensions = [
    ...sound.extensions,
    subjectKeyIdentifier(key.spki),
    ...(issuer === undefined ? [] : [authorityKeyIdentifier(keyIdentifier(issuer.key.spki))]),
  ];
  const content: CertificateContent = {
    issuer: issuer?.name ?? sound.name,
    subject: sound.name,
    spki: key.spki,
    serial,
    notBeforeMs: NOW_MS - 1000,
    notAfterMs: NOW_MS + sound.lifeMs,
    extensions: change.extensions?.(extensions) ?? extensions,
    ...change.content,
  };
  const bytes = signCertificate(buildTbs(content), change.signedBy ?? issuer?.key ?? key);
  return { der: bytes, key, name: content.subject, serial: content.serial };
}

/** Signs a TBSCertificate, which says so of itself. */
export function signCertificate(tbs: Uint8Array, { algorithm, sign }: Pair): Uint8Array {
  const members = membersOf(tbs).map((member, i) => (i === 2 ? algorithm : member));
  const said = der.sequence(...members);
  return der.sequence(said, algorithm, der.bitString(sign(said)));
}

/** The DER of each member of a sequence. */
export function membersOf(sequence: Uint8Array): readonly Uint8Array[] {
  const refuse = (message: string) => new Error(message) as never;
  return parseDer(sequence, refuse).children.map((child) => child.der);
}

const authority = (name: string, pathLength: number, ...more: readonly Extension[]) => ({
  name: buildName('example', name),
  extensions: [keyUsage('certificates'), authorityConstraints(pathLength), ...more],
  lifeMs: 10 * YEAR_MS,
});

/** Authorities, each of which may be made wrong. */
export interface ForgeChanges {
  readonly root?: CertificateChange;
  readonly intermediate?: CertificateChange;
  readonly tsaRoot?: CertificateChange;
  readonly tsa?: CertificateChange;
}

export class Forge {
  readonly root: Certified;
  readonly intermediate: Certified;
  readonly tsaRoot: Certified;
  readonly tsa: Certified;
  readonly ct = pair();
  readonly log = ed25519Pair();
  readonly oldLog = pair();
  readonly listed = pair();

  constructor(changes: ForgeChanges = {}) {
    this.root = certify(authority('root', 1), undefined, changes.root);
    const signing = extendedKeyUsage(OID.codeSigning);
    this.intermediate = certify(authority('intermediate', 0, signing), this.root, changes.intermediate);
    this.tsaRoot = certify(authority('tsa root', 0), undefined, changes.tsaRoot);
    const tsa = {
      name: buildName('example', 'tsa'),
      extensions: [keyUsage('digitalSignature'), extendedKeyUsage(OID.timeStamping, true)],
      lifeMs: YEAR_MS,
    };
    this.tsa = certify(tsa, this.tsaRoot, changes.tsa);
  }

  /** The log id of the log of today: SHA-256(origin ‖ "\n" ‖ 0x01 ‖ key). */
  get logId(): Uint8Array {
    return noteKeyHash(LOG, ED25519_NOTE, this.log.spki.subarray(-32), hasher);
  }

  /** trusted_root.json, changed as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
  trustedRoot(change: (root: any) => void = () => undefined): Uint8Array {
    const start = new Date(NOW_MS - YEAR_MS).toISOString();
    const logOf = (baseUrl: string, key: Pair, keyDetails: string, logId: Uint8Array) => ({
      baseUrl,
      hashAlgorithm: 'SHA2_256',
      publicKey: { rawBytes: b64(key.spki), keyDetails, validFor: { start } },
      logId: { keyId: b64(logId) },
    });
    const authorityOf = (uri: string, ...chain: Certified[]) => ({
      subject: { organization: 'example', commonName: 'x' },
      uri,
      certChain: { certificates: chain.map((one) => ({ rawBytes: b64(one.der) })) },
      validFor: { start },
    });
    const root = {
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: [
        logOf(`https://${LOG}`, this.log, 'PKIX_ED25519', this.logId),
        logOf(`https://${OLD_LOG}`, this.oldLog, 'PKIX_ECDSA_P256_SHA_256', sha256(this.oldLog.spki)),
      ],
      certificateAuthorities: [authorityOf('https://ca.example', this.intermediate, this.root)],
      ctlogs: [logOf('https://ct.example', this.ct, 'PKIX_ECDSA_P256_SHA_256', sha256(this.ct.spki))],
      timestampAuthorities: [authorityOf('https://tsa.example', this.tsa, this.tsaRoot)],
    };
    change(root);
    return utf8(JSON.stringify(root));
  }

  /** A signing certificate, in the certificate log. */
  signer(change: CertificateChange = {}, issuer = this.intermediate): Certified {
    const key = change.key ?? pair();
    const sound = [
      keyUsage('digitalSignature'),
      extendedKeyUsage(OID.codeSigning),
      {
        oid: OID.subjectAltName,
        critical: true as const,
        value: der.sequence(der.contextPrimitive(6, utf8(IDENTITY))),
      },
      { oid: '1.3.6.1.4.1.57264.1.8', value: der.utf8String(ISSUER) },
    ];
    const shape = { name: EMPTY_NAME, extensions: sound, lifeMs: 600_000 };
    const all = (scts: readonly Extension[]) =>
      certify(shape, issuer, {
        ...change,
        key,
        content: { serial: utf8('serial'), ...change.content },
        extensions: (list) => [...(change.extensions?.(list) ?? list), ...scts],
      });
    const [tbs] = membersOf(all([]).der) as [Uint8Array];
    const sct = this.sct(tbs, issuer.key.spki);
    const list = change.scts?.(sct) ?? [sct];
    const value = sctListExtension(...list);
    const wrapped = change.wrapScts?.(value) ?? value;
    return all(list.length === 0 ? [] : [{ oid: OID.ctSctList, value: wrapped }]);
  }

  /** A certificate timestamp over a TBSCertificate without list. */
  sct(tbs: Uint8Array, issuerSpki: Uint8Array, timeMs = NOW_MS, signer = this.ct): Uint8Array {
    const of = { der: tbs, tbs, chain: [], issuerKeyHash: sha256(issuerSpki) };
    const signature = signer.sign(merkleTreeLeaf(of, timeMs, 0n));
    return signedCertificateTimestamp({ logId: sha256(signer.spki), timeMs, index: 0n, signature });
  }

  /** An entry of today's log with its proof in a tree of three. */
  // biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
  entry(body: Uint8Array, kindVersion: object = { kind: 'hashedrekord', version: '0.0.2' }): any {
    const { proof } = this.prove(body, LOG, this.logLine);
    return {
      logIndex: '1',
      logId: { keyId: b64(this.logId) },
      kindVersion,
      inclusionProof: proof,
      canonicalizedBody: b64(body),
    };
  }

  /** An entry of the log of Rekor v1: dated and promised, its proof in a shard of that log. */
  // biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
  oldEntry(body: Uint8Array, kindVersion: object, integratedTime = NOW_MS / 1000): any {
    const logId = sha256(this.oldLog.spki);
    const { proof } = this.prove(body, `${OLD_LOG} - 77`, this.oldLogLine);
    const promise = {
      body: b64(body),
      integratedTime,
      logID: Buffer.from(logId).toString('hex'),
      logIndex: 4001,
    };
    return {
      logIndex: '4001',
      logId: { keyId: b64(logId) },
      kindVersion,
      integratedTime: String(integratedTime),
      inclusionPromise: { signedEntryTimestamp: b64(this.oldLog.sign(utf8(JSON.stringify(promise)))) },
      inclusionProof: proof,
      canonicalizedBody: b64(body),
    };
  }

  private readonly logLine = (text: string): NoteSignature => ({
    name: LOG,
    keyId: Buffer.from(this.logId.subarray(0, 4)).toString('hex'),
    signature: this.log.sign(utf8(text)),
  });

  private readonly oldLogLine = (text: string): NoteSignature => ({
    name: OLD_LOG,
    keyId: Buffer.from(sha256(this.oldLog.spki).subarray(0, 4)).toString('hex'),
    signature: this.oldLog.sign(utf8(text)),
  });

  /** A checkpoint that the log of that line signs. */
  checkpoint(origin: string, size: bigint, rootHash: Uint8Array, old = false): string {
    const text = formatCheckpoint({ origin, size, rootHash, extensions: [] });
    return formatNote({ text, signatures: [(old ? this.oldLogLine : this.logLine)(text)] });
  }

  private prove(body: Uint8Array, origin: string, line: (text: string) => NoteSignature) {
    const leaves = [utf8('before'), body, utf8('after')].map((leaf) => hashLeaf(leaf, hasher));
    const read = ({ index }: { index: bigint }) => leaves[Number(index)] as Uint8Array;
    const nodes = (node: { level: number; index: bigint }): Uint8Array =>
      node.level === 0 ? read(node) : treeRootOf(leaves, node);
    const rootHash = treeRoot(3n, nodes, hasher);
    const hashes = inclusionParts(1n, 3n).map((part) => b64(hashPart(part, nodes, hasher)));
    const text = formatCheckpoint({ origin, size: 3n, rootHash, extensions: [] });
    const envelope = formatNote({ text, signatures: [line(text)] });
    return {
      proof: { logIndex: '1', rootHash: b64(rootHash), treeSize: '3', hashes, checkpoint: { envelope } },
      rootHash,
    };
  }
}

/** The inner node over leaves 0 and 1: the only one that a tree of three has. */
function treeRootOf(leaves: readonly Uint8Array[], node: { level: number; index: bigint }): Uint8Array {
  if (node.level !== 1 || node.index !== 0n) throw new Error('no such node');
  return sha256(Uint8Array.of(1), leaves[0] as Uint8Array, leaves[1] as Uint8Array);
}

/** What a signing key signs a statement with. */
export interface Signer {
  readonly key: Pair;
  readonly certificate?: Uint8Array;
}

export const STATEMENT = utf8(
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'image.bin', digest: { sha256: createHash('sha256').update('image').digest('hex') } }],
    predicateType: 'https://example.com/predicate/v1',
    predicate: {},
  }),
);
export const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/** The leaf that a DSSE envelope has in today's log. */
export function leafOf(
  signer: Signer,
  signature: Uint8Array,
  payload = STATEMENT,
  type = PAYLOAD_TYPE,
): Uint8Array {
  return formatHashedRekord({
    digest: sha256(preAuthEncoding(type, payload)),
    signature,
    verifier:
      signer.certificate === undefined ? { publicKey: signer.key.spki } : { certificate: signer.certificate },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
}
