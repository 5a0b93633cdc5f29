// SPDX-License-Identifier: Apache-2.0
// The demo's own release as a device meets it: the demo's road is travelled in a folder of its own, and everything that a client of its
// repository asks for is recorded, from the factory's root to the evidence pack.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LIMITS } from '../../core/limits.ts';
import { devicePolicyName } from '../../core/release/device-policy.ts';
import { parseReleaseIndex, releaseIndexName } from '../../core/release/release-index.ts';
import { nodeHost } from '../../device/node-host.ts';
import { TufClient } from '../../device/tuf-client.ts';
import { PRODUCT, Road } from '../../examples/demo/road.ts';

/** One release and what leads to it. */
export interface Recorded {
  readonly product: string;
  /** The root that the factory gave. */
  readonly root: Uint8Array;
  /** What the repository answered, by path below `tuf/`. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** When it was asked, milliseconds since 1970. */
  readonly nowMs: number;
}

/** Travels the demo's road and records its newest release. Nothing is left of it. */
export async function recordDemo(): Promise<Recorded> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-bench-'));
  let road: Road | undefined;
  try {
    road = await Road.travel(folder, { stage: () => {}, command: () => {}, show: () => {} });
    return await record(road, join(folder, 'recorder'));
  } finally {
    await road?.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function record(road: Road, stateFolder: string): Promise<Recorded> {
  const host = nodeHost();
  const nowMs = host.nowMs();
  const base = `${road.registryUrl}/tuf/`;
  const files = new Map<string, Uint8Array>();
  const fetch = async (url: string, init: RequestInit) => {
    const response = await host.fetch(url, init);
    if (!response.ok) return response;
    const bytes = new Uint8Array(await response.arrayBuffer());
    files.set(decodeURIComponent(url.slice(base.length)), bytes);
    return new Response(bytes, response);
  };
  const root = new Uint8Array(await readFile(road.rootPath));
  const options = { root, registryUrl: road.registryUrl, stateFolder, nowMs };
  const tuf = await TufClient.open({ ...options, host: { ...host, fetch } });
  await tuf.refresh();
  for (const name of ['trusted_root.json', 'tlog-policy', devicePolicyName(PRODUCT)]) {
    await tuf.trustMaterial(name);
  }
  const name = releaseIndexName(PRODUCT);
  const index = parseReleaseIndex(await tuf.goods(PRODUCT, name, LIMITS.releaseIndexSizeBytes));
  const newest = index.releases.at(-1);
  if (newest === undefined) throw new Error('the demo released nothing');
  await tuf.goods(PRODUCT, newest.pack.name, LIMITS.jsonSizeBytes);
  return { product: PRODUCT, root, files, nowMs };
}
