// SPDX-License-Identifier: Apache-2.0
// The evidence pack [docs/spec/evidence-pack.md]: the bundles of one release, verbatim, each with its proof in one checkpoint.

import { base64Decode, base64Encode } from '../encoding/base64.ts';
import { canonicalJsonBytes } from '../encoding/canonical-json.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import type { Json } from '../encoding/strict-json.ts';
import { utf8, utf8Decode } from '../encoding/utf8.ts';
import { CORE } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { isProductName, isVersion } from './version.ts';

export const PACK_MEDIA_TYPE = 'application/vnd.waybill.pack.v1+json';

/** One bundle and where it stands in the log. */
export interface PackedBundle {
  /** The bytes that the registry keeps, verbatim. */
  readonly bundle: Uint8Array;
  readonly leafIndex: bigint;
  /** Inclusion proof, leaf to root, 32 bytes each [RFC6962 §2.1.1]. */
  readonly proof: readonly Uint8Array[];
}

/** A body too large to be signed inline, by digest; it lies beside the pack. */
export interface PackedBody {
  /** TUF target name. */
  readonly name: string;
  readonly mediaType: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface EvidencePack {
  readonly product: string;
  readonly version: string;
  readonly imageSha256: string;
  readonly imageSizeBytes: number;
  /** Signed note [C2SP-tlog-checkpoint-v1.0.0 §Note text] that all proofs lead to. */
  readonly checkpoint: string;
  readonly bundles: readonly PackedBundle[];
  readonly bodies: readonly PackedBody[];
}

/** Parses a pack. Nothing in it is authenticated. @throws PACK_MALFORMED */
export function parsePack(bytes: Uint8Array): EvidencePack {
  const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse });
  root.only('mediaType', 'product', 'version', 'image', 'checkpoint', 'bundles', 'bodies');
  root.field('mediaType').word(PACK_MEDIA_TYPE);
  const product = root.field('product');
  if (!isProductName(product.string())) throw product.wrong('expected a product name');
  const version = root.field('version');
  if (!isVersion(version.string())) throw version.wrong('expected a version such as 8.1.0');
  const image = root.field('image').only('sha256', 'sizeBytes');
  const bundles = root.field('bundles').someElements();
  if (bundles.length > LIMITS.packBundleCount) {
    throw root
      .field('bundles')
      .wrong(`expected at most ${LIMITS.packBundleCount} bundles, got ${bundles.length}`);
  }
  // One bundle twice would make the pack's evidence look like more than it is.
  const texts = bundles.map((bundle) => bundle.field('bundle').string());
  if (new Set(texts).size !== texts.length) throw root.field('bundles').wrong('expected each bundle once');
  return {
    product: product.string(),
    version: version.string(),
    imageSha256: image.field('sha256').sha256(),
    imageSizeBytes: image.field('sizeBytes').integer(1),
    checkpoint: root.field('checkpoint').string(),
    bundles: bundles.map(parseBundle),
    bodies: root.field('bodies').elements().map(parseBody),
  };
}

function parseBundle(node: DocumentNode): PackedBundle {
  node.only('bundle', 'leafIndex', 'proof');
  const proof = node.field('proof').elements();
  if (proof.length > LIMITS.proofHashCount) throw node.field('proof').wrong('expected at most 64 hashes');
  return {
    bundle: utf8(node.field('bundle').string()),
    leafIndex: BigInt(node.field('leafIndex').integer()),
    proof: proof.map((hash) => {
      const decoded = base64Decode(hash.string());
      if (decoded?.length !== 32) {
        const got = decoded === undefined ? 'other text' : `${decoded.length} bytes`;
        throw hash.wrong(`expected 32 bytes in base64, got ${got}`);
      }
      return decoded;
    }),
  };
}

function parseBody(node: DocumentNode): PackedBody {
  node.only('name', 'mediaType', 'sha256', 'sizeBytes');
  return {
    name: node.field('name').string(),
    mediaType: node.field('mediaType').string(),
    sha256: node.field('sha256').sha256(),
    sizeBytes: node.field('sizeBytes').integer(1),
  };
}

/** The canonical bytes of a pack; `parsePack` is the inverse. */
export function formatPack(pack: EvidencePack): Uint8Array {
  return canonicalJsonBytes({
    mediaType: PACK_MEDIA_TYPE,
    product: pack.product,
    version: pack.version,
    image: { sha256: pack.imageSha256, sizeBytes: pack.imageSizeBytes },
    checkpoint: pack.checkpoint,
    bundles: pack.bundles.map(({ bundle, leafIndex, proof }) => {
      const text = utf8Decode(bundle);
      if (text === undefined) throw CORE.reject('PACK_MALFORMED', 'expected a bundle in UTF-8');
      return { bundle: text, leafIndex: Number(leafIndex), proof: proof.map(base64Encode) };
    }),
    bodies: pack.bodies as unknown as Json,
  });
}
