// SPDX-License-Identifier: Apache-2.0
// Checks the trust material of a data folder [docs/spec/fsck.md §Trust material]: the chain of roots that clients walk, the root.json that
// is given to them, and the files in trust/ from which the next publication is made.

import { join } from 'node:path';
import { Rejection } from '../core/faults.ts';
import { parseTrustedRoot } from '../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { TrustedMetadata, verifyTrustedRoot } from '../core/tuf/trusted-metadata.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { Finding } from './log/log-check.ts';
import { diskFiles } from './store/durable-files.ts';
import { STORE } from './store-faults.ts';
import { checkReopensNone } from './trust/reopened.ts';
import { readChain } from './trust/services.ts';
import { checkKeepsAll, readSigningConfig, readTrustedRoot } from './trust/trust-changes.ts';
import { readPublishedTarget } from './tuf/published-target.ts';
import { roleFileName } from './tuf/repository-state.ts';

const TUF = 'state/tuf';

/** @throws REGISTRY_STORE_FAILED */
export async function* checkTrust(dataFolder: string): AsyncGenerator<Finding> {
  yield* checkRoots(dataFolder);
  yield* attempt('root.json', () => checkGivenRoot(dataFolder));
  yield* checkFiles(dataFolder);
}

/** What a check refuses is a finding. */
async function* attempt(at: string, check: () => unknown): AsyncGenerator<Finding> {
  try {
    await check();
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    yield { at, problem: cause.message };
  }
}

/** Who has the first root comes to the last through each one in between. Their expiry is no damage. */
async function* checkRoots(dataFolder: string): AsyncGenerator<Finding> {
  const versions = (await diskFiles.list(join(dataFolder, TUF)))
    .map((name) => Number(/^([1-9][0-9]{0,8})\.root\.json$/.exec(name)?.[1] ?? 0))
    .sort((a, b) => a - b);
  const last = Math.max(1, ...versions);
  let chain: TrustedMetadata | undefined;
  for (let version = 1; version <= last; version++) {
    const at = `${TUF}/${roleFileName(version, 'root')}`;
    const bytes = await diskFiles.read(join(dataFolder, at));
    if (bytes === undefined) {
      yield { at, problem: `expected root version ${version}, on the way to ${last}, found none` };
      return;
    }
    const before = chain;
    yield* attempt(at, () => {
      if (before === undefined) chain = firstRoot(bytes);
      else before.root = before.verifyNextRoot(bytes);
    });
    // What follows one that is damaged has nothing to be verified with.
    if (chain?.root.signed.version !== version) return;
  }
}

function firstRoot(bytes: Uint8Array): TrustedMetadata {
  const root = verifyTrustedRoot(bytes, nodeCrypto);
  if (root.signed.version === 1) return new TrustedMetadata(root, { nowMs: 0, crypto: nodeCrypto });
  throw STORE.reject('REGISTRY_DATA_DAMAGED', `expected root version 1, got version ${root.signed.version}`);
}

/** root.json is a copy of a published root; one that is not there was moved away. @throws TUF_*, and a Rejection if it is none */
async function checkGivenRoot(dataFolder: string): Promise<void> {
  const bytes = await diskFiles.read(join(dataFolder, 'root.json'));
  if (bytes === undefined) return;
  const { version } = verifyTrustedRoot(bytes, nodeCrypto).signed;
  const published = await diskFiles.read(join(dataFolder, TUF, roleFileName(version, 'root')));
  if (published !== undefined && sameBytes(published, bytes)) return;
  throw STORE.reject(
    'REGISTRY_DATA_DAMAGED',
    `expected the published root of version ${version}, got another: who is given it trusts other keys`,
  );
}

/** The files in trust/ can be read, and the trusted root there is not behind the published one. */
async function* checkFiles(dataFolder: string): AsyncGenerator<Finding> {
  // A repository that cannot be read was a finding before.
  const published = await readPublishedTarget(dataFolder, 'trusted_root.json').catch((cause: unknown) => {
    if (cause instanceof Rejection) return undefined;
    throw cause;
  });
  const files: readonly (readonly [string, (bytes: Uint8Array) => void])[] = [
    [
      'trusted_root.json',
      (bytes) => {
        const own = readTrustedRoot(bytes);
        if (published === undefined) return;
        checkKeepsAll(own, readTrustedRoot(published));
        checkReopensNone(parseTrustedRoot(bytes), parseTrustedRoot(published));
      },
    ],
    ['signing_config.v0.2.json', readSigningConfig],
    ['tlog-policy', (bytes) => parseLogPolicy(bytes, nodeCrypto)],
  ];
  for (const [name, check] of files) {
    const at = `trust/${name}`;
    const bytes = await diskFiles.read(join(dataFolder, at));
    if (bytes === undefined) yield { at, problem: 'expected a file, found none' };
    else yield* attempt(at, () => check(bytes));
  }
  for (const name of await diskFiles.list(join(dataFolder, 'trust'))) {
    const [, service, instance = '1'] = /^(ca|tsa)-chain(?:-([0-9]{1,4}))?\.pem$/.exec(name) ?? [];
    if (service !== 'ca' && service !== 'tsa') continue;
    yield* attempt(`trust/${name}`, () => readChain(dataFolder, service, Number(instance)));
  }
}
