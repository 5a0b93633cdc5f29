// SPDX-License-Identifier: Apache-2.0
// Turns, over real connections: who waits, who goes on, and that nobody waits for ever.

import { Agent, createServer, get } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
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
async function serve(most: number) {
  const turns = new Turns(most);
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
      () => response.setHeader('connection', server.listening ? 'keep-alive' : 'close').end(),
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
  /** Waits until so many works are under way. */
  const underWay = (count: number) => vi.waitFor(() => expect(turns.underWayCount).toBe(count));
  return { turns, works, asked, client, underWay, port, server };
}

test('a connection that was answered while all turns are taken is read again when one is free', async () => {
  const { turns, works, asked, client, underWay } = await serve(2);
  const busy = [client()('/held/1'), client()('/held/2')];
  await underWay(2);
  const third = client();
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

test('a connection without a turn yet is read at once, and so is each while turns are free', async () => {
  const { turns, works, client, underWay } = await serve(2);
  const busy = [client()('/held/1')];
  await underWay(1);
  const other = client();
  for (let i = 0; i < 3; i++) expect(await other('/')).toBe(200);
  expect(turns.waitingCount).toBe(0);
  busy.push(client()('/held/2'), client()('/held/3'));
  await underWay(3);
  expect(await client()('/')).toBe(200);
  for (const work of works) work.end();
  expect(await Promise.all(busy)).toEqual([200, 200, 200]);
});

test('those answered first come first, and nobody overtakes them when a turn is free', async () => {
  const { turns, works, asked, client, underWay } = await serve(1);
  const one = client()('/held/0');
  await underWay(1);
  const [early, late] = [client(), client()];
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

test('with others waiting, an answered connection goes behind them, also while a turn is free', async () => {
  const turns = new Turns(1);
  const order: string[] = [];
  const socket = (name: string) =>
    ({
      destroyed: false,
      pause: () => order.push(`${name} waits`),
      resume: () => order.push(`${name} goes on`),
    }) as never;
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = turns.count(promise);
  turns.answered(socket('a'));
  resolve();
  await work;
  // A turn is free, and nobody was called yet.
  expect([turns.underWayCount, turns.waitingCount]).toEqual([0, 1]);
  turns.answered(socket('b'));
  await vi.waitFor(() => expect(turns.waitingCount).toBe(0));
  expect(order).toEqual(['a waits', 'b waits', 'a goes on', 'b goes on']);
  turns.answered(socket('c'));
  expect(order).toHaveLength(4);
});

test('as many are called as turns are free, however many became free at once', async () => {
  const turns = new Turns(2);
  let calledCount = 0;
  const ends: (() => void)[] = [];
  const works = [0, 1].map(() => turns.count(new Promise<void>((resolve) => ends.push(resolve))));
  for (let i = 0; i < 6; i++) {
    turns.answered({ destroyed: false, pause: () => undefined, resume: () => calledCount++ } as never);
  }
  for (const end of ends) end();
  await Promise.all(works);
  for (const count of [2, 4, 6]) {
    await new Promise((resolve) => setImmediate(resolve));
    expect(calledCount).toBe(count);
  }
});

test('connections that say nothing, or are gone, hold up nobody', async () => {
  const { turns, works, client, underWay, port, asked } = await serve(2);
  const busy = [client()('/held/1'), client()('/held/2')];
  await underWay(2);
  const silent = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'));
  for (const socket of silent) socket.on('error', () => undefined).write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(20));
  for (const socket of silent.slice(0, 10)) socket.destroy();
  const last = client();
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
  const { turns, works, client, underWay } = await serve(1);
  const one = client()('/held/1');
  await underWay(1);
  const other = client();
  await other('/');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  works[0]?.fail();
  expect(await one).toBe(500);
  expect(await other('/')).toBe(200);
  expect(turns.underWayCount).toBe(0);
});

test('a connection that ends while its answer is made is not kept', async () => {
  const { turns, works, client, underWay } = await serve(1);
  const one = client()('/held/1');
  await underWay(1);
  turns.answered({ destroyed: true } as never);
  expect(turns.waitingCount).toBe(0);
  works[0]?.end();
  await one;
});

test('a log counts entries until they are answered, and their connections take turns', async () => {
  const turns = new Turns(2);
  const server = await startLogServer([], undefined, turns);
  const answered = vi.spyOn(turns, 'answered');
  let most = 0;
  const { listed } = server;
  const client = async (name: number) => {
    for (let i = 0; i < 4; i++) {
      const { request } = dsseRequest(`${name} ${i}`, listed, keyed(listed.spki));
      const logging = server.post(request);
      most = Math.max(most, turns.underWayCount);
      expect((await logging).status).toBe(201);
      most = Math.max(most, turns.underWayCount);
    }
  };
  const waiting: number[] = [];
  const watch = setInterval(() => waiting.push(turns.waitingCount), 1);
  await Promise.all(Array.from({ length: 12 }, (_, name) => client(name)));
  clearInterval(watch);
  expect(Math.max(...waiting)).toBeGreaterThan(0);
  expect(most).toBeGreaterThan(0);
  expect(server.log.tiles.checkpoint().size).toBe(48n);
  await vi.waitFor(() => expect(answered).toHaveBeenCalledTimes(48));
  await vi.waitFor(() => expect([turns.underWayCount, turns.waitingCount]).toEqual([0, 0]));
});

test('a server that closes does not wait for those that wait', async () => {
  const { turns, works, client, underWay, server } = await serve(1);
  const one = client()('/held/1');
  await underWay(1);
  await client()('/');
  await vi.waitFor(() => expect(turns.waitingCount).toBe(1));
  const closed = new Promise((resolve) => server.close(resolve));
  works[0]?.end();
  expect(await one).toBe(200);
  await closed;
}, 5000);
