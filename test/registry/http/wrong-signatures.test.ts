// SPDX-License-Identifier: Apache-2.0
// Wrong signatures cost the one thread of the log; who sends them has a small allowance [docs/spec/registry-api.md §Limits].

import { createHash } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { dsseRequest, hashedRequest, keyed, TYPE } from '../log/log-server.ts';
import { RunningRegistry, refusal } from '../running-registry.ts';
import { answerOn, open } from './raw-requests.ts';

test('who sends wrong signatures to the log is soon not listened to any more, and nobody else is hindered', async () => {
  const { signer } = newSigner();
  const keys = [{ name: 'test', publicKey: Buffer.from(signer.spki).toString('base64') }];
  const limits = { wrongSignaturesPerMinute: 3, trustedProxies: ['127.0.0.1'] };
  const running = await RunningRegistry.start({ keys, limits });
  onTestFinished(() => running.close());
  let count = 0;
  /** With its digest alone. */
  const body = (by: typeof signer): string => {
    const payload = `statement ${count++}`;
    const { signature } = dsseRequest(payload, by, keyed(signer.spki));
    const digest = createHash('sha256')
      .update(preAuthEncoding(TYPE, Buffer.from(payload)))
      .digest();
    return JSON.stringify(hashedRequest(digest, signature, keyed(signer.spki)));
  };
  const post = (client: string, by = signer) => {
    const headers = { 'content-type': 'application/json', 'x-forwarded-for': client };
    return running.send('POST', '/log/api/v2/log/entries', body(by), headers);
  };
  const wrong = async (client: string) => refusal(await post(client, newSigner().signer));
  const refused = { status: 422, code: 'LOG_SIGNATURE_WRONG' };
  // What is accepted does not count, however much it is.
  for (let i = 0; i < 5; i++) expect((await post('192.0.2.1')).status).toBe(201);
  expect([await wrong('192.0.2.1'), await wrong('192.0.2.1')]).toEqual([refused, refused]);
  expect((await post('192.0.2.1')).status).toBe(201);
  expect(await wrong('192.0.2.1')).toEqual(refused);
  const late = await post('192.0.2.1', newSigner().signer);
  expect(refusal(late)).toEqual({ status: 429, code: 'REGISTRY_SIGNATURES_WRONG' });
  expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(Number(late.headers.get('retry-after'))).toBeLessThanOrEqual(60);
  // Nothing of the client is verified now, and all else goes on.
  expect(refusal(await post('192.0.2.1')).status).toBe(429);
  expect((await post('192.0.2.2')).status).toBe(201);
  const read = await running.send('GET', '/log/checkpoint', undefined, { 'x-forwarded-for': '192.0.2.1' });
  expect(read.status).toBe(200);
  // A crowd that comes at once is counted one by one: what is read in one go, too.
  const socket = open(running.url);
  const crowd = Array.from({ length: 60 }, () => {
    const text = body(newSigner().signer);
    const head = 'POST /log/api/v2/log/entries HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.3';
    return `${head}\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  });
  socket.write(crowd.join(''));
  const { text, count: answers } = await answerOn(socket, 3000);
  expect([answers, text.split('LOG_SIGNATURE_WRONG: ').length - 1]).toEqual([60, 3]);
});
