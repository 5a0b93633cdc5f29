// SPDX-License-Identifier: Apache-2.0
// `waybill trace` against a server that is absent, failing, or not what it should be.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { main } from '../../cli/main.ts';
import { trace } from '../../cli/trace.ts';
import { say } from './command-line.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  vi.restoreAllMocks();
});

/** A server with one answer for everything. */
async function answering(status: number, body: string): Promise<string> {
  server = createServer((_request, response) => response.writeHead(status).end(body));
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const PURL = 'pkg:deb/debian/gcc-avr';
const image = {
  imageSha256: 'ab'.repeat(32),
  product: 'optiboot',
  version: '8.1.0',
  component: 'pkg:deb/debian/gcc-avr@5.4',
  role: 'toolchain',
  usedIn: { step: 'compile', bundleSha256: 'cd'.repeat(32) },
  build: {
    invocationId: 'run-7',
    builderId: 'b',
    step: 'image',
    bundleSha256: 'ef'.repeat(32),
    logIndex: 3,
    signer: { kind: 'certificate', identity: 'https://github.com/example', issuer: 'https://issuer.example' },
    signedAt: '2026-11-22T00:00:00.000Z',
  },
  releases: [
    {
      product: 'optiboot',
      version: '8.1.0',
      releasedAt: '2026-11-22T00:00:00Z',
      withdrawn: { deniedAt: 'then', reason: 'bad' },
    },
  ],
  devices: [
    { deviceId: 'dev-1', reportedAt: 'now', outcome: 'installed', current: false },
    { deviceId: 'dev-2', reportedAt: 'now', outcome: 'refused', current: true },
  ],
};

it('asks about package URLs alone', async () => {
  const asked = await say(['trace', 'gcc-avr', '--registry', 'http://127.0.0.1:9']);
  expect(asked).toMatchObject({ code: 2, out: '' });
  expect(asked.err).toContain(
    'REGISTRY_PURL_MALFORMED: expected a package URL such as pkg:deb/debian/gcc-avr, got "gcc-avr"',
  );
});

it('says whether to try again', async () => {
  const unreachable = { code: 'REGISTRY_UNREACHABLE' };
  await expect(trace(PURL, 'http://127.0.0.1:9')).rejects.toMatchObject(unreachable);
  await expect(trace(PURL, await answering(503, '{}'))).rejects.toMatchObject(unreachable);
  await expect(trace(PURL, await answering(429, '{}'))).rejects.toMatchObject(unreachable);
  const refused = trace(PURL, await answering(400, '{"error":{"code":"X_Y","message":"no"}}'));
  await expect(refused).rejects.toMatchObject({
    code: 'REGISTRY_REFUSED',
    message: expect.stringContaining('X_Y'),
  });
  await expect(trace(PURL, await answering(404, '<html>'))).rejects.toMatchObject({
    code: 'REGISTRY_REFUSED',
  });
});

it.each([
  'nonsense',
  '{"purl":"x","shipsIn":[]}',
  '{"purl":"x","shipsIn":[{"imageSha256":"x"}],"builtWith":[]}',
  JSON.stringify({ purl: 'x\u001b[2J', shipsIn: [], builtWith: [] }),
  JSON.stringify({ purl: 'x', shipsIn: [{ ...image, product: 'a\u202eb' }], builtWith: [] }),
])('refuses the answer %j', async (body) => {
  await expect(trace(PURL, await answering(200, body))).rejects.toMatchObject({
    code: 'REGISTRY_ANSWER_MALFORMED',
  });
});

it.each([
  { releases: [null] },
  { devices: [{ deviceId: 'a' }] },
  { build: {} },
  { build: { ...image.build, signer: { kind: 'certificate' } } },
  { build: { ...image.build, logIndex: 'many' } },
  { product: 7 },
  { role: 'source', usedIn: undefined },
  { releases: [{ version: '1', withdrawn: {} }] },
])('refuses an image with %j', async (change) => {
  const body = JSON.stringify({ purl: 'x', shipsIn: [], builtWith: [{ ...image, ...change }] });
  const url = await answering(200, body);
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  expect(await main(['node', 'waybill', 'trace', PURL, '--registry', url], '0.0.0')).toBe(1);
});

it('does not read an answer without end', async () => {
  server = createServer((_request, response) => {
    const more = () => {
      while (response.write(Buffer.alloc(1 << 20, 0x20)));
    };
    response.on('drain', more);
    more();
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await expect(trace(PURL, url)).rejects.toMatchObject({ code: 'REGISTRY_ANSWER_MALFORMED' });
});

it('prints a table for people and JSON for programs', async () => {
  // Two steps of one build: one block.
  const builtWith = [image, { ...image, usedIn: { ...image.usedIn, step: 'image' } }];
  const url = await answering(200, JSON.stringify({ purl: PURL, shipsIn: [], builtWith }));
  const printed: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0);
  expect(await main(['node', 'waybill', 'trace', PURL, '--registry', url], '0')).toBe(0);
  expect(printed.join('')).toBe(
    [
      'pkg:deb/debian/gcc-avr',
      '',
      'ships in no image that the registry knows',
      '',
      'built with: 1 image',
      '  optiboot 8.1.0  pkg:deb/debian/gcc-avr@5.4',
      `    image    sha256:${'ab'.repeat(32)}`,
      '    as       toolchain of steps compile, image',
      '    build    run-7, step image, log entry 3',
      '    signed   2026-11-22T00:00:00.000Z by https://github.com/example (https://issuer.example)',
      '    release  8.1.0 of 2026-11-22T00:00:00Z, withdrawn then: bad',
      '    device   dev-1: ran it, runs another now; installed it now',
      '    device   dev-2: runs it; refused an update now',
      '',
    ].join('\n'),
  );
  printed.length = 0;
  expect(await main(['node', 'waybill', 'trace', PURL, '--registry', url, '--json'], '0')).toBe(0);
  expect(JSON.parse(printed.join(''))).toEqual({ purl: PURL, shipsIn: [], builtWith });
});
