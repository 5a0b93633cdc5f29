// SPDX-License-Identifier: Apache-2.0
// Sigstore's own programs, unmodified, in a folder beside Waybill's cache, made the first time: clients in Go and Python for `npm run test:peers`,
// and the server that `npm run bench log` measures beside ours.

import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../builder/store.ts';

/** One program of another project at one version. */
interface StockProgram {
  readonly version: string;
  /** Where it is, once it is there. */
  readonly path: string;
  /** What makes it. */
  readonly tool: 'go' | 'python3';
  /** How long that takes, for whoever waits. */
  readonly patience: string;
  isThere(): boolean;
  /** Commands, one after the other. */
  readonly steps: readonly (readonly [string, ...string[]])[];
}

const FOLDER = join(dirname(cacheFolder(process.env, homedir())), 'waybill-bench');

const SIGSTORE_GO = { module: 'github.com/sigstore/sigstore-go', version: 'v1.2.2' };

/** By the name that tests use. sigstore-go is a library; its own two examples are the programs. */
export const STOCK_CLIENTS = {
  cosign: goProgram('github.com/sigstore/cosign/v3', 'cmd/cosign', 'v3.1.3', 'a quarter of an hour'),
  'sigstore-python': pythonProgram('sigstore', '4.5.1'),
  'sigstore-go-signing': sigstoreGoExample('sigstore-go-signing'),
  'sigstore-go-verification': sigstoreGoExample('sigstore-go-verification'),
} as const satisfies Readonly<Record<string, StockProgram>>;

export type StockClientName = keyof typeof STOCK_CLIENTS;

/** What benches measure beside ours, by the name that their figures use. rekor-tiles v2.4 wants Go 1.27. */
export const RIVALS = {
  'rekor-tiles': goProgram(
    'github.com/sigstore/rekor-tiles/v2',
    'cmd/rekor-server/posix',
    'v2.3.0',
    'ten minutes',
  ),
} as const satisfies Readonly<Record<string, StockProgram>>;

export type RivalName = keyof typeof RIVALS;

const PROGRAMS = { ...STOCK_CLIENTS, ...RIVALS };

/** Why a program cannot be tried here; undefined if it can. */
export function whyAbsent(name: StockClientName | RivalName): string | undefined {
  const { version, tool, isThere } = PROGRAMS[name];
  if (isThere()) return undefined;
  const command = name in RIVALS ? 'bench:rivals' : 'test:peers';
  const remedy = isOnPath(tool) ? `\`npm run ${command}\` installs it` : `${tool} is missing`;
  return `no ${name} ${version} in ${FOLDER}: ${remedy}`;
}

/**
 * Installs what is not there and can be made here. `say` hears what takes long.
 * @throws Error with what the tool said, if one that is here fails
 */
export function install(programs: Readonly<Record<string, StockProgram>>, say: (text: string) => void): void {
  for (const [name, { version, tool, patience, isThere, steps }] of Object.entries(programs)) {
    if (isThere() || !isOnPath(tool)) continue;
    say(`Installing ${name} ${version} into ${FOLDER}, once; takes ${patience} …`);
    mkdirSync(FOLDER, { recursive: true });
    for (const [command, ...args] of steps) {
      const env = { ...process.env, GOPATH: join(FOLDER, 'go'), GOBIN: join(FOLDER, 'go', 'bin') };
      const run = spawnSync(command, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
      if (run.status === 0) continue;
      throw new Error(
        `${command} ${args.join(' ')} ended with ${run.status}:\n${run.stderr}${run.error ?? ''}`,
      );
    }
    if (!isThere()) throw new Error(`expected ${name} ${version} after its installation, found none`);
  }
}

function goProgram(module: string, folder: string, version: string, patience: string): StockProgram {
  const path = join(FOLDER, 'go', 'bin', folder.split('/').at(-1) ?? '');
  // Go writes into each program what it was made of.
  const isThere = () => existsSync(path) && readFileSync(path).includes(`mod\t${module}\t${version}\t`);
  return {
    ...{ version, path, tool: 'go', patience, isThere },
    steps: [['go', 'install', `${module}/${folder}@${version}`]],
  };
}

function sigstoreGoExample(name: string): StockProgram {
  const { module, version } = SIGSTORE_GO;
  return goProgram(module, `examples/${name}`, version, 'minutes');
}

function pythonProgram(name: string, version: string): StockProgram {
  const place = join(FOLDER, 'python');
  const isThere = () =>
    globSync(`lib/python3*/site-packages/${name}-${version}.dist-info`, { cwd: place }).length > 0;
  return {
    ...{ version, path: join(place, 'bin', name), tool: 'python3', patience: 'a minute', isThere },
    steps: [
      ['python3', '-m', 'venv', place],
      [join(place, 'bin', 'pip'), 'install', '--quiet', `${name}==${version}`],
    ],
  };
}

function isOnPath(tool: string): boolean {
  return spawnSync(tool, [tool === 'go' ? 'version' : '--version'], { stdio: 'ignore' }).status === 0;
}
