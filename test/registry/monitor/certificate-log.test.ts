// SPDX-License-Identifier: Apache-2.0
// What the certificate log serves, read: tree heads by its key alone, data tiles of whole entries alone.

import { expect, test } from 'vitest';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { hashLeaf } from '../../../core/tlog/merkle.ts';
import { formatNote } from '../../../core/tlog/note.ts';
import {
  merkleTreeLeaf,
  tileLeaf,
  treeHead,
  treeHeadKeyId,
  treeHeadSignature,
} from '../../../registry/ct/structures.ts';
import { nodeHasher } from '../../../registry/log/hash-tiles.ts';
import { verifyCertificateHead } from '../../../registry/monitor/checkpoints.ts';
import type { FollowedLog } from '../../../registry/monitor/followed-log.ts';
import { certificateReader, type Sighting } from '../../../registry/monitor/sightings.ts';
import { parseDataTile } from '../../../registry/monitor/tile-leaf.ts';
import { mayBeWatched } from '../../../registry/monitor/watch-list.ts';
import { buildTbs, EMPTY_NAME, OID, randomSerial, signTbs } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { IDENTITY } from './watching.ts';

const ORIGIN = 'ct.acme.example';
const { signer } = newSigner();
const rootHash = new Uint8Array(32).fill(7);
const TIME_MS = Date.UTC(2026, 10, 30);

/** A checkpoint note, of what is signed and what is said. */
function headNote(
  change: { readonly size?: bigint; readonly bend?: (signature: Uint8Array) => Uint8Array } = {},
) {
  const signature = treeHeadSignature(TIME_MS, signer.sign(treeHead(TIME_MS, 5n, rootHash)));
  const keyId = treeHeadKeyId(ORIGIN, signer.spki);
  const text = formatCheckpoint({ origin: ORIGIN, size: change.size ?? 5n, rootHash, extensions: [] });
  const bent = change.bend?.(signature) ?? signature;
  return formatNote({ text, signatures: [{ name: ORIGIN, keyId, signature: bent }] });
}
const fault = (code: string) => expect.objectContaining({ code });

test('a tree head by one of the keys', () => {
  const other = newSigner().signer.spki;
  expect(verifyCertificateHead(headNote(), [other, signer.spki])).toMatchObject({
    origin: ORIGIN,
    size: 5n,
    rootHash,
  });
  expect(() => verifyCertificateHead(headNote(), [other])).toThrow(fault('TLOG_NOTE_UNSIGNED'));
  expect(() => verifyCertificateHead(headNote(), [])).toThrow(fault('TLOG_NOTE_UNSIGNED'));
});

test('of whatever is changed in it, nothing is believed', () => {
  const keys = [signer.spki];
  expect(() => verifyCertificateHead(headNote({ size: 6n }), keys)).toThrow(fault('TLOG_NOTE_SIGNATURE'));
  // The time, the kind of signature, its length, and the signature itself.
  for (const at of [0, 3, 7, 8, 9, 10, 11, 12, 20, 40]) {
    const bend = (signature: Uint8Array) => signature.map((octet, i) => (i === at ? octet ^ 1 : octet));
    expect(() => verifyCertificateHead(headNote({ bend }), keys), `octet ${at}`).toThrow(
      fault('TLOG_NOTE_SIGNATURE'),
    );
  }
  for (const size of [1, 8, 12, 13, 40]) {
    const bend = (signature: Uint8Array) => signature.subarray(0, size);
    expect(() => verifyCertificateHead(headNote({ bend }), keys)).toThrow(fault('TLOG_NOTE_SIGNATURE'));
  }
  const longer = (signature: Uint8Array) => Uint8Array.of(...signature, 0);
  expect(() => verifyCertificateHead(headNote({ bend: longer }), keys)).toThrow(fault('TLOG_NOTE_SIGNATURE'));
});

const precertificate = (n: number) => ({
  der: new Uint8Array(300 + n).fill(n),
  tbs: new Uint8Array(200 + n).fill(n),
  chain: [Uint8Array.of(1), Uint8Array.of(2)],
  issuerKeyHash: new Uint8Array(32).fill(9),
});

test('entries are read as they were written, with the leaves that they stand for', () => {
  const entries = [0, 1, 2].map((n) => tileLeaf(precertificate(n), TIME_MS + n, BigInt(n)));
  const read = parseDataTile(new Uint8Array(Buffer.concat(entries)));
  expect(read).toEqual(
    [0, 1, 2].map((n) => ({
      leafHash: hashLeaf(merkleTreeLeaf(precertificate(n), TIME_MS + n, BigInt(n)), nodeHasher),
      timeMs: TIME_MS + n,
      tbs: precertificate(n).tbs,
      der: precertificate(n).der,
    })),
  );
});

test('a tile that ends anywhere but behind an entry is none, and so is one of another kind', () => {
  const one = tileLeaf(precertificate(1), TIME_MS, 0n);
  const tile = new Uint8Array(Buffer.concat([one, tileLeaf(precertificate(2), TIME_MS, 1n)]));
  for (let size = 1; size < tile.length; size++) {
    expect(parseDataTile(tile.subarray(0, size))?.length, `size ${size}`).toBe(
      size === one.length ? 1 : undefined,
    );
  }
  expect(parseDataTile(one.map((octet, i) => (i === 9 ? 2 : octet)))).toBeUndefined();
  const oddChain = Uint8Array.of(...one.subarray(0, -66), 0, 1, 5);
  expect(parseDataTile(oddChain)).toBeUndefined();
});

test('whose a certificate is says what was logged, not the precertificate that is served beside it', async () => {
  const tbsOf = (identity: string) =>
    buildTbs({
      issuer: EMPTY_NAME,
      subject: EMPTY_NAME,
      spki: signer.spki,
      serial: randomSerial(),
      notBeforeMs: TIME_MS,
      notAfterMs: TIME_MS + 600_000,
      extensions: [
        {
          oid: OID.subjectAltName,
          critical: true,
          value: der.sequence(der.contextPrimitive(6, Buffer.from(identity))),
        },
        { oid: '1.3.6.1.4.1.57264.1.1', value: Buffer.from('https://issuer.example') },
      ],
    });
  const counts = { foreign: 0 };
  const log = {
    name: 'certificates',
    last: { origin: ORIGIN },
    pendingKey: String,
  } as unknown as FollowedLog;
  const list = { identities: [{ issuer: '', name: { whole: IDENTITY } }], keys: [] };
  const reader = certificateReader({ log, list, counts, nowMs: TIME_MS });
  const sightings = async (logged: string, served: string): Promise<Sighting[]> => {
    const [tbs, other] = [tbsOf(logged), await signTbs(tbsOf(served), signer)];
    const tile = tileLeaf({ ...precertificate(1), tbs, der: other }, TIME_MS, 0n);
    const [read] = reader.parse(tile) ?? [];
    if (read === undefined) throw new Error('expected an entry');
    return reader
      .rows(read.entry, 0n, read.leafHash)
      .filter(({ key }) => key === '0')
      .map(({ value }) => JSON.parse(Buffer.from(value ?? []).toString()));
  };
  const [stolen] = await sightings(IDENTITY, 'https://example.com/innocent');
  expect(stolen?.maker).toMatchObject({ identity: IDENTITY, issuer: 'https://issuer.example' });
  expect(Buffer.from(stolen?.entry ?? '', 'base64').includes(IDENTITY)).toBe(true);
  expect(await sightings('https://example.com/innocent', IDENTITY)).toEqual([]);
  expect(counts.foreign).toBe(0);
  // What is none says nothing.
  const nonsense = new Uint8Array(Buffer.from(`0${IDENTITY}`));
  expect(reader.rows({ leafHash: nonsense, timeMs: 0, tbs: nonsense, der: nonsense }, 0n, nonsense)).toEqual(
    [],
  );
  expect(counts.foreign).toBe(1);
});

test('a name that is not ASCII is found too', () => {
  const list = { identities: [{ issuer: '', name: { prefix: 'jürgen!' } }], keys: [] };
  expect(mayBeWatched(list, der.utf8String('jürgen!acme.example'))).toBe(true);
  expect(mayBeWatched(list, der.utf8String('jurgen!acme.example'))).toBe(false);
});
