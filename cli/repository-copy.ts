// SPDX-License-Identifier: Apache-2.0
// A copy of an update repository in a folder: what a TUF client fetched is kept as it lies below `tuf/`, and read again without a network.

import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import type { DeviceHost } from '../device/host.ts';
import { CLI } from './faults.ts';
import { readIfThere, writeOutput } from './files.ts';

type Fetch = DeviceHost['fetch'];

/** Stands for the copy in messages; nothing is ever sent there. */
export const COPY_URL = 'https://copy.invalid';

/** Answers as the repository did whose copy the folder is: what is not there is 404. */
export function readCopy(folder: string): Fetch {
  return async (url) => {
    const bytes = await readIfThere(pathIn(folder, COPY_URL, url));
    return bytes === undefined ? new Response(null, { status: 404 }) : new Response(Buffer.from(bytes));
  };
}

/** Fetches, and keeps every answer that was there. The client verifies what it gets; so does whoever reads the copy. */
export function keepCopy(folder: string, registryUrl: string, fetchFrom: Fetch): Fetch {
  return async (url, init) => {
    const response = await fetchFrom(url, init);
    if (!response.ok || response.body === null) return response;
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      // What is longer than any metadata is refused by the client, which then sees that there is more than it asked for.
      if (sizeBytes > LIMITS.jsonSizeBytes) break;
    }
    const bytes = Buffer.concat(chunks);
    await writeOutput(pathIn(folder, registryUrl, url), bytes);
    return new Response(bytes, { status: response.status });
  };
}

/** Where the answer to a URL of a registry lies. Names of targets have no `..` [core/tuf], and `new URL` leaves none. */
function pathIn(folder: string, registryUrl: string, url: string): string {
  const base = `${registryUrl}/tuf/`;
  const segments = url.startsWith(base) ? new URL(url).pathname.slice(new URL(base).pathname.length) : '';
  const names = segments.split('/').map(decodeURIComponent);
  if (names.some((name) => name === '' || name === '..' || name === '.' || /[/\\\0]/.test(name))) {
    throw CLI.reject('CLI_USAGE', `expected the URL of a file below tuf/, got ${quote(url)}`);
  }
  return join(folder, ...names);
}
