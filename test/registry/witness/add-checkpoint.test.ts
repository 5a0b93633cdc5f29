// SPDX-License-Identifier: Apache-2.0
// Every answer of a witness over a real socket [C2SP-tlog-witness-5ba5ee8 §add-checkpoint].

import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { base64Encode } from '../../../core/encoding/base64.ts';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { verifyCosignatures } from '../../../core/tlog/cosignature.ts';
import { formatNote, formatSignatureLine, parseNote } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { diskFiles, storeFailure } from '../../../registry/store/durable-files.ts';
import { REQUEST_SIZE_BYTES_MAX } from '../../../registry/witness/decision.ts';
import { originHash } from '../../../registry/witness/witness-folder.ts';
import { noteSigner, seededKey, witnessSigner } from '../../core/tlog/note-signers.ts';
import { codeOf, NOW_MS, runWitness, witnessFolder } from './running-witness.ts';
import { body, ORIGIN, witnessedLog } from './witnessed-log.ts';

const log = witnessedLog();
const fork = witnessedLog(ORIGIN, 'fork');
const start = async () => runWitness(await witnessFolder([log.vkey]));
type Running = Awaited<ReturnType<typeof start>>;

/** The times of the cosignatures in an answer, verified as a client does. */
function times({ key }: Running, checkpoint: string, answer: { text: string }): number[] {
  const witness = { name: 'w1', key };
  const note = parseNote(`${checkpoint}${answer.text}`);
  return verifyCosignatures(note, [witness], nodeCrypto).map(({ timeMs }) => timeMs);
}

describe('200', () => {
  test('the first checkpoint, growth and the same again are cosigned as of now', async () => {
    const witness = await start();
    const first = await witness.add(log.request(0n, 5n));
    expect(first).toMatchObject({ status: 200, type: 'text/plain; charset=utf-8' });
    expect(first.text).toMatch(/^— witness\.example\/w1 [A-Za-z0-9+/]+=*\n$/);
    expect(times(witness, log.checkpoint(5n), first)).toEqual([NOW_MS]);
    witness.clock.ms += 1500;
    const grown = await witness.add(log.request(5n, 9n));
    expect(times(witness, log.checkpoint(9n), grown)).toEqual([NOW_MS + 1000]);
    witness.clock.ms += 3_600_000;
    const again = await witness.add(log.request(9n, 9n));
    expect(times(witness, log.checkpoint(9n), again)).toEqual([NOW_MS + 3_601_000]);
  });

  test('the empty tree is cosigned, and any tree follows it without a proof', async () => {
    const witness = await start();
    expect((await witness.add(log.request(0n, 0n))).status).toBe(200);
    expect((await witness.add(log.request(0n, 0n))).status).toBe(200);
    expect((await witness.add(log.request(0n, 3n))).status).toBe(200);
  });

  test('every pair of sizes up to 17', { timeout: 60_000 }, async () => {
    const witness = await runWitness(
      await witnessFolder(Array.from({ length: 18 }, (_, i) => witnessedLog(`log${i}.example`).vkey)),
    );
    for (let from = 1n; from <= 17n; from += 1n) {
      const one = witnessedLog(`log${from}.example`);
      expect((await witness.add(one.request(0n, from))).status).toBe(200);
      for (let to = from; to <= 17n; to += 4n) {
        expect((await witness.add(one.request(to === from ? from : to - 4n, to))).status).toBe(200);
      }
    }
  });

  test('lines of other keys mean nothing, wrong ones included; the cosignature covers extension lines', async () => {
    const witness = await start();
    const text = log.text(4n, ['an extension']);
    const other = { ...noteSigner('other.example').sign('another text') };
    const old = witnessSigner('witness.example/w2').cosign(text, 1);
    const checkpoint = formatNote({ text, signatures: [other, log.signer.sign(text), old] });
    const answer = await witness.add(body(0n, [], checkpoint));
    expect(answer.status).toBe(200);
    expect(times(witness, checkpoint, answer)).toEqual([NOW_MS]);
    expect(times(witness, log.checkpoint(4n), { text: '' })).toEqual([]);
    expect(() => times(witness, log.checkpoint(4n), answer)).toThrow(
      expect.objectContaining({ code: 'TLOG_NOTE_SIGNATURE' }),
    );
  });

  test('whatever media type is claimed, or none', async () => {
    const witness = await start();
    for (const type of ['application/json', 'text/plain', 'application/octet-stream', 'text/x.tlog']) {
      const { status } = await witness.add(log.request(0n, 0n), { 'content-type': type });
      expect([type, status]).toEqual([type, 200]);
    }
    expect(await postWithoutType(witness.url, log.request(0n, 1n))).toBe(200);
  });
});

function postWithoutType(url: string, text: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${url}/add-checkpoint`, { method: 'POST' }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on('error', reject);
    sent.end(text);
  });
}

describe('400', () => {
  const note = log.checkpoint(5n);
  const hash = `${base64Encode(new Uint8Array(32))}\n`;
  test.each([
    ['nothing', ''],
    ['no empty line', 'old 0\n'],
    ['no old line', `\n\n${note}`],
    ['an old size with a leading zero', `old 00\n\n${note}`],
    ['a negative old size', `old -1\n\n${note}`],
    ['an old size with a space more', `old  0\n\n${note}`],
    ['an old size of 20 digits', `old 10000000000000000000\n\n${note}`],
    ['carriage returns', `old 0\r\n\r\n${note}`],
    ['64 hashes', `old 0\n${hash.repeat(64)}\n${note}`],
    ['a hash of 31 bytes', `old 0\n${base64Encode(new Uint8Array(31))}\n\n${note}`],
    ['a hash in another spelling', `old 0\n${hash.replace('A=', 'B=')}\n${note}`],
    ['a checkpoint without signature', `old 0\n\n${log.text(5n)}\n`],
    ['a checkpoint without its last newline', `old 0\n\n${note.slice(0, -1)}`],
    ['65 signature lines', `old 0\n\n${note}${note.slice(note.indexOf('—')).repeat(64)}`],
  ])('%s', async (_, sent) => {
    const witness = await start();
    const answer = await witness.add(sent);
    expect([answer.status, codeOf(answer)]).toEqual([400, 'WITNESS_REQUEST_MALFORMED']);
  });

  test('63 hashes are read, bytes that are not UTF-8 are not', async () => {
    const witness = await start();
    expect(codeOf(await witness.add(`old 0\n${hash.repeat(63)}\n${note}`))).toBe('WITNESS_TREE_INCONSISTENT');
    const bytes = Buffer.from(log.request(0n, 5n));
    bytes[bytes.length - 10] = 0xff;
    expect(codeOf(await witness.add(bytes))).toBe('WITNESS_REQUEST_MALFORMED');
  });

  test('a signed text that is no checkpoint', async () => {
    const witness = await start();
    const text = `${ORIGIN}\nfive\nAAAA\n`;
    const answer = await witness.add(body(0n, [], formatNote({ text, signatures: [log.signer.sign(text)] })));
    expect([answer.status, codeOf(answer)]).toEqual([400, 'WITNESS_REQUEST_MALFORMED']);
  });

  test('an old size larger than the checkpoint, before any conflict is told', async () => {
    const witness = await start();
    await witness.add(log.request(0n, 9n));
    const answer = await witness.add(body(9n, [], log.checkpoint(5n)));
    expect([answer.status, codeOf(answer)]).toEqual([400, 'WITNESS_SIZES_REVERSED']);
  });
});

describe('403', () => {
  const text = log.text(5n);
  const right = log.signer.sign(text);
  const stranger = noteSigner(ORIGIN, seededKey('a thief'));
  test.each([
    ['another key of the same name', [stranger.sign(text)]],
    ['a line that names the key and does not verify', [{ ...right, signature: new Uint8Array(64) }]],
    ['such a line beside a right one', [right, { ...right, signature: new Uint8Array(64) }]],
    ['the signature of another text', [log.signer.sign(log.text(6n))]],
  ])('%s', async (_, signatures) => {
    const witness = await start();
    const answer = await witness.add(body(0n, [], formatNote({ text, signatures })));
    expect([answer.status, codeOf(answer)]).toEqual([403, 'WITNESS_SIGNATURE_WRONG']);
    expect((await witness.add(log.request(0n, 5n))).status).toBe(200);
  });
});

describe('404', () => {
  test('a log that was not added, however well signed', async () => {
    const witness = await start();
    const answer = await witness.add(witnessedLog('elsewhere.example').request(0n, 5n));
    expect([answer.status, codeOf(answer)]).toEqual([404, 'WITNESS_LOG_UNKNOWN']);
  });

  test('another path or method', async () => {
    const witness = await start();
    for (const path of ['/', '/add-checkpoint', '/add-checkpoint/', '/x/y/z']) {
      const answer = await witness.get(path);
      expect([answer.status, codeOf(answer)]).toEqual([404, 'WITNESS_REQUEST_UNKNOWN']);
    }
  });
});

describe('409', () => {
  test('the size that was cosigned last, as the protocol writes it', async () => {
    const witness = await start();
    expect(await witness.add(log.request(3n, 5n))).toEqual({
      status: 409,
      type: 'text/x.tlog.size',
      text: '0\n',
    });
    await witness.add(log.request(0n, 7n));
    for (const sent of [log.request(0n, 9n), log.request(6n, 9n), log.request(0n, 7n), log.request(0n, 3n)]) {
      expect(await witness.add(sent)).toEqual({ status: 409, type: 'text/x.tlog.size', text: '7\n' });
    }
    expect((await witness.add(log.request(7n, 9n))).status).toBe(200);
  });
});

describe('422', () => {
  test.each([
    ['another root of the same size', body(7n, [], fork.checkpoint(7n))],
    ['a fork with its own proof', body(7n, fork.proof(7n, 9n), fork.checkpoint(9n))],
    ['a fork with the proof of the log', body(7n, log.proof(7n, 9n), fork.checkpoint(9n))],
    ['no proof', body(7n, [], log.checkpoint(9n))],
    ['a hash too many', body(7n, [...log.proof(7n, 9n), new Uint8Array(32)], log.checkpoint(9n))],
    ['a hash too few', body(7n, log.proof(7n, 9n).slice(1), log.checkpoint(9n))],
    ['hashes between equal sizes', body(7n, log.proof(5n, 7n), log.checkpoint(7n))],
  ])('%s', async (_, sent) => {
    const witness = await start();
    await witness.add(log.request(0n, 7n));
    const answer = await witness.add(sent);
    expect([answer.status, codeOf(answer)]).toEqual([422, 'WITNESS_TREE_INCONSISTENT']);
    expect((await witness.add(log.request(7n, 9n))).status).toBe(200);
  });

  test('hashes with the old size 0, and another root for the empty tree', async () => {
    const witness = await start();
    const text = formatCheckpoint({
      origin: ORIGIN,
      size: 0n,
      rootHash: new Uint8Array(32),
      extensions: [],
    });
    const empty = formatNote({ text, signatures: [log.signer.sign(text)] });
    for (const sent of [body(0n, log.proof(3n, 5n), log.checkpoint(5n)), body(0n, [], empty)]) {
      const answer = await witness.add(sent);
      expect([answer.status, codeOf(answer)]).toEqual([422, 'WITNESS_TREE_INCONSISTENT']);
    }
  });
});

describe('limits and failures', () => {
  test('413: one byte more than fits', async () => {
    const witness = await start();
    const fits = log.request(0n, 5n);
    for (const [sizeBytes, status] of [
      [REQUEST_SIZE_BYTES_MAX, 400],
      [REQUEST_SIZE_BYTES_MAX + 1, 413],
    ] as const) {
      const answer = await witness.add(fits + ' '.repeat(sizeBytes - Buffer.byteLength(fits)));
      expect(answer.status).toBe(status);
      expect(codeOf(answer)).toBe(status === 413 ? 'WITNESS_REQUEST_TOO_LARGE' : 'WITNESS_REQUEST_MALFORMED');
    }
  });

  test('503: a disk that does not take the checkpoint; nothing is signed, and the next request may be another tree', async () => {
    let fails = true;
    const files = {
      ...diskFiles,
      write: async (path: string, bytes: Uint8Array | string) => {
        if (fails) throw storeFailure('could not write', { code: 'ENOSPC' });
        await diskFiles.write(path, bytes);
      },
    };
    const witness = await runWitness(await witnessFolder([log.vkey]), files);
    const answer = await witness.add(log.request(0n, 5n));
    expect([answer.status, codeOf(answer)]).toEqual([503, 'REGISTRY_STORE_FAILED']);
    expect((await witness.get(`/${originHash(ORIGIN)}/checkpoint`)).status).toBe(404);
    fails = false;
    expect((await witness.add(log.request(0n, 5n))).status).toBe(200);
  });

  test('429: more requests than a log has reason to send', { timeout: 60_000 }, async () => {
    const witness = await start();
    let answer = await witness.get('/healthz');
    for (let i = 0; i < 61 && answer.status !== 429; i++) {
      [answer = answer] = (
        await Promise.all(Array.from({ length: 100 }, () => witness.get('/healthz')))
      ).slice(-1);
    }
    expect([answer.status, codeOf(answer)]).toEqual([429, 'REGISTRY_REQUEST_RATE']);
  });

  test('who sends no more is cut off', { timeout: 60_000 }, async () => {
    const witness = await start();
    const { port, hostname } = new URL(witness.url);
    const socket = connect(Number(port), hostname);
    socket.write('POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nold 0\n');
    socket.resume();
    const beganMs = performance.now();
    await new Promise((resolve) => socket.once('close', resolve));
    expect(performance.now() - beganMs).toBeLessThan(45_000);
  });
});

describe('two at once', () => {
  test('two trees that both follow the last one: one is cosigned, the other is told the size', async () => {
    for (let i = 0; i < 5; i++) {
      const witness = await start();
      await witness.add(log.request(0n, 5n));
      const answers = await Promise.all([9n, 12n].map((size) => witness.add(log.request(5n, size))));
      const statuses = answers.map(({ status }) => status);
      expect(statuses.toSorted()).toEqual([200, 409]);
      expect(answers[statuses.indexOf(409)]?.text).toBe(statuses[0] === 200 ? '9\n' : '12\n');
    }
  });

  test('two forks of one size, first of all: one is cosigned, whichever', async () => {
    const witness = await start();
    const answers = await Promise.all([log, fork].map((one) => witness.add(one.request(0n, 5n))));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409]);
  });

  test('the same checkpoint twice: cosigned at least once, and never refused as a fork', async () => {
    const witness = await start();
    await witness.add(log.request(0n, 5n));
    const statuses = await Promise.all(
      [1, 2].map(async () => (await witness.add(log.request(5n, 9n))).status),
    );
    expect(statuses.toSorted()).toEqual([200, 409]);
    const same = await Promise.all([1, 2].map(async () => (await witness.add(log.request(9n, 9n))).status));
    expect(same).toEqual([200, 200]);
  });
});

describe('what monitors read', () => {
  test('the last checkpoint with both lines; nothing before the first', async () => {
    const made = await witnessFolder([log.vkey]);
    const witness = await runWitness(made);
    const path = `/${originHash(ORIGIN)}/checkpoint`;
    const none = await witness.get(path);
    expect([none.status, codeOf(none)]).toEqual([404, 'WITNESS_CHECKPOINT_UNKNOWN']);
    const stray = formatSignatureLine(noteSigner('other.example').sign('x'));
    const { text } = await witness.add(`${log.request(0n, 5n)}${stray}`);
    expect(await witness.get(path)).toMatchObject({ status: 200, text: `${log.checkpoint(5n)}${text}` });
    await witness.stop();
    const again = await runWitness(made);
    const read = await again.get(path);
    expect(times(again, read.text, { text: '' })).toEqual([NOW_MS]);
  });
});
