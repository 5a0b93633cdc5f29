// SPDX-License-Identifier: Apache-2.0
// What an officer is about to sign, in plain words: each difference from the version in force, and nothing left out.

import type { Json, JsonObject } from '../core/encoding/strict-json.ts';
import { printable, quote } from '../core/faults.ts';
import { policyLines } from '../core/tlog/log-policy.ts';
import { canonicalMetadata } from '../core/tuf/canonical.ts';

type Named = ReadonlyMap<string, Json>;

/** The differences, one a line; what has not changed is not mentioned. */
export function describeChange(current: JsonObject, next: JsonObject): readonly string[] {
  const lines: string[] = [];
  for (const name of union(Object.keys(current), Object.keys(next))) {
    const [before, after] = [current[name], next[name]];
    if (isSame(before, after)) continue;
    if (name === 'version') lines.push(`version ${before} becomes ${after}`);
    else if (name === 'expires') lines.push(`expires ${after} instead of ${before}`);
    // Their ids stand wherever they are used.
    else if (name === 'keys') continue;
    else if (name === 'roles') lines.push(...entries(members(before), members(after), 'role', describeKeys));
    else if (name === 'targets')
      lines.push(...entries(members(before), members(after), 'file', describeFile));
    else if (name === 'delegations') lines.push(...describeDelegations(before, after));
    else lines.push(`member ${quote(name)} changes from ${shown(before)} to ${shown(after)}`);
  }
  lines.push(...changedKeys(keysOf(current), keysOf(next)));
  return lines;
}

/** A key id is the digest of its key; where it is not, that must be seen. */
function changedKeys(before: Named, after: Named): readonly string[] {
  return [...after]
    .filter(([id, key]) => before.has(id) && !isSame(before.get(id), key))
    .map(([id]) => `key ${id} is another key under the same id`);
}

function keysOf(role: JsonObject): Named {
  const delegations = members(role.delegations);
  return new Map([...members(role.keys), ...members(delegations.get('keys'))]);
}

/**
 * The lines of a log policy [C2SP-tlog-policy-1896a5a §Policy file syntax and structure] that go and come, uncut; spaces and comments count for nothing.
 * @param before the one in force; undefined if it cannot be had
 */
export function describeLogPolicy(before: Uint8Array | undefined, after: Uint8Array): readonly string[] {
  const [old, now] = [policyLines(before ?? new Uint8Array()), policyLines(after)];
  const lines = [
    ...old.filter((line) => !now.includes(line)).map((line) => `tlog-policy loses "${printable(line)}"`),
    ...now.filter((line) => !old.includes(line)).map((line) => `tlog-policy gains "${printable(line)}"`),
  ];
  if (before === undefined)
    return ['tlog-policy in force is not at hand: all lines of the new one', ...lines];
  return lines.length > 0
    ? lines
    : ['tlog-policy: no line is another one; only comments, spaces or the order'];
}

function describeDelegations(before: Json | undefined, after: Json | undefined): readonly string[] {
  const rolesOf = (delegations: Json | undefined): Named => {
    const { roles } = (delegations ?? {}) as { roles?: readonly JsonObject[] };
    return new Map((roles ?? []).map((role) => [String(role.name), role]));
  };
  return entries(rolesOf(before), rolesOf(after), 'delegation', describeKeys);
}

type Describe = (name: string, before: Json, after: Json) => readonly string[];

function entries(before: Named, after: Named, what: string, describe: Describe): readonly string[] {
  return union([...before.keys()], [...after.keys()]).flatMap((name) => {
    const [old, now] = [before.get(name), after.get(name)];
    if (isSame(old, now)) return [];
    if (old === undefined || now === undefined) {
      const word = old === undefined ? 'is new' : 'is gone';
      return [`${what} ${quote(name)} ${word}: ${shown(old ?? now)}`];
    }
    return describe(`${what} ${quote(name)}`, old, now);
  });
}

/** A role's keys and threshold; anything else in it as it is written. */
function describeKeys(name: string, before: Json, after: Json): readonly string[] {
  const [old, now] = [before, after].map((role) => role as JsonObject) as [JsonObject, JsonObject];
  const [oldIds, nowIds] = [old, now].map(
    ({ keyids }) => (keyids as readonly string[] | undefined) ?? [],
  ) as [readonly string[], readonly string[]];
  const others = union(Object.keys(old), Object.keys(now)).filter(
    (member) => member !== 'keyids' && !isSame(old[member], now[member]),
  );
  return [
    ...nowIds.filter((id) => !oldIds.includes(id)).map((id) => `${name} gains key ${id}`),
    ...oldIds.filter((id) => !nowIds.includes(id)).map((id) => `${name} loses key ${id}`),
    ...others.map((member) => `${name}: ${member} ${shown(old[member])} becomes ${shown(now[member])}`),
  ];
}

function describeFile(name: string, before: Json, after: Json): readonly string[] {
  return [`${name} changes from ${shown(before)} to ${shown(after)}`];
}

function members(value: Json | undefined): Named {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return new Map();
  return new Map(Object.entries(value as JsonObject));
}

function union(one: readonly string[], other: readonly string[]): readonly string[] {
  return [...new Set([...one, ...other])];
}

function isSame(one: Json | undefined, other: Json | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return (
    Buffer.compare(canonicalMetadata(one) ?? Buffer.alloc(0), canonicalMetadata(other) ?? Buffer.alloc(0)) ===
    0
  );
}

function shown(value: Json | undefined): string {
  return value === undefined ? 'nothing' : (shownFile(value) ?? JSON.stringify(value));
}

/** A target file as people compare it; undefined for whatever has another member or lacks one. */
function shownFile(value: Json): string | undefined {
  const [file, hashes] = [members(value), members(members(value).get('hashes'))];
  const [length, sha256] = [file.get('length'), hashes.get('sha256')];
  if (file.size !== 2 || hashes.size !== 1) return undefined;
  if (typeof length !== 'number' || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))
    return undefined;
  return `${length} bytes of sha256 ${sha256}`;
}
