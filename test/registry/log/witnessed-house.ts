// SPDX-License-Identifier: Apache-2.0
// A log with witnesses over real sockets, and peers that stand in for bad ones.

import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { type LogPolicy, parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { checkInclusion, hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../../core/tlog/proof.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { runWitness, witnessFolder } from '../witness/running-witness.ts';
import { dsseRequest, keyed, startLogServer } from './log-server.ts';

/** A round is long: under load a reply may lie in its socket for a while. */
export const TIMES = { roundMs: 5000, graceMs: 5000, retryMs: 100, refreshMs: 600_000, waitMs: 10_000 };

/** A log with witnesses of its own; the policy is set once they run. */
export async function startHouse(count: number, times = TIMES, clock?: () => number) {
  const inForce: { policy: LogPolicy | undefined } = { policy: undefined };
  const server = await startLogServer([], {
    policy: () => inForce.policy,
    times,
    ...(clock === undefined ? {} : { clock }),
  });
  const { log, listed, cosigning } = server;
  const made = await Promise.all(
    Array.from({ length: count }, (_, i) => witnessFolder([log.verifierKey], `w${i + 1}.example`)),
  );
  const witnesses = await Promise.all(made.map((each) => runWitness(each)));
  const lines = witnesses.map(({ url }, i) => `witness w${i + 1} ${made[i]?.vkey} ${url}`);
  /** Puts a policy in force, of these lines. */
  const ask = (...more: readonly string[]): LogPolicy => {
    inForce.policy = parseLogPolicy(utf8(`${[`log ${log.verifierKey}`, ...more].join('\n')}\n`), nodeCrypto);
    return inForce.policy;
  };
  let n = 0;
  const append = async (): Promise<bigint> => {
    const { request } = dsseRequest(`statement ${n++}`, listed, keyed(listed.spki));
    const { status, body } = await server.post(request);
    expect(status).toBe(201);
    // What clients of Rekor get is signed by the log alone, and at once.
    expect(parseNote(body.inclusionProof?.checkpoint.envelope ?? '').signatures).toHaveLength(1);
    return BigInt(body.logIndex ?? -1);
  };
  const get = async (path: string) => {
    const response = await fetch(`${server.url}/log${path}`);
    const text = await response.text();
    return { status: response.status, text, code: /"code":"([A-Z_]+)"/.exec(text)?.[1] };
  };
  /** Asks for a proof and checks it as `waybill release` does; returns who stands behind it, and the size. */
  const proved = async (index: bigint, policy: LogPolicy) => {
    const { status, text } = await get(`/api/v2/proof?index=${index}`);
    expect(status).toBe(200);
    const body = JSON.parse(text);
    const checkpoint = verifyWitnessedCheckpoint(body.checkpoint, policy, nodeCrypto);
    const leaf = (await log.tiles.leafBytes(index)) as Uint8Array;
    const proof = body.hashes.map((hash: string) => new Uint8Array(Buffer.from(hash, 'base64')));
    const { size, rootHash: root } = checkpoint;
    expect(BigInt(body.size)).toBe(size);
    checkInclusion({ index, size, leafHash: hashLeaf(leaf, nodeCrypto), proof, root }, nodeCrypto);
    const sized = await get(`/api/v2/proof?index=${index}&size=${size}`);
    // By its size it has the lines of witnesses only as long as no newer one has them.
    expect(parseNote(JSON.parse(sized.text).checkpoint).text).toBe(parseNote(body.checkpoint).text);
    const names = checkpoint.witnesses === 'none' ? [] : checkpoint.witnesses.map(({ name }) => name);
    return { size, names };
  };
  const reports: string[] = [];
  const start = () =>
    cosigning.start(({ from, failure }) => void reports.push(`${from}: ${failure ?? 'again'}`));
  return {
    server,
    log,
    cosigning,
    made,
    witnesses,
    lines,
    inForce,
    ask,
    append,
    get,
    proved,
    reports,
    start,
  };
}

/** A peer that answers as it is told, in place of a witness. */
export async function pretender(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Stands before a witness, and passes on what it is sent when it has waited. */
export function relay(url: string | undefined, wait: () => Promise<void>): Promise<string> {
  return pretender(async (request, reply) => {
    const body = await text(request);
    await wait();
    const answer = await fetch(`${url}${request.url}`, { method: 'POST', body });
    reply.writeHead(answer.status).end(await answer.text());
  });
}
