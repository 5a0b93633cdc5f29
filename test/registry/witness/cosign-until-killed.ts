// SPDX-License-Identifier: Apache-2.0
// A witness that kills itself just before or just after a checkpoint is durable, before anything is signed.
// Arguments: folder, `before` or `after`. Prints its address.

import { listen } from '../../../registry/listen.ts';
import { type DurableFiles, diskFiles } from '../../../registry/store/durable-files.ts';
import { Witness } from '../../../registry/witness/witness.ts';
import { buildWitnessServer } from '../../../registry/witness/witness-server.ts';

const [folder = '', when] = process.argv.slice(2);
const files: DurableFiles = {
  ...diskFiles,
  async write(path, bytes) {
    if (when === 'after') await diskFiles.write(path, bytes);
    process.kill(process.pid, 'SIGKILL');
    // The signal may take a moment; nothing may be signed meanwhile.
    await new Promise(() => undefined);
  },
};
const witness = await Witness.open({ folder, clock: Date.now, files });
const app = await buildWitnessServer(witness, { logLevel: 'silent' });
process.stdout.write(`${await listen(app, { host: '127.0.0.1', port: 0 })}\n`);
