// SPDX-License-Identifier: Apache-2.0
// Two witnesses of the demo's log, each a process with a folder of its own; the log policy asks for both.

import type { ChildProcess } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CommandLine } from './command-line.ts';
import { freePort, serveWitness, stop } from './processes.ts';

interface Place {
  readonly name: string;
  readonly folder: string;
  readonly url: string;
}

export class DemoWitnesses {
  readonly places: readonly Place[];
  /** For `waybill init --witnesses`. */
  readonly policyPath: string;
  private readonly running: ChildProcess[] = [];

  private constructor(places: readonly Place[], policyPath: string) {
    this.places = places;
    this.policyPath = policyPath;
  }

  /** Makes both below `folder`, and their part of the log policy. */
  static async make(cli: CommandLine, folder: string): Promise<DemoWitnesses> {
    const places: Place[] = [];
    const lines: string[] = [];
    for (const name of ['w1', 'w2']) {
      const place = { name, folder: join(folder, name), url: `http://127.0.0.1:${await freePort()}` };
      const { json } = await cli.must(['witness', 'init', place.folder, '--name', name, '--json']);
      lines.push((json as { policyLine: string }).policyLine.replace('<url>', place.url));
      places.push(place);
    }
    const path = join(folder, 'witnesses');
    await writeFile(path, `${lines.join('\n')}\ngroup both all w1 w2\nquorum both\n`);
    return new DemoWitnesses(places, path);
  }

  /** Tells both of the log whose policy this is, and starts them. */
  async start(cli: CommandLine, logPolicyPath: string): Promise<void> {
    const [, logKey = ''] = (await readFile(logPolicyPath, 'utf8')).split(' ');
    for (const { folder, url } of this.places) {
      await cli.must(['witness', 'add', folder, logKey]);
      this.running.push(await serveWitness(cli, folder, url));
    }
  }

  async close(): Promise<void> {
    for (const witness of this.running) await stop(witness);
  }
}
