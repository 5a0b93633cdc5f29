// SPDX-License-Identifier: Apache-2.0
// The keys and certificates of the trust services: made once by `waybill init`, opened by `waybill serve`.

import { quote } from '../../core/faults.ts';
import { openSigner } from '../signer/signer-client.ts';
import { TRUST } from '../trust-faults.ts';
import {
  type Authority,
  checkChain,
  formatPem,
  joinAuthority,
  parsePemChain,
  readCertificate,
} from './authority.ts';
import { type NewFile, readKeyFile, readTrustFile, writeNewFiles } from './files.ts';
import { type CertifiedService, chainPath, keyPath, rootKeyPath, type Service } from './instances.ts';
import { issueOnline, issueRoot } from './new-authority.ts';
import { type KeylessRule, openInstances } from './open-instances.ts';
import { type LocalSigner, newSigner, type P256Signer, signerFromPem } from './signer.ts';
import { unbegunMark } from './unbegun.ts';

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
  /** Encrypts the PEM of an offline key before it is written. */
  readonly seal?: (pem: string) => string;
}): Promise<TrustMaterial> {
  const { folder, offlineFolder, org, seal = (pem) => pem } = options;
  const names = serviceNames(org);
  const startMs = Math.floor(options.now / 1000) * 1000;
  const ca = await createAuthority('ca', org, names.ca, startMs);
  const tsa = await createAuthority('tsa', org, names.tsa, startMs);
  const ct = newSigner();
  const files: NewFile[] = [
    { path: rootKeyPath(offlineFolder, 'ca'), text: seal(ca.rootPem), secret: true },
    { path: rootKeyPath(offlineFolder, 'tsa'), text: seal(tsa.rootPem), secret: true },
    { path: keyPath(folder, 'ca'), text: ca.pem, secret: true },
    { path: keyPath(folder, 'tsa'), text: tsa.pem, secret: true },
    unbegunMark(folder, 'ct'),
    { path: keyPath(folder, 'ct'), text: ct.pem, secret: true },
    { path: chainPath(folder, 'ca'), text: ca.chain.map(formatPem).join(''), secret: false },
    { path: chainPath(folder, 'tsa'), text: tsa.chain.map(formatPem).join(''), secret: false },
  ];
  await writeNewFiles(files);
  return { org, names, startMs, caChain: ca.chain, tsaChain: tsa.chain, ctSpki: ct.signer.spki };
}

/** A root and, below it, the one certificate that works online. */
async function createAuthority(service: CertifiedService, org: string, name: string, startMs: number) {
  const root = await issueRoot({ service, org, name, startMs });
  const { signer, pem } = newSigner();
  const own = await issueOnline({ service, org, name, startMs, root, spki: signer.spki });
  return { chain: [own, root.der], rootPem: root.pem, pem };
}

/** What the server's trust services can sign with, each service's instances oldest first. */
export interface TrustServices {
  readonly ca: readonly Authority[];
  readonly tsa: readonly Authority[];
  readonly ct: readonly P256Signer[];
}

/**
 * Opens the online keys and chains of a data folder, those of all instances. Reads nothing outside it.
 * @param rule which instances may be opened without their keys; none by default
 * @throws CA_FILES_UNREADABLE, CA_KEY_MISMATCH, SIGNER_*
 */
export async function openTrustServices(folder: string, rule?: KeylessRule): Promise<TrustServices> {
  const openAuthorities = (service: CertifiedService) =>
    openInstances(
      folder,
      service,
      (instance) => openAuthority(folder, service, instance),
      rule,
      async (instance, refusing) => {
        const chain = await readChain(folder, service, instance);
        const spki = readCertificate(chain[0] as Uint8Array)?.spki as Uint8Array;
        return joinAuthority({ spki, ...refusing }, chain, chainPath(folder, service, instance));
      },
    );
  return {
    ca: await openAuthorities('ca'),
    tsa: await openAuthorities('tsa'),
    ct: await openInstances(
      folder,
      'ct',
      (instance) => openServiceKey(folder, 'ct', instance),
      rule,
      async (instance, refusing) => {
        const spki = rule?.named.logKey('ct', instance);
        return spki && { spki, ...refusing };
      },
    ),
  };
}

/** The certificates of an instance, its own first, in DER; nothing about them is verified. @throws CA_FILES_UNREADABLE */
export async function readChain(
  folder: string,
  service: CertifiedService,
  instance: number,
): Promise<readonly Uint8Array[]> {
  const path = chainPath(folder, service, instance);
  const chain = parsePemChain(await readTrustFile(path));
  checkChain(chain, path);
  return chain;
}

/** Opens one instance of an authority. @throws CA_FILES_UNREADABLE, CA_KEY_MISMATCH */
export async function openAuthority(
  folder: string,
  service: CertifiedService,
  instance: number,
): Promise<Authority> {
  const signer = await openServiceKey(folder, service, instance);
  return joinAuthority(
    signer,
    await readChain(folder, service, instance),
    chainPath(folder, service, instance),
  );
}

/** Opens the P-256 key of an instance, here or in a signer of its own. @throws CA_FILES_UNREADABLE, CA_KEY_EXPOSED, SIGNER_* */
export async function openServiceKey(
  folder: string,
  service: Exclude<Service, 'log'>,
  instance: number,
): Promise<P256Signer> {
  const elsewhere = await openSigner(folder, service, instance);
  return elsewhere ?? openKey(keyPath(folder, service, instance));
}

/** Opens a P-256 key. @throws CA_FILES_UNREADABLE, CA_KEY_EXPOSED */
export async function openKey(path: string): Promise<LocalSigner> {
  const signer = signerFromPem(await readKeyFile(path));
  if (signer === undefined) {
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected a P-256 private key in ${quote(path)}`, {
      at: path,
    });
  }
  return signer;
}
