// SPDX-License-Identifier: Apache-2.0
// Turns, over real connections: who waits, who goes on, and that nobody waits for ever.

import { readFile } from 'node:fs/promises';
import { Agent, createServer, get } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Turns } from '../../../registry/http/turns.ts';
import { dsseRequest, keyed, startLogServer } from '../log/log-server.ts';

/** A piece of work that ends when the test says so. */
interface Work {
  end(): void;
  fail(): void;
}

/** A server with turns: what is asked at /held is under way until it is ended here, anything else is answered at once. */
async function serve(most: number, longestMs?: number) {
  const turns = new Turns(most, longestMs);
  const works: Work[] = [];
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url as string);
    response.once('finish', () => turns.answered(request.socket));
    if (!request.url?.startsWith('/held')) return response.end();
    const work = new Promise<void>((resolve, reject) => {
      works.push({ end: resolve, fail: () => reject(new Error('failed')) });
    });
    turns.count(work).then(
      () => response.end(),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const agents: Agent[] = [];
  onTestFinished(() => {
    for (const agent of agents) agent.destroy();
    server.closeAllConnections();
    server.close();
  });
  /** A client with a connection of its own. */
  const client = () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agents.push(agent);
    return (path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        get({ port, host: '127.0.0.1', path, agent }, (response) => {
          response.resume().on('end', () => resolve(response.statusCode as number));
        }).on('error', reject);
      });
  };
  /** A client that was answered before, and so takes turns. */
  const known = async () => {
    const ask = client();
    expect(await ask('/')).toBe(200);
    return ask;
  };
  /** Waits until so many works are under way. */
  const underWay = (count: number) => vi.waitFor(() => expect(turns.underWayCount).toBe(count));
  return { turns, works, asked, client, known, underWay, port, server };
}

test('a connection that was answered while all turns are taken is read again when one is free', async () => {
  const { turns, works, asked, client, known, underWay } = await serve(2);
  const third = await known();
  const busy = [client()('/held/1'), client()('/held/2')];
  await underWay(2);
  expect(await third('/first')).toBe(200);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  const second = third('/second');
  await sleep(100);
  expect(asked).not.toContain('/second');
  works[0]?.end();
  expect(await second).toBe(200);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(0));
  works[1]?.end();
  expect(await Promise.all(busy)).toEqual([200, 200]);
});

test('a connection is read at once before its second answer, and so is each while turns are free', async () => {
  const { turns, works, client, known, underWay } = await serve(2);
  const busy = [client()('/held/1')];
  await underWay(1);
  const other = await known();
  for (let i = 0; i < 3; i++) expect(await other('/')).toBe(200);
  expect(turns.waitingCount).toBe(0);
  busy.push(client()('/held/2'), client()('/held/3'));
  await underWay(3);
  const fresh = await known();
  expect(turns.waitingCount).toBe(0);
  expect(await fresh('/')).toBe(200);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  for (const work of works) work.end();
  expect(await Promise.all(busy)).toEqual([200, 200, 200]);
});

test('a client that goes after its first answer is gone at once, however busy others are', async () => {
  const { works, client, underWay, port, server } = await serve(1);
  const one = client()('/held/1');
  await underWay(1);
  const socket = connect(port, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.end();
  await vi.waitFor(async () => {
    const count = await new Promise<number>((resolve) => server.getConnections((_, n) => resolve(n)));
    expect(count).toBe(1);
  });
  works[0]?.end();
  await one;
});

test('those answered first come first', async () => {
  const { turns, works, asked, client, known, underWay } = await serve(1);
  const [early, late] = [await known(), await known()];
  const one = client()('/held/0');
  await underWay(1);
  for (const [i, each] of [early, late].entries()) {
    await each('/');
    await vi.waitFor(() => expect(turns.waitingCount).toBe(i + 1));
  }
  const waited = [late('/held/late'), early('/held/early')];
  works[0]?.end();
  await one;
  await vi.waitFor(() => expect(works).toHaveLength(2));
  await sleep(50);
  expect(asked.slice(-1)).toEqual(['/held/early']);
  works[1]?.end();
  await vi.waitFor(() => expect(works).toHaveLength(3));
  expect(asked.slice(-1)).toEqual(['/held/late']);
  works[2]?.end();
  expect(await Promise.all(waited)).toEqual([200, 200]);
});

/** A connection that only tells what is done with it; it was answered once. */
function told(turns: Turns, order: string[], name: string, state: object = {}): Socket {
  const socket = {
    destroyed: false,
    writableEnded: false,
    once: () => undefined,
    pause: () => order.push(`${name} waits`),
    resume: () => order.push(`${name} goes on`),
    ...state,
  } as unknown as Socket;
  turns.answered(socket);
  return socket;
}

/** Work that lasts until it is ended. */
function held(turns: Turns): { end(): void; readonly ended: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { end: resolve, ended: turns.count(promise) };
}

test('with others waiting, an answered connection goes behind them, also while a turn is free', async () => {
  const turns = new Turns(1);
  const order: string[] = [];
  const [a, b, c] = ['a', 'b', 'c'].map((name) => told(turns, order, name)) as [Socket, Socket, Socket];
  const work = held(turns);
  turns.answered(a);
  work.end();
  await work.ended;
  // A turn is free, and nobody was called yet.
  expect([turns.underWayCount, turns.waitingCount]).toEqual([0, 1]);
  turns.answered(b);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(0));
  expect(order).toEqual(['a waits', 'b waits', 'a goes on', 'b goes on']);
  turns.answered(c);
  expect(order).toHaveLength(4);
});

test('as many are called as turns are free, however many became free at once', async () => {
  const turns = new Turns(2);
  const order: string[] = [];
  const sockets = Array.from({ length: 6 }, () => told(turns, order, 'one'));
  const works = [held(turns), held(turns)];
  for (const socket of sockets) turns.answered(socket);
  for (const work of works) work.end();
  await Promise.all(works.map(({ ended }) => ended));
  for (const count of [2, 4, 6]) {
    await new Promise((resolve) => setImmediate(resolve));
    expect(order.filter((what) => what === 'one goes on')).toHaveLength(count);
  }
});

test('1,024 may be under way, and nothing turns while those are', async () => {
  const turns = new Turns();
  const order: string[] = [];
  const [a, b] = [told(turns, order, 'a'), told(turns, order, 'b')];
  const works = Array.from({ length: 1023 }, () => held(turns));
  turns.answered(a);
  expect(order).toEqual([]);
  works.push(held(turns), held(turns));
  turns.answered(a);
  turns.answered(a);
  turns.answered(b);
  expect(order).toEqual(['a waits', 'b waits']);
  const rounds = vi.spyOn(globalThis, 'setImmediate');
  works[0]?.end();
  await works[0]?.ended;
  expect([turns.underWayCount, rounds.mock.calls.length]).toEqual([1024, 0]);
  rounds.mockRestore();
  for (const work of works) work.end();
  await vi.waitFor(() => expect(turns.waitingCount).toBe(0));
});

test('who waited for the longest time is read although all turns are taken, the others in their time', async () => {
  const { turns, works, asked, client, known, underWay } = await serve(1, 150);
  const [first, second] = [await known(), await known()];
  const one = client()('/held/1');
  await underWay(1);
  await first('/');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  const startMs = performance.now();
  await sleep(75);
  await second('/');
  const answers = [first('/again/1'), second('/again/2')];
  expect(await answers[0]).toBe(200);
  expect(performance.now() - startMs).toBeGreaterThan(100);
  expect(await answers[1]).toBe(200);
  expect(performance.now() - startMs).toBeGreaterThan(190);
  expect(asked.slice(-2)).toEqual(['/again/1', '/again/2']);
  expect(turns.underWayCount).toBe(1);
  works[0]?.end();
  await one;
});

test('ten seconds is the longest time, for each from when it began to wait', () => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const turns = new Turns(0);
  const order: string[] = [];
  const [a, b] = [told(turns, order, 'a'), told(turns, order, 'b')];
  turns.answered(a);
  vi.advanceTimersByTime(5000);
  turns.answered(b);
  vi.advanceTimersByTime(4900);
  expect(order).toEqual(['a waits', 'b waits']);
  vi.advanceTimersByTime(200);
  expect(order).toEqual(['a waits', 'b waits', 'a goes on']);
  vi.advanceTimersByTime(4800);
  expect(order).toHaveLength(3);
  vi.advanceTimersByTime(200);
  expect(order).toEqual(['a waits', 'b waits', 'a goes on', 'b goes on']);
});

test('connections that say nothing, or are gone, hold up nobody', async () => {
  const { turns, works, client, known, underWay, port, asked } = await serve(2);
  const busy = [client()('/held/1'), client()('/held/2')];
  await underWay(2);
  const silent = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'));
  const twice = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(2);
  for (const socket of silent) socket.on('error', () => undefined).write(twice);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(20));
  for (const socket of silent.slice(0, 10)) socket.destroy();
  const last = await known();
  await last('/');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(21));
  const again = last('/again');
  await sleep(50);
  expect(asked).not.toContain('/again');
  works[0]?.end();
  expect(await again).toBe(200);
  await vi.waitFor(() => expect(turns.waitingCount).toBe(0));
  works[1]?.end();
  expect(await Promise.all(busy)).toEqual([200, 200]);
  for (const socket of silent) socket.destroy();
});

test('work that fails frees its turn', async () => {
  const { turns, works, client, known, underWay } = await serve(1);
  const other = await known();
  const one = client()('/held/1');
  await underWay(1);
  await other('/');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  works[0]?.fail();
  expect(await one).toBe(500);
  expect(await other('/')).toBe(200);
  expect(turns.underWayCount).toBe(0);
});

test('a connection that ends with its answer, or ends while it waits, is not kept', async () => {
  const turns = new Turns(0);
  turns.answered(told(turns, [], 'gone', { destroyed: true }));
  turns.answered(told(turns, [], 'ending', { writableEnded: true }));
  expect(turns.waitingCount).toBe(0);
  const { turns: served, works, client, known, underWay, server } = await serve(1);
  const other = await known();
  const one = client()('/held/1');
  await underWay(1);
  await other('/');
  await vi.waitFor(() => expect(served.waitingCount).toBe(1));
  server.closeIdleConnections();
  await vi.waitFor(() => expect(served.waitingCount).toBe(0));
  works[0]?.end();
  await one;
});

test('at the end all are read, and nobody waits any more', async () => {
  const { turns, works, asked, client, known, underWay } = await serve(1);
  const others = [await known(), await known()];
  const one = client()('/held/1');
  await underWay(1);
  await Promise.all(others.map((ask) => ask('/')));
  await vi.waitFor(() => expect(turns.waitingCount).toBe(2));
  const answers = others.map((ask) => ask('/last'));
  await sleep(50);
  // Goes on where files and sockets are looked at: what follows at once comes before they are looked at again.
  await readFile(import.meta.filename);
  await turns.end();
  expect(asked.filter((path) => path === '/last')).toHaveLength(2);
  expect(await Promise.all(answers)).toEqual([200, 200]);
  expect(turns.waitingCount).toBe(0);
  works[0]?.end();
  await one;
});

test('a log counts its entries, and connections whose entries it took take turns, until it ends', async () => {
  const turns = new Turns(1);
  const server = await startLogServer([], undefined, turns);
  const counted = vi.spyOn(turns, 'count');
  const answered = vi.spyOn(turns, 'answered');
  const { listed } = server;
  const log = (text: string) => server.post(dsseRequest(text, listed, keyed(listed.spki)).request);
  expect((await log('one')).status).toBe(201);
  expect((await server.post({})).status).toBe(400);
  expect([counted.mock.calls.length, answered.mock.calls.length]).toEqual([1, 1]);
  const others = held(turns);
  // One after the other on one connection: its second answer is followed by a wait.
  expect((await log('two')).status).toBe(201);
  await vi.waitFor(() => expect([counted.mock.calls.length, turns.waitingCount]).toEqual([3, 1]));
  others.end();
  await vi.waitFor(() => expect([turns.underWayCount, turns.waitingCount]).toEqual([0, 0]));
  expect((await log('three')).status).toBe(201);
  expect(server.log.tiles.checkpoint().size).toBe(3n);
  const end = vi.spyOn(turns, 'end');
  await server.stop();
  expect(end).toHaveBeenCalled();
});
