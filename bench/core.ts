// SPDX-License-Identifier: Apache-2.0
// core against what Node has built in: strict JSON, SHA-256, and the two signature schemes.

import { createHash, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { portableCrypto } from '../core/crypto.ts';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { type Figure, figure, runsPerSecond } from './figure.ts';

const ROUNDS = { rounds: 5, roundMs: 150 };
const MIB = 1024 * 1024;

/** Figures of core. @throws Error if the two sides disagree, which would make the comparison void */
export async function bench(): Promise<Figure[]> {
  return [strictJson(), hashing(), ...signatures()];
}

/** A document with the shape of a CycloneDX SBOM, a little over 1 MiB. */
function sbomLikeDocument(): Uint8Array {
  const components = Array.from({ length: 3400 }, (_, i) => ({
    type: 'library',
    'bom-ref': `pkg:deb/debian/lib${i}@1.${i}.0-2?arch=amd64`,
    name: `lib${i}`,
    version: `1.${i}.0-2`,
    hashes: [{ alg: 'SHA-256', content: createHash('sha256').update(String(i)).digest('hex') }],
    licenses: [{ expression: 'GPL-2.0-or-later WITH Classpath-exception-2.0' }],
    description: `Übersetzung "${i}" \\ of a library`,
  }));
  return new TextEncoder().encode(JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', components }));
}

function strictJson(): Figure {
  const bytes = sbomLikeDocument();
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const ours = parseStrictJson(bytes);
  const theirs = JSON.parse(decoder.decode(bytes));
  if ('problem' in ours || JSON.stringify(ours.value) !== JSON.stringify(theirs)) {
    throw new Error('expected both parsers to read the same document');
  }
  const [mine = 0, builtIn = 0] = runsPerSecond(
    [() => parseStrictJson(bytes), () => JSON.parse(decoder.decode(bytes))],
    ROUNDS,
  );
  return figure({
    name: 'strict JSON, SBOM of 1 MiB',
    value: (mine * bytes.length) / MIB,
    unit: 'MiB/s',
    better: 'larger',
    rival: 'TextDecoder and JSON.parse',
    rivalValue: (builtIn * bytes.length) / MIB,
    // It refuses duplicate names and inexact numbers, which the built-in one cannot be asked to do.
    target: 0.1,
  });
}

function hashing(): Figure {
  const bytes = new Uint8Array(MIB).map((_, i) => (i * 31) & 0xff);
  const [mine = 0, native = 0] = runsPerSecond(
    [() => portableCrypto.sha256(bytes), () => createHash('sha256').update(bytes).digest()],
    ROUNDS,
  );
  return figure({
    name: 'SHA-256, portable, 1 MiB',
    value: mine,
    unit: 'MiB/s',
    better: 'larger',
    rival: 'node:crypto',
    rivalValue: native,
    target: 0.05,
  });
}

function signatures(): Figure[] {
  const message = new Uint8Array(1200).fill(7);
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ed25519 = generateKeyPairSync('ed25519');
  const p256Signature = new Uint8Array(sign('sha256', message, p256.privateKey));
  const edSignature = new Uint8Array(sign(null, message, ed25519.privateKey));
  const spki = exportSpki(p256.publicKey);
  const raw = exportSpki(ed25519.publicKey).subarray(-32);
  return [
    verification({
      name: 'ECDSA P-256 verify, portable',
      portable: () => portableCrypto.verifyP256(spki, message, p256Signature),
      native: () => verify('sha256', message, p256.publicKey, p256Signature),
    }),
    verification({
      name: 'Ed25519 verify, portable',
      portable: () => portableCrypto.verifyEd25519(raw, message, edSignature),
      native: () => verify(null, message, ed25519.publicKey, edSignature),
    }),
  ];
}

function exportSpki(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
}

function verification(pair: { name: string; portable: () => boolean; native: () => boolean }): Figure {
  if (!pair.portable() || !pair.native()) throw new Error(`${pair.name}: expected both sides to accept`);
  const [mine = 0, native = 0] = runsPerSecond([pair.portable, pair.native], ROUNDS);
  return figure({
    name: pair.name,
    value: mine,
    unit: 'per second',
    better: 'larger',
    rival: 'node:crypto',
    rivalValue: native,
    target: 0.02,
  });
}
