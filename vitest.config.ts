// SPDX-License-Identifier: Apache-2.0
// Five projects: what `npm run check` runs, the rest, whole roads, what takes too long for `npm test`, and what needs clients of others in other
// languages.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// Workers and the commands that tests start load the same files over and over; compiled ones are kept between them, and for the next run.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url));

/** Folders of test/ whose tests are quick and start no process. */
const FAST = ['core', 'policy', 'tidy', 'scripts', 'bench'];

/** Small files that take long. In a fresh clone vitest begins with the largest files, and would end with these, one core idle. */
const LONG = [
  'builder/full-disk',
  'builder/killed',
  'e2e/road',
  'hostile/single-bits',
  'peers/sigstore-differences',
  'registry/log/killed',
  'runtimes/runtimes',
];

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) =>
      LONG.some((name) => moduleId.endsWith(`/test/${name}.test.ts`));
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

const inFast = FAST.map((folder) => `test/${folder}/**/*.test.ts`);
const inE2e = ['test/e2e/**/*.test.ts'];
const inLong = ['test/long/**/*.test.ts'];
const inStock = ['test/stock-clients/**/*.test.ts'];
const elsewhere = ['**/node_modules/**', 'dist/**', '.check/**', '.demo/**'];

export default defineConfig({
  test: {
    // One more than the smallest machine that we support has cores: a test that waits, for a time limit or a child, leaves its core to another.
    maxWorkers: 3,
    // Of a test that takes a tenth of it alone.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongFirst },
    projects: [
      // Nothing that one of them does to its process is seen by another, so they share it, and what it has loaded.
      { extends: true, test: { name: 'fast', include: inFast, exclude: elsewhere, isolate: false } },
      {
        extends: true,
        test: {
          name: 'parts',
          include: ['test/**/*.test.ts'],
          exclude: [...elsewhere, ...inFast, ...inE2e, ...inLong, ...inStock],
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: inE2e,
          exclude: elsewhere,
          // Beside the rest: a road takes one core, and a minute or more of it.
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'long',
          include: inLong,
          exclude: elsewhere,
          // Machines, full disks and killed processes: none should be slowed by another.
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: 3_600_000,
          hookTimeout: 600_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'stock',
          include: inStock,
          exclude: elsewhere,
          // Their time limits are not ours to set.
          fileParallelism: false,
          sequence: { groupOrder: 3 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
