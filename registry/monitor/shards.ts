// SPDX-License-Identifier: Apache-2.0
// Which logs the monitor follows, where they are, and by which key it believes each [docs/spec/monitor.md §Logs]: every shard of the registry's two logs
// that the trust material names, retired ones too.

import { hexEncode } from '../../core/encoding/hex.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import type { TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { TLOG } from '../../core/tlog/faults.ts';
import type { LogPolicy } from '../../core/tlog/log-policy.ts';
import { sameBytes } from '../../core/tlog/merkle.ts';
import { ED25519_NOTE, noteKeyId, type VerifierKey } from '../../core/tlog/note.ts';
import type { Witnesses } from '../../core/tlog/quorum.ts';
import { nodeHasher } from '../log/hash-tiles.ts';
import { type LogService, shardNameOf } from '../trust/instances.ts';
import { verifyCertificateHead, verifySignatureHead } from './checkpoints.ts';
import type { LogName } from './followed-log.ts';
import type { Head } from './fork-proof.ts';

/** Whom the monitor believes. */
export interface MonitorTrust {
  readonly policy: LogPolicy;
  /** Undefined: the logs of the policy are all that is known, so no certificate log is followed and no authority asked for. */
  readonly trustedRoot: TrustedRoot | undefined;
}

/** A checkpoint of a shard, verified, with the witnesses behind it. */
export type ShardHead = Head & { readonly witnesses: Witnesses };

/** One log to follow, with one key. */
export interface Shard {
  readonly log: LogName;
  readonly origin: string;
  /** SHA-256 of origin and key, hex: another key is another shard. */
  readonly id: string;
  /** Verifies a checkpoint note. @throws TLOG_* */
  readonly verify: (note: string) => ShardHead;
}

export const SERVICE_OF = {
  signatures: 'log',
  certificates: 'ct',
} as const satisfies Record<LogName, LogService>;

/** The address of a shard: the first label of its origin is its prefix below the registry's address, for ever. */
export function shardUrl(registryUrl: string, origin: string): string {
  return `${registryUrl}/${origin.split('.', 1)[0]}`;
}

/** The shards that the trust material names, each once; those of the signature log first, older ones first. */
export function shardsOf({ policy, trustedRoot }: MonitorTrust): readonly Shard[] {
  const shards =
    trustedRoot === undefined
      ? policy.logs.map(({ key }) => signatureShard(key.name, key.publicKey, policy))
      : [
          ...ofRegistry('log', trustedRoot.signatureLogs).map(({ origin, publicKey }) =>
            signatureShard(origin, 'raw' in publicKey ? publicKey.raw : publicKey.spki, policy),
          ),
          ...ofRegistry('ct', trustedRoot.certificateLogs).map(({ origin, publicKey }) =>
            certificateShard(origin, publicKey.spki),
          ),
        ];
  return [...new Map(shards.map((shard) => [shard.id, shard])).values()];
}

/** The registry's own: a trusted root may name logs of others besides. Its domain is that of the first shard in the list, as `waybill init` wrote it. */
function ofRegistry<T extends { readonly origin: string }>(
  service: LogService,
  logs: readonly T[],
): readonly T[] {
  const shards = logs.filter(({ origin }) => shardNameOf(service, origin) !== undefined);
  const domains = shards.map(({ origin }) => origin.slice(origin.indexOf('.')));
  return shards.filter((_, i) => domains[i] === domains[0]);
}

function signatureShard(origin: string, publicKey: Uint8Array, policy: LogPolicy): Shard {
  const keyId = noteKeyId(origin, ED25519_NOTE, publicKey, nodeHasher);
  const key: VerifierKey = { name: origin, keyId, type: ED25519_NOTE, publicKey };
  // A shard whose key was stolen may have left the policy: nobody else takes its checkpoints, and no witness is asked for them.
  const isListed = policy.logs.some(
    ({ key: listed }) => listed.name === origin && sameBytes(listed.publicKey, publicKey),
  );
  const own: LogPolicy = { ...policy, logs: [{ key }], quorum: isListed ? policy.quorum : 'none' };
  return shard('signatures', origin, publicKey, (note) => verifySignatureHead(note, own));
}

function certificateShard(origin: string, spki: Uint8Array): Shard {
  return shard('certificates', origin, spki, (note) => {
    const head = verifyCertificateHead(note, [spki]);
    if (head.origin === origin) return { ...head, witnesses: 'none' };
    // The signature does not cover the origin.
    throw TLOG.reject(
      'TLOG_CHECKPOINT_ORIGIN',
      `expected a checkpoint of ${quote(origin)}, got one of ${quote(head.origin)}`,
    );
  });
}

function shard(log: LogName, origin: string, key: Uint8Array, verify: Shard['verify']): Shard {
  const id = hexEncode(nodeHasher.sha256(Buffer.concat([utf8(`${origin}\n`), key])));
  return { log, origin, id, verify };
}
