// SPDX-License-Identifier: Apache-2.0
// What says, beside the trusted root, which log signatures go to: the signing configuration and the log policy, once the log has a new
// shard [docs/spec/trust-services.md §Rotation].

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote, Rejection } from '../core/faults.ts';
import { parseLogPolicy, policyLines } from '../core/tlog/log-policy.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { RotatedRegistry } from './rotation.ts';
import { shardName, shardOrigin } from './trust/instances.ts';
import { serviceNames } from './trust/services.ts';
import { addLogLine, directToShard, dropLogLines, readSigningConfig } from './trust/trust-changes.ts';
import { TRUST } from './trust-faults.ts';
import { readPublishedTarget } from './tuf/published-target.ts';

export type TrustFile = 'trusted_root.json' | 'signing_config.v0.2.json' | 'tlog-policy';

/** A file of `trust/` as it is to be written. */
export interface ChangedFile {
  readonly name: TrustFile;
  readonly bytes: Uint8Array;
  /** True if it was made from the published one: that in `trust/` lacked something of it. */
  readonly isOfPublished: boolean;
}

export const trustPath = (dataFolder: string, name: TrustFile): string => join(dataFolder, 'trust', name);

export const wholeSecond = (ms: number): number => Math.floor(ms / 1000) * 1000;

/** Reads a file of `trust/`. @throws CA_FILES_UNREADABLE */
export async function readFileOf(dataFolder: string, name: TrustFile): Promise<Uint8Array> {
  const path = trustPath(dataFolder, name);
  return readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected a readable file ${quote(path)}, got ${cause.code}`, {
      cause,
    });
  });
}

/**
 * Signing configuration and log policy with a new shard in them. Made from what is in `trust/`, which may be ahead of what is published; but
 * where that lacks something of it, a witness, say, from what is published: it was changed elsewhere, and must not be taken back by a rotation.
 * @throws CA_FILES_UNREADABLE, TLOG_POLICY_MALFORMED, REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED
 */
export async function logFiles(
  { dataFolder, org, url, nowMs }: RotatedRegistry,
  of: { readonly instance: number; readonly logKey: string; readonly isStolen: boolean },
): Promise<readonly ChangedFile[]> {
  const { instance, logKey, isStolen } = of;
  const numbers = Array.from({ length: instance - 1 }, (_, i) => i + 1);
  const urlOf = (number: number): string => `${url}/${shardName('log', number)}`;
  const shard = { oldUrls: numbers.map(urlOf), url: urlOf(instance), startMs: wholeSecond(nowMs), org };
  const origins = numbers.map((number) => shardOrigin('log', serviceNames(org).log, number));
  const direct = (config: Uint8Array) => directToShard(config, shard);
  const admit = (policy: Uint8Array) => {
    const next = addLogLine(policy, logKey, urlOf(instance));
    // Whoever has the key of a log can make it say anything that no witness has seen otherwise.
    const isWitnessed = parseLogPolicy(next, nodeCrypto).quorum !== 'none';
    return isStolen && !isWitnessed ? dropLogLines(next, origins) : next;
  };
  return [
    await changedFile(dataFolder, 'signing_config.v0.2.json', direct, configParts),
    await changedFile(dataFolder, 'tlog-policy', admit, policyParts),
  ];
}

async function changedFile(
  dataFolder: string,
  name: TrustFile,
  change: (bytes: Uint8Array) => Uint8Array,
  partsOf: (bytes: Uint8Array) => readonly string[],
): Promise<ChangedFile> {
  const own = changeOwn(trustPath(dataFolder, name), await readFileOf(dataFolder, name), change);
  const published = change(await readPublishedTarget(dataFolder, name));
  const parts = new Set(partsOf(own));
  const isBehind = partsOf(published).some((part) => !parts.has(part));
  return { name, bytes: isBehind ? published : own, isOfPublished: isBehind };
}

/** Says which file it is that cannot be read. */
function changeOwn(path: string, bytes: Uint8Array, change: (bytes: Uint8Array) => Uint8Array): Uint8Array {
  try {
    return change(bytes);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    const at = cause.at === undefined ? path : `${path}, ${cause.at}`;
    throw new Rejection(cause.code, cause.row, cause.message, { at, cause });
  }
}

/** `quorum none` asks for nothing that another quorum does not. */
const policyParts = (policy: Uint8Array): readonly string[] =>
  policyLines(policy).filter((line) => line !== 'quorum none');

/** Each member, of lists each element. */
function configParts(config: Uint8Array): readonly string[] {
  return Object.entries(readSigningConfig(config)).flatMap(([name, value]) =>
    [value].flat().map((each) => `${name} ${JSON.stringify(each)}`),
  );
}
