// SPDX-License-Identifier: Apache-2.0
// A sound repository on loopback, made anew for each test, that can be bent in every way, and clients of it.

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { nodeHost } from '../../device/node-host.ts';
import { TufClient } from '../../device/tuf-client.ts';
import { TufForge } from '../../examples/demo/tuf-forge.ts';
import { roleKey } from '../../release/role-metadata.ts';

export const NOW = Date.parse('2026-06-01T00:00:00Z');
export const LATER = '2026-12-01T00:00:00Z';
export const OWN = 'releases-optiboot';
export const newKey = () => generateKeyPairSync('ed25519').privateKey;
export let folder: string;
let server: Server;
export let url: string;
export let forge: TufForge;
export let root1: Uint8Array;
/** Path of a file that does not end. */
let endless: string | undefined;
/** How much of it was sent. */
export let sentBytes: number;
/** Answers with another status than that of a sound server. */
export const statuses = new Map<string, number>();
export const asked: string[] = [];
const spaces = Buffer.alloc(64 * 1024, ' ');

export function delegation(name: string, key: KeyObject, paths: string[]) {
  return { name, keyids: [roleKey(key).keyId], threshold: 1, terminating: true, paths };
}

/** A sound repository: 2 of 3 root keys, trust material on top, one product with one release. */
function soundRepository(): TufForge {
  const made = new TufForge();
  const held = {
    root: [newKey(), newKey(), newKey()],
    targets: [newKey()],
    snapshot: [newKey()],
    timestamp: [newKey()],
    [OWN]: [newKey()],
  };
  for (const [role, keys] of Object.entries(held)) made.keys.set(role, keys);
  const listed = (role: keyof typeof held) => held[role].map((key) => roleKey(key));
  const keys = Object.fromEntries(
    (['root', 'targets', 'snapshot', 'timestamp'] as const).flatMap((role) =>
      listed(role).map((k) => [k.keyId, k.json]),
    ),
  );
  const head = { spec_version: '1.0.31', version: 1, expires: LATER };
  const role = (name: keyof typeof held, threshold = 1) => ({
    keyids: listed(name).map((k) => k.keyId),
    threshold,
  });
  made.roles.set('root', {
    _type: 'root',
    ...head,
    consistent_snapshot: true,
    keys,
    roles: {
      root: role('root', 2),
      targets: role('targets'),
      snapshot: role('snapshot'),
      timestamp: role('timestamp'),
    },
  });
  const own = held[OWN][0] as KeyObject;
  made.roles.set('targets', {
    _type: 'targets',
    ...head,
    targets: {},
    delegations: {
      keys: { [roleKey(own).keyId]: roleKey(own).json },
      roles: [delegation(OWN, own, ['images/optiboot/*', 'packs/optiboot/*'])],
    },
  });
  made.roles.set(OWN, { _type: 'targets', ...head, targets: {} });
  made.roles.set('snapshot', { _type: 'snapshot', ...head, meta: {} });
  made.roles.set('timestamp', { _type: 'timestamp', ...head, meta: {} });
  made.addTarget('targets', 'trusted_root.json', utf8('{}'));
  made.addTarget(OWN, 'packs/optiboot/releases.json', utf8('{"n":1}'));
  made.sign('root');
  made.publish('targets', OWN);
  return made;
}

export const open = (nowMs = NOW, root = root1) =>
  TufClient.open({ root, registryUrl: url, stateFolder: join(folder, 'state'), nowMs, host: nodeHost() });
export async function refreshed(nowMs = NOW): Promise<TufClient> {
  const client = await open(nowMs);
  await client.refresh();
  return client;
}
export const goods = (client: TufClient) => client.goods('optiboot', 'packs/optiboot/releases.json', 1000);

/** Makes the file at this path endless. */
export function makeEndless(path: string): void {
  endless = path;
}

/** Makes the repository anew before each test of a file. */
export function useRepository(): void {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waybill-tuf-'));
    forge = soundRepository();
    root1 = forge.files.get('1.root.json') as Uint8Array;
    endless = undefined;
    statuses.clear();
    asked.length = 0;
    sentBytes = 0;
    server = createServer((request, response) => {
      if (request.url === endless) {
        const more = (): void => {
          while (!response.destroyed && response.write(spaces)) sentBytes += spaces.length;
        };
        response.on('drain', more).writeHead(200);
        return more();
      }
      asked.push(request.url ?? '');
      const body = forge.files.get(decodeURIComponent((request.url ?? '').slice('/tuf/'.length)));
      response.writeHead(statuses.get(request.url ?? '') ?? (body === undefined ? 404 : 200)).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });
}
