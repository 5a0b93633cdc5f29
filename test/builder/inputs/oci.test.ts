// SPDX-License-Identifier: Apache-2.0
// Container images as root file systems, from a registry on loopback that speaks the distribution protocol.

import { afterAll, describe, expect, test } from 'vitest';
import { fetchBlobs } from '../../../builder/fetch.ts';
import type { LockedOci } from '../../../builder/inputs/locked.ts';
import { imageBlobs, openImageRoot } from '../../../builder/inputs/oci.ts';
import { readRootFile } from '../../../builder/root.ts';
import { ContentStore } from '../../../builder/store.ts';
import { type Image, layer, makeImage, serveImage } from './images.ts';
import { code, lockPart, makeFolder, readTree, type Server } from './workshop.ts';

const servers: Server[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function registry(image: Image, guarded = false): Promise<Server> {
  const server = await serveImage(image, guarded);
  servers.push(server);
  return server;
}

const partOf = (server: Server, digest: string, more = '') =>
  `kind: oci\nrole: rootfs\nimage: ${server.host}/team/image\ndigest: ${digest}\n${more}`;

async function lockImage(server: Server, digest: string, more = ''): Promise<LockedOci> {
  const store = new ContentStore(makeFolder());
  return (await lockPart(partOf(server, digest, more), store)) as LockedOci;
}

async function open(locked: LockedOci) {
  const cache = makeFolder();
  const store = new ContentStore(cache);
  const fetch = async () => {
    await fetchBlobs(store, imageBlobs(locked), {});
  };
  return openImageRoot(locked, { cache, store, fetch });
}

describe('an image', () => {
  test('is pinned whole, fetched with a token, and its layers are applied with their whiteouts', async () => {
    const image = makeImage([
      await layer({
        'usr/bin/sh': 'sh',
        bin: '→ usr/bin',
        'etc/passwd': 'root',
        'var/old/a': 'a',
        'var/kept': 'k',
        'opt/x/1': '1',
        'opt/x/2': '2',
        'unit\\x2d.service': 'u',
      }),
      await layer({ 'bin/tool': 'tool', 'var/.wh.old': '', 'opt/x/.wh..wh..opq': '', 'usr/bin/sh': 'sh2' }),
      await layer({ 'opt/x/3': '3', tmp: '→ /var' }),
    ]);
    const server = await registry(image, true);
    const locked = await lockImage(server, image.index);
    expect(locked).toMatchObject({
      kind: 'oci',
      index: { sha256: image.index.slice(7) },
      sha256: image.manifest.slice(7),
    });
    expect(locked.layers).toHaveLength(3);
    expect(await lockImage(server, image.manifest)).not.toHaveProperty('index');
    const root = await open(locked);
    const tree = readTree(root.folder);
    expect(tree).toEqual({
      'usr/bin/sh': '755 sh2',
      'usr/bin/tool': '755 tool',
      bin: '→ usr/bin',
      'etc/passwd': '644 build:x:1000:1000:build:/build:/bin/sh\n',
      'etc/group': '644 build:x:1000:\n',
      'etc/hosts': '644 127.0.0.1 localhost waybill\n',
      'var/kept': '755 k',
      'opt/x/3': '755 3',
      'unit\\x2d.service': '755 u',
    });
  });

  test('cannot write through its links onto the host', async () => {
    const outside = makeFolder({ passwd: 'mine' });
    const image = makeImage([
      await layer({ etc: `→ ${outside}`, out: `→ ${'../'.repeat(20)}${outside}` }),
      await layer({ 'out/evil': 'x' }),
    ]);
    const root = await open(await lockImage(await registry(image), image.manifest));
    expect(readTree(outside)).toEqual({ passwd: '644 mine' });
    expect((await readRootFile(root, 'etc/passwd'))?.toString()).toContain('build:x:1000');
    expect(await readRootFile(root, 'out/passwd')).toBeUndefined();
  });

  test('of another platform, of another digest, with a layer that is another', async () => {
    const bytes = await layer({ a: 'a' });
    const image = makeImage([bytes]);
    const server = await registry(image);
    expect(await code(lockImage(server, image.index, 'platform: linux/riscv64'))).toBe(
      'INPUT_IMAGE_UNUSABLE',
    );
    expect(await code(lockImage(server, `sha256:${'ab'.repeat(32)}`))).toBe('FETCH_GONE');
    const locked = await lockImage(server, image.manifest);
    const manifest = image.blobs.get(image.manifest) ?? Buffer.alloc(0);
    image.blobs.set(image.manifest, Buffer.from('{}'));
    expect(await code(lockImage(server, image.manifest))).toBe('FETCH_DIGEST_MISMATCH');
    image.blobs.set(image.manifest, manifest);
    const [first] = locked.layers;
    image.blobs.set(`sha256:${first?.sha256}`, Buffer.alloc(first?.sizeBytes ?? 0));
    expect(await code(open(locked))).toBe('FETCH_DIGEST_MISMATCH');
    const lying = makeImage([bytes], [`sha256:${'00'.repeat(32)}`]);
    expect(await code(open(await lockImage(await registry(lying), lying.manifest)))).toBe(
      'INPUT_IMAGE_UNUSABLE',
    );
  });
});
