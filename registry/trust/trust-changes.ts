// SPDX-License-Identifier: Apache-2.0
// Changes of published trust material at a rotation [docs/spec/trust-services.md §Rotation]. What is there stays as it is: instances are
// added at the end and periods are ended; nothing is taken out of a trusted root.

import { type Json, type JsonObject, parseStrictJson } from '../../core/encoding/strict-json.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { parseTrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { TRUST } from '../trust-faults.ts';
import { type Service, shardOrigin } from './instances.ts';
import type { ServiceNames } from './services.ts';
import { instant, jsonLine } from './trusted-root.ts';

const LIST = {
  ca: 'certificateAuthorities',
  ct: 'ctlogs',
  log: 'tlogs',
  tsa: 'timestampAuthorities',
} as const satisfies Record<Service, string>;

/** A trusted root as JSON, checked as its readers check it. @throws SIGSTORE_TRUSTED_ROOT_MALFORMED */
export function readTrustedRoot(bytes: Uint8Array): JsonObject {
  parseTrustedRoot(bytes);
  const parsed = parseStrictJson(bytes);
  // The reader above takes strict JSON alone.
  if ('problem' in parsed) throw new TypeError(parsed.problem);
  return parsed.value as JsonObject;
}

/** The bytes of a trusted root. @throws SIGSTORE_TRUSTED_ROOT_MALFORMED */
export function formatTrustedRoot(root: JsonObject): Uint8Array {
  const bytes = jsonLine(root);
  parseTrustedRoot(bytes);
  return bytes;
}

const listOf = (root: JsonObject, list: string): readonly JsonObject[] =>
  (root[list] ?? []) as readonly JsonObject[];

/** The instances of one of our services, oldest first; the trusted root may name those of others besides. */
export function instancesOf(root: JsonObject, service: Service, names: ServiceNames): readonly JsonObject[] {
  return listOf(root, LIST[service]).filter((instance) => isOurs(instance, service, names));
}

function isOurs(instance: JsonObject, service: Service, names: ServiceNames): boolean {
  if (service === 'ca' || service === 'tsa') return instance.uri === `https://${names[service]}`;
  const host = String(instance.baseUrl).replace(/^https:\/\//, '');
  const number = /^[a-z]+([2-9]|[1-9][0-9]+)?\./.exec(host)?.[1] ?? '1';
  return host === shardOrigin(service, names[service], Number(number));
}

/** With one more instance, the newest. */
export function addInstance(root: JsonObject, service: Service, instance: Json): JsonObject {
  return { ...root, [LIST[service]]: [...listOf(root, LIST[service]), instance] };
}

/** With the periods of all our instances of a service but the newest ended, where they do not end before. */
export function endOlder(root: JsonObject, service: Service, names: ServiceNames, endMs: number): JsonObject {
  const newest = instancesOf(root, service, names).at(-1);
  const end = (instance: JsonObject): JsonObject => {
    if (instance === newest || !isOurs(instance, service, names)) return instance;
    if (service === 'ca' || service === 'tsa')
      return { ...instance, validFor: ended(instance.validFor, endMs) };
    const key = instance.publicKey as JsonObject;
    return { ...instance, publicKey: { ...key, validFor: ended(key.validFor, endMs) } };
  };
  return { ...root, [LIST[service]]: listOf(root, LIST[service]).map(end) };
}

const periodOf = (instance: JsonObject): JsonObject =>
  (instance.validFor ?? (instance.publicKey as JsonObject).validFor) as JsonObject;

/** When the period of an instance began, milliseconds since 1970; undefined if it does not say. */
export function startOf(instance: JsonObject): number | undefined {
  const { start } = periodOf(instance);
  return typeof start === 'string' ? Date.parse(start) : undefined;
}

/** When the period of an instance ends, milliseconds since 1970; undefined for one that is in use. */
export function endOf(instance: JsonObject): number | undefined {
  const { end } = periodOf(instance);
  return typeof end === 'string' ? Date.parse(end) : undefined;
}

function ended(period: Json | undefined, endMs: number): JsonObject {
  const known = period as JsonObject;
  const before = typeof known.end === 'string' && Date.parse(known.end) <= endMs;
  return before ? known : { ...known, end: instant(endMs) };
}

/** What an instance is, whatever its period: its key, or its certificates. */
function identity(instance: JsonObject): string {
  const key = instance.publicKey as JsonObject | undefined;
  return JSON.stringify(key === undefined ? instance.certChain : [instance.baseUrl, key.rawBytes]);
}

/** Checks that a trusted root has every instance of another. @throws TRUST_ROOT_BEHIND */
export function checkKeepsAll(next: JsonObject, published: JsonObject): void {
  for (const list of Object.values(LIST)) {
    const kept = new Set(listOf(next, list).map(identity));
    const lost = listOf(published, list).find((instance) => !kept.has(identity(instance)));
    if (lost === undefined) continue;
    throw TRUST.reject(
      'TRUST_ROOT_BEHIND',
      `expected every published instance in ${list}, lack that of ${String(lost.baseUrl ?? lost.uri)}`,
    );
  }
}

/** True if both trusted roots have this instance. */
export function hasInstance(root: JsonObject, service: Service, instance: JsonObject): boolean {
  return listOf(root, LIST[service]).some((each) => identity(each) === identity(instance));
}

/** A signing configuration as JSON. @throws CA_FILES_UNREADABLE */
export function readSigningConfig(config: Uint8Array): JsonObject {
  const parsed = parseStrictJson(config);
  if ('problem' in parsed || !Array.isArray((parsed.value as JsonObject)?.rekorTlogUrls)) {
    throw TRUST.reject('CA_FILES_UNREADABLE', 'expected a signing configuration with rekorTlogUrls');
  }
  return parsed.value as JsonObject;
}

/** A signing configuration whose writers go to another shard of the log. @throws CA_FILES_UNREADABLE */
export function directToShard(
  config: Uint8Array,
  shard: {
    readonly oldUrls: readonly string[];
    readonly url: string;
    readonly startMs: number;
    readonly org: string;
  },
): Uint8Array {
  const document = readSigningConfig(config);
  // Its own too: a rotation that was broken off may have written it.
  const gone = [...shard.oldUrls, shard.url];
  const others = listOf(document, 'rekorTlogUrls').filter(({ url }) => !gone.includes(String(url)));
  const validFor = { start: instant(shard.startMs) };
  const entry = { url: shard.url, majorApiVersion: 2, validFor, operator: shard.org };
  return jsonLine({ ...document, rekorTlogUrls: [entry, ...others] });
}

/** A log policy with a line for one more log behind those that are there; its other lines and comments stay. */
export function addLogLine(policy: Uint8Array, vkey: string, url: string): Uint8Array {
  const lines = (utf8Decode(policy) ?? '').split('\n');
  const line = `log ${vkey} ${url}`;
  if (lines.includes(line)) return policy;
  const behind = lines.reduce((at, each, i) => (/^[ \t]*log[ \t]/.test(each) ? i + 1 : at), 0);
  return utf8([...lines.slice(0, behind), line, ...lines.slice(behind)].join('\n'));
}

/** A log policy without the lines of these logs. */
export function dropLogLines(policy: Uint8Array, origins: readonly string[]): Uint8Array {
  const isDropped = (line: string): boolean => {
    const [, vkey = ''] = /^[ \t]*log[ \t]+([^ \t]+)/.exec(line) ?? [];
    return origins.includes(vkey.split('+', 1)[0] ?? '');
  };
  const lines = (utf8Decode(policy) ?? '').split('\n');
  return utf8(lines.filter((line) => !isDropped(line)).join('\n'));
}
