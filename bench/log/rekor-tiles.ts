// SPDX-License-Identifier: Apache-2.0
// Rekor v2 beside ours: the server of rekor-tiles that keeps its log in files, under the loads that ours had.

import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../examples/demo/processes.ts';
import { RIVALS, whyAbsent } from '../../scripts/stock-clients.ts';
import { type Figure, figure } from '../figure.ts';
import type { Signer } from './clients.ts';
import { type Load, loadServer, peakBytesOf } from './registry.ts';

const { path: PROGRAM, version: VERSION } = RIVALS['rekor-tiles'];
const NAME = `rekor-tiles ${VERSION}`;
/**
 * As its posix-compose.yml sets it, less witness and debug log, with three differences in its favour: checkpoints as often as it allows (2 s there),
 * no refusal while its index of duplicates lags behind, and time to answer on a slow machine.
 */
const SETTINGS = [
  '--checkpoint-interval=100ms',
  '--persistent-antispam=true',
  '--antispam-pushback-threshold=65536',
  '--server-timeout=60s',
  '--log-level=error',
];
/** What the values beside each other do not say. */
const DIFFERENCES =
  'it takes DSSE envelopes by their digest alone; checks the signature, but not who issued the certificate; syncs each file; answers when it sees a ' +
  'checkpoint that covers the entry, for which it looks once a second';

/** A load that ours had, and how it did. */
export interface OurLoad {
  readonly name: string;
  readonly clientCount: number;
  readonly durationMs: number;
  readonly ours: Load;
}

/** What ours did. */
export interface OurLoads {
  readonly signers: readonly Signer[];
  readonly loads: readonly OurLoad[];
  /** Most memory resident after these, bytes. */
  readonly peakBytes: number;
}

/** Figures of the same loads; none where the program is missing, which is said. */
export async function besideRekorTiles(
  home: string,
  { signers, loads, peakBytes }: OurLoads,
): Promise<Figure[]> {
  const why = whyAbsent('rekor-tiles');
  if (why !== undefined) {
    say(`without rekor-tiles: ${why}`);
    return [];
  }
  say(`${NAME}, ${SETTINGS.join(' ')}: ${DIFFERENCES}`);
  const server = await startServer(join(home, 'rekor-tiles'));
  try {
    const figures: Figure[] = [];
    for (const load of loads) {
      const theirs = await loadServer(server.child, {
        ...{ url: `${server.url}/api/v2/log/entries`, clientCount: load.clientCount },
        ...{ durationMs: load.durationMs, asking: { for: 'entries', form: 'digest', signers } },
      }).catch((refusal: Error) => say(`${NAME} did not stand ${load.name}: ${refusal.message}`));
      if (theirs === undefined) continue;
      figures.push(...figuresOfLoad(load, theirs));
    }
    if (server.child.exitCode !== null || server.child.signalCode !== null) {
      say(`${NAME} ended under these loads`);
      return figures;
    }
    return [...figures, memoryFigure(peakBytes, peakBytesOf(server.child))];
  } finally {
    // What it wrote goes with the folder.
    server.child.kill('SIGKILL');
    await server.ended;
  }
}

/** Our load beside theirs. Time and rate of few clients are those of its look at the checkpoint; the processor's time is not. */
export function figuresOfLoad({ name, ours }: OurLoad, theirs: Load): Figure[] {
  const times = [
    ['p50', ours.p50Ms, theirs.p50Ms],
    ['p99', ours.p99Ms, theirs.p99Ms],
    ["server's CPU an entry", ours.cpuMs, theirs.cpuMs],
  ] as const;
  return [
    figure({
      ...{ name: `beside Rekor: ${name}`, unit: '/s', better: 'larger', rival: NAME, target: 1 },
      ...{ value: ours.perSecond, rivalValue: theirs.perSecond },
    }),
    ...times.map(([what, value, rivalValue]) =>
      figure({
        ...{ name: `beside Rekor: ${name}, ${what}`, unit: 'ms', better: 'smaller', rival: NAME, target: 1 },
        ...{ value, rivalValue },
      }),
    ),
  ];
}

function memoryFigure(ours: number, theirs: number): Figure {
  return figure({
    ...{ name: 'beside Rekor: most memory resident', unit: 'MiB', better: 'smaller', rival: NAME, target: 1 },
    ...{ value: ours / 2 ** 20, rivalValue: theirs / 2 ** 20 },
  });
}

interface RunningServer {
  readonly url: string;
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

/** @throws Error with what the server said, if it does not become ready */
async function startServer(folder: string): Promise<RunningServer> {
  await mkdir(folder);
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = join(folder, 'key.pem');
  await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const ports = await freePorts();
  const words = [
    ...[
      'serve',
      `--storage-dir=${join(folder, 'log')}`,
      `--signer-filepath=${key}`,
      '--hostname=rekor.example',
    ],
    ...[`--http-port=${ports.http}`, `--grpc-port=${ports.grpc}`, `--http-metrics-port=${ports.metrics}`],
  ];
  const child = spawn(PROGRAM, [...words, ...SETTINGS], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  let said = '';
  child.stderr.on('data', (part) => {
    said += part;
  });
  const url = `http://127.0.0.1:${ports.http}`;
  for (let tries = 0; tries < 300 && child.exitCode === null; tries++) {
    const isReady = await fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isReady) return { url, child, ended };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  child.kill('SIGKILL');
  throw new Error(`expected ${NAME} to become ready within 30 s, it said:\n${said}`);
}

async function freePorts(): Promise<Readonly<Record<'http' | 'grpc' | 'metrics', number>>> {
  // One after the other could find the same port again.
  const [http = 0, grpc = 0, metrics = 0] = await Promise.all([freePort(), freePort(), freePort()]);
  return { http, grpc, metrics };
}

function say(text: string): void {
  process.stderr.write(`  ${text}\n`);
}
