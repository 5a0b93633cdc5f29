// SPDX-License-Identifier: Apache-2.0
// A step of verification [docs/spec/verification.md §Form]: a bundle is parsed once, and digests that more than one check asks for are taken once.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { type AnyBundle, type BundleLogEntry, parseAnyBundle } from '../sigstore/any-bundle.ts';
import { preAuthEncoding } from '../sigstore/bundle.ts';
import { hashLeaf } from '../tlog/merkle.ts';

/** The parts of a bundle, with digests of its own octets. Unauthenticated. The octets must not change any more. */
export class OpenedBundle {
  readonly bytes: Uint8Array;
  readonly parts: AnyBundle;
  private readonly crypto: Crypto;
  private envelope: Uint8Array | undefined;
  private readonly leaves = new Map<BundleLogEntry, Uint8Array>();

  /** @throws SIGSTORE_BUNDLE_MALFORMED */
  constructor(bytes: Uint8Array, crypto: Crypto) {
    this.bytes = bytes;
    this.parts = parseAnyBundle(bytes);
    this.crypto = crypto;
  }

  /** The bundle as this cryptography sees it: digests are nobody's word but its own. */
  static of(bundle: Uint8Array | OpenedBundle, crypto: Crypto): OpenedBundle {
    if (bundle instanceof Uint8Array) return new OpenedBundle(bundle, crypto);
    return bundle.crypto === crypto ? bundle : new OpenedBundle(bundle.bytes, crypto);
  }

  /** SHA-256 of the bytes, lower-case hex. */
  sha256(): string {
    return hexEncode(this.crypto.sha256(this.bytes));
  }

  /** SHA-256 of the envelope's pre-authentication encoding, which the signature covers and the log entry names. */
  envelopeDigest(): Uint8Array {
    const { content } = this.parts;
    if (content.kind !== 'dsse') throw new TypeError('asked for the envelope of a message signature');
    this.envelope ??= this.crypto.sha256(preAuthEncoding(content.payloadType, content.payload));
    return this.envelope;
  }

  /** Leaf hash of one of the bundle's log entries. */
  leafHash(entry: BundleLogEntry): Uint8Array {
    const known = this.leaves.get(entry);
    if (known !== undefined) return known;
    const hash = hashLeaf(entry.body, this.crypto);
    this.leaves.set(entry, hash);
    return hash;
  }
}
