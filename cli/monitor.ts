// SPDX-License-Identifier: Apache-2.0
// `waybill monitor`: follows the logs of a registry and raises alarms; checks the proof of a fork; marks alarms as seen.

import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import { quote, Rejection } from '../core/faults.ts';
import { parseTrustedRoot } from '../core/sigstore/trusted-root.ts';
import { verifyCheckpoint } from '../core/tlog/checkpoint.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { ED25519_NOTE, parseVerifierKey } from '../core/tlog/note.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { acknowledge } from '../registry/monitor/alarms.ts';
import { verifyCertificateHead } from '../registry/monitor/checkpoints.ts';
import { DecisionsFolder, RegistryDocuments } from '../registry/monitor/documents.ts';
import { checkForkProof } from '../registry/monitor/fork-proof.ts';
import { Monitor, type MonitorEvent, type RoundResult } from '../registry/monitor/monitor.ts';
import { type MonitorTrust, shardUrl } from '../registry/monitor/shards.ts';
import { BuildsFile, GitHubRuns } from '../registry/monitor/started-builds.ts';
import { readWatchList, type WatchList } from '../registry/monitor/watch-list.ts';
import { MONITOR } from '../registry/monitor-faults.ts';
import { shardNameOf } from '../registry/trust/instances.ts';
import { CLI } from './faults.ts';
import { openYaml, readInput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { EXIT, printJson, printJsonLine, printLine, printProgress } from './terminal.ts';
import { openTrust, readTrustedRoot, registryUrl } from './trust.ts';

interface RunOptions {
  readonly registry: string;
  readonly watch: string;
  readonly root?: string;
  readonly logKey?: string;
  readonly builds?: string;
  readonly github?: string | true;
  readonly decisions?: string;
  readonly documents: boolean;
  readonly webhook?: string;
  readonly every: string;
  readonly grace: string;
  readonly stale: string;
  readonly once?: true;
  readonly json?: true;
}

/** Adds `waybill monitor` with its subcommands. */
export function monitorVerb(program: Command): void {
  const monitor = program
    .command('monitor')
    .summary('watch the logs for signatures that nobody of yours started')
    .description(
      'Follow the signature logs and the certificate logs of a registry, believing keys alone: alarms when an identity or key of yours ' +
        'made an entry that none of your builds started, and when a log shrinks, forks, vanishes or is out of reach. Run it on another ' +
        'machine, under other hands, than the registry.',
    )
    .addHelpText(
      'after',
      '\nExample:\n' +
        '  waybill monitor run state --registry https://registry.acme.example --root root.json \\\n' +
        '    --watch watch.yaml --builds builds.jsonl --decisions decisions\n' +
        '  waybill monitor check-proof forked-0123.proof.json --log-key log.acme.example+…',
    );
  addRun(monitor);
  addCheckProof(monitor);
  addAcknowledge(monitor);
}

function addRun(monitor: Command): void {
  monitor
    .command('run')
    .description(
      'Follow the logs until SIGINT or SIGTERM, or for one round. The exit code of a round is 0 if no alarm is open, 1 if one is that ' +
        'nobody acknowledged, 75 if something could not be asked. While the registry is away the monitor keeps what it read, says so and asks ' +
        'on; a killed monitor goes on where it was.',
    )
    .argument('<folder>', 'state folder of the monitor, made if it is not there')
    .requiredOption('--registry <url>', 'base address of the registry: its logs are below it')
    .requiredOption('--watch <file>', 'identities and keys that are yours, YAML')
    .optionsGroup('Whom to believe, one of:')
    .option('--root <file>', 'TUF root.json that you trust')
    .option(
      '--log-key <vkey>',
      'verifier key of one signature log; no other and no certificate log is followed then',
    )
    .optionsGroup('What was started and decided:')
    .option(
      '--builds <file>',
      'runs that were started, JSON lines, read on as it grows; where the watch list has identities, this or --github is needed',
    )
    .option(
      '--github [api]',
      'in place of --builds: ask GitHub for runs, with the token in GITHUB_TOKEN; its API is at this address',
    )
    .option(
      '--decisions <folder>',
      'bundles that `waybill gate` wrote: what the keys may have signed; needed where the watch list has keys',
    )
    .option('--no-documents', 'do not ask the store of the registry for the documents that were signed')
    .optionsGroup('Options:')
    .option('--webhook <url>', 'send each alarm there too, until it is taken')
    .option('--every <seconds>', 'pause between rounds', '60')
    .option('--grace <seconds>', 'how long an entry may stay unexplained', '900')
    .option(
      '--stale <seconds>',
      'how long a log or the trust may be out of reach, and how old cosignatures',
      '3600',
    )
    .option('--once', 'one round')
    .option('--json', 'print one JSON document a line')
    .action(async (folder: string, options: RunOptions) => {
      const every = seconds('--every', options.every);
      const opened = await openMonitor(folder, options);
      try {
        const everyS = options.once === true ? undefined : every;
        const print: Print =
          options.json === true ? printJsonLine : (result) => printResult(result, folder, everyS);
        if (options.once === true) {
          const result = await interruptible((signal) => opened.round(signal));
          print({ event: 'round' as const, ...result });
          process.exitCode = exitCodeOf(result);
        } else await followUntilStopped(opened, every, print);
      } finally {
        await opened.close();
      }
    });
}

type Print = (result: RoundResult & { readonly event: 'round' }) => void;

async function openMonitor(folder: string, options: RunOptions): Promise<Monitor> {
  const url = registryUrl(options.registry);
  const list = await readWatch(options.watch);
  const { builds, github, decisions } = options;
  if (list.identities.length > 0 && (builds === undefined) === (github === undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected, to watch identities, either --builds or --github');
  }
  if (list.keys.length > 0 && decisions === undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      'expected, to watch keys, --decisions with the folder of what they may sign',
    );
  }
  const api =
    github === undefined || github === true
      ? 'https://api.github.com'
      : httpUrl('--github', github).replace(/\/+$/, '');
  const started =
    builds === undefined ? new GitHubRuns(api, process.env.GITHUB_TOKEN) : new BuildsFile(builds);
  return Monitor.open({
    folder,
    urlOf: (origin) => shardUrl(url, origin),
    trust: await trustOf(folder, url, options),
    evidence: {
      list,
      builds: builds === undefined && github === undefined ? undefined : started,
      documents: options.documents ? new RegistryDocuments(url) : undefined,
      decisions: decisions === undefined ? undefined : new DecisionsFolder(decisions),
    },
    clock: Date.now,
    graceMs: 1000 * seconds('--grace', options.grace),
    staleMs: 1000 * seconds('--stale', options.stale),
    webhook: options.webhook === undefined ? undefined : httpUrl('--webhook', options.webhook),
    report: options.json === true ? printJsonLine : reporter(),
  });
}

async function readWatch(path: string): Promise<WatchList> {
  const refuse = (message: string, at: string) => MONITOR.reject('MONITOR_WATCH_MALFORMED', message, { at });
  return readWatchList(openYaml(path, await readInput(path), refuse));
}

/** Brought up to date in every round; what was seen of the metadata is kept in the state folder. */
async function trustOf(
  folder: string,
  url: string,
  { root, logKey }: RunOptions,
): Promise<() => Promise<MonitorTrust>> {
  if ((root === undefined) === (logKey === undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected either --root or --log-key: whom to believe');
  }
  if (root !== undefined) {
    await readTrustedRoot(root);
    return async () => {
      const trust = await openTrust({ registryUrl: url, rootPath: root, stateFolder: join(folder, 'tuf') });
      const policy = parseLogPolicy(await trust.tlogPolicy(), nodeCrypto);
      return { policy, trustedRoot: parseTrustedRoot(await trust.trustedRoot()) };
    };
  }
  const key = readLogKey(logKey ?? '');
  if (shardNameOf('log', key.name) === undefined) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected --log-key to be of log.<domain> or a later shard of it, got ${quote(key.name)}`,
    );
  }
  const policy = { logs: [{ key }], witnesses: [], groups: [], quorum: 'none' };
  return async () => ({ policy, trustedRoot: undefined });
}

function readLogKey(vkey: string) {
  const expected =
    'expected --log-key to be the Ed25519 verifier key of a log, as trust/tlog-policy of its registry has it';
  let key: ReturnType<typeof parseVerifierKey>;
  try {
    key = parseVerifierKey(vkey, nodeCrypto);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw CLI.reject('CLI_USAGE', `${expected}: ${cause.message}`, { cause });
  }
  if (key.type === ED25519_NOTE) return key;
  throw CLI.reject('CLI_USAGE', `${expected}, got another kind`);
}

/** Rounds until SIGINT or SIGTERM, which break off the one under way; a second one ends the process at once. */
async function followUntilStopped(monitor: Monitor, everyS: number, print: Print): Promise<void> {
  const stopping = new AbortController();
  const stop = () => {
    if (stopping.signal.aborted) process.exit(EXIT.retry);
    stopping.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    for (;;) {
      print({ event: 'round', ...(await monitor.round(stopping.signal)) });
      await wait(1000 * everyS, undefined, { signal: stopping.signal });
    }
  } catch (failure) {
    if (!stopping.signal.aborted) throw failure;
    printProgress('stopped; the next run goes on here');
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

function exitCodeOf({ open, failures, undelivered }: RoundResult): number {
  if (open.length > 0) return EXIT.refused;
  return undelivered > 0 || Object.keys(failures).length > 0 ? EXIT.retry : EXIT.done;
}

/** Events for people; progress once a second, what to do about a code once. */
function reporter(): (event: MonitorEvent) => void {
  let toldMs = performance.now();
  const remedies = new Set<string>();
  return (event) => {
    if (event.event === 'alarm') printLine(`ALARM ${event.alarm.id}: ${event.alarm.message}`);
    else if (event.event === 'failure') {
      printProgress(`${event.about}: ${event.code}: ${event.message}`);
      if (!remedies.has(event.remedy)) printProgress(`  what to do: ${event.remedy}`);
      remedies.add(event.remedy);
    } else if (performance.now() - toldMs > 1000) {
      toldMs = performance.now();
      printProgress(`${event.origin}: read ${event.read} of ${event.of}`);
    }
  };
}

/** Names of open alarms that a line each is for. */
const NAMED_MAX = 10;

/** `everyS`: the pause before the next round, if there is one; open alarms are named if there is none. */
function printResult(result: RoundResult, folder: string, everyS: number | undefined): void {
  const { logs, pending, foreign, open, undelivered, failures } = result;
  const silent = Object.keys(failures);
  const none = silent.length > 0 ? 'no log looked at' : 'no log yet';
  const sizes = logs.map(({ origin, size }) => `${origin} at ${size}`).join(', ') || none;
  const next = everyS === undefined ? 'the next run asks again' : `asked again in ${everyS} s`;
  const rest = [
    `${open.length} open alarms`,
    `${pending} entries wait for their explanation`,
    ...(foreign > 0 ? [`${foreign} entries of other forms`] : []),
    ...(undelivered > 0 ? [`${undelivered} alarms not taken by the webhook`] : []),
    ...silent.map((about) => `${about} could not be asked`),
    ...(silent.length > 0 ? [`what was read is kept, ${next}`] : []),
  ];
  printLine(`${new Date().toISOString()} ${sizes}; ${rest.join('; ')}`);
  if (everyS !== undefined || open.length === 0) return;
  for (const id of open.slice(0, NAMED_MAX)) printLine(`  open: ${id}`);
  const more = open.length - NAMED_MAX;
  if (more > 0)
    printLine(`  and ${more} more: files in ${join(folder, 'alarms')} without an .acknowledged beside them`);
  printLine(
    `  what each says is in ${join(folder, 'alarms')}; once looked into: waybill monitor acknowledge ${folder} <id>`,
  );
}

function addCheckProof(monitor: Command): void {
  monitor
    .command('check-proof')
    .description(
      'Check the proof of a fork, without a network: that one log signed both checkpoints in it, and that neither tree begins with the ' +
        'other. The exit code is 0 if it proves the fork, 1 if it does not.',
    )
    .argument('<file>', 'the proof, *.proof.json')
    .option('--log-key <vkey>', "the signature log's verifier key, from a source that you trust")
    .option('--certificate-log-key <file>', "or the certificate log's public key, PEM")
    .option('--json', 'print one JSON document')
    .action(async (file: string, options: ProofOptions & { readonly json?: true }) => {
      const verify = await headVerifier(options);
      const { older, newer } = checkForkProof(await readInput(file), verify, nodeCrypto);
      const of = (head: typeof older) => ({
        size: String(head.size),
        root: Buffer.from(head.rootHash).toString('base64'),
      });
      if (options.json === true)
        return printJson({ forked: true, origin: older.origin, older: of(older), newer: of(newer) });
      printLine(
        `forked: ${quote(older.origin)} signed both of these, and neither tree begins with the other`,
      );
      for (const head of [older, newer]) printLine(`  size ${of(head).size}, root ${of(head).root}`);
    });
}

interface ProofOptions {
  readonly logKey?: string;
  readonly certificateLogKey?: string;
}

async function headVerifier({ logKey, certificateLogKey }: ProofOptions) {
  if ((logKey === undefined) === (certificateLogKey === undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected either --log-key or --certificate-log-key: whose log it is');
  }
  if (logKey !== undefined) {
    const key = readLogKey(logKey);
    return (note: string) => ({
      ...verifyCheckpoint(note, { origin: key.name, keys: [key] }, nodeCrypto),
      note,
    });
  }
  const spki = readPublicKey(await readInput(certificateLogKey ?? ''), certificateLogKey ?? '');
  return (note: string) => verifyCertificateHead(note, [spki]);
}

function readPublicKey(pem: Uint8Array, path: string): Uint8Array {
  try {
    return new Uint8Array(createPublicKey(Buffer.from(pem)).export({ type: 'spki', format: 'der' }));
  } catch (cause) {
    throw CLI.reject('CLI_FILE_UNREADABLE', `expected a public key in PEM in ${quote(path)}`, { cause });
  }
}

function addAcknowledge(monitor: Command): void {
  monitor
    .command('acknowledge')
    .description(
      'Say that an alarm was looked into: it is open no more. It stays on file, and is not raised again.',
    )
    .argument('<folder>', 'state folder of the monitor, which may be running')
    .argument(
      '<alarm>',
      'its id as it was printed: the name of its file in alarms/ of the state folder, without .json',
    )
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill monitor acknowledge state signature-0123456789abcdef')
    .action(async (folder: string, id: string, { json }: { readonly json?: true }) => {
      await acknowledge(folder, id, Date.now());
      if (json === true) printJson({ acknowledged: id });
      else printLine(`acknowledged: ${id}`);
    });
}

function seconds(option: string, text: string): number {
  if (/^(0|[1-9][0-9]{0,8})$/.test(text)) return Number(text);
  throw CLI.reject('CLI_USAGE', `expected ${option} to be a whole number of seconds, got ${quote(text)}`);
}

/** What it is may be a secret: it is not repeated. */
function httpUrl(option: string, text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw CLI.reject('CLI_USAGE', `expected ${option} to be an http or https URL`);
}
