// SPDX-License-Identifier: Apache-2.0
// Every text of what a verifier reads, made hostile in turn: it refuses with a code, and says nothing that a terminal would obey, nor much.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { hexEncode } from '../../../core/encoding/hex.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { parseDevicePolicy } from '../../../core/release/device-policy.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { attestationVerifier } from '../../../core/verify/attestation-verifier.ts';
import type { Finding } from '../../../core/verify/pack-steps.ts';
import { checkPackSbom, verifyPack } from '../../../core/verify/verify-pack.ts';
import { nodeCrypto as crypto } from '../../../peers/node-crypto.ts';

// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;
const read = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/packs/${name}`, import.meta.url)));
const open = (bytes: Uint8Array): Bent => JSON.parse(Buffer.from(bytes).toString());
const close = (value: Bent) => utf8(JSON.stringify(value));
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

const [pack, root, policy, sbom] = [
  'sound/pack.waybill',
  'trusted_root.json',
  'device-policy.json',
  'sbom.cdx.json',
].map((name) => open(read(name)));
const logPolicy = parseLogPolicy(read('tlog-policy'), crypto);
const nowMs = Date.parse(open(read('question.json')).now);
const bundle = open(utf8(pack.bundles[0].bundle));

const HOSTILE = '\n\u001b[2J\u202ename\u0085\u2028';
const TEXTS = [HOSTILE, HOSTILE.repeat(1000), '\u0000', '__proto__', 'constructor', 'toString'];

/** Each document with one text replaced, lengthened, or made the name of a member. */
function* bent(value: Bent): Generator<Bent> {
  const texts = typeof value === 'string' ? TEXTS.flatMap((text) => [text, value + text]) : TEXTS;
  yield* texts;
  if (value === null || typeof value !== 'object') return;
  for (const name of Object.keys(value)) {
    for (const part of bent(value[name]))
      yield Array.isArray(value) ? value.with(Number(name), part) : { ...value, [name]: part };
    if (!Array.isArray(value)) yield { ...value, [HOSTILE]: value[name] };
  }
}

const verifierFor = (trustedRoot: Bent, keys: readonly Uint8Array[] = []) =>
  attestationVerifier({ trustedRoot: close(trustedRoot), keys }, crypto);
const verifyWith = (packed: Bent, devicePolicy: Bent, run?: Parameters<typeof verifyPack>[3]) => {
  const parsed = parseDevicePolicy(close(devicePolicy));
  const verifier = verifierFor(root, [parsed.gate.publicKey]);
  return verifyPack(close(packed), { trust: { policy: parsed, logPolicy, verifier }, nowMs }, crypto, run);
};

/** What people are told of a pack that holds. */
const told: string[] = [];
const listen = <T>(_: string, check: () => Finding<T>): T => {
  const { value, lines } = check();
  told.push(...lines);
  return value;
};
const sound = verifyWith(pack, policy, listen);
const entry = bundle.verificationMaterial.tlogEntries[0];
const body = open(Buffer.from(entry.canonicalizedBody, 'base64'));

test.each<[string, Bent, (value: Bent) => unknown]>([
  ['pack', pack, (value) => verifyWith(value, policy, listen)],
  ['bundle', bundle, (value) => verifierFor(root).verify(close(value))],
  [
    'log entry',
    body,
    (value) => {
      const tlogEntries = [{ ...entry, canonicalizedBody: base64(close(value)) }];
      const verificationMaterial = { ...bundle.verificationMaterial, tlogEntries };
      return verifierFor(root).verify(close({ ...bundle, verificationMaterial }));
    },
  ],
  ['trusted root', root, (value) => verifierFor(value).verify(close(bundle))],
  ['device policy', policy, (value) => verifyWith(pack, value, listen)],
  [
    'SBOM',
    sbom,
    (value) => {
      const bytes = close(value);
      const bound = { ...sound.sbom, sha256: hexEncode(crypto.sha256(bytes)) };
      return checkPackSbom({ ...sound, sbom: bound }, bytes, crypto);
    },
  ],
])('%s', (_, document, verify) => {
  verify(document);
  let refused = 0;
  for (const value of bent(document)) {
    try {
      verify(value);
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
      refused++;
      told.push(failure.message, failure.at ?? '');
    }
  }
  expect(refused).toBeGreaterThan(20);
  expect(told.filter((text) => /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text) || text.length > 2000)).toEqual([]);
});
