// SPDX-License-Identifier: Apache-2.0
// A log that can grow, shrink and fork, and what it would send to a witness.

import { base64Encode } from '../../../core/encoding/base64.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import {
  consistencyParts,
  emptyRoot,
  hashLeaf,
  hashNode,
  hashPart,
  type TreeNode,
  treeRoot,
} from '../../../core/tlog/merkle.ts';
import { formatNote, type NoteSignature } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { noteSigner } from '../../core/tlog/note-signers.ts';

export const ORIGIN = 'log.waybill.example';

/** The same name and key always; `salt` makes other leaves, so that two salts are a fork. */
export function witnessedLog(origin = ORIGIN, salt = '') {
  const signer = noteSigner(origin);
  const node = ({ level, index }: TreeNode): Uint8Array =>
    level === 0
      ? hashLeaf(utf8(`${salt}${index}`), nodeCrypto)
      : hashNode(
          node({ level: level - 1, index: 2n * index }),
          node({ level: level - 1, index: 2n * index + 1n }),
          nodeCrypto,
        );
  const root = (size: bigint) => (size === 0n ? emptyRoot(nodeCrypto) : treeRoot(size, node, nodeCrypto));
  const text = (size: bigint, extensions: readonly string[] = []) =>
    formatCheckpoint({ origin, size, rootHash: root(size), extensions });
  const checkpoint = (size: bigint, ...more: readonly NoteSignature[]) =>
    formatNote({ text: text(size), signatures: [signer.sign(text(size)), ...more] });
  const proof = (from: bigint, to: bigint) =>
    from === 0n ? [] : consistencyParts(from, to).map((part) => hashPart(part, node, nodeCrypto));
  return {
    vkey: signer.vkey,
    signer,
    text,
    checkpoint,
    proof,
    /** The body of a request from one size to another. */
    request: (from: bigint, to: bigint) => body(from, proof(from, to), checkpoint(to)),
  };
}

/** The body of a request. */
export function body(oldSize: bigint | string, proof: readonly Uint8Array[], checkpoint: string): string {
  return `old ${oldSize}\n${proof.map((hash) => `${base64Encode(hash)}\n`).join('')}\n${checkpoint}`;
}
