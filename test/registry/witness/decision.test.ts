// SPDX-License-Identifier: Apache-2.0
// The reader of requests, asked directly: what the HTTP server stops before is stopped here too.

import { expect, test } from 'vitest';
import { parseCosignRequest, REQUEST_SIZE_BYTES_MAX } from '../../../registry/witness/decision.ts';
import { body, witnessedLog } from './witnessed-log.ts';

const log = witnessedLog();
const bytesOf = (text: string) => new TextEncoder().encode(text);

test('a body one byte too large is refused as such, whatever is in it; one of the largest size is read', () => {
  const good = bytesOf(body(0n, [], log.checkpoint(5n)));
  expect(parseCosignRequest(good).oldSize).toBe(0n);
  const padded = new Uint8Array(REQUEST_SIZE_BYTES_MAX + 1).fill(0x20);
  padded.set(good);
  expect(() => parseCosignRequest(padded)).toThrow(
    expect.objectContaining({ code: 'WITNESS_REQUEST_TOO_LARGE' }),
  );
  expect(() => parseCosignRequest(padded.subarray(0, REQUEST_SIZE_BYTES_MAX))).toThrow(
    expect.objectContaining({ code: 'WITNESS_REQUEST_MALFORMED' }),
  );
});
