// SPDX-License-Identifier: Apache-2.0
// A container image by digest as root file system: manifest, configuration and layers from a registry
// [OCI-distribution-v1.1.0 §pulling-manifests], layers applied in order with their whiteouts [OCI-image-v1.1.0 §layer].

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type DocumentNode, parseDocument } from '../../core/encoding/document.ts';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { addBlob, download, type Source, type Wanted } from '../fetch.ts';
import { paced } from '../paced.ts';
import type { StepRoot } from '../root.ts';
import { openTree } from '../sealed-tree.ts';
import type { ContentStore, Pinned } from '../store.ts';
import type { OciInput } from './declared.ts';
import type { LockedOci } from './locked.ts';
import type { MountOptions } from './mount.ts';
import { readTar } from './tar.ts';
import { INPUT_TIME, TreeWriter } from './tree.ts';
import { decompress } from './unpack-archive.ts';

const LAYOUT = 1;
const DOCUMENT_SIZE_BYTES_MAX = 4 * 1024 * 1024;
const MANIFESTS = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const INDEXES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];

/** Pins an image: manifest, configuration and layers, taken into the store. @throws INPUT_IMAGE_UNUSABLE, FETCH_… */
export async function lockImage(
  input: OciInput,
  store: ContentStore,
  signal: AbortSignal | undefined,
): Promise<LockedOci> {
  const { name, image } = input;
  const fetchDocument = async (digest: string) => {
    const sha256 = digest.slice('sha256:'.length);
    const place = manifestPlace(image, sha256);
    const limits = { signal, sha256, sizeBytesMax: DOCUMENT_SIZE_BYTES_MAX };
    const added = await addBlob(store, `manifest of input ${name}`, place, limits);
    return { pinned: added, node: openDocument(await readFile(store.path(sha256)), name) };
  };
  let found = await fetchDocument(input.digest);
  let index: Pinned | undefined;
  if (found.node.optional('manifests') !== undefined) {
    index = found.pinned;
    found = await fetchDocument(chooseManifest(found.node, input));
  }
  const manifest = found.node;
  if (manifest.optional('layers') === undefined) throw unusable(name, 'a manifest of something else');
  return {
    name,
    kind: 'oci',
    image,
    ...(index === undefined ? {} : { index }),
    ...found.pinned,
    config: readDescriptor(manifest.field('config')),
    layers: manifest.field('layers').someElements().map(readDescriptor),
  };
}

/** The manifest of an index for the platform asked for. */
function chooseManifest(index: DocumentNode, input: OciInput): string {
  const [os, architecture] = input.platform.split('/');
  for (const manifest of index.field('manifests').someElements()) {
    const platform = manifest.optional('platform');
    const here = platform?.optional('os')?.value === os;
    if (here && platform?.optional('architecture')?.value === architecture) {
      return manifest.field('digest').matching(/^sha256:[0-9a-f]{64}$/, 'a SHA-256 digest');
    }
  }
  throw unusable(input.name, `an index without ${input.platform}`);
}

function readDescriptor(node: DocumentNode): Pinned {
  const digest = node.field('digest').matching(/^sha256:[0-9a-f]{64}$/, 'a SHA-256 digest');
  return {
    sha256: digest.slice('sha256:'.length),
    sizeBytes: node.field('size').integer(0),
  };
}

function openDocument(bytes: Uint8Array, name: string): DocumentNode {
  const refuse = (message: string, at: string) =>
    BUILDER.reject('INPUT_IMAGE_UNUSABLE', `image ${name}: ${message}`, { at });
  return parseDocument(bytes, { refuse }, DOCUMENT_SIZE_BYTES_MAX);
}

function unusable(name: string, got: string) {
  return BUILDER.reject('INPUT_IMAGE_UNUSABLE', `expected an image in input ${name}, got ${got}`);
}

/** All that an image is made of. */
export function imageBlobs(locked: LockedOci): Wanted[] {
  const { name, image, index, sha256, sizeBytes } = locked;
  const manifest = (pinned: Pinned): Wanted => ({
    ...pinned,
    what: `manifest of input ${name}`,
    places: async () => [manifestPlace(image, pinned.sha256)],
  });
  const blob = (pinned: Pinned): Wanted => ({
    ...pinned,
    what: `layer of input ${name}`,
    places: async () => [registryPlace(image, `blobs/sha256:${pinned.sha256}`, {})],
  });
  return [
    ...(index === undefined ? [] : [manifest(index)]),
    manifest({ sha256, sizeBytes }),
    ...[locked.config, ...locked.layers].map(({ sha256, sizeBytes }) => blob({ sha256, sizeBytes })),
  ];
}

function manifestPlace(image: string, sha256: string) {
  return registryPlace(image, `manifests/sha256:${sha256}`, {
    accept: [...MANIFESTS, ...INDEXES].join(', '),
  });
}

/** Something of a repository; if the registry wants a token it is asked for as anybody, without any account. */
function registryPlace(image: string, path: string, headers: Record<string, string>): Source {
  const slash = image.indexOf('/');
  const [host, repository] = [image.slice(0, slash), image.slice(slash + 1)];
  // A registry on this machine is reached without TLS, as other tools do; digests decide everywhere.
  const scheme = /^(?:127\.0\.0\.1|localhost)(?::|$)/.test(host) ? 'http' : 'https';
  const url = new URL(`${scheme}://${host}/v2/${repository}/${path}`);
  const read = async function* (signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    const token = await askToken(url, headers, signal);
    const authorization: Record<string, string> =
      token === undefined ? {} : { authorization: `Bearer ${token}` };
    yield* download(url, `${quote(path)} of ${image}`, { signal, headers: { ...headers, ...authorization } });
  };
  return { from: url.href, read };
}

/** The token service that a registry names in its refusal [OCI-distribution-v1.1.0 §endpoints]; undefined if none is needed. */
async function askToken(
  url: URL,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const asked = await fetch(url, { method: 'HEAD', headers, ...(signal === undefined ? {} : { signal }) });
  if (asked.status !== 401) return undefined;
  const challenge = asked.headers.get('www-authenticate') ?? '';
  const value = (name: string) => new RegExp(`${name}="([^"]*)"`, 'i').exec(challenge)?.[1];
  const realm = value('realm');
  if (!/^Bearer /i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined;
  const service = new URL(realm);
  // A token for a registry on the network never travels in the clear.
  if (service.protocol !== url.protocol) return undefined;
  for (const name of ['service', 'scope'])
    if (value(name) !== undefined) service.searchParams.set(name, value(name) ?? '');
  const answer = await fetch(service, signal === undefined ? {} : { signal });
  if (!answer.ok) return undefined;
  const body = (await answer.json()) as { token?: unknown; access_token?: unknown };
  const token = body.token ?? body.access_token;
  return typeof token === 'string' && /^[\w.~+/=-]+$/.test(token) ? token : undefined;
}

/** The root file system that an image is. @throws INPUT_…, SANDBOX_ROOT_UNPACKABLE, and what `fetch` throws */
export async function openImageRoot(locked: LockedOci, options: MountOptions): Promise<StepRoot> {
  const tree = await openTree<null>({
    cache: options.cache,
    key: { layout: LAYOUT, image: locked.sha256 },
    prepare: options.fetch,
    make: async (folder) => {
      const writer = new TreeWriter(folder, { what: `image ${locked.name}`, root: true });
      const diffs = await readDiffs(locked, options.store);
      const of = locked.layers.length;
      options.onProgress?.(`unpacking input ${locked.name}`);
      const unpacked = paced(({ count }) =>
        options.onProgress?.(`unpacked ${count} of ${of} layers of input ${locked.name}`),
      );
      for (const [i, layer] of locked.layers.entries()) {
        await applyLayer(options.store.path(layer.sha256), writer, locked.name, diffs[i] ?? '');
        unpacked({ count: i + 1, of });
      }
      await completeImage(writer);
      return null;
    },
    time: INPUT_TIME,
  });
  return { folder: tree.folder, key: tree.key, owners: new Map(), records: new Map(), image: locked.name };
}

/** The digests of the layers before compression, which the configuration names. */
async function readDiffs(locked: LockedOci, store: ContentStore): Promise<string[]> {
  const config = openDocument(await readFile(store.path(locked.config.sha256)), locked.name);
  const diffs = config.field('rootfs').field('diff_ids').someElements();
  if (diffs.length !== locked.layers.length)
    throw unusable(locked.name, `${diffs.length} digests of ${locked.layers.length} layers`);
  return diffs.map((diff) => diff.string());
}

async function applyLayer(path: string, tree: TreeWriter, name: string, diff: string): Promise<void> {
  const what = `image ${name}`;
  const hash = createHash('sha256');
  const hashed = async function* () {
    for await (const chunk of decompress(path, what)) {
      hash.update(chunk);
      yield chunk;
    }
  };
  for await (const entry of readTar(hashed(), what)) {
    const at = entry.path.replace(/\/+$/, '');
    const [folder, base] = [at.slice(0, Math.max(at.lastIndexOf('/'), 0)), at.slice(at.lastIndexOf('/') + 1)];
    if (base === '.wh..wh..opq') await tree.empty(folder);
    else if (base.startsWith('.wh.')) await tree.remove(`${folder}/${base.slice('.wh.'.length)}`);
    else if (entry.kind === 'file') await tree.file(at, entry.mode, entry.content);
    else if (entry.kind === 'folder') await tree.makeFolder(at, entry.mode);
    else if (entry.kind === 'link') await tree.link(at, entry.target);
    else if (entry.kind === 'hardlink') await tree.hardlink(at, entry.mode, entry.target);
    // Device nodes are left out: a step has a /dev of its own.
  }
  const got = `sha256:${hash.digest('hex')}`;
  if (got !== diff) throw unusable(name, `a layer that unpacks to ${got}, not ${quote(diff)}`);
}

/** The places that a sandbox mounts on, and who `build` is, as in a root of packages. */
async function completeImage(tree: TreeWriter): Promise<void> {
  for (const name of ['proc', 'dev', 'tmp', 'build', 'materials', 'inputs']) {
    await tree.replace(name);
    await tree.makeFolder(name, 0o755);
  }
  await tree.makeFolder('etc', 0o755);
  const write = (name: string, text: string) =>
    tree.file(
      `etc/${name}`,
      0o644,
      (async function* () {
        yield Buffer.from(text);
      })(),
    );
  await write('passwd', 'build:x:1000:1000:build:/build:/bin/sh\n');
  await write('group', 'build:x:1000:\n');
  await write('hosts', '127.0.0.1 localhost waybill\n');
}
