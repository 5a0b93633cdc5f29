// SPDX-License-Identifier: Apache-2.0
// The keys and certificates of the trust services: made once by `waybill init`, opened by `waybill serve`.

import { join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import { type Authority, formatPem, joinAuthority, parsePemChain } from './authority.ts';
import {
  authorityConstraints,
  authorityKeyIdentifier,
  buildName,
  buildTbs,
  type CertificateContent,
  type Extension,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  OID,
  randomSerial,
  signTbs,
  subjectKeyIdentifier,
} from './certificate.ts';
import { type NewFile, readTrustFile, writeNewFiles } from './files.ts';
import { type LocalSigner, newSigner, signerFromPem } from './signer.ts';

/** Bare DNS names of the services; they identify, and need not resolve. */
export interface ServiceNames {
  readonly ca: string;
  readonly ct: string;
  readonly log: string;
  readonly tsa: string;
}

/** The services of an organisation: `acme.com` keeps its domain, `Acme Ltd` becomes `acme-ltd.example`. */
export function serviceNames(org: string): ServiceNames {
  const words = org
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '');
  const isDomain = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$/.test(words);
  const label = words.replace(/\./g, '-').slice(0, 63) || 'waybill';
  const domain = isDomain && words === org.toLowerCase() ? words : `${label}.example`;
  return { ca: `ca.${domain}`, ct: `ct.${domain}`, log: `log.${domain}`, tsa: `tsa.${domain}` };
}

/** Public halves of what `createTrustServices` made; what `trusted_root.json` is built from. */
export interface TrustMaterial {
  readonly org: string;
  readonly names: ServiceNames;
  /** From when on all of it counts, milliseconds since 1970, a whole second. */
  readonly startMs: number;
  /** DER: intermediate, root. */
  readonly caChain: readonly Uint8Array[];
  /** DER: leaf, root. */
  readonly tsaChain: readonly Uint8Array[];
  /** DER SubjectPublicKeyInfo of the certificate transparency log. */
  readonly ctSpki: Uint8Array;
}

const YEAR_MS = 365.25 * 86_400_000;
const ROOT_LIFE_MS = 20 * YEAR_MS;
/** Evidence is kept for ten years; what a certificate signed is checked at its time, not today. */
const ONLINE_LIFE_MS = 10 * YEAR_MS;

/**
 * Makes all keys and certificates of certificate authority, transparency log and timestamp authority. The root keys go to
 * `offlineFolder`, which the server never reads.
 * @throws CA_FILES_EXIST, CA_FILES_UNWRITABLE
 */
export async function createTrustServices(options: {
  readonly folder: string;
  readonly offlineFolder: string;
  readonly org: string;
  /** Now, milliseconds since 1970. */
  readonly now: number;
}): Promise<TrustMaterial> {
  const { folder, offlineFolder, org } = options;
  const names = serviceNames(org);
  const startMs = Math.floor(options.now / 1000) * 1000;
  const ca = await createAuthority({ org, name: names.ca, startMs, role: 'intermediate' });
  const tsa = await createAuthority({ org, name: names.tsa, startMs, role: 'timestamps' });
  const ct = newSigner();
  const files: NewFile[] = [
    { path: join(offlineFolder, 'ca-root.pem'), text: ca.rootPem, secret: true },
    { path: join(offlineFolder, 'tsa-root.pem'), text: tsa.rootPem, secret: true },
    { path: join(folder, 'keys', 'ca-intermediate.pem'), text: ca.pem, secret: true },
    { path: join(folder, 'keys', 'tsa.pem'), text: tsa.pem, secret: true },
    { path: join(folder, 'keys', 'ct.pem'), text: ct.pem, secret: true },
    { path: join(folder, 'trust', 'ca-chain.pem'), text: ca.chain.map(formatPem).join(''), secret: false },
    { path: join(folder, 'trust', 'tsa-chain.pem'), text: tsa.chain.map(formatPem).join(''), secret: false },
  ];
  await writeNewFiles(files);
  return { org, names, startMs, caChain: ca.chain, tsaChain: tsa.chain, ctSpki: ct.signer.spki };
}

/** A root and, below it, the one certificate that works online. */
async function createAuthority(of: {
  readonly org: string;
  readonly name: string;
  readonly startMs: number;
  readonly role: 'intermediate' | 'timestamps';
}): Promise<{ readonly chain: readonly Uint8Array[]; readonly rootPem: string; readonly pem: string }> {
  const root = newSigner();
  const own = newSigner();
  const rootName = buildName(of.org, `${of.name} root`);
  const rootIdentifier = authorityKeyIdentifier(keyIdentifier(root.signer.spki));
  const issue = (
    content: Omit<CertificateContent, 'issuer' | 'serial' | 'notBeforeMs'>,
  ): Promise<Uint8Array> =>
    signTbs(
      buildTbs({ ...content, issuer: rootName, serial: randomSerial(), notBeforeMs: of.startMs }),
      root.signer,
    );
  const profile: readonly Extension[] =
    of.role === 'intermediate'
      ? [keyUsage('certificates'), extendedKeyUsage(OID.codeSigning), authorityConstraints(0)]
      : // [RFC3161 §2.3]: the purpose is critical and the only one.
        [keyUsage('digitalSignature'), extendedKeyUsage(OID.timeStamping, true)];
  const rootDer = await issue({
    subject: rootName,
    spki: root.signer.spki,
    notAfterMs: of.startMs + ROOT_LIFE_MS,
    extensions: [
      keyUsage('certificates'),
      authorityConstraints(of.role === 'intermediate' ? 1 : 0),
      subjectKeyIdentifier(root.signer.spki),
    ],
  });
  const ownDer = await issue({
    subject: buildName(of.org, of.name),
    spki: own.signer.spki,
    notAfterMs: of.startMs + ONLINE_LIFE_MS,
    extensions: [...profile, subjectKeyIdentifier(own.signer.spki), rootIdentifier],
  });
  return { chain: [ownDer, rootDer], rootPem: root.pem, pem: own.pem };
}

/** What the server's trust services sign with. */
export interface TrustServices {
  readonly ca: Authority;
  readonly tsa: Authority;
  readonly ct: LocalSigner;
}

/**
 * Opens the online keys and chains of a data folder. Reads nothing outside it.
 * @throws CA_FILES_UNREADABLE, CA_KEY_MISMATCH
 */
export async function openTrustServices(folder: string): Promise<TrustServices> {
  const key = async (name: string): Promise<LocalSigner> => {
    const path = join(folder, 'keys', name);
    const signer = signerFromPem(await readTrustFile(path));
    if (signer === undefined) {
      throw TRUST.reject('CA_FILES_UNREADABLE', `expected a P-256 private key in ${quote(path)}`, {
        at: path,
      });
    }
    return signer;
  };
  const authority = async (keyName: string, chainName: string): Promise<Authority> => {
    const path = join(folder, 'trust', chainName);
    return joinAuthority(await key(keyName), parsePemChain(await readTrustFile(path)), path);
  };
  return {
    ca: await authority('ca-intermediate.pem', 'ca-chain.pem'),
    tsa: await authority('tsa.pem', 'tsa-chain.pem'),
    ct: await key('ct.pem'),
  };
}
