// SPDX-License-Identifier: Apache-2.0
// A clock that jumps by hours and years between requests and across restarts: nothing is issued outside the window of what it is issued
// under, and no checkpoint is older than the last.

import { createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { TimeStampResp } from 'pkijs';
import { expect, onTestFinished, test } from 'vitest';
import { issueCertificate, LEAF_LIFE_MS } from '../../../registry/ca/certificate-authority.ts';
import { CtLog } from '../../../registry/ct/ct-log.ts';
import { verifyTreeHeadNote } from '../../../registry/ct/stored-entry.ts';
import { LogHead } from '../../../registry/log/log-head.ts';
import type { Authority } from '../../../registry/trust/authority.ts';
import { createTrustServices, openTrustServices } from '../../../registry/trust/services.ts';
import type { P256Signer } from '../../../registry/trust/signer.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { makeTimestamp } from '../../../registry/tsa/timestamp-authority.ts';

const START_MS = Date.parse('2026-11-30T12:00:00Z');
const HOUR_MS = 3_600_000;
const YEAR_MS = 365.25 * 24 * HOUR_MS;
/** From the start on. */
const JUMPS_MS = [
  ...[0, HOUR_MS, -1, HOUR_MS + 700, 1, YEAR_MS, 2 * HOUR_MS, -3 * YEAR_MS, 9.9 * YEAR_MS, 24 * HOUR_MS],
  ...[
    10 * YEAR_MS - LEAF_LIFE_MS,
    10 * YEAR_MS - LEAF_LIFE_MS + 1000,
    11 * YEAR_MS,
    3 * HOUR_MS,
    40 * YEAR_MS,
    5,
  ],
];

async function house() {
  const home = await mkdtemp(join(tmpdir(), 'waybill-clock-'));
  onTestFinished(() => rm(home, { recursive: true }));
  const folder = join(home, 'data');
  const { names } = await createTrustServices({
    folder,
    offlineFolder: join(home, 'offline'),
    org: 'waybill',
    now: START_MS,
  });
  const { ca, tsa, ct } = await openTrustServices(folder);
  const services = { ca: ca[0] as Authority, tsa: tsa[0] as Authority, ct: ct[0] as P256Signer };
  const clock = { ms: START_MS };
  const open = async () => {
    const db = new Level<string, Uint8Array>(join(home, 'db'));
    const ctLog = await CtLog.open({
      db: db as never,
      head: LogHead.in(join(home, 'heads'), names.ct),
      origin: names.ct,
      signer: services.ct,
      issuers: services.ca.chain,
      clock: () => clock.ms,
    });
    const close = async () => {
      await ctLog.close();
      await db.close();
    };
    return { ctLog, close };
  };
  return { names, services, clock, open };
}

function newKey() {
  const { spki } = newSigner().signer;
  return { spki, key: createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }) };
}

/** When a certificate or timestamp may be given. */
const isWithin = (nowMs: number, lifeMs: number) =>
  nowMs >= START_MS && Math.floor(nowMs / 1000) * 1000 + lifeMs <= START_MS + 10 * YEAR_MS;

test.each([true, false])(
  'certificates, their SCTs and checkpoints of the certificate log (restarted: %s)',
  async (restarts) => {
    const { names, services, clock, open } = await house();
    let running = await open();
    let lastMs = 0;
    const given: boolean[] = [];
    for (const jumpMs of JUMPS_MS) {
      clock.ms = START_MS + jumpMs;
      if (restarts) {
        await running.close();
        running = await open();
      }
      const { ctLog } = running;
      const before = ctLog.tiles.checkpoint();
      const issuance = { authority: services.ca, ctLog, clock: () => clock.ms };
      const identity = { san: 'https://example.com/x', extensions: [] } as never;
      const issued = await issueCertificate(issuance, identity, newKey()).catch((failure) => {
        expect(failure).toMatchObject({ code: 'CA_CHAIN_NOT_VALID' });
      });
      given.push(issued !== undefined);
      expect([jumpMs, issued !== undefined]).toEqual([jumpMs, isWithin(clock.ms, LEAF_LIFE_MS)]);
      const { size, note } = ctLog.tiles.checkpoint();
      const timeMs = verifyTreeHeadNote(note, names.ct, services.ct.spki);
      expect(timeMs).toBeGreaterThanOrEqual(lastMs);
      lastMs = timeMs;
      if (issued === undefined) {
        expect(ctLog.tiles.checkpoint()).toEqual(before);
        continue;
      }
      expect(size).toBe(before.size + 1n);
      const [leaf, intermediate] = issued.map((pem) => new X509Certificate(pem)) as [
        X509Certificate,
        X509Certificate,
      ];
      const span = ({ validFromDate, validToDate }: X509Certificate) => [
        validFromDate.getTime(),
        validToDate.getTime(),
      ];
      const [from = 0, to = 0] = span(leaf);
      const [authorityFrom = 0, authorityTo = 0] = span(intermediate);
      const merkleLeaf = Buffer.from((await ctLog.tiles.leafBytes(size - 1n)) ?? []);
      const sctMs = Number(merkleLeaf.readBigUInt64BE(2));
      // In order; and the tree that holds the entry is not older than the entry.
      const times = [authorityFrom, from, sctMs, to, authorityTo];
      expect(times.toSorted((a, b) => a - b)).toEqual(times);
      expect(timeMs).toBeGreaterThanOrEqual(sctMs);
    }
    await running.close();
    expect(given.filter(Boolean).length).toBeGreaterThan(8);
    expect(given.filter((each) => !each).length).toBeGreaterThan(3);
  },
);

test('a clock that jumps while a certificate is made: its SCT lies within it, and the tree that holds it is no older', async () => {
  const { names, services, clock, open } = await house();
  const { ctLog, close } = await open();
  for (const jumpMs of [-HOUR_MS, HOUR_MS, -YEAR_MS, YEAR_MS]) {
    const issuedMs = START_MS + 2 * YEAR_MS + Number(ctLog.tiles.checkpoint().size) * 1500;
    clock.ms = issuedMs;
    const jumping = () => {
      const nowMs = clock.ms;
      clock.ms += jumpMs;
      return nowMs;
    };
    const identity = { san: 'https://example.com/x', extensions: [] } as never;
    await issueCertificate({ authority: services.ca, ctLog, clock: jumping }, identity, newKey());
    const { size, note } = ctLog.tiles.checkpoint();
    const merkleLeaf = Buffer.from((await ctLog.tiles.leafBytes(size - 1n)) ?? []);
    expect(Number(merkleLeaf.readBigUInt64BE(2))).toBe(issuedMs);
    expect(verifyTreeHeadNote(note, names.ct, services.ct.spki)).toBeGreaterThanOrEqual(issuedMs);
  }
  await close();
});

test('timestamps say what the clock says, and none is given outside the life of the authority', async () => {
  const { services, clock } = await house();
  const request = { digest: new Uint8Array(32), nonce: undefined, withCertificates: false };
  const refused: number[] = [];
  for (const jumpMs of JUMPS_MS) {
    clock.ms = START_MS + jumpMs;
    const made = await makeTimestamp(services.tsa, request as never, clock.ms).catch((failure) => {
      expect(failure).toMatchObject({ code: 'CA_CHAIN_NOT_VALID' });
    });
    if (made === undefined) {
      refused.push(jumpMs);
      continue;
    }
    // The time is the one GeneralizedTime in it that is no certificate's.
    const genTime = /\x18\x0f(\d{14})Z/.exec(Buffer.from(made).toString('latin1'))?.[1];
    expect(genTime).toBe(new Date(clock.ms).toISOString().slice(0, 19).replace(/[-:T]/g, ''));
    expect(TimeStampResp.fromBER(made).status.status).toBe(0);
  }
  expect(refused).toEqual(JUMPS_MS.filter((jumpMs) => jumpMs < 0 || jumpMs > 10 * YEAR_MS));
});
