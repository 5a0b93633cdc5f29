// SPDX-License-Identifier: Apache-2.0
// Whose checkpoints to believe [C2SP-tlog-policy-1896a5a §Policy file syntax and structure]: logs, witnesses, groups, quorum.
// Stricter than [C2SP-tlog-policy-1896a5a §Character set]: text that is not UTF-8 is refused.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { utf8Decode } from '../encoding/utf8.ts';
import { quote, type Rejection } from '../faults.ts';
import { TLOG } from './faults.ts';
import { ED25519_COSIGNATURE, formatVerifierKey, parseVerifierKey, type VerifierKey } from './note.ts';

export interface PolicyLog {
  /** Its name is the log's origin. */
  readonly key: VerifierKey;
  readonly url?: string;
}

export interface PolicyWitness {
  /** Known in this policy alone. */
  readonly name: string;
  readonly key: VerifierKey;
  readonly url?: string;
}

export interface PolicyGroup {
  readonly name: string;
  /** How many members must have witnessed; 1 ≤ threshold ≤ number of members. */
  readonly threshold: number;
  /** Names of witnesses and groups defined before. */
  readonly members: readonly string[];
}

export interface LogPolicy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  readonly groups: readonly PolicyGroup[];
  /** Name of a witness or group, or `none`. */
  readonly quorum: string;
}

const POLICY_BYTES = 256 * 1024;
/** Logs, witnesses and groups, each; the specification asks for at least 32. */
const LINES_OF_A_KIND = 128;
/** Ed25519, ECDSA, ML-DSA-44 [C2SP-signed-note-v1.0.0 §Signature types]. */
const LOG_KEY_TYPES = [0x01, 0x02, 0x06];
/** Cosignatures by Ed25519 and ML-DSA-44 [C2SP-tlog-cosignature-v1.1.0-rc.1 §Format]; only the former can be verified here. */
const WITNESS_KEY_TYPES = [ED25519_COSIGNATURE, 0x06];

/** The lines that say something, with single spaces: comments and blanks count for nothing. Not checked. */
export function policyLines(policy: Uint8Array): readonly string[] {
  return (utf8Decode(policy) ?? '')
    .split('\n')
    .map((line) => line.split(/[ \t]+/).filter((word) => word !== ''))
    .filter(([first]) => first !== undefined && !first.startsWith('#'))
    .map((words) => words.join(' '));
}

/** Parses a policy. It is only as good as its source. @throws TLOG_POLICY_MALFORMED with the line */
export function parseLogPolicy(bytes: Uint8Array, hasher: Pick<Crypto, 'sha256'>): LogPolicy {
  const text = bytes.length > POLICY_BYTES ? undefined : utf8Decode(bytes);
  if (text === undefined || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) {
    throw TLOG.reject(
      'TLOG_POLICY_MALFORMED',
      `expected at most ${POLICY_BYTES} bytes of UTF-8 text without control characters`,
    );
  }
  if (text !== '' && !text.endsWith('\n')) {
    throw TLOG.reject('TLOG_POLICY_MALFORMED', 'expected a newline at the end of the last line');
  }
  const reader = new PolicyReader(hasher);
  text.split('\n').forEach((line, i) => {
    const words = line.split(/[ \t]+/).filter((word) => word !== '');
    if (words.length > 0 && !words[0]?.startsWith('#')) reader.line(words, `line ${i + 1}`);
  });
  return reader.policy();
}

class PolicyReader {
  private readonly logs: PolicyLog[] = [];
  private readonly witnesses: PolicyWitness[] = [];
  private readonly groups: PolicyGroup[] = [];
  /** Names defined so far; true once the name is a member of a group. */
  private readonly names = new Map<string, boolean>();
  private readonly keys = { log: new Set<string>(), witness: new Set<string>() };
  private readonly hasher: Pick<Crypto, 'sha256'>;
  private quorum: string | undefined;

  constructor(hasher: Pick<Crypto, 'sha256'>) {
    this.hasher = hasher;
  }

  line(words: readonly string[], at: string): void {
    const [keyword, ...rest] = words;
    const bad = (message: string) => TLOG.reject('TLOG_POLICY_MALFORMED', message, { at });
    if (keyword === 'log') this.log(rest, bad);
    else if (keyword === 'witness') this.witness(rest, bad);
    else if (keyword === 'group') this.group(rest, bad);
    else if (keyword === 'quorum') this.quorumLine(rest, bad);
    else throw bad(`expected log, witness, group or quorum, got ${quote(keyword ?? '')}`);
  }

  policy(): LogPolicy {
    if (this.quorum === undefined) {
      throw TLOG.reject(
        'TLOG_POLICY_MALFORMED',
        'expected one quorum line (`quorum none` for none), got none',
      );
    }
    return { logs: this.logs, witnesses: this.witnesses, groups: this.groups, quorum: this.quorum };
  }

  private log(words: readonly string[], bad: Bad): void {
    const [vkey, url, ...more] = words;
    if (vkey === undefined || more.length > 0) throw bad('expected: log <vkey> [<url>]');
    const key = this.key(vkey, 'log', bad);
    this.logs.push(url === undefined ? { key } : { key, url });
    limit(this.logs, bad);
  }

  private witness(words: readonly string[], bad: Bad): void {
    const [name, vkey, url, ...more] = words;
    if (name === undefined || vkey === undefined || more.length > 0) {
      throw bad('expected: witness <name> <vkey> [<url>]');
    }
    this.define(name, bad);
    const key = this.key(vkey, 'witness', bad);
    this.witnesses.push(url === undefined ? { name, key } : { name, key, url });
    limit(this.witnesses, bad);
  }

  private group(words: readonly string[], bad: Bad): void {
    const [name, rule, ...members] = words;
    if (name === undefined || rule === undefined || members.length === 0) {
      throw bad('expected: group <name> all|any|<k> <member>...');
    }
    for (const member of members) {
      if (!this.names.has(member)) {
        throw bad(`expected a witness or group of a line above, got ${quote(member)}`);
      }
      if (this.names.get(member) === true) throw bad(`${quote(member)} is a member of a group already`);
      this.names.set(member, true);
    }
    this.define(name, bad);
    const numeral = /^[1-9][0-9]{0,3}$/.test(rule) ? Number(rule) : 0;
    const threshold = rule === 'all' ? members.length : rule === 'any' ? 1 : numeral;
    if (threshold < 1 || threshold > members.length) {
      throw bad(`expected all, any or a number from 1 to ${members.length}, got ${quote(rule)}`);
    }
    this.groups.push({ name, threshold, members });
    limit(this.groups, bad);
  }

  private quorumLine(words: readonly string[], bad: Bad): void {
    const [name, ...more] = words;
    if (name === undefined || more.length > 0) throw bad('expected: quorum <name>|none');
    if (this.quorum !== undefined) throw bad('expected exactly one quorum line, got a second');
    if (name !== 'none' && !this.names.has(name)) {
      throw bad(`expected none, or a witness or group of a line above, got ${quote(name)}`);
    }
    this.quorum = name;
  }

  private define(name: string, bad: Bad): void {
    if (name === 'none') throw bad('the name "none" is taken');
    if (this.names.has(name)) throw bad(`the name ${quote(name)} is defined twice`);
    this.names.set(name, false);
  }

  private key(vkey: string, kind: 'log' | 'witness', bad: Bad): VerifierKey {
    let key: VerifierKey;
    try {
      key = parseVerifierKey(vkey, this.hasher);
    } catch (cause) {
      throw bad((cause as Rejection).message);
    }
    const types = kind === 'log' ? LOG_KEY_TYPES : WITNESS_KEY_TYPES;
    if (!types.includes(key.type)) {
      throw bad(`expected the key of a ${kind}, of type ${types.join(' or ')}, got type ${key.type}`);
    }
    // By its bytes: a cosignature does not say in whose name it was made, so one key would count under each name that it has.
    const bytes = hexEncode(key.publicKey);
    if (this.keys[kind].has(bytes)) throw bad(`the key of this ${kind} is listed twice`);
    this.keys[kind].add(bytes);
    return key;
  }
}

type Bad = (message: string) => Rejection;

function limit(lines: readonly unknown[], bad: Bad): void {
  if (lines.length > LINES_OF_A_KIND) throw bad(`expected at most ${LINES_OF_A_KIND} lines of a kind`);
}

/** The text of a policy; `parseLogPolicy` is the inverse. */
export function formatLogPolicy(policy: LogPolicy): string {
  const lines = [
    ...policy.logs.map(({ key, url }) => ['log', formatVerifierKey(key), url]),
    ...policy.witnesses.map(({ name, key, url }) => ['witness', name, formatVerifierKey(key), url]),
    ...policy.groups.map(({ name, threshold, members }) => ['group', name, String(threshold), ...members]),
    ['quorum', policy.quorum],
  ];
  return lines.map((words) => `${words.filter((word) => word !== undefined).join(' ')}\n`).join('');
}
