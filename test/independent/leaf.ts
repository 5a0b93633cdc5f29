// SPDX-License-Identifier: Apache-2.0
// What the log must hold for a bundle, put together with nothing of Waybill, and what it does hold, as its tiles say.

import { createHash } from 'node:crypto';

interface BundleDocument {
  readonly verificationMaterial: {
    readonly certificate?: { readonly rawBytes: string };
    readonly x509CertificateChain?: { readonly certificates: readonly { readonly rawBytes: string }[] };
    readonly tlogEntries: readonly { readonly logIndex?: string; readonly canonicalizedBody: string }[];
  };
  readonly dsseEnvelope?: {
    readonly payloadType: string;
    readonly payload: string;
    readonly signatures: readonly { readonly sig: string }[];
  };
  readonly messageSignature?: {
    readonly messageDigest: { readonly digest: string };
    readonly signature: string;
  };
}

/** The entry that a bundle claims: its index, and the body that it carries. */
export function claimedEntry(bundle: string): { readonly index: number; readonly body: string } {
  const [entry] = (JSON.parse(bundle) as BundleDocument).verificationMaterial.tlogEntries;
  // Protobuf's JSON may leave out a zero.
  return {
    index: Number(entry?.logIndex ?? 0),
    body: Buffer.from(entry?.canonicalizedBody ?? '', 'base64').toString(),
  };
}

/**
 * The leaf that follows from certificate, signature and digest alone: canonical JSON of hashedrekord 0.0.2. Members stand in the order
 * of their names, which is what RFC 8785 asks for here. `publicKey` (base64 SubjectPublicKeyInfo): for a bundle without a certificate.
 */
export function rebuildLeaf(bundle: string, publicKey?: string): string {
  const {
    verificationMaterial: material,
    dsseEnvelope,
    messageSignature,
  } = JSON.parse(bundle) as BundleDocument;
  const certificate = material.certificate ?? material.x509CertificateChain?.certificates[0];
  const key =
    certificate === undefined
      ? { publicKey: { rawBytes: publicKey } }
      : { x509Certificate: { rawBytes: certificate.rawBytes } };
  const digest =
    dsseEnvelope === undefined
      ? messageSignature?.messageDigest.digest
      : createHash('sha256').update(encodingOf(dsseEnvelope)).digest('base64');
  const content = dsseEnvelope?.signatures[0]?.sig ?? messageSignature?.signature;
  const signature = { content, verifier: { keyDetails: 'PKIX_ECDSA_P256_SHA_256', ...key } };
  const hashedRekordV002 = { data: { algorithm: 'SHA2_256', digest }, signature };
  return JSON.stringify({ apiVersion: '0.0.2', kind: 'hashedrekord', spec: { hashedRekordV002 } });
}

/** DSSE's pre-authentication encoding. */
function encodingOf({
  payloadType,
  payload,
}: {
  readonly payloadType: string;
  readonly payload: string;
}): Buffer {
  const body = Buffer.from(payload, 'base64');
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${body.length} `;
  return Buffer.concat([Buffer.from(head), body]);
}

/** The bytes of one entry, cut out of the tile that the log serves; for logs of at most 256 entries. `logUrl` without a slash at its end. */
export async function loggedEntry(logUrl: string, index: number): Promise<string> {
  const [, size] = (await (await fetch(`${logUrl}/checkpoint`)).text()).split('\n');
  const tile = Number(size) === 256 ? '000' : `000.p/${size}`;
  const bytes = Buffer.from(await (await fetch(`${logUrl}/tile/entries/${tile}`)).arrayBuffer());
  let at = 0;
  for (let skipped = 0; skipped < index; skipped++) at += 2 + bytes.readUInt16BE(at);
  return bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)).toString();
}
