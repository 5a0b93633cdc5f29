// SPDX-License-Identifier: Apache-2.0
// `waybill verify` of an evidence pack [docs/spec/evidence-pack.md §Verifying]: trust first, then every link of the pack, then SBOM and image.

import { createHash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { devicePolicyName, parseDevicePolicy } from '../core/release/device-policy.ts';
import { parsePack } from '../core/release/pack.ts';
import { parseReleaseIndex, type Release, releaseIndexName } from '../core/release/release-index.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { PACK } from '../core/verify/faults.ts';
import { type Finding, found, type PackTrust } from '../core/verify/pack-steps.ts';
import { checkPackImage, checkPackSbom, type VerifiedPack, verifyPack } from '../core/verify/verify-pack.ts';
import { checkPackDigest, checkTarget, refuseDenied } from '../device/release-choice.ts';
import type { TufClient } from '../device/tuf-client.ts';
import { bothVerifiers } from '../peers/both-verifiers.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { ChainAccount } from './chain-account.ts';
import { CLI } from './faults.ts';
import { readIfThere, readInput } from './files.ts';
import { readDigest, readImage } from './image.ts';
import { printProgress } from './terminal.ts';
import type { Trust } from './trust.ts';
import { type RepositoryPlace, withRepository } from './verify-trust.ts';

/** What the command line says about a pack. */
export interface PackQuestionFiles extends RepositoryPlace {
  readonly trustedRoot?: string;
  readonly logPolicy?: string;
  readonly devicePolicy?: string;
  readonly sbom?: string;
}

/** What is verified, and as of when. */
export interface GivenFile {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly image: string | undefined;
  readonly nowMs: number;
}

/** Trust, and the release where a repository says which it is. */
interface Ground {
  readonly trust: PackTrust;
  readonly release?: Release;
  /** Fetches the SBOM by its name, where there is a repository. */
  readonly fetchSbom?: (name: string) => Promise<Uint8Array>;
}

/** Verifies a pack and returns in words what it is about. @throws Rejection as the account says */
export async function verifyPackFile(
  given: GivenFile,
  files: PackQuestionFiles,
  account: ChainAccount,
): Promise<string> {
  return withGround(given, files, account, async ({ trust, release, fetchSbom }) => {
    const asked = release && {
      version: release.version,
      imageSha256: release.image.sha256,
      imageSizeBytes: release.image.sizeBytes,
    };
    const question = { trust, release: asked, nowMs: given.nowMs };
    const verified = verifyPack(given.bytes, question, nodeCrypto, (link, check) =>
      account.check(link, check),
    );
    await checkSbom(verified, given, files.sbom, fetchSbom, account);
    await checkImage(verified, given.image, account);
    const { product, version, imageSha256 } = verified.pack;
    return `${product} ${version}, image sha256:${imageSha256}`;
  });
}

/** Finds out whom to trust, in one of the two ways. */
async function withGround<T>(
  given: GivenFile,
  files: PackQuestionFiles,
  account: ChainAccount,
  work: (ground: Ground) => Promise<T>,
): Promise<T> {
  const { root, trustedRoot, logPolicy, devicePolicy } = files;
  if (root === undefined) {
    if (trustedRoot === undefined || logPolicy === undefined || devicePolicy === undefined) {
      throw CLI.reject(
        'CLI_USAGE',
        'expected --root with --tuf or --registry, or --trusted-root, --log-policy and --device-policy, all three',
      );
    }
    return work({ trust: await trustInFiles({ trustedRoot, logPolicy, devicePolicy }, account) });
  }
  if ([trustedRoot, logPolicy, devicePolicy].some((file) => file !== undefined)) {
    throw CLI.reject(
      'CLI_USAGE',
      'expected --root, which says whom to trust, or files of trust material, got both',
    );
  }
  return withRepository({ ...files, root }, given.nowMs, account, async (trust) =>
    work(await readRepository(trust, given, account)),
  );
}

async function trustInFiles(
  paths: { readonly trustedRoot: string; readonly logPolicy: string; readonly devicePolicy: string },
  account: ChainAccount,
): Promise<PackTrust> {
  const trustedRoot = await readInput(paths.trustedRoot);
  const logPolicy = await readInput(paths.logPolicy);
  const policy = await readInput(paths.devicePolicy);
  return account.check('trust', () =>
    found(
      trustOf(trustedRoot, logPolicy, policy),
      `${quote(paths.trustedRoot)}, ${quote(paths.logPolicy)} and ${quote(paths.devicePolicy)}, as given: nobody's signature on them was checked`,
    ),
  );
}

function trustOf(trustedRoot: Uint8Array, logPolicy: Uint8Array, devicePolicy: Uint8Array): PackTrust {
  const policy = parseDevicePolicy(devicePolicy);
  return {
    policy,
    logPolicy: parseLogPolicy(logPolicy, nodeCrypto),
    verifier: bothVerifiers({ trustedRoot, keys: [policy.gate.publicKey] }),
  };
}

async function readRepository(trust: Trust, { bytes }: GivenFile, account: ChainAccount): Promise<Ground> {
  const { client } = trust;
  // Whose pack it calls itself; every link below asks whether it is.
  const { product, version, imageSha256 } = account.check('form', () => {
    const pack = parsePack(bytes);
    return found(pack, `an evidence pack that calls itself ${pack.product} ${pack.version}`);
  });
  const policyName = devicePolicyName(product);
  const packTrust = await account.await('trust', async () =>
    found(
      trustOf(await trust.trustedRoot(), await trust.tlogPolicy(), await client.trustMaterial(policyName)),
      `trusted_root.json, tlog-policy and ${policyName} from top-level targets`,
    ),
  );
  const release = await account.await('release', () =>
    findRelease(client, bytes, { product, version, imageSha256 }),
  );
  const fetchSbom = (name: string) => client.goods(product, name, LIMITS.jsonSizeBytes);
  return { trust: packTrust, release, fetchSbom };
}

/** The product's own delegation names this pack, and no denial names its image. */
async function findRelease(
  client: TufClient,
  bytes: Uint8Array,
  {
    product,
    version,
    imageSha256,
  }: { readonly product: string; readonly version: string; readonly imageSha256: string },
): Promise<Finding<Release>> {
  const index = parseReleaseIndex(
    await client.goods(product, releaseIndexName(product), LIMITS.releaseIndexSizeBytes),
  );
  refuseDenied(index, imageSha256);
  const release = index.releases.find((one) => one.version === version);
  if (release === undefined) {
    throw PACK.reject(
      'PACK_NOT_RELEASED',
      `expected ${quote(version)} among the ${index.releases.length} releases of ${quote(product)}, did not find it`,
    );
  }
  checkTarget(release.image, await client.goodsTarget(product, release.image.name));
  checkTarget(release.pack, await client.goodsTarget(product, release.pack.name));
  checkPackDigest(
    { sha256: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length },
    release,
  );
  return found(
    release,
    `${version} of ${release.releasedAt} for ${release.hardwareIds.map(quote).join(', ')}, not withdrawn`,
    `releases-${product} good until ${client.role(`releases-${product}`).signed.expires}`,
  );
}

/** The SBOM that was named, or the one beside the pack, or that of the repository. */
async function checkSbom(
  verified: VerifiedPack,
  { file }: GivenFile,
  path: string | undefined,
  fetchSbom: Ground['fetchSbom'],
  account: ChainAccount,
): Promise<void> {
  const { name } = verified.sbom.body;
  const beside = join(dirname(file), basename(name));
  const bytes = path === undefined ? await readIfThere(beside) : await readInput(path);
  if (bytes === undefined && fetchSbom === undefined) {
    account.skip('sbom file', `${quote(basename(name))} is not beside the pack; give it with --sbom`);
    return;
  }
  await account.await('sbom file', async () =>
    checkPackSbom(verified, bytes ?? ((await fetchSbom?.(name)) as Uint8Array), nodeCrypto),
  );
}

async function checkImage(
  verified: VerifiedPack,
  image: string | undefined,
  account: ChainAccount,
): Promise<void> {
  const { imageSha256, imageSizeBytes: sizeBytes } = verified.pack;
  if (image === undefined) {
    account.skip('image', `none was given; the evidence is about sha256:${imageSha256}, ${sizeBytes} bytes`);
    return;
  }
  if (!image.startsWith('sha256:')) {
    const got = await readImage(image, printProgress);
    account.check('image', () => checkPackImage(verified, got));
    return;
  }
  // A digest alone says nothing about the size, which in the pack nobody signed.
  const sha256 = readDigest(image, 'the image');
  account.check('image', () => {
    checkPackImage(verified, { sha256, sizeBytes: undefined });
    return found(undefined, `sha256:${sha256}, as given: no file was read`);
  });
}
