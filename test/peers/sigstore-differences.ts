// SPDX-License-Identifier: Apache-2.0
// Where core is stricter than @sigstore/verify [docs/spec/verification.md §Differences between core and @sigstore/verify]: one bundle for
// each difference, which the library accepts. Run by itself, `node test/peers/sigstore-differences.ts`, it writes test/vectors/sigstore-differences anew.

import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { utf8 } from '../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { formatNote } from '../../core/tlog/note.ts';
import { formatPem } from '../../registry/trust/authority.ts';
import { extendedKeyUsage, OID, sha256 } from '../../registry/trust/certificate.ts';
import * as der from '../../registry/trust/der.ts';
import { Forge, LOG, leafOf, NOW_MS, PAYLOAD_TYPE, pair, STATEMENT } from '../core/sigstore/forge.ts';
import {
  type BundleParts,
  certifiedSigner,
  forgeBundle,
  hashedRekordV1,
} from '../core/sigstore/forged-bundle.ts';
import { timestamp } from '../core/sigstore/forged-timestamp.ts';

/** A bundle that the library accepts and core refuses. */
export interface Difference {
  /** The code that core refuses with. */
  readonly code: string;
  readonly bundle: Uint8Array;
  readonly trustedRoot?: Uint8Array;
  /** A listed key, DER. */
  readonly key?: Uint8Array;
  /** The artifact that is asked about, if any is. */
  readonly artifact?: Uint8Array;
}

// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const IMAGE = utf8('image');

/** All of them by name, made with new keys, and the trusted root of those that have none of their own. */
export function makeDifferences(): {
  trustedRoot: Uint8Array;
  differences: Readonly<Record<string, Difference>>;
} {
  const forge = new Forge();
  const signer = certifiedSigner(forge);
  const malformed = (change: (bundle: Bent) => void): Difference => ({
    code: 'SIGSTORE_BUNDLE_MALFORMED',
    bundle: forgeBundle(forge, { change }),
  });
  const of = (code: string, parts: BundleParts): Difference => ({ code, bundle: forgeBundle(forge, parts) });
  const entry = (code: string, change: (entry: Bent) => void): Difference =>
    of(code, {
      entries: (leaf) => {
        const made = forge.entry(leaf);
        change(made);
        return [made];
      },
    });
  const checkpoint = (code: string, change: (envelope: string, root: Uint8Array) => string): Difference =>
    entry(code, ({ inclusionProof: { checkpoint, rootHash } }) => {
      checkpoint.envelope = change(checkpoint.envelope, Buffer.from(rootHash, 'base64'));
    });
  const certificate = (code: string, ...how: Parameters<Forge['signer']>) =>
    of(code, { signer: certifiedSigner(forge, ...how) });
  const extensions = (change: (list: readonly { oid: string }[]) => readonly object[]) =>
    ({ extensions: change }) as Parameters<Forge['signer']>[0];
  const authority = (code: string, changes: ConstructorParameters<typeof Forge>[0]): Difference => {
    const other = new Forge(changes);
    return { code, bundle: forgeBundle(other), trustedRoot: other.trustedRoot() };
  };
  const stamped = (code: string, change: Parameters<typeof timestamp>[3]) =>
    of(code, { timestamps: (signature) => [timestamp(forge.tsa, forge.tsaRoot.name, signature, change)] });
  const signed = (text: string, name = LOG) => {
    const keyId = Buffer.from(forge.logId.subarray(0, 4)).toString('hex');
    return formatNote({ text, signatures: [{ name, keyId, signature: forge.log.sign(utf8(text)) }] });
  };
  const textOf = (envelope: string) => envelope.slice(0, envelope.indexOf('\n\n') + 1);
  const strangeEntry = (signature: Uint8Array) => {
    const body = JSON.parse(
      Buffer.from(
        hashedRekordV1(signer, sha256(preAuthEncoding(PAYLOAD_TYPE, STATEMENT)), signature),
      ).toString(),
    );
    return utf8(JSON.stringify({ ...body, stranger: 1 }));
  };

  return {
    trustedRoot: forge.trustedRoot(),
    differences: {
      'unknown-member': malformed((bundle) => (bundle.verificationMaterial.stranger = 1)),
      'number-without-quotes': malformed(
        (bundle) => (bundle.verificationMaterial.tlogEntries[0].logIndex = 1),
      ),
      'null-member': malformed(
        (bundle) => (bundle.verificationMaterial.tlogEntries[0].inclusionPromise = null),
      ),
      'base64-not-canonical': malformed((bundle) => (bundle.dsseEnvelope.signatures[0].sig += '=')),
      'name-given-twice': {
        code: 'SIGSTORE_BUNDLE_MALFORMED',
        bundle: utf8(Buffer.from(forgeBundle(forge)).toString().replace('{', '{"mediaType":"x",')),
      },
      'media-type-with-parameter': malformed((bundle) => (bundle.mediaType += ';charset=utf-8')),
      'nine-timestamps': of('SIGSTORE_BUNDLE_MALFORMED', {
        timestamps: (signature) =>
          Array.from({ length: 9 }, (_, i) =>
            timestamp(forge.tsa, forge.tsaRoot.name, signature, { timeMs: NOW_MS + 1000 * i }),
          ),
      }),
      'artifact-by-sha384': artifactBySha384(forge),
      'index-outside-proof': entry('SIGSTORE_LOG_PROOF_CONTRADICTED', (made) => (made.logIndex = '7')),
      'tree-size-beside-proof': entry(
        'SIGSTORE_LOG_PROOF_CONTRADICTED',
        (made) => (made.inclusionProof.treeSize = '9'),
      ),
      'root-hash-beside-proof': entry(
        'SIGSTORE_LOG_PROOF_CONTRADICTED',
        (made) => (made.inclusionProof.rootHash = b64(sha256(IMAGE))),
      ),
      'checkpoint-with-other-text': checkpoint('TLOG_NOTE_MALFORMED', (envelope) => `${envelope}and more\n`),
      'checkpoint-of-odd-size': checkpoint('TLOG_CHECKPOINT_MALFORMED', (envelope) =>
        signed(textOf(envelope).replace('\n3\n', '\n03\n')),
      ),
      'checkpoint-of-other-origin': checkpoint('TLOG_CHECKPOINT_ORIGIN', (_, root) =>
        forge.checkpoint('other.example', 3n, root),
      ),
      'checkpoint-signed-by-part-of-name': checkpoint('TLOG_NOTE_UNSIGNED', (envelope) =>
        signed(textOf(envelope), 'example'),
      ),
      'checkpoint-with-false-line': checkpoint('TLOG_NOTE_SIGNATURE', (envelope) => {
        const [, line] = signed(`${textOf(envelope)}x\n`).split('\n\n');
        return `${envelope}${line}`;
      }),
      'log-out-of-period': {
        code: 'SIGSTORE_LOG_PERIOD',
        bundle: forgeBundle(forge),
        trustedRoot: forge.trustedRoot(
          (root) => (root.tlogs[0].publicKey.validFor.end = '2026-02-01T00:00:00Z'),
        ),
      },
      'entry-of-other-certificate': of('SIGSTORE_LOG_ENTRY_MISMATCH', {
        entries: (_, signature) => [forge.entry(leafOf(certifiedSigner(forge), signature))],
      }),
      'entry-not-canonical': of('SIGSTORE_LOG_ENTRY_MISMATCH', {
        entries: (leaf) => [forge.entry(utf8(`${Buffer.from(leaf)}\n`))],
      }),
      'entry-with-unknown-member': of('SIGSTORE_LOG_ENTRY_UNSUPPORTED', {
        signer,
        entries: (_, signature) => [
          forge.oldEntry(strangeEntry(signature), { kind: 'hashedrekord', version: '0.0.1' }),
        ],
      }),
      'key-id-not-the-hint': {
        ...of('SIGSTORE_KEY_UNKNOWN', {
          signer: { key: forge.listed },
          change: ({ dsseEnvelope }) => (dsseEnvelope.signatures[0].keyid = 'other'),
        }),
        key: forge.listed.spki,
      },
      'root-in-chain': of('SIGSTORE_BUNDLE_ROOT_INCLUDED', {
        signer,
        change: (bundle) => {
          bundle.mediaType = 'application/vnd.dev.sigstore.bundle+json;version=0.2';
          const chain = [signer.certificate as Uint8Array, forge.root.der];
          bundle.verificationMaterial = {
            ...bundle.verificationMaterial,
            certificate: undefined,
            x509CertificateChain: { certificates: chain.map((one) => ({ rawBytes: b64(one) })) },
          };
        },
      }),
      'signer-on-p384': of('SIGSTORE_KEY_UNSUITABLE', {
        signer: certifiedSigner(forge, { key: pair('P-384') }),
      }),
      'signer-without-key-usage': certificate(
        'X509_USAGE_FORBIDDEN',
        extensions((list) => list.filter(({ oid }) => oid !== OID.keyUsage)),
      ),
      'signer-without-purpose': certificate(
        'X509_USAGE_FORBIDDEN',
        extensions((list) => list.filter(({ oid }) => oid !== OID.extKeyUsage)),
      ),
      'signer-with-two-names': certificate(
        'X509_IDENTITY_MALFORMED',
        extensions((list) => [
          ...list.filter(({ oid }) => oid !== OID.subjectAltName),
          {
            oid: OID.subjectAltName,
            value: der.sequence(der.contextPrimitive(6, utf8('a:b')), der.contextPrimitive(6, utf8('c:d'))),
          },
        ]),
      ),
      'signer-without-issuer': certificate(
        'X509_IDENTITY_MALFORMED',
        extensions((list) => list.filter(({ oid }) => oid !== '1.3.6.1.4.1.57264.1.8')),
      ),
      'signer-with-critical-extension': certificate(
        'X509_EXTENSION_UNKNOWN',
        extensions((list) => [...list, { oid: '1.2.3.4', critical: true, value: der.tlv(0x05) }]),
      ),
      'signer-with-extension-twice': certificate(
        'X509_CERTIFICATE_MALFORMED',
        extensions((list) => [...list, ...list.filter(({ oid }) => oid === OID.extKeyUsage)]),
      ),
      'certificate-timestamps-with-more-behind': moreBehindScts(forge),
      'authority-without-key-usage': authority('X509_AUTHORITY_UNFIT', {
        intermediate: { extensions: (list) => list.filter(({ oid }) => oid !== OID.keyUsage) },
      }),
      'authority-for-timestamps': authority('X509_AUTHORITY_UNFIT', {
        intermediate: {
          extensions: (list) => [
            ...list.filter(({ oid }) => oid !== OID.extKeyUsage),
            extendedKeyUsage(OID.timeStamping),
          ],
        },
      }),
      'timestamp-that-names-no-certificate': stamped('TIMESTAMP_SIGNER_UNBOUND', {
        attributes: (list) => list.slice(0, 2),
      }),
      'timestamp-that-was-refused': stamped('TIMESTAMP_MALFORMED', { status: 2 }),
      'timestamp-of-uncritical-purpose': authority('X509_USAGE_FORBIDDEN', {
        tsa: {
          extensions: (list) => [
            ...list.filter(({ oid }) => oid !== OID.extKeyUsage),
            extendedKeyUsage(OID.timeStamping),
          ],
        },
      }),
      'timestamp-without-key-usage': authority('X509_USAGE_FORBIDDEN', {
        tsa: { extensions: (list) => list.filter(({ oid }) => oid !== OID.keyUsage) },
      }),
      'payload-type': of('SIGSTORE_CONTENT_UNSUPPORTED', { payloadType: 'application/json' }),
      'payload-that-is-no-statement': of('INTOTO_STATEMENT_MALFORMED', { payload: utf8('{}') }),
      'subject-not-the-artifact': { ...of('SIGSTORE_ARTIFACT_MISMATCH', {}), artifact: utf8('another') },
    },
  };
}

/** The list of certificate timestamps, and an octet behind it. */
function moreBehindScts(forge: Forge): Difference {
  // The registry's writer of lists takes what it is given: the last one is an octet that no length covers.
  const signer = certifiedSigner(forge, {
    wrapScts: (list) => der.octetString(Uint8Array.of(...membersOctets(list), 0)),
  });
  return { code: 'X509_SCT_MALFORMED', bundle: forgeBundle(forge, { signer }) };
}

/** The content of a DER octet string of 128 to 255 octets. */
function membersOctets(octetString: Uint8Array): Uint8Array {
  return octetString.subarray((octetString[1] as number) < 0x80 ? 2 : 3);
}

/** An artifact that is signed and named by SHA-384, under a P-256 key. */
function artifactBySha384(forge: Forge): Difference {
  const signer = certifiedSigner(forge, { key: pair('P-256', 'sha384') });
  const signature = signer.key.sign(IMAGE);
  const digest = new Uint8Array(createHash('sha384').update(IMAGE).digest());
  const body = {
    apiVersion: '0.0.2',
    kind: 'hashedrekord',
    spec: {
      hashedRekordV002: {
        data: { algorithm: 'SHA2_384', digest: b64(digest) },
        signature: {
          content: b64(signature),
          verifier: {
            keyDetails: 'PKIX_ECDSA_P256_SHA_256',
            x509Certificate: { rawBytes: b64(signer.certificate as Uint8Array) },
          },
        },
      },
    },
  };
  return {
    code: 'SIGSTORE_BUNDLE_MALFORMED',
    artifact: IMAGE,
    bundle: forgeBundle(forge, {
      signer,
      signature,
      entries: () => [forge.entry(utf8(JSON.stringify(body)))],
      change: (bundle) => {
        delete bundle.dsseEnvelope;
        bundle.messageSignature = {
          messageDigest: { algorithm: 'SHA2_384', digest: b64(digest) },
          signature: b64(signature),
        };
      },
    }),
  };
}

const FOLDER = new URL('../vectors/sigstore-differences/', import.meta.url);

/** Writes all of them: a folder each, and the codes in expected.json. */
function write(): void {
  const { trustedRoot, differences } = makeDifferences();
  writeFileSync(new URL('trusted_root.json', FOLDER), trustedRoot);
  const expected = Object.fromEntries(Object.entries(differences).map(([name, { code }]) => [name, code]));
  writeFileSync(new URL('expected.json', FOLDER), `${JSON.stringify(expected, null, 2)}\n`);
  for (const [name, one] of Object.entries(differences)) {
    const folder = new URL(`${name}/`, FOLDER);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(new URL('bundle.sigstore.json', folder), one.bundle);
    if (one.trustedRoot !== undefined) writeFileSync(new URL('trusted_root.json', folder), one.trustedRoot);
    if (one.artifact !== undefined) writeFileSync(new URL('artifact', folder), one.artifact);
    if (one.key !== undefined) {
      writeFileSync(new URL('key.pub', folder), formatPem(one.key).replaceAll('CERTIFICATE', 'PUBLIC KEY'));
    }
  }
}

if (import.meta.main) write();
