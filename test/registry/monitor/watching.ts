// SPDX-License-Identifier: Apache-2.0
// A monitor over a running registry, with the operator's files beside it, and the trust that `waybill init` made.

import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { signStatement } from '../../../attest/sign.ts';
import { formatStatement } from '../../../core/intoto/statement.ts';
import { parseTrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { DecisionsFolder, RegistryDocuments } from '../../../registry/monitor/documents.ts';
import { Monitor, type MonitorEvent, type MonitorOptions } from '../../../registry/monitor/monitor.ts';
import { shardUrl } from '../../../registry/monitor/shards.ts';
import { BuildsFile, type StartedBuilds } from '../../../registry/monitor/started-builds.ts';
import type { WatchList } from '../../../registry/monitor/watch-list.ts';
import type { RunningRegistry } from '../running-registry.ts';
import { sha256 } from '../tuf-house.ts';
import { temporaryFolder } from '../witness/running-witness.ts';

export const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
export const GRACE_MS = 900_000;
export const STALE_MS = 3_600_000;

/** The address of an attempt of a run, as certificates have it. */
export const runOf = (id: string, attempt = '1') =>
  `https://github.com/example/firmware/actions/runs/${id}/attempts/${attempt}`;

let serial = 0;
/** A statement that nobody has made before. */
export const newStatement = () => ({
  subjects: [{ name: 'thing', sha256: sha256(`thing ${process.pid} ${serial++}`) }],
  predicateType: 'https://example.com/test/v1',
  predicate: {},
});

/** Signs as the CI, in a run of this number, or with other claims. */
export async function signInRun(
  registry: RunningRegistry,
  claims: Record<string, unknown>,
  signingConfig?: Uint8Array,
  statement = newStatement(),
): Promise<Uint8Array> {
  const token = await registry.issuer.token({ run_attempt: '1', ...claims });
  return signStatement(formatStatement(statement), {
    signingConfig: signingConfig ?? (await registry.signingConfig()),
    identity: { token: async () => token } as never,
  });
}

/** Opens a monitor; `time.skewMs` moves its clock. */
export async function watch(
  registry: RunningRegistry,
  change: Partial<MonitorOptions> & {
    readonly started?: StartedBuilds;
    readonly list?: WatchList;
    readonly documents?: RegistryDocuments;
  } = {},
) {
  const home = await temporaryFolder();
  const { folder = join(home, 'state'), started, list, documents, ...more } = change;
  const [buildsPath, decisionsPath] = [join(home, 'builds.jsonl'), join(home, 'decisions')];
  await writeFile(buildsPath, '');
  await mkdir(decisionsPath);
  const trustFile = async (name: string) =>
    new Uint8Array(await readFile(join(registry.dataFolder, 'trust', name)));
  const time = { skewMs: 0 };
  const events: MonitorEvent[] = [];
  const gate = { name: 'gate', publicKey: Buffer.from(registry.gate.spki).toString('base64') };
  const trust = async () => ({
    policy: parseLogPolicy(await trustFile('tlog-policy'), nodeCrypto),
    trustedRoot: parseTrustedRoot(await trustFile('trusted_root.json')),
  });
  const monitor = await Monitor.open({
    folder,
    urlOf: (origin) => shardUrl(registry.url, origin),
    trust,
    evidence: {
      list: list ?? {
        identities: [{ issuer: registry.issuer.url, name: { whole: IDENTITY } }],
        keys: [gate],
      },
      builds: started ?? new BuildsFile(buildsPath),
      documents: documents ?? new RegistryDocuments(registry.url),
      decisions: new DecisionsFolder(decisionsPath),
    },
    clock: () => Date.now() + time.skewMs,
    graceMs: GRACE_MS,
    staleMs: STALE_MS,
    report: (event) => events.push(event),
    ...more,
  });
  let isOpen = true;
  const close = async () => {
    if (isOpen) await monitor.close();
    isOpen = false;
  };
  onTestFinished(close);
  return {
    folder,
    monitor,
    time,
    buildsPath,
    decisionsPath,
    close,
    start: (run: string, sha?: string) => appendFile(buildsPath, `${JSON.stringify({ run, sha })}\n`),
    appendToBuilds: (text: string) => appendFile(buildsPath, text),
    /** A round, and the alarms that it raised. */
    round: async (signal?: AbortSignal) => {
      events.length = 0;
      const result = await monitor.round(signal);
      const alarms = events.flatMap((event) => (event.event === 'alarm' ? [event.alarm] : []));
      return { ...result, alarms, events: [...events] };
    },
  };
}
