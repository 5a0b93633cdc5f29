// SPDX-License-Identifier: Apache-2.0
// Runs a command line as a user would, in a process of its own.

import { execFile } from 'node:child_process';

const WAYBILL = new URL('../../cli/waybill.js', import.meta.url).pathname;

/** Exit code and output of one command line. */
export function waybill(...words: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [WAYBILL, ...words], { env: process.env }, (failure, out, err) => {
      resolve({ code: typeof failure?.code === 'number' ? failure.code : 0, out, err });
    });
  });
}
