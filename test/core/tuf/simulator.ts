// SPDX-License-Identifier: Apache-2.0
// A TUF repository in memory that signs with real keys and can be bent in every way, and a client of it that keeps what core's
// workflow asks it to keep. Everything is synchronous, as core is.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import type { Crypto } from '../../../core/crypto.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { canonicalMetadata } from '../../../core/tuf/canonical.ts';
import type { TufRequest, TufSteps } from '../../../core/tuf/workflow.ts';
import { Workflow } from '../../../core/tuf/workflow.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';

export const NOW = Date.parse('2026-06-01T00:00:00Z');
export const LATER = '2026-12-01T00:00:00Z';
export const PAST = '2026-05-31T23:59:59Z';
const TOP = ['root', 'timestamp', 'snapshot', 'targets'];

/** A document without a shape that could be promised. */
// biome-ignore lint/suspicious/noExplicitAny: an attacker writes it.
export type Signed = any;

/** A key with its object as a role lists it. */
export interface SimulatedKey {
  readonly keyId: string;
  readonly json: { readonly keytype: string; readonly scheme: string; readonly keyval: { public: string } };
  sign(data: Uint8Array): string;
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
export const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));
export const formatJson = (value: unknown) => bytesOf(JSON.stringify(value));

function keyOf(privateKey: KeyObject, keytype: string, scheme: string, publicText: string): SimulatedKey {
  const json = { keytype, scheme, keyval: { public: publicText } };
  const algorithm = keytype === 'ed25519' ? null : 'sha256';
  const options = keytype === 'rsa' ? { key: privateKey, padding: 6, saltLength: 32 } : privateKey;
  return {
    keyId: sha256(canonicalMetadata(json) as Uint8Array),
    json,
    sign: (data) => sign(algorithm, data, options).toString('hex'),
  };
}

export function ed25519Key(): SimulatedKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url').toString('hex');
  return keyOf(privateKey, 'ed25519', 'ed25519', raw);
}

const pem = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string;

export function ecdsaKey(keytype = 'ecdsa'): SimulatedKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return keyOf(privateKey, keytype, 'ecdsa-sha2-nistp256', pem(privateKey));
}

export function rsaKey(modulusLength = 2048): SimulatedKey {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  return keyOf(
    createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    'rsa',
    'rsassa-pss-sha256',
    pem(privateKey),
  );
}

/** The same key under another key id, as someone lists it who adds a member to its object. */
export function renamed(key: SimulatedKey): SimulatedKey {
  const json = { ...key.json, note: 'the same key' };
  return { ...key, json, keyId: sha256(canonicalMetadata(json) as Uint8Array) };
}

export class Simulator {
  readonly roles = new Map<string, Signed>();
  readonly keys = new Map<string, readonly SimulatedKey[]>();
  /** By path below the metadata or, with `targets/` before it, below the targets. */
  readonly files = new Map<string, Uint8Array>();
  /** Whether snapshot and timestamp list lengths and digests. */
  lists = false;

  /** Root 1 with two of three keys, the others with one each. */
  constructor() {
    const head = (type: string) => ({ _type: type, spec_version: '1.0.34', version: 1, expires: LATER });
    for (const role of TOP) this.keys.set(role, [ed25519Key()]);
    this.keys.set('root', [ed25519Key(), ed25519Key(), ed25519Key()]);
    this.roles.set('root', { ...head('root'), consistent_snapshot: true, keys: {}, roles: {} });
    for (const role of TOP) this.list(role, role === 'root' ? 2 : 1);
    this.roles.set('targets', { ...head('targets'), targets: {} });
    this.roles.set('snapshot', { ...head('snapshot'), meta: {} });
    this.roles.set('timestamp', { ...head('timestamp'), meta: {} });
    this.sign('root');
    this.publish('targets');
  }

  /** Lists the keys held for a top-level role in root. */
  list(role: string, threshold: number): void {
    const keys = this.keys.get(role) ?? [];
    const root = this.roles.get('root');
    for (const { keyId, json } of keys) root.keys[keyId] = json;
    root.roles[role] = { keyids: keys.map(({ keyId }) => keyId), threshold };
  }

  /** Gives a top-level role other keys in the next root. */
  rotate(role: string, ...keys: SimulatedKey[]): void {
    this.keys.set(role, keys.length > 0 ? keys : [ed25519Key()]);
    this.list(role, 1);
  }

  /** The next root. */
  publishRoot(): Uint8Array {
    this.roles.get('root').version += 1;
    return this.sign('root');
  }

  /** Delegates to a role that has no metadata yet, or that has. */
  delegate(from: string, name: string, change: object = {}): void {
    if (!this.keys.has(name)) this.keys.set(name, [ed25519Key()]);
    const keys = this.keys.get(name) as readonly SimulatedKey[];
    const above = this.roles.get(from);
    above.delegations ??= { keys: {}, roles: [] };
    for (const { keyId, json } of keys) above.delegations.keys[keyId] = json;
    const keyids = keys.map(({ keyId }) => keyId);
    above.delegations.roles.push({ name, keyids, threshold: 1, terminating: false, paths: ['*'], ...change });
    if (this.roles.has(name)) return;
    const head = { spec_version: '1.0.34', version: 0, expires: LATER };
    this.roles.set(name, { _type: 'targets', ...head, targets: {} });
  }

  /** Names a target and lays its file. */
  add(role: string, name: string, bytes: Uint8Array, algorithms: readonly string[] = ['sha256']): void {
    const hashes = Object.fromEntries(algorithms.map((a) => [a, createHash(a).update(bytes).digest('hex')]));
    this.roles.get(role).targets[name] = { length: bytes.length, hashes };
    const at = name.lastIndexOf('/') + 1;
    for (const digest of Object.values(hashes)) {
      this.files.set(`targets/${name.slice(0, at)}${digest}.${name.slice(at)}`, bytes);
    }
    this.files.set(`targets/${name}`, bytes);
  }

  /** Signs a role with the keys held and lays it where clients look. */
  sign(role: string, keys = this.keys.get(role) ?? []): Uint8Array {
    const signed = JSON.parse(JSON.stringify(this.roles.get(role))) as Json;
    const data = canonicalMetadata(signed) as Uint8Array;
    const signatures = keys.map((key) => ({ keyid: key.keyId, sig: key.sign(data) }));
    return this.lay(role, formatJson({ signed, signatures }));
  }

  /** Lays bytes as the current version of a role. */
  lay(role: string, bytes: Uint8Array): Uint8Array {
    const { version } = this.roles.get(role);
    const file = `${encodeURIComponent(role)}.json`;
    const consistent = this.roles.get('root').consistent_snapshot === true;
    const prefixed = role === 'root' || (consistent && role !== 'timestamp');
    this.files.set(prefixed ? `${version}.${file}` : file, bytes);
    return bytes;
  }

  /** The bytes of the current version of a role. */
  current(role: string): Uint8Array {
    const { version } = this.roles.get(role);
    const file = `${encodeURIComponent(role)}.json`;
    return (this.files.get(`${version}.${file}`) ?? this.files.get(file)) as Uint8Array;
  }

  /** New versions of targets roles, of the snapshot over them, and of the timestamp over that. */
  publish(...roles: readonly string[]): void {
    for (const role of roles) {
      this.roles.get(role).version += 1;
      const bytes = this.sign(role);
      this.roles.get('snapshot').meta[`${role}.json`] = this.describe(role, bytes);
    }
    this.publishSnapshot();
  }

  publishSnapshot(): void {
    this.roles.get('snapshot').version += 1;
    this.roles.get('timestamp').meta['snapshot.json'] = this.describe('snapshot', this.sign('snapshot'));
    this.publishTimestamp();
  }

  publishTimestamp(): void {
    this.roles.get('timestamp').version += 1;
    this.sign('timestamp');
  }

  describe(role: string, bytes: Uint8Array): object {
    const { version } = this.roles.get(role);
    return this.lists ? { version, length: bytes.length, hashes: { sha256: sha256(bytes) } } : { version };
  }

  get root1(): Uint8Array {
    return this.files.get('1.root.json') as Uint8Array;
  }
}

/** What a client meets instead of a file. */
export class Unreachable extends Error {}

export class Client {
  readonly kept = new Map<string, Uint8Array>();
  /** Paths of metadata that were asked for. */
  readonly asked: string[] = [];
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly root: Uint8Array;
  nowMs = NOW;
  crypto: Crypto = nodeCrypto;
  /** Called with each request before it is answered. */
  watch: (request: TufRequest) => void = () => undefined;

  constructor(simulator: Simulator, root = simulator.root1) {
    this.files = simulator.files;
    this.root = root;
  }

  /** Answers requests until there is a result. */
  run<T>(steps: TufSteps<T>): T {
    let step = steps.next();
    while (step.done !== true) step = steps.next(this.answer(step.value));
    return step.value;
  }

  private answer(request: TufRequest): Uint8Array | undefined {
    this.watch(request);
    if (request.kind === 'fetch') {
      this.asked.push(request.path);
      const found = this.files.get(request.path);
      if (found === undefined && request.required) throw new Unreachable(request.path);
      // As a host does that reads no further.
      return found?.slice(0, request.sizeBytesMax + 1);
    }
    const place = `${request.role}${request.copy ? '.copy' : ''}`;
    if (request.kind === 'read') return this.kept.get(place);
    if (request.kind === 'write') this.kept.set(place, request.bytes);
    else this.kept.delete(place);
    return undefined;
  }

  open(): Workflow {
    return this.run(Workflow.open(this.root, { nowMs: this.nowMs, crypto: this.crypto }));
  }

  refresh(): Workflow {
    const workflow = this.open();
    this.run(workflow.refresh());
    return workflow;
  }

  find(name: string) {
    const workflow = this.refresh();
    return this.run(workflow.findTarget(name));
  }

  /** Versions of what is kept, by role. */
  versions(): Record<string, number> {
    const roles = [...this.kept].filter(([place]) => !place.endsWith('.copy'));
    return Object.fromEntries(
      roles.map(([role, bytes]) => [role, JSON.parse(Buffer.from(bytes).toString()).signed.version]).sort(),
    );
  }
}
