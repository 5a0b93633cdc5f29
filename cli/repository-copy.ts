// SPDX-License-Identifier: Apache-2.0
// A copy of an update repository in a folder: what a TUF client fetched is kept as it lies below `tuf/`, and read again without a network.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import type { DeviceHost } from '../device/host.ts';
import { CLI } from './faults.ts';
import { writeOutput } from './files.ts';

type Fetch = DeviceHost['fetch'];

/** Stands for the copy in messages; nothing is ever sent there. */
export const COPY_URL = 'https://copy.invalid';

/** Answers as the repository did whose copy the folder is: what is not there is 404. */
export function readCopy(folder: string): Fetch {
  return async (url) => {
    const path = pathIn(folder, url);
    try {
      return new Response(await readFile(path));
    } catch (cause) {
      const { code = 'unknown' } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT') return new Response(null, { status: 404 });
      throw CLI.reject('CLI_FILE_UNREADABLE', `expected a readable file ${quote(path)}, got ${code}`, {
        cause,
      });
    }
  };
}

/** Fetches, and keeps every answer that was there. The client verifies what it gets; so does whoever reads the copy. */
export function keepCopy(folder: string, fetchFrom: Fetch): Fetch {
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
    await writeOutput(pathIn(folder, url), bytes);
    return new Response(bytes, { status: response.status });
  };
}

/** Where the answer to a URL lies. Names of targets have no `..` [core/tuf], and `new URL` leaves none. */
function pathIn(folder: string, url: string): string {
  const { pathname } = new URL(url);
  const segments = pathname
    .slice(pathname.indexOf('/tuf/') + '/tuf/'.length)
    .split('/')
    .map(decodeURIComponent);
  if (
    segments.some(
      (segment) => segment === '' || segment === '..' || segment === '.' || /[/\\\0]/.test(segment),
    )
  ) {
    throw CLI.reject('CLI_USAGE', `expected the URL of a file below tuf/, got ${quote(url)}`);
  }
  return join(folder, ...segments);
}
