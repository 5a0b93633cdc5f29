// SPDX-License-Identifier: Apache-2.0
// A witness on a real port, in a folder of its own; both go with the test.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { parseVerifierKey } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { listen } from '../../../registry/listen.ts';
import type { DurableFiles } from '../../../registry/store/durable-files.ts';
import { Witness } from '../../../registry/witness/witness.ts';
import { createWitness, WitnessFolder } from '../../../registry/witness/witness-folder.ts';
import { buildWitnessServer } from '../../../registry/witness/witness-server.ts';

export const NOW_MS = Date.parse('2026-11-30T12:00:00Z');

/** A new folder that goes when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-witness-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The folder of a witness that knows these logs. */
export async function witnessFolder(
  logs: readonly string[],
  name = 'witness.example/w1',
): Promise<{ readonly folder: string; readonly vkey: string }> {
  const folder = join(await temporaryFolder(), 'witness');
  const vkey = await createWitness(folder, name);
  const held = await WitnessFolder.open(folder);
  for (const log of logs) await held.addLog(log);
  await held.close();
  return { folder, vkey };
}

/** Serves a witness; `clock.ms` is its time. */
export async function runWitness(
  made: { readonly folder: string; readonly vkey: string },
  files?: DurableFiles,
  port = 0,
) {
  const clock = { ms: NOW_MS };
  const witness = await Witness.open({
    folder: made.folder,
    clock: () => clock.ms,
    ...(files === undefined ? {} : { files }),
  });
  const app = await buildWitnessServer(witness, { logLevel: 'silent' });
  const url = await listen(app, { host: '127.0.0.1', port });
  onTestFinished(() => app.close());
  const answer = async (response: Response) => ({
    status: response.status,
    type: response.headers.get('content-type'),
    text: await response.text(),
  });
  return {
    url,
    clock,
    key: parseVerifierKey(made.vkey, nodeCrypto),
    witness,
    stop: () => app.close(),
    get: async (path: string) => answer(await fetch(`${url}${path}`)),
    add: async (body: string | Uint8Array, headers: Record<string, string> = {}) =>
      answer(
        await fetch(`${url}/add-checkpoint`, { method: 'POST', headers, body: Buffer.from(body as string) }),
      ),
  };
}

/** The code of a fault. */
export function codeOf({ text }: { readonly text: string }): string {
  return (JSON.parse(text) as { error: { code: string } }).error.code;
}
