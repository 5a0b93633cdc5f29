// SPDX-License-Identifier: Apache-2.0
// Container images as root file systems, from a registry on loopback that speaks the distribution protocol.

import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { fetchBlobs } from '../../../builder/fetch.ts';
import type { LockedOci } from '../../../builder/inputs/locked.ts';
import { imageBlobs, openImageRoot } from '../../../builder/inputs/oci.ts';
import { type CanonicalEntry, writeTar } from '../../../builder/inputs/tar.ts';
import { readRootFile } from '../../../builder/root.ts';
import { ContentStore } from '../../../builder/store.ts';
import { code, lockPart, makeFolder, readTree, type Server, serve, sha256 } from './workshop.ts';

/** A layer: text by path, `→ target` for links, `/` at the end for folders. */
async function layer(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const entries = Object.entries(files).map(([path, text]): CanonicalEntry => {
    const link = text.startsWith('→ ');
    return {
      path: path.replace(/\/$/, ''),
      kind: path.endsWith('/') ? 'folder' : link ? 'link' : 'file',
      executable: true,
      target: link ? text.slice(2) : '',
      sizeBytes: link ? 0 : Buffer.byteLength(text),
      content: async function* () {
        yield Buffer.from(text);
      },
    };
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(entries)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

interface Image {
  readonly blobs: Map<string, Buffer>;
  readonly manifest: string;
  readonly index: string;
}

function makeImage(layers: readonly Buffer[], diffs = layers.map((one) => `sha256:${sha256(one)}`)): Image {
  const blobs = new Map<string, Buffer>();
  const put = (bytes: Buffer) => {
    blobs.set(`sha256:${sha256(bytes)}`, bytes);
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const json = (value: object) => put(Buffer.from(JSON.stringify(value)));
  const config = json({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: diffs } });
  const manifest = json({
    schemaVersion: 2,
    config,
    layers: layers.map((one) => put(gzipSync(one))),
  });
  const index = json({
    schemaVersion: 2,
    manifests: [
      { ...config, platform: { os: 'linux', architecture: 'arm64' } },
      { ...manifest, platform: { os: 'linux', architecture: 'amd64' } },
    ],
  });
  return { blobs, manifest: manifest.digest, index: index.digest };
}

const servers: Server[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

/** Serves images at `team/image`; with a token where `guarded`. */
async function registry(image: Image, guarded = false): Promise<Server> {
  const server = await serve((path, response, request) => {
    if (path.startsWith('/token')) {
      response.end(JSON.stringify({ token: 'anybody' }));
      return;
    }
    if (guarded && request.headers.authorization !== 'Bearer anybody') {
      const realm = `Bearer realm="http://${request.headers.host}/token",service="r",scope="pull"`;
      response.writeHead(401, { 'www-authenticate': realm }).end();
      return;
    }
    const digest = /^\/v2\/team\/image\/(?:manifests|blobs)\/(sha256:[0-9a-f]+)$/.exec(path)?.[1];
    const bytes = image.blobs.get(digest ?? '');
    if (bytes === undefined) response.writeHead(404).end();
    else response.end(bytes);
  });
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
