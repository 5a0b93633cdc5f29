// SPDX-License-Identifier: Apache-2.0
// What a failed step did not have: the words of real programs, and the package that brings it.

import { describe, expect, test } from 'vitest';
import type { LockedPackage } from '../../builder/lock-file.ts';
import { describeMissing, findMissing } from '../../builder/missing-input.ts';

const owned = (files: Readonly<Record<string, string>>) => ({
  owners: new Map(
    Object.entries(files).map(([path, name]) => [path, { name } as unknown as LockedPackage] as const),
  ),
});
const avr = owned({ 'usr/bin/avr-gcc': 'gcc-avr', 'usr/lib/avr/include/util/odd.h': 'avr-odd' });

describe('a log names what was missing', () => {
  test.each([
    ['main.c:1:10: fatal error: stdio.h: No such file or directory', 'stdio.h', 'try the package avr-libc'],
    ['/usr/bin/avr-ld: cannot find -lc', '-lc', 'try the package avr-libc'],
    [
      '/usr/bin/avr-ld: cannot find crtatmega328p.o: No such file or directory',
      'crtatmega328p.o',
      'try the package avr-libc',
    ],
    ['/bin/sh: 1: python3: not found', 'python3', 'try the package python3'],
    ['/bin/sh: 3: arm-none-eabi-gcc: not found', 'arm-none-eabi-gcc', 'try the package gcc-arm-none-eabi'],
    ['build.sh: line 4: xxd: command not found', 'xxd', 'try the package xxd'],
    ['make: awk: No such file or directory', 'awk', 'try the package mawk'],
    ["env: 'perl': No such file or directory", 'perl', 'try the package perl'],
    ["make: *** No rule to make target 'src/gone.c', needed by 'all'.  Stop.", 'src/gone.c', undefined],
    ["cp: cannot stat '/opt/sdk/blob.bin': No such file or directory", '/opt/sdk/blob.bin', undefined],
    ['cat: /etc/version: No such file or directory', '/etc/version', undefined],
    [
      'x.c:2:10: fatal error: odd.h: No such file or directory',
      'odd.h',
      'the package avr-odd has /usr/lib/avr/include/util/odd.h',
    ],
  ])('%s', (line, path, hint) => {
    expect(findMissing(`before\n${line}\nafter`, avr)).toEqual([{ path, hint }]);
  });

  test('each once, five at most, and nothing where nothing was missing', () => {
    const lines = [1, 1, 2, 3, 4, 5, 6].map((n) => `/bin/sh: 1: tool${n}: not found`);
    expect(findMissing(lines.join('\n'), avr)).toHaveLength(5);
    expect(describeMissing(findMissing('error: expected expression before } token', avr))).toBe('');
    expect(describeMissing(findMissing(lines[0] as string, avr))).toBe('; it did not find "tool1"');
  });

  test('a header of C without a compiler that we know has no hint', () => {
    expect(findMissing('a.c:1:1: fatal error: stdio.h: No such file or directory', owned({}))).toEqual([
      { path: 'stdio.h', hint: undefined },
    ]);
  });
});
