// SPDX-License-Identifier: Apache-2.0
// The registry that is measured: what `waybill init` makes, served by `waybill serve` in a process of its own, and the clients beside it.

import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { stringify } from 'yaml';
import { init } from '../../cli/init.ts';
import { freePort } from '../../examples/demo/processes.ts';
import {
  buildTbs,
  EMPTY_NAME,
  extendedKeyUsage,
  keyUsage,
  OID,
  randomSerial,
  signTbs,
} from '../../registry/trust/certificate.ts';
import * as der from '../../registry/trust/der.ts';
import { openAuthority } from '../../registry/trust/services.ts';
import type { Asking, LoadResult, LoadTask, Signer } from './clients.ts';
import type { BenchIssuer } from './issuer.ts';

const WAYBILL = join(import.meta.dirname, '../../cli/waybill.js');
/** `utime` and `stime` count these [proc(5)]. */
const TICKS_PER_SECOND = 100;
const WATCH_MS = 200;
export const ORG = 'bench.example';

/** Makes data folder and offline folder below `home`; nobody is slowed down, nothing but failures is logged. */
export async function makeRegistry(
  home: string,
  issuers: readonly object[],
): Promise<{ readonly folder: string; readonly url: string }> {
  const folder = join(home, 'data');
  await mkdir(join(cachesOf(folder), 'waybill'), { recursive: true });
  const url = `http://127.0.0.1:${await freePort()}`;
  await init({
    folder,
    offline: join(home, 'offline'),
    url,
    org: ORG,
    rootKeys: 1,
    rootThreshold: 1,
  });
  const path = join(folder, 'config.yaml');
  const more = stringify({
    ...(issuers.length > 0 && { issuers }),
    logLevel: 'error',
    limits: { requestsPerMinute: 'none' },
  });
  await writeFile(path, `${await readFile(path, 'utf8')}${more}`);
  return { folder, url };
}

/** Signers with a certificate each that the running registry has just issued, as every client of it begins. */
export async function certifySigners(
  { url }: ServedRegistry,
  { subject, tokens }: BenchIssuer,
  count: number,
): Promise<Signer[]> {
  const signers: Signer[] = [];
  for (const oidcIdentityToken of await tokens(count)) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const reply = await fetch(`${url}/ca/api/v2/signingCert`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        credentials: { oidcIdentityToken },
        publicKeyRequest: {
          publicKey: {
            algorithm: 'ECDSA',
            content: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
          },
          proofOfPossession: sign('sha256', Buffer.from(subject), privateKey).toString('base64'),
        },
      }),
    });
    const { signedCertificateEmbeddedSct } = (await reply.json()) as {
      signedCertificateEmbeddedSct: { chain: { certificates: [leaf: string] } };
    };
    const [leaf] = signedCertificateEmbeddedSct.chain.certificates;
    signers.push({
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      certificate: new X509Certificate(leaf).raw.toString('base64'),
    });
  }
  return signers;
}

/** Signers with a certificate each, by the key of the folder's authority, which the process that serves it has not seen. */
export async function makeSigners(folder: string, count: number): Promise<Signer[]> {
  const ca = await openAuthority(folder, 'ca', 1);
  const workflow = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
  const san = {
    oid: OID.subjectAltName,
    critical: true as const,
    value: der.sequence(der.contextPrimitive(6, Buffer.from(workflow))),
  };
  const signers: Signer[] = [];
  for (let i = 0; i < count; i++) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const tbs = buildTbs({
      issuer: ca.certificate.subject,
      subject: EMPTY_NAME,
      spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
      serial: randomSerial(),
      notBeforeMs: Date.now() - 60_000,
      notAfterMs: Date.now() + 4 * 3_600_000,
      extensions: [keyUsage('digitalSignature'), extendedKeyUsage(OID.codeSigning), san],
    });
    signers.push({
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      certificate: Buffer.from(await signTbs(tbs, ca.signer)).toString('base64'),
    });
  }
  return signers;
}

/** Certificates for one key, whose possession is proved each time. */
export function certificateLoad(subject: string, tokens: readonly string[]): Asking {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    for: 'certificates',
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    subject,
    tokens,
  };
}

/** What a load did, and what it cost the server. */
export interface Load extends LoadResult {
  /** Of the server, user and system, for one request. */
  readonly cpuMs: number;
}

export class ServedRegistry {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #watch: NodeJS.Timeout;
  #ownPeakBytes = 0;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
    this.#watch = setInterval(() => {
      this.#ownPeakBytes = Math.max(this.#ownPeakBytes, statusBytes(child, 'RssAnon'));
    }, WATCH_MS);
  }

  /** @throws Error if the server does not become ready */
  static async start(folder: string): Promise<ServedRegistry> {
    const child = spawn(process.execPath, [WAYBILL, 'serve', folder, '--json'], {
      env: { ...process.env, ...unitEnvironment(), XDG_CACHE_HOME: cachesOf(folder) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    for await (const part of child.stdout) {
      output += part;
      const url = /"url":\s*"([^"]+)"/.exec(output)?.[1];
      if (url !== undefined) return new ServedRegistry(url, child);
    }
    throw new Error('expected a server that is ready, got its end');
  }

  get peakBytes(): number {
    return peakBytesOf(this.#child);
  }

  /** Most that was seen of memory that is no page of a file: LevelDB maps its tables. */
  get ownPeakBytes(): number {
    return this.#ownPeakBytes;
  }

  /** Runs clients against it. */
  load(task: Omit<LoadTask, 'url'> & { readonly path: string }): Promise<Load> {
    return loadServer(this.#child, { ...task, url: `${this.url}${task.path}` });
  }

  async stop(): Promise<void> {
    clearInterval(this.#watch);
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}

/** Beside a data folder. */
const cachesOf = (folder: string): string => join(folder, '../cache');

/** What the unit in docs/operating.md sets, but where things lie. */
function unitEnvironment(): Record<string, string> {
  const page = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8');
  const set = [...page.matchAll(/^Environment=([A-Z_]+)=(.+)$/gm)].map(([, name, value]) => [name, value]);
  return Object.fromEntries(set.filter(([name]) => name !== 'PATH' && name !== 'XDG_CACHE_HOME'));
}

/** Most memory of a process that was ever resident, bytes. */
export function peakBytesOf(child: ChildProcess): number {
  return statusBytes(child, 'VmHWM');
}

/** A line of proc_pid_status(5). */
function statusBytes({ pid }: ChildProcess, line: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
}

function cpuMsOf({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1000;
}

/** Runs clients against a server. @throws Error if one of them was refused */
export async function loadServer(server: ChildProcess, task: LoadTask): Promise<Load> {
  const before = cpuMsOf(server);
  const result = await runClients(task);
  return { ...result, cpuMs: (cpuMsOf(server) - before) / result.answered };
}

/** Runs clients in a process of their own. @throws Error if one of them was refused */
export async function runClients(task: LoadTask): Promise<LoadResult> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'clients.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(task));
  const output = await text(child.stdout);
  if (output === '') throw new Error('expected a result from the clients, got none');
  return JSON.parse(output) as LoadResult;
}
