// SPDX-License-Identifier: Apache-2.0
// A TUF repository with the two online roles, served over loopback HTTP from memory: what the offline roles are tried against.

import { generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Metadata, MetaFile, Signature, Snapshot, type Targets, Timestamp } from '@tufjs/models';
import { expiryAfter, roleKey, TUF_SPEC_VERSION, targetEntry } from '../../release/role-metadata.ts';

/** The online keys and what they have signed. */
export class TufSite {
  readonly snapshotKey = generateKeyPairSync('ed25519');
  readonly timestampKey = generateKeyPairSync('ed25519');
  readonly files = new Map<string, Uint8Array>();
  #version = 0;

  get onlineKeys(): { snapshot: string; timestamp: string } {
    const pem = (key: typeof this.snapshotKey) =>
      key.publicKey.export({ type: 'spki', format: 'pem' }).toString();
    return { snapshot: pem(this.snapshotKey), timestamp: pem(this.timestampKey) };
  }

  /** Puts a target file where clients with consistent snapshots look for it. */
  putTarget(name: string, bytes: Uint8Array): void {
    const at = name.lastIndexOf('/') + 1;
    const { sha256 } = targetEntry(bytes).hashes;
    this.files.set(`/targets/${name.slice(0, at)}${sha256}.${name.slice(at)}`, bytes);
  }

  /** Signs snapshot and timestamp over the given role files. */
  publish(roles: Readonly<Record<string, Uint8Array>>, now = new Date()): void {
    this.#version++;
    const common = { specVersion: TUF_SPEC_VERSION, version: this.#version, expires: expiryAfter(now, 1) };
    const meta: Record<string, MetaFile> = {};
    for (const [role, bytes] of Object.entries(roles)) {
      const version = versionOf(bytes);
      this.files.set(`/${version}.${role}.json`, bytes);
      meta[`${role}.json`] = new MetaFile({ version });
    }
    const snapshot = new Metadata(new Snapshot({ ...common, meta }));
    signWith(snapshot as never, this.snapshotKey.privateKey);
    this.files.set(`/${this.#version}.snapshot.json`, Buffer.from(JSON.stringify(snapshot.toJSON())));
    const timestamp = new Metadata(
      new Timestamp({ ...common, snapshotMeta: new MetaFile({ version: this.#version }) }),
    );
    signWith(timestamp as never, this.timestampKey.privateKey);
    this.files.set('/timestamp.json', Buffer.from(JSON.stringify(timestamp.toJSON())));
  }

  /** Serves `files` until closed. */
  async serve(): Promise<{ url: string; close: () => Promise<void> }> {
    const server = createServer((request, response) => {
      const found = this.files.get(request.url ?? '');
      response.writeHead(found === undefined ? 404 : 200).end(found);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return {
      url: `http://127.0.0.1:${port}`,
      close: () => new Promise((resolve) => server.close(() => resolve())),
    };
  }
}

function versionOf(bytes: Uint8Array): number {
  return (JSON.parse(Buffer.from(bytes).toString()) as { signed: { version: number } }).signed.version;
}

function signWith(metadata: Metadata<Targets>, key: Parameters<typeof roleKey>[0]): void {
  metadata.sign(
    (data) => new Signature({ keyID: roleKey(key).keyId, sig: sign(null, data, key).toString('hex') }),
  );
}
