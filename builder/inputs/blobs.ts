// SPDX-License-Identifier: Apache-2.0
// What an input is made of: blobs by digest, and where each can be had.

import { lstat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { BUILDER } from '../faults.ts';
import type { Source, Wanted } from '../fetch.ts';
import { packFolder } from './folder.ts';
import { GitObjects } from './git.ts';
import type { LockedCommit, LockedMounted, LockedOci } from './locked.ts';
import { imageBlobs } from './oci.ts';

/** The blobs of one input. `base` is the folder of the definition, if there is one. */
export function wantedBlobs(input: LockedMounted | LockedOci, base: string | undefined): Wanted[] {
  switch (input.kind) {
    case 'file':
      return [fileBlob(input, `input ${input.name}`)];
    case 'folder': {
      const { sha256, sizeBytes, name } = input;
      const folder = base === undefined ? undefined : resolve(base, input.path);
      const what = `input ${name}`;
      const read = async function* () {
        if (folder === undefined || (await lstat(folder).catch(() => undefined)) === undefined) {
          throw BUILDER.reject('FETCH_GONE', `expected folder ${name} beside the definition, got none`);
        }
        yield* packFolder(folder, name);
      };
      return [{ sha256, sizeBytes, what, places: async () => [{ from: `folder ${input.path}`, read }] }];
    }
    case 'git':
      return [commitBlob(input, `input ${input.name}`)];
    case 'west':
      return [
        ...input.projects.map((project) =>
          commitBlob(project, `project ${project.project} of input ${input.name}`),
        ),
        ...input.blobs.map((blob) => fileBlob(blob, `${blob.path} of input ${input.name}`)),
      ];
    case 'oci':
      return imageBlobs(input);
  }
}

function fileBlob({ sha256, sizeBytes, url }: Located, what: string): Wanted {
  return { sha256, sizeBytes, what, places: async () => [new URL(url)] };
}

interface Located {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly url: string;
}

/** The archive of a commit's tree, made by git anew; the digest says whether it is the one locked. */
function commitBlob(locked: LockedCommit, what: string): Wanted {
  const { sha256, sizeBytes } = locked;
  const read: Source['read'] = async function* (signal) {
    const objects = await GitObjects.open(locked.commit, signal);
    try {
      const recurse = locked.submodules.length > 0;
      yield* (await objects.archive(locked.url, locked.commit, recurse)).chunks;
    } finally {
      await objects.close();
    }
  };
  return {
    sha256,
    sizeBytes,
    what,
    places: async () => [{ from: `commit ${locked.commit} of ${locked.url}`, read }],
  };
}
