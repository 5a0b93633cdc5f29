// SPDX-License-Identifier: Apache-2.0
// Container images made on the spot, and a registry on loopback that serves them by the distribution protocol.

import { gzipSync } from 'node:zlib';
import { type CanonicalEntry, writeTar } from '../../../builder/inputs/tar.ts';
import { type Server, serve, sha256 } from './workshop.ts';

/** A layer: text by path, `→ target` for links, `/` at the end for folders. */
export async function layer(files: Readonly<Record<string, string>>): Promise<Buffer> {
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

export interface Image {
  readonly blobs: Map<string, Buffer>;
  readonly manifest: string;
  readonly index: string;
}

export function makeImage(
  layers: readonly Buffer[],
  diffs = layers.map((one) => `sha256:${sha256(one)}`),
): Image {
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

/** Serves an image at `team/image`; with a token where `guarded`. */
export function serveImage(image: Image, guarded = false): Promise<Server> {
  return serve((path, response, request) => {
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
}
