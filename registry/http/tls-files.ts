// SPDX-License-Identifier: Apache-2.0
// Certificate and key that the registry serves with, and whose certificates clients may show [docs/spec/registry-api.md §TLS].

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { quote } from '../../core/faults.ts';
import type { TlsConfig } from '../config.ts';
import { STORE } from '../store-faults.ts';

/** What a TLS server is made of; checked: the key is that of the certificate. */
export interface TlsFiles extends SecureContextOptions {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
}

/** PEM files are small. */
const FILE_SIZE_BYTES_MAX = 1024 * 1024;

/**
 * Reads the files that `listen.tls` names. The key must be its owner's alone.
 * @throws REGISTRY_TLS_UNREADABLE, REGISTRY_TLS_KEY_EXPOSED, REGISTRY_TLS_MISMATCH
 */
export async function readTlsFiles(dataFolder: string, config: TlsConfig): Promise<TlsFiles> {
  const pathOf = (name: string): string => resolve(dataFolder, name);
  const cert = await readPem(pathOf(config.certificate), 'certificate');
  const key = await readPem(pathOf(config.key), 'key');
  const { clientAuthorities } = config;
  const ca =
    clientAuthorities === undefined ? undefined : await readPem(pathOf(clientAuthorities), 'certificate');
  checkPair(cert, key, pathOf(config.certificate));
  // Certificates that cannot be read would count as none.
  for (const block of ca?.match(CERTIFICATE) ?? []) readCertificate(block, pathOf(clientAuthorities ?? ''));
  const files = { minVersion: 'TLSv1.2', cert, key, ...(ca === undefined ? {} : { ca }) } as const;
  try {
    createSecureContext(files);
  } catch (cause) {
    throw unreadable(pathOf(config.certificate), `usable TLS files: ${(cause as Error).message}`, cause);
  }
  return files;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function unreadable(path: string, expected: string, cause?: unknown) {
  return STORE.reject('REGISTRY_TLS_UNREADABLE', `expected ${expected}`, { at: path, cause });
}

async function readPem(path: string, kind: 'certificate' | 'key'): Promise<string> {
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    const { mode, size } = await file.stat();
    if (kind === 'key' && (mode & 0o077) !== 0) {
      throw STORE.reject(
        'REGISTRY_TLS_KEY_EXPOSED',
        `expected a private key of mode 0600, got ${(mode & 0o777).toString(8).padStart(4, '0')}`,
        { at: path },
      );
    }
    if (size > FILE_SIZE_BYTES_MAX) throw unreadable(path, `at most ${FILE_SIZE_BYTES_MAX} bytes`);
    const text = await file.readFile('utf8');
    const isPem = kind === 'key' ? /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text) : CERTIFICATE.test(text);
    CERTIFICATE.lastIndex = 0;
    if (!isPem) throw unreadable(path, `a ${kind} in PEM`);
    return text;
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    if (code.startsWith('REGISTRY_')) throw cause;
    throw unreadable(path, `a ${kind} in ${quote(path)}: ${code}`, cause);
  } finally {
    await file?.close();
  }
}

function readCertificate(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw unreadable(path, 'X.509 certificates in PEM', cause);
  }
}

function checkPair(cert: string, key: string, path: string): void {
  const own = readCertificate(cert, path);
  let isPair: boolean;
  try {
    isPair = own.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw unreadable(path, 'an unencrypted private key beside it', cause);
  }
  if (isPair) return;
  throw STORE.reject('REGISTRY_TLS_MISMATCH', 'expected the first certificate to be that of the key', {
    at: path,
  });
}
