// SPDX-License-Identifier: Apache-2.0
// Enrolment and reports of devices, and each way in which they are refused.

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { buildInstallReport, type InstallReport } from '../../core/intoto/install-report.ts';
import { formatStatement, PAYLOAD_TYPE } from '../../core/intoto/statement.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { newP256, RunningRegistry, refusal } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

let running: RunningRegistry;
let token: string;
beforeAll(async () => {
  running = await RunningRegistry.start();
  token = (await readFile(join(running.dataFolder, 'keys', 'enrolment.token'), 'utf8')).trim();
});
afterAll(() => running.close());

const b64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const device = newP256();
const claimOf = (change: Record<string, Json> = {}) => ({
  deviceId: 'dev-1',
  product: 'optiboot',
  hardwareId: 'uno-r3',
  publicKey: b64(device.spki),
  ...change,
});

/** Enrols; the proof is made with `key` over the claim, unless `proof` is given. */
async function enrol(claim = claimOf(), key: KeyObject = device.key, bearer = token, proof?: string) {
  const signature = proof ?? b64(sign('sha256', canonicalJsonBytes(claim), key));
  const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' };
  return running.send('POST', '/api/v1/devices', JSON.stringify({ ...claim, proof: signature }), headers);
}

const reportOf = (change: Partial<InstallReport> = {}): InstallReport => ({
  deviceId: 'dev-1',
  product: 'optiboot',
  counter: 1,
  outcome: 'installed',
  imageSha256: sha256('image'),
  version: '8.1.0',
  reportedAtMs: Date.UTC(2026, 10, 22),
  ...change,
});

function envelope(report: InstallReport, key: KeyObject = device.key): Record<string, Json> {
  const payload = formatStatement(buildInstallReport(report, new Date(report.reportedAtMs).toISOString()));
  const sig = b64(sign('sha256', preAuthEncoding(PAYLOAD_TYPE, payload), key));
  return { payloadType: PAYLOAD_TYPE, payload: b64(payload), signatures: [{ sig, keyid: 'any' }] };
}

const send = (report: Record<string, Json>, id = 'dev-1') =>
  running.send('POST', `/api/v1/devices/${id}/reports`, JSON.stringify(report));

describe('enrolment', () => {
  it('takes a device once, and the same again', async () => {
    expect((await enrol()).status).toBe(201);
    expect((await enrol()).status).toBe(200);
    expect((await running.send('GET', '/api/v1/devices/dev-1')).json).toEqual({
      ...claimOf(),
      enrolledAt: expect.stringMatching(/^2/),
    });
  });

  it('lists devices by product', async () => {
    const other = newP256();
    await enrol(claimOf({ deviceId: 'dev-9', product: 'other', publicKey: b64(other.spki) }), other.key);
    const ids = async (query: string) =>
      (
        (await running.send('GET', `/api/v1/devices${query}`)).json as { devices: { deviceId: string }[] }
      ).devices.map((each) => each.deviceId);
    expect(await ids('')).toEqual(['dev-1', 'dev-9']);
    expect(await ids('?product=other')).toEqual(['dev-9']);
    expect(await ids('?product=none')).toEqual([]);
    const answer = await running.send('GET', '/api/v1/devices?product=..');
    expect(refusal(answer)).toEqual({ status: 400, code: 'REGISTRY_REQUEST_MALFORMED' });
  });

  const refused = async (answer: ReturnType<typeof enrol>, status: number, code: string) =>
    expect(refusal(await answer)).toEqual({ status, code });

  it('asks for the token', async () => {
    for (const bearer of ['', 'x', `${token}x`, token.slice(1), token.toLowerCase()]) {
      await refused(
        enrol(claimOf({ deviceId: 'dev-2' }), device.key, bearer),
        401,
        'DEVICE_ENROL_UNAUTHORIZED',
      );
    }
    const bare = running.send('POST', '/api/v1/devices', '{}', { authorization: token });
    await refused(bare, 401, 'DEVICE_ENROL_UNAUTHORIZED');
  });

  it('asks for the documented form', async () => {
    for (const change of [
      { deviceId: '../x' },
      { product: 'No' },
      { hardwareId: 'a b' },
      { publicKey: '!' },
      { extra: 1 },
    ]) {
      await refused(enrol(claimOf(change as Record<string, Json>)), 400, 'DEVICE_ENROL_MALFORMED');
    }
  });

  it('asks for a P-256 key', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const spki = b64(publicKey.export({ type: 'spki', format: 'der' }));
    await refused(
      enrol(claimOf({ publicKey: spki }), privateKey, token, 'AAAA'),
      422,
      'DEVICE_ENROL_KEY_UNSUITABLE',
    );
    const trailing = b64(Buffer.concat([device.spki, Buffer.from([0])]));
    await refused(enrol(claimOf({ publicKey: trailing })), 422, 'DEVICE_ENROL_KEY_UNSUITABLE');
  });

  it('asks for a proof by that key over that claim', async () => {
    const code = 'DEVICE_ENROL_PROOF_WRONG';
    await refused(enrol(claimOf({ deviceId: 'dev-3' }), newP256().key), 422, code);
    const proof = b64(sign('sha256', canonicalJsonBytes(claimOf({ deviceId: 'dev-4' })), device.key));
    await refused(enrol(claimOf({ deviceId: 'dev-3' }), device.key, token, proof), 422, code);
    await refused(enrol(claimOf({ deviceId: 'dev-3' }), device.key, token, 'AAAA'), 422, code);
  });

  it('never changes key, product or hardware of a known id', async () => {
    const other = newP256();
    await refused(enrol(claimOf({ publicKey: b64(other.spki) }), other.key), 409, 'DEVICE_ENROL_CONFLICT');
    await refused(enrol(claimOf({ product: 'other' })), 409, 'DEVICE_ENROL_CONFLICT');
    await refused(enrol(claimOf({ hardwareId: 'mega' })), 409, 'DEVICE_ENROL_CONFLICT');
  });
});

describe('reports', () => {
  const refused = async (answer: ReturnType<typeof send>, status: number, code: string) =>
    expect(refusal(await answer)).toEqual({ status, code });

  it('are taken in the order of their counter, and kept', async () => {
    const first = envelope(reportOf());
    const answer = await send(first);
    expect([answer.status, answer.json]).toEqual([
      201,
      { sha256: sha256(JSON.stringify(first)), counter: 1 },
    ]);
    expect((await send(envelope(reportOf({ counter: 5, previousSha256: sha256('old') })))).status).toBe(201);
    await running.restart();
    const { lastReport } = (await running.send('GET', '/api/v1/devices/dev-1')).json as {
      lastReport: InstallReport;
    };
    expect(lastReport).toMatchObject({ counter: 5, outcome: 'installed', previousSha256: sha256('old') });
  });

  it('are refused the second time, and when the counter stands still or goes back', async () => {
    for (const counter of [5, 4, 1]) {
      await refused(send(envelope(reportOf({ counter }))), 409, 'DEVICE_REPORT_REPLAYED');
    }
  });

  it('are refused when two of one counter come at once, but for one', async () => {
    const answers = await Promise.all(
      [1, 2, 3].map((n) => send(envelope(reportOf({ counter: 6, imageSha256: sha256(`image ${n}`) })))),
    );
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 409, 409]);
  });

  it('are refused under another key, or edited', async () => {
    const code = 'DEVICE_REPORT_SIGNATURE_WRONG';
    await refused(send(envelope(reportOf({ counter: 9 }), newP256().key)), 403, code);
    const edited = {
      ...envelope(reportOf({ counter: 9 })),
      payload: envelope(reportOf({ counter: 10 })).payload ?? '',
    };
    await refused(send(edited), 403, code);
  });

  it('are refused when they speak of another device or product', async () => {
    const code = 'DEVICE_REPORT_MISMATCH';
    await refused(send(envelope(reportOf({ counter: 9, deviceId: 'dev-9' }))), 422, code);
    await refused(send(envelope(reportOf({ counter: 9, product: 'other' }))), 422, code);
  });

  it('are refused from devices that nobody enrolled', async () => {
    await refused(send(envelope(reportOf()), 'dev-7'), 404, 'DEVICE_UNKNOWN');
    await refused(running.send('GET', '/api/v1/devices/..%2fdev'), 404, 'DEVICE_UNKNOWN');
  });

  it('are refused when they are no envelopes, or no reports', async () => {
    const code = 'DEVICE_REPORT_ENVELOPE_MALFORMED';
    const sound = envelope(reportOf({ counter: 9 }));
    const [signature = {}] = sound.signatures as Json[];
    await refused(send({ ...sound, signatures: [] }), 400, code);
    await refused(send({ ...sound, signatures: [signature, signature] }), 400, code);
    await refused(send({ ...sound, payloadType: 'text/plain' }), 400, code);
    await refused(send({ ...sound, payload: '*' }), 400, code);
    const unread = canonicalJsonBytes({ _type: 'https://in-toto.io/Statement/v1' });
    const sig = b64(sign('sha256', preAuthEncoding(PAYLOAD_TYPE, unread), device.key));
    await refused(
      send({ ...sound, payload: b64(unread), signatures: [{ sig }] }),
      400,
      'INTOTO_STATEMENT_MALFORMED',
    );
  });
});
