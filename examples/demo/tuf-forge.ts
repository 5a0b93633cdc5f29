// SPDX-License-Identifier: Apache-2.0
// What someone with keys can publish: a TUF repository [TUF-1.0.34 §4] as plain documents that can be bent at will and signed
// with whichever keys one holds. The attacks of the demo and the tests of the TUF client are made with it; nothing else is.

import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import type { Json } from '../../core/encoding/strict-json.ts';
import { canonicalMetadata } from '../../core/tuf/canonical.ts';
import { roleKey } from '../../release/role-metadata.ts';

/** The signed part of a role, free to be bent. */
// biome-ignore lint/suspicious/noExplicitAny: an attacker's document has no shape that could be promised.
export type Signed = any;

export class TufForge {
  /** Signed parts by role name; `root`, `targets`, `snapshot`, `timestamp` and delegated roles. */
  readonly roles = new Map<string, Signed>();
  /** Keys that sign a role, as far as they are held. */
  readonly keys = new Map<string, readonly KeyObject[]>();
  /** Files to serve, by path below `tuf/`. */
  readonly files = new Map<string, Uint8Array>();

  /** Signs one role with the keys held and lays it where clients look; returns its bytes. */
  sign(role: string): Uint8Array {
    const signed = this.roles.get(role);
    // What no signature can cover is signed as nothing.
    const data = canonicalMetadata(signed as Json) ?? new Uint8Array();
    const signatures = (this.keys.get(role) ?? []).map((key) => ({
      keyid: roleKey(createPublicKey(key)).keyId,
      sig: sign(null, data, key).toString('hex'),
    }));
    return this.lay(role, new TextEncoder().encode(JSON.stringify({ signed, signatures })));
  }

  /** Lays the bytes of a role where clients look. */
  lay(role: string, bytes: Uint8Array): Uint8Array {
    const { version } = this.roles.get(role) as { version: number };
    this.files.set(role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`, bytes);
    return bytes;
  }

  /** Names a target in a role and lays its file; `listed` is what the role says of it, if not the truth. */
  addTarget(role: string, name: string, bytes: Uint8Array, listed: Uint8Array = bytes): void {
    const sha256 = createHash('sha256').update(listed).digest('hex');
    this.roles.get(role).targets[name] = { length: listed.length, hashes: { sha256 } };
    const at = name.lastIndexOf('/') + 1;
    this.files.set(`targets/${name.slice(0, at)}${sha256}.${name.slice(at)}`, bytes);
  }

  /** Takes a new version of a role (targets or a delegated one) to the top: role, snapshot, timestamp. */
  publish(...roles: readonly string[]): void {
    for (const role of roles) {
      this.roles.get(role).version += 1;
      this.sign(role);
      this.roles.get('snapshot').meta[`${role}.json`] = { version: this.roles.get(role).version };
    }
    this.publishSnapshot();
  }

  /** A new snapshot and a new timestamp over what the roles are now. */
  publishSnapshot(): void {
    this.roles.get('snapshot').version += 1;
    const snapshot = this.sign('snapshot');
    const timestamp = this.roles.get('timestamp');
    timestamp.version += 1;
    timestamp.meta['snapshot.json'] = {
      version: this.roles.get('snapshot').version,
      length: snapshot.length,
      hashes: { sha256: createHash('sha256').update(snapshot).digest('hex') },
    };
    this.sign('timestamp');
  }
}
