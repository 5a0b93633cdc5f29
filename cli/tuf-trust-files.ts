// SPDX-License-Identifier: Apache-2.0
// The files of trust material that `waybill tuf` replaces: read as their users will, and shown to whoever signs for them.

import { parseSigningServices } from '../attest/signing-config.ts';
import { portableCrypto } from '../core/crypto.ts';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import { parseTrustedRoot } from '../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import type { TufClient } from '../device/tuf-client.ts';
import { checkReopensNone } from '../registry/trust/reopened.ts';
import { describeLogPolicy } from '../release/describe-change.ts';
import { RELEASE } from '../release/faults.ts';
import { type GoodsFile, goodsOf } from '../release/goods.ts';
import { Registry } from '../release/registry.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { registryUrl } from './trust.ts';

/** Files of trust material, by path. */
export interface TrustFiles {
  readonly trustedRoot?: string | undefined;
  readonly signingConfig?: string | undefined;
  readonly logPolicy?: string | undefined;
  /** Keys that the published trusted root has ended may count again. */
  readonly allowReopen?: boolean | undefined;
}

/** A file of trust material with its bytes. */
export type TrustFile = ReturnType<typeof goodsOf>;

/** True if the targets in force name a file with these bytes. */
export function isNamed(client: TufClient, { name, sha256 }: GoodsFile): boolean {
  return client.role('targets').signed.targets.get(name)?.hashes.sha256 === sha256;
}

/** What a check of trust files needs of a command. */
interface Checked {
  readonly registry: string;
  readonly signal?: AbortSignal | undefined;
}

/** An older trusted root would have ended keys count again; nobody signs one by mistake. @throws TRUST_ROOT_REOPENS, RELEASE_REGISTRY_* */
export async function checkEnds(
  inputs: Checked & TrustFiles,
  client: TufClient,
  files: readonly TrustFile[],
): Promise<void> {
  const name = 'trusted_root.json';
  const next = files.find((file) => file.name === name);
  const published = client.role('targets').signed.targets.get(name)?.hashes.sha256;
  if (inputs.allowReopen === true || next === undefined || published === undefined) return;
  const body = await new Registry(registryUrl(inputs.registry), inputs.signal).blob(published);
  if (body === undefined || goodsOf(name, body).sha256 !== published) {
    throw RELEASE.reject('RELEASE_TARGET_LOST', `expected the published ${name}, got none or another`);
  }
  checkReopensNone(parseTrustedRoot(next.body), parseTrustedRoot(body));
}

/** Trust files as targets will name them, each read as its users will. @throws CLI_TRUST_FILE_UNSUITABLE, CLI_FILE_UNREADABLE */
export async function readTrustFiles(paths: TrustFiles): Promise<readonly TrustFile[]> {
  const { trustedRoot, signingConfig, logPolicy } = paths;
  const files: TrustFile[] = [];
  const add = async (path: string | undefined, name: string, check: (bytes: Uint8Array) => unknown) => {
    if (path === undefined) return;
    const bytes = await readInput(path);
    try {
      check(bytes);
    } catch (cause) {
      if (!(cause instanceof Rejection)) throw cause;
      const message = `expected ${name} in ${quote(path)}, got a file that is none: ${cause.message}`;
      throw CLI.reject('CLI_TRUST_FILE_UNSUITABLE', message, { at: cause.at, cause });
    }
    files.push(goodsOf(name, bytes));
  };
  await add(trustedRoot, 'trusted_root.json', parseTrustedRoot);
  await add(signingConfig, 'signing_config.v0.2.json', (bytes) => parseSigningServices(bytes, Date.now()));
  await add(logPolicy, 'tlog-policy', (bytes) => parseLogPolicy(bytes, portableCrypto));
  return files;
}

const LOG_POLICY = 'tlog-policy';

/**
 * Which lines of the log policy go and come, if it is among the files. What is in force comes from the repository; where there is none, or it has lost the file,
 * every line of the new one is told.
 */
export async function logPolicyChanges(
  client: TufClient | undefined,
  files: readonly TrustFile[],
): Promise<readonly string[]> {
  const next = files.find(({ name }) => name === LOG_POLICY);
  if (next === undefined || (client !== undefined && isNamed(client, next))) return [];
  const current = await client?.trustMaterial(LOG_POLICY).catch((failure: unknown) => {
    if (failure instanceof Rejection || failure instanceof Unavailable) return undefined;
    throw failure;
  });
  return describeLogPolicy(current, next.body);
}
