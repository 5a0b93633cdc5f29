// SPDX-License-Identifier: Apache-2.0
// A process that publishes a root with other online keys and is killed right after its n-th write. Arguments: folder of the
// repository, folder of the keys, folder of the blobs, path of the root, n, now.

import { readFile } from 'node:fs/promises';
import { Blobs } from '../../registry/store/blobs.ts';
import { type DurableFiles, diskFiles } from '../../registry/store/durable-files.ts';
import { TufRepository } from '../../registry/tuf/repository.ts';

const [folder = '', keysFolder = '', blobs = '', root = '', n = '', now = ''] = process.argv.slice(2);
let writes = 0;
const files: DurableFiles = {
  ...diskFiles,
  async write(path, bytes, mode) {
    await diskFiles.write(path, bytes, mode);
    if (++writes === Number(n)) process.kill(process.pid, 'SIGKILL');
  },
};
const clock = () => Number(now);
const tuf = await TufRepository.open({ folder, keysFolder, blobs: await Blobs.open(blobs), clock, files });
await tuf.putRoot(new Uint8Array(await readFile(root)));
