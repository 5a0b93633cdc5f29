// SPDX-License-Identifier: Apache-2.0
// With which keys and certificates a data folder is checked [docs/spec/fsck.md]: those that its trusted roots name, so that no private key is
// needed, nor a signer. A key file is asked for a shard alone that none of them names.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { join, relative } from 'node:path';
import { quote } from '../core/faults.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { attempt, problemOf } from './fsck-places.ts';
import type { Finding } from './log/log-check.ts';
import { diskFiles } from './store/durable-files.ts';
import { checkKeyMode, checkOwnerWrites, readTrustFile } from './trust/files.ts';
import { type CertifiedService, isThere, keyPath, type LogService, newestKey } from './trust/instances.ts';
import { NamedInstances } from './trust/named-instances.ts';
import type { ServiceNames } from './trust/services.ts';
import { TRUST } from './trust-faults.ts';
import { readPublishedTarget } from './tuf/published-target.ts';

/** The trusted roots of a data folder. */
export class NamedTrust {
  /** What the server goes by; undefined if it cannot be read. */
  readonly published: NamedInstances | undefined;
  /** That in `trust/`, which may be ahead; undefined if it cannot be read. */
  readonly own: NamedInstances | undefined;

  private constructor(published: NamedInstances | undefined, own: NamedInstances | undefined) {
    this.published = published;
    this.own = own;
  }

  /** Reads both. That one cannot be read is for another check to find. @throws REGISTRY_STORE_FAILED */
  static async read(dataFolder: string, names: ServiceNames): Promise<NamedTrust> {
    const parse = async (read: () => Promise<Uint8Array | undefined>) => {
      try {
        const bytes = await read();
        return bytes && new NamedInstances(bytes, names);
      } catch (failure) {
        problemOf(failure);
        return undefined;
      }
    };
    return new NamedTrust(
      await parse(() => readPublishedTarget(dataFolder, 'trusted_root.json')),
      await parse(() => diskFiles.read(join(dataFolder, 'trust', 'trusted_root.json'))),
    );
  }

  /** The key of a shard, DER SubjectPublicKeyInfo. */
  logKey(service: LogService, shard: number): Uint8Array | undefined {
    return this.published?.logKey(service, shard) ?? this.own?.logKey(service, shard);
  }

  /** The certificates of each instance, its own first, in DER. */
  chains(service: CertifiedService): readonly (readonly Uint8Array[])[] {
    const published = this.published?.chains(service) ?? [];
    return [...published, ...(this.own?.chains(service) ?? []).slice(published.length)];
  }

  /** How many shards of a log there may be: as many as are named or have key files, but one at least. @throws CA_FILES_UNREADABLE */
  async countShards(dataFolder: string, service: LogService): Promise<number> {
    const named = [this.published, this.own].map((root) => root?.count(service) ?? 0);
    return Math.max(1, await newestKey(dataFolder, service), ...named);
  }
}

/** The public key of a shard, DER SubjectPublicKeyInfo; undefined if none is known. @throws REGISTRY_STORE_FAILED */
export function shardKey(
  dataFolder: string,
  service: LogService,
  shard: number,
  named: NamedTrust,
): AsyncGenerator<Finding, Uint8Array | undefined> {
  return checkKey(dataFolder, keyPath(dataFolder, service, shard), named.logKey(service, shard));
}

/**
 * A key file that is there has to be that of the public key that is named for it, DER SubjectPublicKeyInfo, which is returned; where none is named,
 * that of the file is. @throws REGISTRY_STORE_FAILED
 */
export async function* checkKey(
  dataFolder: string,
  path: string,
  named: Uint8Array | undefined,
): AsyncGenerator<Finding, Uint8Array | undefined> {
  let key = named;
  yield* attempt(relative(dataFolder, path), async () => {
    if (!(await isThere(path))) return;
    const held = await readPublicKey(path);
    key ??= held;
    if (sameBytes(held, key)) return;
    const problem = `expected the private key of the public key that is published for it, got another`;
    throw TRUST.reject('CA_KEY_MISMATCH', problem);
  });
  return key;
}

/** Keys, the token and what names signers, where others than their owner may do more than a start allows. */
export async function* checkModes(dataFolder: string): AsyncGenerator<Finding> {
  const folder = join(dataFolder, 'keys');
  let names: readonly string[] = [];
  yield* attempt('keys', async () => {
    names = await diskFiles.list(folder);
    await checkOwnerWrites(folder, 'a folder of keys');
  });
  for (const name of names) {
    const path = join(folder, name);
    yield* attempt(`keys/${name}`, async () => {
      if (name.endsWith('.pem')) await checkKeyMode(path);
      if (name === 'enrolment.token') await checkKeyMode(path, 'an enrolment token');
      if (name.endsWith('.signer')) await checkOwnerWrites(path, 'the name of a signer');
    });
  }
}

async function readPublicKey(path: string): Promise<Uint8Array> {
  const pem = await readTrustFile(path);
  try {
    const key = createPublicKey(createPrivateKey(pem));
    return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
  } catch {
    // No cause: OpenSSL's text could quote the file.
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected a private key in ${quote(path)}`, { at: path });
  }
}
