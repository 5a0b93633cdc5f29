// SPDX-License-Identifier: Apache-2.0
// Two bundles whose bits are changed: ours, in which every octet counts, and one with all that is optional, in which not every one does.

import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import type { VerifiedSignature } from '../../core/verify/verified-signature.ts';
import { type DerNode, parseDer } from '../../core/x509/der.ts';
import { sha256 } from '../../registry/trust/certificate.ts';
import { Forge, PAYLOAD_TYPE, STATEMENT } from '../core/sigstore/forge.ts';
import {
  certifiedSigner,
  forgeBundle,
  forgedVerifier,
  hashedRekordV1,
} from '../core/sigstore/forged-bundle.ts';
import { timestamp } from '../core/sigstore/forged-timestamp.ts';

export interface Subject {
  readonly bundle: Uint8Array;
  readonly verify: (bundle: Uint8Array) => VerifiedSignature;
  /** True for octets that nobody signed and nothing fixes, by place and offset as `changeBits` names them. */
  readonly isFree: (place: string, offset: number) => boolean;
}

/** A bundle as Waybill makes it. */
export function ourBundle(): Subject {
  const forge = new Forge();
  return { bundle: forgeBundle(forge), verify: forgedVerifier(forge), isFree: () => false };
}

/** The place of the timestamp in `everyOption`. */
const STAMP = '/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp';
const CHAIN = '/verificationMaterial/x509CertificateChain/certificates/1/rawBytes';

/** Version 0.2 with an intermediate certificate, two log entries, a timestamp with certificates inside, and a key id that means nothing. */
export function everyOption(): Subject {
  const forge = new Forge();
  const signer = certifiedSigner(forge);
  const digest = sha256(preAuthEncoding(PAYLOAD_TYPE, STATEMENT));
  const bundle = forgeBundle(forge, {
    signer,
    timestamps: (signature) => [
      timestamp(forge.tsa, forge.tsaRoot.name, signature, { certificates: [forge.tsa.der] }),
    ],
    entries: (leaf, signature) => [
      forge.entry(leaf),
      forge.oldEntry(hashedRekordV1(signer, digest, signature), { kind: 'hashedrekord', version: '0.0.1' }),
    ],
    change: (made) => {
      made.mediaType = 'application/vnd.dev.sigstore.bundle+json;version=0.2';
      const chain = [signer.certificate as Uint8Array, forge.intermediate.der];
      delete made.verificationMaterial.certificate;
      made.verificationMaterial.x509CertificateChain = {
        certificates: chain.map((one) => ({ rawBytes: Buffer.from(one).toString('base64') })),
      };
      made.dsseEnvelope.signatures[0].keyid = 'nobody reads this';
    },
  });
  // Octets, not characters: the dash of signature lines is three.
  const text = Buffer.from(bundle);
  const document = JSON.parse(text.toString());
  const stamp = document.verificationMaterial.timestampVerificationData.rfc3161Timestamps[0].signedTimestamp;
  const inner = certificatesIn(new Uint8Array(Buffer.from(stamp, 'base64')));
  const chained: string = document.verificationMaterial.x509CertificateChain.certificates[1].rawBytes;
  /** A piece of the text. */
  const span = (piece: string, from = 0, to = piece.length): [number, number] => {
    const start = text.indexOf(piece);
    return [start + from, start + to];
  };
  const freeText = [
    span('nobody reads this'),
    span(chained),
    span(stamp, Math.floor((inner[0] * 4) / 3), Math.ceil((inner[1] * 4) / 3)),
  ];
  return {
    bundle,
    verify: forgedVerifier(forge),
    isFree: (place, offset) =>
      (place === STAMP && inner[0] <= offset && offset < inner[1]) ||
      place === CHAIN ||
      (place === 'text' && freeText.some(([from, to]) => from <= offset && offset < to)),
  };
}

/** Where the certificates inside a timestamp begin and end. */
function certificatesIn(stamp: Uint8Array): [number, number] {
  const root = parseDer(stamp, (message) => new Error(message) as never);
  const child = (node: DerNode, i: number) => node.children[i] as DerNode;
  // TimeStampResp, ContentInfo, [0], SignedData, certificates [0].
  const certificates = child(child(child(child(root, 1), 1), 0), 3);
  return [certificates.offset, certificates.offset + certificates.der.length];
}
