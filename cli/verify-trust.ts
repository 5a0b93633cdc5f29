// SPDX-License-Identifier: Apache-2.0
// The trust of `waybill verify` by update metadata: from a copy of a repository, or from the registry itself.

import { rmSync } from 'node:fs';
import { mkdtemp, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { type Finding, found } from '../core/verify/pack-steps.ts';
import type { DeviceHost } from '../device/host.ts';
import { nodeHost } from '../device/node-host.ts';
import type { ChainAccount } from './chain-account.ts';
import { CLI } from './faults.ts';
import { COPY_URL, keepCopy, readCopy } from './repository-copy.ts';
import { openTrust, registryUrl, type Trust } from './trust.ts';

/** Where update metadata comes from, as the command line says. */
export interface RepositoryPlace {
  readonly root?: string;
  readonly tuf?: string;
  readonly registry?: string;
  readonly keep?: string;
}

/** Brings update metadata up to date, as the first link, and works with it. @throws CLI_USAGE and as `openTrust` */
export async function withRepository<T>(
  place: RepositoryPlace & { readonly root: string },
  nowMs: number,
  account: ChainAccount,
  work: (trust: Trust) => Promise<T>,
): Promise<T> {
  const { tuf, registry, keep } = place;
  if ((tuf === undefined) === (registry === undefined) || (keep !== undefined && tuf !== undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected with --root either --tuf, or --registry with or without --keep');
  }
  if (tuf !== undefined && (await stat(tuf).catch(() => undefined))?.isDirectory() !== true) {
    throw CLI.reject('CLI_FILE_UNREADABLE', `expected --tuf to be a folder, ${quote(tuf)} is none`);
  }
  if (tuf !== undefined && (await stat(join(tuf, 'timestamp.json')).catch(() => undefined)) === undefined) {
    throw CLI.reject(
      'CLI_FILE_UNREADABLE',
      `expected --tuf to be a copy as --keep makes it, ${quote(tuf)} holds no timestamp.json`,
    );
  }
  const host = { ...nodeHost(), nowMs: () => nowMs };
  const kept =
    keep === undefined || registry === undefined
      ? undefined
      : keepCopy(keep, registryUrl(registry), host.fetch);
  const fetch = tuf === undefined ? (kept?.fetch ?? host.fetch) : readCopy(tuf);
  const scratch = await makeScratch();
  // An interrupt may end the process while something still hangs.
  const clear = () => rmSync(scratch, { recursive: true, force: true });
  process.once('exit', clear);
  try {
    const repository = () => openRepository(place, { ...host, fetch }, scratch);
    const result = await work(await account.await('metadata', repository));
    await kept?.write();
    return result;
  } finally {
    process.off('exit', clear);
    clear();
  }
}

async function makeScratch(): Promise<string> {
  const place = join(tmpdir(), 'waybill-verify-');
  try {
    return await mkdtemp(place);
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw CLI.unavailable('CLI_FILE_UNWRITABLE', `could not write ${quote(place)}: ${code}`, { cause });
  }
}

/** Update metadata from the root that the user trusts. A copy is judged by itself: what other copies said before does not count. */
async function openRepository(
  { root: rootPath, tuf, registry, keep }: RepositoryPlace & { readonly root: string },
  host: DeviceHost,
  scratch: string,
): Promise<Finding<Trust>> {
  // A whole copy begins at the root that is given.
  const stateFolder = tuf === undefined && keep === undefined ? {} : { stateFolder: scratch };
  const trust = await openTrust({
    registryUrl: tuf === undefined ? (registry ?? '') : COPY_URL,
    rootPath,
    host,
    ...stateFolder,
  });
  const { client } = trust;
  const { name, expires } = client.firstToExpire();
  const { version } = client.role('targets').signed;
  return found(
    trust,
    `targets version ${version}, good until ${expires} (${name}), from ${quote(tuf ?? registry ?? '')}`,
  );
}
