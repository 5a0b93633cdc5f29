// SPDX-License-Identifier: Apache-2.0
// Certificates of the authorities themselves [docs/spec/trust-services.md §Certificates]: a root, offline, and below it the one that
// works online. Made at the first ceremony and at each rotation.

import {
  authorityConstraints,
  authorityKeyIdentifier,
  buildName,
  buildTbs,
  type Extension,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  OID,
  randomSerial,
  signTbs,
  subjectKeyIdentifier,
} from './certificate.ts';
import type { CertifiedService } from './instances.ts';
import { newSigner, type P256Signer } from './signer.ts';

const YEAR_MS = 365.25 * 86_400_000;
const ROOT_LIFE_MS = 20 * YEAR_MS;
/** Evidence is kept for ten years; what a certificate signed is checked at its time, not today. */
const ONLINE_LIFE_MS = 10 * YEAR_MS;

/** Whom a certificate is for. */
interface Named {
  readonly service: CertifiedService;
  readonly org: string;
  /** Common name of what works online; a root's has ` root` behind it. */
  readonly name: string;
  /** Milliseconds since 1970, a whole second. */
  readonly startMs: number;
}

/** A root that issues. */
export interface Root {
  readonly signer: P256Signer;
  /** DER Name. */
  readonly subject: Uint8Array;
  readonly keyIdentifier: Uint8Array;
  readonly notAfterMs: number;
}

/** What a new root leaves behind. */
export interface MadeRoot {
  /** DER certificate. */
  readonly der: Uint8Array;
  /** PKCS#8. */
  readonly pem: string;
}

/** Makes a root key and its certificate, which it signs itself. */
export async function issueRoot({ service, org, name, startMs }: Named): Promise<Root & MadeRoot> {
  const { signer, pem } = newSigner();
  const subject = buildName(org, `${name} root`);
  const notAfterMs = startMs + ROOT_LIFE_MS;
  const tbs = buildTbs({
    issuer: subject,
    subject,
    spki: signer.spki,
    serial: randomSerial(),
    notBeforeMs: startMs,
    notAfterMs,
    extensions: [
      keyUsage('certificates'),
      authorityConstraints(service === 'ca' ? 1 : 0),
      subjectKeyIdentifier(signer.spki),
    ],
  });
  const der = await signTbs(tbs, signer);
  return { signer, subject, keyIdentifier: keyIdentifier(signer.spki), notAfterMs, der, pem };
}

/** Makes the certificate (DER) of a key that works online; it ends with the root's at the latest. */
export async function issueOnline(
  of: Named & { readonly root: Root; readonly spki: Uint8Array },
): Promise<Uint8Array> {
  const profile: readonly Extension[] =
    of.service === 'ca'
      ? [keyUsage('certificates'), extendedKeyUsage(OID.codeSigning), authorityConstraints(0)]
      : // [RFC3161 §2.3]: the purpose is critical and the only one.
        [keyUsage('digitalSignature'), extendedKeyUsage(OID.timeStamping, true)];
  const tbs = buildTbs({
    issuer: of.root.subject,
    subject: buildName(of.org, of.name),
    spki: of.spki,
    serial: randomSerial(),
    notBeforeMs: of.startMs,
    notAfterMs: Math.min(of.startMs + ONLINE_LIFE_MS, of.root.notAfterMs),
    extensions: [...profile, subjectKeyIdentifier(of.spki), authorityKeyIdentifier(of.root.keyIdentifier)],
  });
  return signTbs(tbs, of.root.signer);
}
