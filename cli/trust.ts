// SPDX-License-Identifier: Apache-2.0
// The trust of a command: a TUF root that the user names leads to trusted_root.json, signing configuration and log policy.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { quote, Rejection } from '../core/faults.ts';
import type { Root } from '../core/tuf/roles.ts';
import { type VerifiedRole, verifyTrustedRoot } from '../core/tuf/trusted-metadata.ts';
import type { BundleVerifier } from '../core/verify/verified.ts';
import type { DeviceHost } from '../device/host.ts';
import { nodeHost } from '../device/node-host.ts';
import { TufClient } from '../device/tuf-client.ts';
import { bothVerifiers } from '../peers/both-verifiers.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { userState } from './user-folders.ts';

/** Trust material as top-level targets names it, fetched and verified when asked for. */
export interface Trust {
  readonly client: TufClient;
  trustedRoot(): Promise<Uint8Array>;
  signingConfig(): Promise<Uint8Array>;
  tlogPolicy(): Promise<Uint8Array>;
  /** A verifier of bundles for the trusted root and the listed keys (DER SubjectPublicKeyInfo). */
  verifier(keys: readonly Uint8Array[]): Promise<BundleVerifier>;
}

/** The base URL of a registry without a slash at its end. @throws CLI_USAGE */
export function registryUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected the address of the registry as a URL such as https://registry.example, got ${quote(text)}`,
      { cause },
    );
  }
  if (!/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '' || url.hash !== '') {
    throw CLI.reject(
      'CLI_USAGE',
      `expected the address of the registry as an http or https URL without user, query and fragment, got ${quote(text)}`,
    );
  }
  return baseOf(url, text);
}

/** What of an address is a service's, below the base of a registry [docs/spec/registry-api.md]. */
const SERVICE_PATH = /\/+(?:tuf|api(?:\/v[0-9]+)?|ca|tsa|(?:ct|log)[0-9]*)$/;

/** A base address without a slash at its end. @param text as it was given @throws CLI_USAGE if it leads to a service of a registry */
export function baseOf(url: URL, text: string): string {
  const base = url.href.replace(/\/+$/, '');
  if (!SERVICE_PATH.test(base)) return base;
  const shorter = quote(base.replace(SERVICE_PATH, ''));
  throw CLI.reject(
    'CLI_USAGE',
    `expected the base address of a registry, here ${shorter}, got ${quote(text)}: commands add the rest`,
  );
}

/**
 * Reads the root that the user trusts, and sees that it is one: what is wrong with it is not the fault of a repository.
 * @throws CLI_FILE_UNREADABLE, CLI_ROOT_UNSUITABLE
 */
export async function readTrustedRoot(path: string): Promise<VerifiedRole<Root>> {
  const bytes = await readInput(path).catch((cause: Error) => {
    throw CLI.reject('CLI_FILE_UNREADABLE', `--root takes the root.json of the registry: ${cause.message}`, {
      cause,
    });
  });
  try {
    return verifyTrustedRoot(bytes, nodeCrypto);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    const message = `expected the root.json of the registry in ${quote(path)}, got a file that is none: ${cause.message}`;
    throw CLI.reject('CLI_ROOT_UNSUITABLE', message, { at: cause.at, cause });
  }
}

/**
 * Opens the trust of a command and brings it up to date. Verified metadata is kept under XDG_STATE_HOME, one folder for
 * each pair of root and registry, so that a later command notices a rollback.
 * @throws what TufClient.refresh throws, CLI_FILE_UNREADABLE, CLI_ROOT_UNSUITABLE, CLI_USAGE
 */
export async function openTrust(options: {
  readonly registryUrl: string;
  readonly rootPath: string;
  /** For those who sign top-level targets anew. */
  readonly evenExpired?: true;
  /** For those who sign root anew. */
  readonly evenExpiredRoot?: true;
  /** The clock and the network of this machine, unless told otherwise. */
  readonly host?: DeviceHost;
  /** Where verified metadata is kept. */
  readonly stateFolder?: string;
}): Promise<Trust> {
  const { bytes: root } = await readTrustedRoot(options.rootPath);
  const url = registryUrl(options.registryUrl);
  const id = createHash('sha256').update(root).update(url).digest('hex').slice(0, 32);
  const { stateFolder = join(userState(), 'waybill', 'tuf', id), host = nodeHost() } = options;
  const client = await TufClient.open({ root, registryUrl: url, stateFolder, nowMs: host.nowMs(), host });
  await client.refresh(options);
  const trustedRoot = () => client.trustMaterial('trusted_root.json');
  return {
    client,
    trustedRoot,
    signingConfig: () => client.trustMaterial('signing_config.v0.2.json'),
    tlogPolicy: () => client.trustMaterial('tlog-policy'),
    verifier: async (keys) => bothVerifiers({ trustedRoot: await trustedRoot(), keys }),
  };
}
