// SPDX-License-Identifier: Apache-2.0
// The index of a product's releases [docs/spec/release-index.md], target `packs/<product>/releases.json` of its delegation.

import { canonicalJsonBytes } from '../encoding/canonical-json.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import type { Json } from '../encoding/strict-json.ts';
import { CORE } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { compareVersions, isProductName, isVersion } from './version.ts';

/** A file of the release by TUF target name, digest and size. */
export interface ReleaseFile {
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface Release {
  readonly version: string;
  readonly image: ReleaseFile;
  readonly pack: ReleaseFile;
  readonly hardwareIds: readonly string[];
  /** RFC 3339. */
  readonly releasedAt: string;
}

/** "This image must not run": who has not installed it refuses, who has reports it. */
export interface Denial {
  readonly imageSha256: string;
  readonly version: string;
  readonly reason: string;
  readonly deniedAt: string;
}

export interface ReleaseIndex {
  readonly product: string;
  /** Ascending by version. */
  readonly releases: readonly Release[];
  readonly denials: readonly Denial[];
}

/** TUF target name of a product's index. */
export function releaseIndexName(product: string): string {
  return `packs/${product}/releases.json`;
}

/** Parses an index; unauthenticated until TUF has vouched for the bytes. @throws RELEASE_INDEX_MALFORMED */
export function parseReleaseIndex(bytes: Uint8Array): ReleaseIndex {
  const refuse = (message: string, at: string) => CORE.reject('RELEASE_INDEX_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse }, LIMITS.releaseIndexSizeBytes).only(
    'product',
    'releases',
    'denials',
  );
  const product = root.field('product');
  if (!isProductName(product.string())) throw product.wrong('expected a product name');
  const releases = root
    .field('releases')
    .elements()
    .map((node) => parseRelease(node, product.string()));
  for (let i = 1; i < releases.length; i++) {
    if (compareVersions((releases[i - 1] as Release).version, (releases[i] as Release).version) >= 0) {
      throw root.field('releases').wrong('expected versions in ascending order, each once');
    }
  }
  return { product: product.string(), releases, denials: root.field('denials').elements().map(parseDenial) };
}

function parseRelease(node: DocumentNode, product: string): Release {
  node.only('version', 'image', 'pack', 'hardwareIds', 'releasedAt');
  return {
    version: parseVersion(node.field('version')),
    image: parseFile(node.field('image'), `images/${product}/`),
    pack: parseFile(node.field('pack'), `packs/${product}/`),
    hardwareIds: node
      .field('hardwareIds')
      .someElements()
      .map((id) => id.string()),
    releasedAt: parseInstant(node.field('releasedAt')),
  };
}

function parseDenial(node: DocumentNode): Denial {
  node.only('imageSha256', 'version', 'reason', 'deniedAt');
  return {
    imageSha256: node.field('imageSha256').sha256(),
    version: parseVersion(node.field('version')),
    reason: node.field('reason').string(),
    deniedAt: parseInstant(node.field('deniedAt')),
  };
}

function parseVersion(node: DocumentNode): string {
  if (!isVersion(node.string())) throw node.wrong('expected a version such as 8.1.0');
  return node.string();
}

function parseInstant(node: DocumentNode): string {
  node.instantMs();
  return node.string();
}

function parseFile(node: DocumentNode, folder: string): ReleaseFile {
  node.only('name', 'sha256', 'sizeBytes');
  const name = node.field('name');
  const rest = name.string().startsWith(folder) ? name.string().slice(folder.length) : '';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(rest))
    throw name.wrong(`expected a file name under ${folder}`);
  return {
    name: name.string(),
    sha256: node.field('sha256').sha256(),
    sizeBytes: node.field('sizeBytes').integer(1),
  };
}

/** The canonical bytes of an index; `parseReleaseIndex` is the inverse. */
export function formatReleaseIndex(index: ReleaseIndex): Uint8Array {
  return canonicalJsonBytes(index as unknown as Json);
}
