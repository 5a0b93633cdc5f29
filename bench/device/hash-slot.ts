// SPDX-License-Identifier: Apache-2.0
// `node hash-slot.ts SLOT`: hashes a slot as the agent does, in a new process, and prints the digest, milliseconds, and by how many bytes the
// process grew.

import { nodeFiles } from '../../device/node-host.ts';
import { digestSlot } from '../../device/slot.ts';

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('expected a slot');
const before = process.memoryUsage.rss();
const started = performance.now();
const { sha256 } = await digestSlot(nodeFiles, path);
const wallMs = performance.now() - started;
const { user, system } = process.cpuUsage();
// maxRSS is in KiB.
const grownBytes = process.resourceUsage().maxRSS * 1024 - before;
process.stdout.write(JSON.stringify({ sha256, wallMs, cpuMs: (user + system) / 1000, grownBytes }));
