// SPDX-License-Identifier: Apache-2.0
// What a device spends: its own release verified in QuickJS, from the factory's root to every bundle of the pack, and an image hashed by the host.

import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ReleaseInQuickJs, type Run } from './device/quickjs.ts';
import { recordDemo } from './device/recorded.ts';
import { type Figure, figure, median, pairedFigure } from './figure.ts';

const ROUNDS = 7;
const MIB = 1024 * 1024;
const IMAGE_SIZE_BYTES = 1024 * MIB;
const HASH_ROUNDS = 3;
const run = promisify(execFile);

/** Figures of the device. @throws Error if the release is refused, or if two ways to hash an image disagree */
export async function bench(): Promise<Figure[]> {
  say('travelling the road of the demo, to have its release …');
  const release = await ReleaseInQuickJs.prepare(await recordDemo());
  const memory = figure({
    name: 'release in QuickJS, memory beyond the idle engine',
    value: (await release.memoryBytes()) / MIB,
    unit: 'MiB',
    better: 'smaller',
    rival: 'limit',
    rivalValue: 8,
    target: 1,
  });
  return [...verification(release), memory, ...(await hashing())];
}

function verification(release: ReleaseInQuickJs): Figure[] {
  // WebAssembly itself is compiled better while it runs: the first runs do not count.
  for (let i = 0; i < 2; i++) release.verify({ hostHashes: i === 0 });
  const pure: Run[] = [];
  const hashed: Run[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    pure.push(release.verify({ hostHashes: false }));
    hashed.push(release.verify({ hostHashes: true }));
  }
  say(`in each run: ${pure[0]?.said}`);
  const against = (name: string, runs: readonly Run[], of: (run: Run) => number, limitMs: number) =>
    figure({
      name,
      value: median(runs.map(of)),
      unit: 'ms',
      better: 'smaller',
      rival: 'limit',
      rivalValue: limitMs,
      target: 1,
    });
  return [
    against('release in QuickJS, pure', pure, ({ wallMs }) => wallMs, 600),
    against('the same, processor time', pure, ({ cpuMs }) => cpuMs, 600),
    against('release in QuickJS, SHA-256 by the host', hashed, ({ wallMs }) => wallMs, 350),
    against('the same, processor time', hashed, ({ cpuMs }) => cpuMs, 350),
    against('verifier loaded, processor time', pure, ({ loadCpuMs }) => loadCpuMs, 600),
  ];
}

interface Hashed {
  readonly sha256: string;
  readonly wallMs: number;
  readonly grownBytes: number;
}

/** The agent's own code beside OpenSSL's command, in turns, on a file that lies in memory. */
async function hashing(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-bench-'));
  try {
    const slot = join(folder, 'slot');
    say('writing an image of 1 GiB …');
    await writeImage(slot);
    const ours: Hashed[] = [];
    const theirs: number[] = [];
    for (let i = 0; i <= HASH_ROUNDS; i++) {
      const mine = await hashBySlot(slot);
      const rival = await hashByOpenSsl(slot);
      if (mine.sha256 !== rival.sha256) throw new Error('expected the digest of OpenSSL, got another');
      // The first round finds the file on the disk, or not.
      if (i === 0) continue;
      ours.push(mine);
      theirs.push(rival.wallMs);
    }
    const rate = (wallMs: number) => IMAGE_SIZE_BYTES / MIB / (wallMs / 1000);
    return [
      pairedFigure(
        {
          name: 'image of 1 GiB, hashed by the agent',
          unit: 'MiB/s',
          better: 'larger',
          rival: 'openssl dgst -sha256',
          target: 0.9,
        },
        ours.map(({ wallMs }) => rate(wallMs)),
        theirs.map(rate),
      ),
      figure({
        name: 'the same, growth of the process',
        value: Math.max(...ours.map(({ grownBytes }) => grownBytes)) / MIB,
        unit: 'MiB',
        better: 'smaller',
        rival: 'limit',
        rivalValue: 64,
        target: 1,
      }),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function writeImage(path: string): Promise<void> {
  const file = await open(path, 'wx');
  try {
    const piece = new Uint8Array(16 * MIB);
    for (let at = 0; at < IMAGE_SIZE_BYTES; at += piece.length) await file.write(randomFillSync(piece));
  } finally {
    await file.close();
  }
}

async function hashBySlot(slot: string): Promise<Hashed> {
  const script = fileURLToPath(new URL('device/hash-slot.ts', import.meta.url));
  const { stdout } = await run(process.execPath, [script, slot]);
  return JSON.parse(stdout) as Hashed;
}

async function hashByOpenSsl(slot: string): Promise<{ readonly sha256: string; readonly wallMs: number }> {
  const started = performance.now();
  const { stdout } = await run('openssl', ['dgst', '-sha256', '-r', slot]);
  return { sha256: stdout.slice(0, 64), wallMs: performance.now() - started };
}

function say(text: string): void {
  process.stderr.write(`  ${text}\n`);
}
