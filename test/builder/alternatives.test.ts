// SPDX-License-Identifier: Apache-2.0
// Links of update-alternatives: read from maintainer scripts as Debian ships them, made in a root without running them.

import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { linkAlternatives, parseAlternatives } from '../../builder/alternatives.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-alternatives-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

test('commands that are written out in full are read, others are left', () => {
  // As in gcc, libnewlib-dev and mawk of Debian 12.
  const groups = parseAlternatives(`#!/bin/sh
update-alternatives --quiet \\
    --install /usr/bin/cc cc /usr/bin/gcc 20 \\
    #--slave /usr/share/man/man1/cc.1.gz cc.1.gz /usr/share/man/man1/gcc.1.gz
update-alternatives --quiet --install \\
    /usr/lib/arm-none-eabi/include \\
    gcc-arm-none-eabi-include \\
    /usr/include/newlib 30
if [ "$1" = "configure" ]; then
        update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\
            --slave /usr/bin/nawk nawk /usr/bin/mawk
fi
update-alternatives --install $LINK name /usr/bin/x 1
update-alternatives --install /usr/bin/../../etc/x name /usr/bin/x 1
update-alternatives --install /usr/bin/x ../name /usr/bin/x 1
update-alternatives --install /usr/bin/x name /usr/bin/x many
update-alternatives --remove cc /usr/bin/gcc
`);
  expect(
    groups.map(({ priority, links }) => [priority, ...links.map(({ link, path }) => `${link} ${path}`)]),
  ).toEqual([
    [20, '/usr/bin/cc /usr/bin/gcc'],
    [30, '/usr/lib/arm-none-eabi/include /usr/include/newlib'],
    [5, '/usr/bin/awk /usr/bin/mawk', '/usr/bin/nawk /usr/bin/mawk'],
  ]);
});

let packed = 0;
function deb(name: string, postinst: string): { name: string; file: string } {
  const tree = join(base, `tree-${++packed}`);
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  const control = `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@waybill.example>\nDescription: t\n`;
  writeFileSync(join(tree, 'DEBIAN/control'), control);
  writeFileSync(join(tree, 'DEBIAN/postinst'), postinst, { mode: 0o755 });
  const file = join(base, `${name}.deb`);
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', '-Znone', tree, file], { stdio: 'ignore' });
  return { name, file };
}
function makeRoot(files: readonly string[]): string {
  const root = mkdtempSync(join(base, 'root-'));
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), file);
  }
  return root;
}

test('the highest priority wins, what leads to nothing is left out, and a link means the same from outside', async () => {
  const root = makeRoot([
    'usr/bin/mawk',
    'usr/bin/gawk',
    'usr/include/newlib/stdio.h',
    'usr/lib/arm/x',
    'usr/bin/taken',
  ]);
  const made = await linkAlternatives(root, [
    deb('gawk', 'update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10\n'),
    deb('mawk', 'update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5\n'),
    deb('newlib', 'update-alternatives --install /usr/lib/arm/include arm-include /usr/include/newlib 30\n'),
    deb('nothing', 'update-alternatives --install /usr/bin/none none /usr/bin/absent 1\n'),
    deb('taken', 'update-alternatives --install /usr/bin/taken taken /usr/bin/mawk 1\n'),
  ]);
  expect(readFileSync(join(root, 'usr/bin/awk'), 'utf8')).toBe('usr/bin/gawk');
  expect(readFileSync(join(root, 'usr/lib/arm/include/stdio.h'), 'utf8')).toBe('usr/include/newlib/stdio.h');
  expect(readFileSync(join(root, 'usr/bin/taken'), 'utf8')).toBe('usr/bin/taken');
  expect(readlinkSync(join(root, 'usr/bin/awk'))).toBe('../../etc/alternatives/awk');
  expect(Object.fromEntries(made)).toMatchObject({
    gawk: ['etc/alternatives/awk', 'usr/bin/awk'],
    newlib: ['etc/alternatives/arm-include', 'usr/lib/arm/include'],
    nothing: [],
  });
});

test('no link of a package leads one onto the host', async () => {
  const host = mkdtempSync(join(base, 'host-'));
  const evil = deb('evil', 'update-alternatives --install /opt/out/x x /usr/bin/mawk 1\n');
  const root = makeRoot(['usr/bin/mawk', 'opt/y']);
  symlinkSync(host, join(root, 'opt/out'));
  await linkAlternatives(root, [evil]);
  const other = makeRoot(['usr/bin/mawk', 'opt/out/y', 'etc/y']);
  symlinkSync(host, join(other, 'etc/alternatives'));
  await linkAlternatives(other, [evil]);
  expect(execFileSync('ls', ['-A', host], { encoding: 'utf8' })).toBe('');
});
