// SPDX-License-Identifier: Apache-2.0
// Two houses that witness each other [docs/spec/witness.md §Crosswise]: two registries and two witnesses, each a process, made as the page says.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { parseAnyBundle } from '../../core/sigstore/any-bundle.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { checkLogProof } from '../../core/tlog/proof.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { freePort, makeDataFolder } from '../registry/running-registry.ts';
import { LoopbackIssuer } from '../registry/trust/loopback-issuer.ts';
import { temporaryFolder } from '../registry/witness/running-witness.ts';
import { say } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

/** Starts a server and waits until it says that it is ready. */
async function run(...argv: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [WAYBILL, ...argv], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  await expect.poll(() => said, { timeout: 60_000 }).toContain('ready at');
  return child;
}

/** The first step of a house: its witness, which needs nothing of anybody. */
async function makeWitness(home: string, name: string) {
  const port = String(await freePort());
  const folder = join(home, name);
  const { out } = await say(['witness', 'init', folder, '--name', `${name}.example/witness`, '--json']);
  return {
    folder,
    name: `${name}.example/witness`,
    line: (JSON.parse(out).policyLine as string).replace('<url>', `http://127.0.0.1:${port}`),
    serve: () => run('witness', 'serve', folder, '--port', port),
  };
}
type MadeWitness = Awaited<ReturnType<typeof makeWitness>>;

/** The second step: its registry, whose log policy asks for the other's witness. */
async function makeRegistry(home: string, issuer: LoopbackIssuer, other: MadeWitness) {
  const file = join(home, `asks ${other.name.replace('/', ' ')}`);
  await writeFile(file, `${other.line}\nquorum ${other.name}\n`);
  const made = await makeDataFolder(issuer.url, {}, file);
  onTestFinished(() => rm(made.home, { recursive: true }));
  const trust = async (name: string) => new Uint8Array(await readFile(join(made.dataFolder, 'trust', name)));
  const text = Buffer.from(await trust('tlog-policy')).toString();
  const policy = parseLogPolicy(await trust('tlog-policy'), nodeCrypto);
  const verifier = bothVerifiers({ trustedRoot: await trust('trusted_root.json'), keys: [] });
  let serial = 0;
  return {
    logKey: text.split(' ')[1] ?? '',
    serve: () => run('serve', made.dataFolder),
    /** A bundle, verified as others do. */
    sign: async () => {
      const subjects = [{ name: 'x', sha256: String(serial++).padStart(64, '0') }];
      const statement = { subjects, predicateType: 'https://example.com/test/v1', predicate: {} };
      const identity = { token: () => issuer.token() } as never;
      const bundle = await signStatement(formatStatement(statement), {
        signingConfig: await trust('signing_config.v0.2.json'),
        identity,
      });
      verifier.verify(bundle);
      return bundle;
    },
    /** Who stands behind the entry of a bundle, by the proof that the log gives now; the status while there is none. */
    witnessesOf: async (bundle: Uint8Array) => {
      const [entry] = parseAnyBundle(bundle).entries;
      if (entry === undefined) throw new Error('no entry');
      const response = await fetch(`${made.url}/log/api/v2/proof?index=${entry.index}`);
      const body = (await response.json()) as { hashes: string[]; checkpoint: string };
      if (response.status !== 200) return response.status;
      const proof = body.hashes.map((hash) => new Uint8Array(Buffer.from(hash, 'base64')));
      const claim = { leaf: entry.body, index: entry.index, proof, checkpoint: body.checkpoint, policy };
      const { witnesses } = checkLogProof(claim, nodeCrypto);
      return witnesses === 'none' ? [] : witnesses.map(({ name }) => name);
    },
    published: async () => (await (await fetch(`${made.url}/log/checkpoint`)).text()).split('\n')[1],
  };
}

test('two registries witness each other, and one goes without for a while', {
  timeout: 240_000,
}, async () => {
  const home = await temporaryFolder();
  const issuer = await LoopbackIssuer.start();
  onTestFinished(() => issuer.close());
  const [witnessA, witnessB] = [await makeWitness(home, 'a'), await makeWitness(home, 'b')];
  const a = await makeRegistry(home, issuer, witnessB);
  const b = await makeRegistry(home, issuer, witnessA);
  expect((await say(['witness', 'add', witnessA.folder, b.logKey])).code).toBe(0);
  expect((await say(['witness', 'add', witnessB.folder, a.logKey])).code).toBe(0);
  // Both are of one organisation here, so their logs have one origin; the keys tell them apart.
  expect(a.logKey).not.toBe(b.logKey);
  await Promise.all([witnessA.serve(), a.serve(), b.serve()]);
  const running = await witnessB.serve();

  const [ofA, ofB] = [await a.sign(), await b.sign()];
  expect(await a.witnessesOf(ofA)).toEqual([witnessB.name]);
  expect(await b.witnessesOf(ofB)).toEqual([witnessA.name]);

  const ended = once(running, 'exit');
  running.kill('SIGKILL');
  await ended;
  // Signing goes on; what others are shown stays behind the quorum.
  const late = await a.sign();
  expect(await a.witnessesOf(late)).toBe(503);
  expect(await a.published()).toBe('1');
  expect(await a.witnessesOf(ofA)).toEqual([witnessB.name]);
  // The other house does not notice.
  expect(await b.witnessesOf(await b.sign())).toEqual([witnessA.name]);

  await witnessB.serve();
  await expect.poll(() => a.witnessesOf(late), { timeout: 30_000 }).toEqual([witnessB.name]);
  expect(await a.published()).toBe('2');
});
