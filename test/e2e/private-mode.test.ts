// SPDX-License-Identifier: Apache-2.0
// With private configuration not one packet leaves: the whole road, both builds, both witnesses and the device included, runs where there
// is no route, and nothing on it so much as tries to reach another machine.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from '../../examples/demo/command-line.ts';
import { readTrace, runCutOff } from './cut-off.ts';

const EXAMPLE = fileURLToPath(new URL('../../examples/optiboot/waybill.yaml', import.meta.url));
const ROAD = fileURLToPath(new URL('./private-road.ts', import.meta.url));
const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

const hasIpv6 = existsSync('/proc/net/if_inet6');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-private-'));
  // Fetches what the example's lock names, if it is not in the cache yet: from a mirror, which is no part of Waybill.
  const cli = new CommandLine(process.env as Record<string, string>);
  await cli.must(['build', EXAMPLE, '--out', join(folder, 'warm')]);
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

test('whoever tries to reach another machine is seen, in this process or below', async () => {
  const tries = `
    import { execFileSync } from 'node:child_process';
    import { createSocket } from 'node:dgram';
    import { Resolver } from 'node:dns';
    import { connect } from 'node:net';
    const nothing = () => {};
    connect(443, '192.0.2.1').on('error', nothing);
    connect(443, '2001:db8::1').on('error', nothing);
    connect('${join(folder, 'daemon')}').on('error', nothing);
    createSocket('udp4').on('error', nothing).send('x', 9, '198.51.100.1', nothing);
    new Resolver({ timeout: 100, tries: 1 }).resolve4('registry.invalid', nothing);
    const trace = ['trace', 'pkg:deb/debian/gcc-avr', '--registry', 'https://203.0.113.1'];
    try {
      execFileSync(process.execPath, ['${WAYBILL}', ...trace], { stdio: 'ignore' });
    } catch {}
    setTimeout(() => process.exit(), 100);`;
  const said = await runCutOff(
    [process.execPath, '--input-type=module', '-e', tries],
    join(folder, 'control.trace'),
  );
  expect(said).toMatchObject({ exitCode: 0, text: '' });
  expect(said.outside).toEqual(
    expect.arrayContaining([
      '192.0.2.1 443',
      ...(hasIpv6 ? ['2001:db8::1 443'] : []),
      '198.51.100.1 9',
      '203.0.113.1 443',
      expect.stringMatching(/ 53$/),
    ]),
  );
  expect(said.unroutedCount).toBeGreaterThanOrEqual(3);
}, 60_000);

test('addresses are read out of every form that a trace has', () => {
  const lines = [
    '7 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
    '7 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("192.0.2.1")}, 16 <unfinished ...>',
    '7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
    '7 connect(3, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
    '7 connect(3, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::2", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH (Network is unreachable)',
    '7 sendmmsg(3, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.3")}, msg_namelen=16}}], 1, 0) = 1',
    '7 sendto(3, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.4")}, 16) = 1',
    '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/nobody"}, 110) = -1 ENOENT (No such file or directory)',
    '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/somebody"}, 110) = 0',
    '7 sendto(3, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20',
  ];
  expect(readTrace(lines.join('\n'))).toEqual({
    within: ['127.0.0.1 1', '::1 1'],
    outside: [
      '192.0.2.1 1',
      '127.0.0.53 53',
      '2001:db8::2 1',
      '192.0.2.3 53',
      '192.0.2.4 53',
      '/run/somebody',
    ],
  });
});

test('the road from source to device needs no other machine, and asks none', async () => {
  const said = await runCutOff([process.execPath, ROAD, join(folder, 'road')], join(folder, 'road.trace'));
  expect(said.text).toBe('{"devices":["lo"],"routes":0,"releases":["8.0.0","8.1.0"]}\n');
  expect(said.exitCode).toBe(0);
  expect(said.outside).toEqual([]);
  expect(said.unroutedCount).toBe(0);
  const addresses = said.within.map((one) => one.split(' ')[0]);
  expect(new Set(addresses)).toEqual(new Set(['127.0.0.1']));
  // The registry, its two witnesses and the CI's issuer.
  expect(addresses.length).toBeGreaterThanOrEqual(4);
}, 300_000);
