// SPDX-License-Identifier: Apache-2.0
// Checks the trust material of a data folder [docs/spec/fsck.md §Trust material]: the chain of roots that clients walk, the root.json that
// is given to them, and the files in trust/ from which the next publication is made.

import { join, relative } from 'node:path';
import { quote } from '../core/faults.ts';
import { parseTrustedRoot } from '../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { TrustedMetadata, verifyTrustedRoot } from '../core/tuf/trusted-metadata.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { checkKey, NamedTrust } from './fsck-keys.ts';
import { attempt, problemOf } from './fsck-places.ts';
import type { Finding } from './log/log-check.ts';
import { diskFiles } from './store/durable-files.ts';
import { STORE } from './store-faults.ts';
import { readCertificate } from './trust/authority.ts';
import { chainPath, keyPath } from './trust/instances.ts';
import { checkReopensNone } from './trust/reopened.ts';
import { readChain, type ServiceNames } from './trust/services.ts';
import { checkKeepsAll, instancesOf, readSigningConfig, readTrustedRoot } from './trust/trust-changes.ts';
import { readPublishedTarget } from './tuf/published-target.ts';
import { roleFileName } from './tuf/repository-state.ts';

const TUF = 'state/tuf';

/** @throws REGISTRY_STORE_FAILED */
export async function* checkTrust(dataFolder: string, names: ServiceNames): AsyncGenerator<Finding> {
  const sound = yield* checkRoots(dataFolder);
  yield* attempt('root.json', () => checkGivenRoot(dataFolder, sound));
  yield* checkFiles(dataFolder, names);
  yield* checkChains(dataFolder, await NamedTrust.read(dataFolder, names));
}

/**
 * Who has the first root comes to the last through each one in between. Their expiry is no damage.
 * @returns the version up to which that is so, infinity if it is of all
 */
async function* checkRoots(dataFolder: string): AsyncGenerator<Finding, number> {
  const versions = (yield* namesIn(dataFolder, TUF))
    .map((name) => Number(/^([1-9][0-9]{0,8})\.root\.json$/.exec(name)?.[1] ?? 0))
    .sort((a, b) => a - b);
  const last = Math.max(1, ...versions);
  let chain: TrustedMetadata | undefined;
  for (let version = 1; version <= last; version++) {
    const at = `${TUF}/${roleFileName(version, 'root')}`;
    const before = chain;
    yield* attempt(at, async () => {
      const bytes = await diskFiles.read(join(dataFolder, at));
      if (bytes === undefined)
        throw damaged(`expected root version ${version}, on the way to ${last}, found none`);
      if (before === undefined) chain = firstRoot(bytes);
      else before.root = before.verifyNextRoot(bytes);
    });
    // What follows one that is damaged has nothing to be verified with.
    if (chain?.root.signed.version !== version) return version - 1;
  }
  return Number.POSITIVE_INFINITY;
}

function firstRoot(bytes: Uint8Array): TrustedMetadata {
  const root = verifyTrustedRoot(bytes, nodeCrypto);
  if (root.signed.version === 1) return new TrustedMetadata(root, { nowMs: 0, crypto: nodeCrypto });
  throw damaged(`expected root version 1, got version ${root.signed.version}`);
}

/** root.json is a copy of a published root; one that is not there was moved away. @throws TUF_*, and a Rejection if it is none */
async function checkGivenRoot(dataFolder: string, sound: number): Promise<void> {
  const bytes = await diskFiles.read(join(dataFolder, 'root.json'));
  if (bytes === undefined) return;
  const { version } = verifyTrustedRoot(bytes, nodeCrypto).signed;
  const what = `expected the published root of version ${version}`;
  if (version > sound) throw damaged(`${what} to compare with, found no sound one: keep this file`);
  const published = await diskFiles.read(join(dataFolder, TUF, roleFileName(version, 'root')));
  if (published !== undefined && sameBytes(published, bytes)) return;
  throw damaged(`${what}, got another: who is given it trusts other keys`);
}

/** The files in trust/ can be read, and the trusted root there names our services and is not behind the published one. */
async function* checkFiles(dataFolder: string, names: ServiceNames): AsyncGenerator<Finding> {
  // A repository that cannot be read was a finding before.
  const published = await readPublishedTarget(dataFolder, 'trusted_root.json').catch((cause: unknown) => {
    problemOf(cause);
    return undefined;
  });
  const files: readonly (readonly [string, (bytes: Uint8Array) => void])[] = [
    [
      'trusted_root.json',
      (bytes) => {
        const own = readTrustedRoot(bytes);
        for (const service of ['ca', 'ct', 'log', 'tsa'] as const) {
          if (instancesOf(own, service, names).length > 0) continue;
          throw damaged(`expected it to name the service ${quote(names[service])}, found none`);
        }
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
    yield* attempt(at, async () => {
      const bytes = await diskFiles.read(join(dataFolder, at));
      if (bytes === undefined) throw damaged('expected a file, found none');
      check(bytes);
    });
  }
}

/** The server starts with the certificates that are named alone, and with all of them. */
async function* checkChains(dataFolder: string, named: NamedTrust): AsyncGenerator<Finding> {
  const checked = new Set<string>();
  for (const service of ['ca', 'tsa'] as const) {
    for (const [i, certificates] of named.chains(service).entries()) {
      const at = relative(dataFolder, chainPath(dataFolder, service, i + 1));
      checked.add(at);
      yield* attempt(at, async () => {
        const chain = await readChain(dataFolder, service, i + 1);
        const isSame =
          chain.length === certificates.length &&
          chain.every((der, k) => sameBytes(der, certificates[k] as Uint8Array));
        if (!isSame) throw damaged('expected the certificates that the trusted root names, got others');
      });
      const { spki } = readCertificate(certificates[0] ?? new Uint8Array()) ?? {};
      yield* checkKey(dataFolder, keyPath(dataFolder, service, i + 1), spki);
    }
  }
  // A rotation that was broken off leaves some that nothing names yet.
  for (const name of yield* namesIn(dataFolder, 'trust')) {
    const [, service, instance = '1'] = /^(ca|tsa)-chain(?:-([0-9]{1,4}))?\.pem$/.exec(name) ?? [];
    if ((service !== 'ca' && service !== 'tsa') || checked.has(`trust/${name}`)) continue;
    yield* attempt(`trust/${name}`, () => readChain(dataFolder, service, Number(instance)));
  }
}

/** The names in a folder; one that is none is a finding. */
async function* namesIn(dataFolder: string, at: string): AsyncGenerator<Finding, readonly string[]> {
  let names: readonly string[] = [];
  yield* attempt(at, async () => {
    names = await diskFiles.list(join(dataFolder, at));
  });
  return names;
}

const damaged = (message: string): Error => STORE.reject('REGISTRY_DATA_DAMAGED', message);
