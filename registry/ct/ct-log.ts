// SPDX-License-Identifier: Apache-2.0
// The certificate transparency log of the authority [RFC6962 §3] [C2SP-static-ct-api-v1.0.0]: a tiled log whose entries are
// precertificates. Nobody but the authority submits, so the submission endpoints of RFC 6962 are not served.

import { hexEncode } from '../../core/encoding/hex.ts';
import { quote } from '../../core/faults.ts';
import { formatSignatureLine } from '../../core/tlog/note.ts';
import { TileLog, type TileLogOptions } from '../log/tile-log.ts';
import { LOG } from '../log-faults.ts';
import { sha256 } from '../trust/certificate.ts';
import type { P256Signer } from '../trust/signer.ts';
import { TRUST } from '../trust-faults.ts';
import { verifyTreeHeadNote } from './stored-entry.ts';
import {
  ctLogId,
  merkleTreeLeaf,
  type Precertificate,
  signedCertificateTimestamp,
  tileLeaf,
  treeHead,
  treeHeadKeyId,
  treeHeadSignature,
} from './structures.ts';

/** What a log is made of. */
export interface CtLogOptions {
  readonly db: TileLogOptions['db'];
  readonly head?: TileLogOptions['head'];
  readonly hasSuccessor?: TileLogOptions['hasSuccessor'];
  /** Bare DNS name. */
  readonly origin: string;
  readonly signer: P256Signer;
  /** DER certificates that entries may refer to: the authority's chain, and those of its predecessors. */
  readonly issuers: readonly Uint8Array[];
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

export class CtLog {
  readonly tiles: TileLog;
  readonly signer: P256Signer;
  /** SHA-256 of the key, 32 bytes. */
  readonly logId: Uint8Array;
  private readonly issuers: ReadonlyMap<string, Uint8Array>;

  private constructor(tiles: TileLog, options: CtLogOptions) {
    this.tiles = tiles;
    this.signer = options.signer;
    this.logId = ctLogId(options.signer.spki);
    this.issuers = new Map(options.issuers.map((der) => [hexEncode(sha256(der)), der]));
  }

  /** Opens the log or begins it. A store whose last checkpoint another key signed is refused. @throws LOG_STORE_…, LOG_HEAD_… */
  static async open(options: CtLogOptions): Promise<CtLog> {
    const { db, head, hasSuccessor, origin, signer, clock } = options;
    const keyId = treeHeadKeyId(origin, signer.spki);
    const tiles = await TileLog.open({
      db,
      head,
      hasSuccessor,
      origin,
      entryPath: 'data',
      signsElsewhere: signer.checkReachable !== undefined,
      clock,
      signCheckpoint: async ({ size, rootHash, timeMs }) => {
        const signature = treeHeadSignature(timeMs, await signer.sign(treeHead(timeMs, size, rootHash)));
        return formatSignatureLine({ name: origin, keyId, signature });
      },
    });
    if (!tiles.isReadable) return new CtLog(tiles, options);
    try {
      verifyTreeHeadNote(tiles.checkpoint().note, origin, signer.spki);
    } catch (cause) {
      await tiles.close();
      throw LOG.reject(
        'LOG_STORE_ORIGIN',
        `expected a store signed with this key: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
    return new CtLog(tiles, options);
  }

  /**
   * Logs a precertificate under the time of its issuance, milliseconds since 1970: read from the clock a second time it could lie
   * outside the certificate. Unlike in logs that promise to merge later, the entry is in a published tree when this returns.
   * @returns a SignedCertificateTimestamp @throws LOG_BUSY, LOG_CLOSED, LOG_STORE_FAILED
   */
  async add(precertificate: Precertificate, timeMs: number): Promise<Uint8Array> {
    const { index } = await this.tiles.append({
      timeMs,
      identity: sha256(precertificate.issuerKeyHash, precertificate.tbs),
      make: (at) => ({
        entry: tileLeaf(precertificate, timeMs, at),
        leaf: merkleTreeLeaf(precertificate, timeMs, at),
      }),
    });
    // The serial is random, so the entry is never a duplicate with another time.
    const signature = await this.signer.sign(merkleTreeLeaf(precertificate, timeMs, index));
    return signedCertificateTimestamp({ logId: this.logId, timeMs, index, signature });
  }

  /** The DER issuer certificate with this SHA-256. @throws CT_RESOURCE_UNKNOWN */
  issuer(fingerprint: string): Uint8Array {
    const der = this.issuers.get(fingerprint);
    if (der === undefined) {
      throw TRUST.reject(
        'CT_RESOURCE_UNKNOWN',
        `expected the fingerprint of an issuer, got ${quote(fingerprint)}`,
      );
    }
    return der;
  }

  /** Finishes what was promised and takes no more; the database stays open. */
  close(): Promise<void> {
    return this.tiles.close();
  }
}
