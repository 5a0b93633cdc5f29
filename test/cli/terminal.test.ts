// SPDX-License-Identifier: Apache-2.0
// What reaches a terminal: text of a registry, a role or a file may not steer it.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { EXIT, printFailure, printLine, printProgress } from '../../cli/terminal.ts';
import { CORE } from '../../core/faults.ts';

const HOSTILE = '\u001b[2J\u001b]0;title\u0007\u202e\u009b1m\r';
const SHOWN = '\\u001b[2J\\u001b]0;title\\u0007\\u202e\\u009b1m\\u000d';
const streams = [process.stdout, process.stderr];
const writes = streams.map((stream) => stream.write);
let said: string;

beforeEach(() => {
  said = '';
  for (const stream of streams) {
    stream.write = (text: string | Uint8Array) => {
      said += text;
      return true;
    };
  }
});
afterEach(() => {
  streams.forEach((stream, i) => {
    stream.write = writes[i] as typeof stream.write;
  });
});

test.each([
  ['a line', () => printLine(HOSTILE), `${SHOWN}\n`],
  ['progress', () => printProgress(HOSTILE), `  ${SHOWN}\n`],
  [
    'a failure',
    () => printFailure(CORE.reject('PACK_MALFORMED', HOSTILE, { at: HOSTILE })),
    `waybill: PACK_MALFORMED: ${SHOWN}\n  at: ${SHOWN}\n  what to do: ${CORE.table.PACK_MALFORMED.remedy}\n`,
  ],
  ['a bug', () => printFailure(HOSTILE), `waybill: this is a bug in Waybill, please report it:\n${SHOWN}\n`],
])('%s shows what would steer the terminal', (_what, print, expected) => {
  print();
  expect(said).toBe(expected);
});

test('line ends and tabs are meant', () => {
  printLine('a\tb\nc');
  expect(said).toBe('a\tb\nc\n');
  expect(printFailure('')).toBe(EXIT.bug);
});
