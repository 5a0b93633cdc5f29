// SPDX-License-Identifier: Apache-2.0
// A copy of an update repository in a folder: what a TUF client fetched is kept as it lies below `tuf/`, and read again without a network.

import { join } from 'node:path';
import { quote } from '../core/faults.ts';
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

/** Answers of a repository, which become a copy once whoever asked has found that they hold: nothing unverified takes the place of a copy that is good. */
export interface KeptAnswers {
  /** Fetches, and keeps every answer that was read to its end. */
  readonly fetch: Fetch;
  /** Writes the copy. @throws CLI_FILE_UNWRITABLE */
  write(): Promise<void>;
}

/** Keeps what is fetched from a registry for a copy in a folder. */
export function keepCopy(folder: string, registryUrl: string, fetchFrom: Fetch): KeptAnswers {
  const answers = new Map<string, Uint8Array>();
  return {
    async fetch(url, init) {
      const path = pathIn(folder, registryUrl, url);
      const response = await fetchFrom(url, init);
      if (!response.ok || response.body === null) return response;
      const chunks: Uint8Array[] = [];
      const passing = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, next) {
          chunks.push(chunk);
          next.enqueue(chunk);
        },
        flush: () => void answers.set(path, Buffer.concat(chunks)),
      });
      return new Response(response.body.pipeThrough(passing), { status: response.status });
    },
    async write() {
      for (const [path, bytes] of answers) await writeOutput(path, bytes);
    },
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
