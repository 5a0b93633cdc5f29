// SPDX-License-Identifier: Apache-2.0
// A registry as `waybill serve` runs it, the clients beside it on the same machine, and the physical limits of that machine: entries with their
// proofs, how their cost grows with the log, certificates, timestamps, and reads of tiles beside nginx.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Figure, figure, median } from './figure.ts';
import { fillLog } from './log/fill.ts';
import { type BenchIssuer, openIssuer } from './log/issuer.ts';
import { type MachineLimits, machineLimits } from './log/limits.ts';
import { hasNginx, serveByNginx } from './log/nginx.ts';
import {
  certificateLoad,
  certifySigners,
  type Load,
  makeRegistry,
  makeSigners,
  ORG,
  runClients,
  ServedRegistry,
} from './log/registry.ts';
import { besideRekorTiles } from './log/rekor-tiles.ts';

const SUSTAINED_MS = 60_000;
const SHORT_MS = 12_000;
const ENTRIES = '/log/api/v2/log/entries';
const SIGNERS = 256;
/** More than the log remembers certificates: each is verified anew. */
const STRANGERS = 2048;
const GROWTH_ROUNDS = 3;
const GROWTH_SIZES = [10_000, 1_000_000, 10_000_000];
/**
 * P-256 verifications a second of the machine on which the aims were set (3,000 entries, 1,000 certificates and 2,000 timestamps a second): on
 * another machine the aims are as much higher or lower as these are.
 */
const AIMED_AT_VERIFICATIONS = 21_500;

/** Figures of log and trust services. */
export async function bench(): Promise<Figure[]> {
  const home = await mkdtemp(join(tmpdir(), 'waybill-bench-'));
  const issuer = await openIssuer();
  try {
    const limits = await machineLimits(home);
    return [
      ...limitFigures(limits),
      ...(await services(join(home, 'served'), issuer, limits)),
      ...(await growth(home)),
    ];
  } finally {
    issuer.close();
    await rm(home, { recursive: true });
  }
}

/** Shown beside the others; what they are compared with is each other. */
function limitFigures({
  verifications,
  verificationsBeside,
  digestVerifications,
  signatures,
  syncedWrites,
}: MachineLimits): Figure[] {
  const common = { unit: '/s', better: 'larger', target: 0 } as const;
  const rival = 'native P-256 verifications, one thread';
  return [
    figure({
      ...common,
      name: 'limit: native P-256 signatures',
      value: signatures,
      rival,
      rivalValue: verifications,
    }),
    figure({
      ...common,
      name: 'limit: native P-256 verifications of each of two threads',
      value: verificationsBeside,
      rival,
      rivalValue: verifications,
    }),
    figure({
      ...common,
      name: 'limit: P-256 verifications of a digest alone',
      value: digestVerifications,
      rival,
      rivalValue: verifications,
    }),
    figure({
      ...common,
      name: 'limit: synced writes of 4 KiB',
      value: syncedWrites,
      rival,
      rivalValue: verifications,
    }),
  ];
}

async function services(home: string, issuer: BenchIssuer, limits: MachineLimits): Promise<Figure[]> {
  await mkdir(home, { recursive: true });
  const { folder } = await makeRegistry(home, [issuer.entry]);
  const strangers = await makeSigners(folder, STRANGERS);
  // What Node compiles when it starts for the first time is there from then on.
  await (await ServedRegistry.start(folder)).stop();
  const served = await ServedRegistry.start(folder);
  const signers = await certifySigners(served, issuer, SIGNERS);
  const entries = (
    clientCount: number,
    durationMs: number,
    form: 'dsse' | 'digest' = 'dsse',
    by = signers,
  ): Promise<Load> =>
    served.load({ path: ENTRIES, clientCount, durationMs, asking: { for: 'entries', form, signers: by } });
  try {
    const one = await entries(1, SHORT_MS);
    const many = await entries(256, SUSTAINED_MS);
    const peakBytes = served.peakBytes;
    const flood = await entries(4096, SUSTAINED_MS);
    const floodPeakBytes = served.peakBytes;
    const floodOwnBytes = served.ownPeakBytes;
    const anew = await entries(256, SHORT_MS, 'dsse', strangers);
    const digest = await entries(256, SHORT_MS, 'digest');
    const perSecond = (name: string, load: Load, aim: number): Figure =>
      figure({
        name,
        value: load.perSecond,
        unit: '/s',
        better: 'larger',
        rival: 'native P-256 verifications, one thread',
        rivalValue: limits.verifications,
        target: aim / AIMED_AT_VERIFICATIONS,
      });
    const longest = (name: string, valueMs: number, limitMs: number): Figure =>
      figure({
        name,
        value: valueMs,
        unit: 'ms',
        better: 'smaller',
        rival: `limit of ${limitMs} ms`,
        rivalValue: limitMs,
        target: 1,
      });
    const memory = (name: string, bytes: number): Figure =>
      figure({
        name,
        value: bytes / 2 ** 20,
        unit: 'MiB',
        better: 'smaller',
        rival: 'limit of 300 MiB',
        rivalValue: 300,
        target: 1,
      });
    return [
      perSecond('DSSE entries, 256 clients, 60 s', many, 3000),
      perSecond('DSSE entries, 256 clients, certificates that the process has not seen', anew, 3000),
      perSecond('DSSE entries, 4,096 in flight, 60 s', flood, 3000),
      perSecond('DSSE entries, one client', one, 0),
      longest('one client: p50 to a published checkpoint', one.p50Ms, 50),
      longest('one client: p99', one.p99Ms, 100),
      longest('256 clients: p50', many.p50Ms, 1500),
      longest('256 clients: p99', many.p99Ms, 1500),
      longest('4,096 in flight: p50', flood.p50Ms, 1500),
      longest('4,096 in flight: p99', flood.p99Ms, 1500),
      memory('most memory resident, up to 256 clients', peakBytes),
      memory('most memory resident, 4,096 in flight', floodPeakBytes),
      memory('the same without pages of files, which the system may take back', floodOwnBytes),
      perSecond('digest entries, 256 clients', digest, 0),
      perSecond(
        'certificates, 64 clients',
        await served.load({
          path: '/ca/api/v2/signingCert',
          clientCount: 64,
          durationMs: SHORT_MS,
          asking: certificateLoad(issuer.subject, await issuer.tokens(512)),
        }),
        1000,
      ),
      perSecond(
        'timestamps, 64 clients',
        await served.load({
          path: '/tsa/api/v1/timestamp',
          clientCount: 64,
          durationMs: SHORT_MS,
          asking: { for: 'timestamps' },
        }),
        2000,
      ),
      ...(await tileReads(home, served)),
      ...(await besideRekorTiles(home, {
        signers,
        peakBytes: floodPeakBytes,
        loads: [
          { name: 'DSSE entries, one client', clientCount: 1, durationMs: SHORT_MS, ours: one },
          { name: 'DSSE entries, 256 clients', clientCount: 256, durationMs: SUSTAINED_MS, ours: many },
          { name: 'DSSE entries, 4,096 in flight', clientCount: 4096, durationMs: SUSTAINED_MS, ours: flood },
          { name: 'digest entries, 256 clients', clientCount: 256, durationMs: SHORT_MS, ours: digest },
        ],
      })),
    ];
  } finally {
    await served.stop();
  }
}

/** Full tiles of hashes, read by 64 clients. */
async function tileReads(home: string, served: ServedRegistry): Promise<Figure[]> {
  if (!hasNginx()) {
    process.stderr.write(
      '  nginx is not installed: reads of tiles are left out (apt-get install nginx-light)\n',
    );
    return [];
  }
  const checkpoint = await (await fetch(`${served.url}/log/checkpoint`)).text();
  const full = Math.floor(Number(checkpoint.split('\n')[1]) / 256);
  const paths = Array.from(
    { length: Math.min(full, 32) },
    (_, i) => `/log/tile/0/${String(i).padStart(3, '0')}`,
  );
  const rival = await serveByNginx(home, served.url, paths);
  try {
    const task = { clientCount: 64, durationMs: SHORT_MS / 2, asking: { for: 'files', paths } } as const;
    const ours = await served.load({ ...task, path: '' });
    const theirs = await runClients({ ...task, url: rival.url });
    return [
      figure({
        name: 'reads of full tiles, 64 clients',
        value: ours.perSecond,
        unit: '/s',
        better: 'larger',
        rival: 'nginx, files, one process',
        rivalValue: theirs.perSecond,
        target: 0.1,
      }),
    ];
  } finally {
    rival.end();
  }
}

/** What an entry costs the server in logs of different sizes. */
async function growth(home: string): Promise<Figure[]> {
  const costs: { readonly size: number; readonly cpuMs: number }[] = [];
  for (const size of GROWTH_SIZES) {
    process.stderr.write(`  filling a log with ${size} entries …\n`);
    const place = join(home, `filled-${size}`);
    await mkdir(place);
    const { folder } = await makeRegistry(place, []);
    await fillLog(folder, ORG, size);
    const signers = await makeSigners(folder, SIGNERS);
    const served = await ServedRegistry.start(folder);
    const asking = { for: 'entries', form: 'dsse', signers } as const;
    const rounds: number[] = [];
    for (let round = 0; round < GROWTH_ROUNDS; round++) {
      const task = { path: ENTRIES, clientCount: 256, durationMs: SHORT_MS, asking } as const;
      rounds.push((await served.load(task)).cpuMs);
    }
    await served.stop();
    await rm(place, { recursive: true });
    costs.push({ size, cpuMs: median(rounds) });
  }
  const [smallest, ...larger] = costs;
  return larger.map(({ size, cpuMs }) =>
    figure({
      name: `server's CPU an entry, in a log of ${size.toExponential(0)} entries`,
      value: cpuMs,
      unit: 'ms',
      better: 'smaller',
      rival: `in one of ${smallest?.size.toExponential(0)}`,
      rivalValue: smallest?.cpuMs ?? Number.NaN,
      target: Math.log(size) / Math.log(smallest?.size ?? Number.NaN),
    }),
  );
}
