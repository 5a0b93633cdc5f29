// SPDX-License-Identifier: Apache-2.0
// Trust files that are published together agree on the signature log [docs/spec/trust-services.md §Rotation]: a trusted root that puts a
// new shard into use while signers are sent to the one before, or clients believe no other, would stop every signature.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { quote, type Rejection } from '../core/faults.ts';
import { formatVerifierKey } from '../core/tlog/note.ts';
import type { LogShard } from './services-in-force.ts';
import { shardNameOf } from './trust/instances.ts';
import { TRUST } from './trust-faults.ts';
import type { LogTrust } from './trust-in-force.ts';

/**
 * Checks that the signing configuration and the log policy, where there are such, name the shard that takes entries by the trusted
 * root beside them. @throws TRUST_CONFIG_BEHIND
 */
export function checkNamesLog(
  { log }: LogShard,
  { signingConfig, logPolicy }: LogTrust,
  nowMs: number,
): void {
  const { origin } = log.tiles;
  const refuse = (message: string, at: string) => TRUST.reject('TRUST_CONFIG_BEHIND', message, { at });
  const behind = (file: string, got: string) =>
    refuse(`expected the log ${quote(origin)}, which takes entries by trusted_root.json, got ${got}`, file);
  if (signingConfig !== undefined) {
    const urls = logUrls(signingConfig, nowMs, (message, at) =>
      refuse(message, `signing_config.v0.2.json: ${at}`),
    );
    const name = shardNameOf('log', origin);
    // By the last part alone: the host is the operator's to choose.
    if (!urls.some((url) => url.split('/').at(-1) === name)) {
      throw behind('signing_config.v0.2.json', urls.map(quote).join(', ') || 'none for now');
    }
  }
  const names = logPolicy?.logs.map(({ key }) => key) ?? [];
  if (logPolicy !== undefined && !names.some((key) => formatVerifierKey(key) === log.verifierKey)) {
    throw behind('tlog-policy', names.map((key) => quote(key.name)).join(', ') || 'none');
  }
}

/** Where signers may send entries now. */
function logUrls(
  config: Uint8Array,
  nowMs: number,
  refuse: (message: string, at: string) => Rejection,
): readonly string[] {
  const urls = parseDocument(config, { refuse }, 256 * 1024)
    .field('rekorTlogUrls')
    .elements();
  const isForNow = (node: DocumentNode): boolean => {
    const period = node.field('validFor');
    const endMs = period.optional('end')?.instantMs();
    return period.field('start').instantMs() <= nowMs && (endMs === undefined || endMs >= nowMs);
  };
  return urls.filter(isForNow).map((node) => node.field('url').string());
}
