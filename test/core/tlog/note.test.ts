// SPDX-License-Identifier: Apache-2.0
// Signed notes, verifier keys and checkpoints: round trips, refusals by code, and what an unknown key may do (nothing).

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { Rejection } from '../../../core/faults.ts';
import { formatCheckpoint, parseCheckpoint, verifyCheckpoint } from '../../../core/tlog/checkpoint.ts';
import {
  ED25519_NOTE,
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  type NoteSignature,
  noteKeyId,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
  verifyNote,
} from '../../../core/tlog/note.ts';
import { codeOf } from './refusal.ts';

interface Signer {
  readonly key: VerifierKey;
  readonly sign: (text: string) => NoteSignature;
}

function signer(
  name: string,
  pair: { privateKey: KeyObject; publicKey: KeyObject } = generateKeyPairSync('ed25519'),
): Signer {
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const keyId = noteKeyId(name, ED25519_NOTE, publicKey, portableCrypto);
  return {
    key: { name, keyId, type: ED25519_NOTE, publicKey },
    sign: (text) => ({
      name,
      keyId,
      signature: new Uint8Array(sign(null, Buffer.from(text), pair.privateKey)),
    }),
  };
}

const log = signer('log.example');
const other = signer('other.example');
const text = 'log.example\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n';
const note = (...signatures: NoteSignature[]) => formatNote({ text, signatures });
const verify = (n: string, ...keys: VerifierKey[]) => verifyNote(parseNote(n), keys, portableCrypto);

describe('verification of notes', () => {
  test('ignores unknown keys and says who signed', () => {
    const verified = verify(note(other.sign(text), log.sign(text), log.sign(text)), log.key);
    expect(verified).toEqual({ text, signedBy: [log.key] });
    expect(verify(note(other.sign(text), log.sign(text)), log.key, other.key).signedBy).toHaveLength(2);
  });

  test('a note that only unknown keys signed is refused, and so is one without any key to verify it', () => {
    expect(codeOf(() => verify(note(other.sign(text)), log.key))).toBe('TLOG_NOTE_UNSIGNED');
    expect(codeOf(() => verify(note(log.sign(text))))).toBe('TLOG_NOTE_UNSIGNED');
  });

  test('a known key that fails refuses the note, whoever else signed', () => {
    const forged = { ...log.sign(text), signature: other.sign(text).signature };
    expect(codeOf(() => verify(note(other.sign(text), forged), log.key, other.key))).toBe(
      'TLOG_NOTE_SIGNATURE',
    );
    expect(codeOf(() => verify(note(log.sign(`${text}x`)), log.key))).toBe('TLOG_NOTE_SIGNATURE');
  });

  test('the name counts as much as the key id', () => {
    const renamed = { ...log.sign(text), name: 'evil.example' };
    expect(codeOf(() => verify(note(renamed), log.key))).toBe('TLOG_NOTE_UNSIGNED');
    const misnumbered = { ...log.sign(text), keyId: '00000000' };
    expect(codeOf(() => verify(note(misnumbered), log.key))).toBe('TLOG_NOTE_UNSIGNED');
  });

  test('keys that share name and id are all tried', () => {
    const twin = { ...other.key, name: log.key.name, keyId: log.key.keyId };
    expect(verify(note(log.sign(text)), twin, log.key).signedBy).toEqual([log.key]);
  });

  test('keys of another kind are refused', () => {
    const witness = { ...log.key, type: 4 };
    expect(codeOf(() => verify(note(log.sign(text)), witness))).toBe('TLOG_KEY_UNSUPPORTED');
  });
});

describe('the form of notes', () => {
  const line = formatSignatureLine(log.sign(text));
  test.each([
    ['', 'no text'],
    [text, 'no signature'],
    [`${text}\n`, 'no signature line'],
    [`${text}\n${line.trimEnd()}`, 'no newline at the end'],
    [`${text}\n${line}${line}more\n`, 'a line that is no signature'],
    [`${text}\n${line.replace('—', '-')}`, 'a hyphen for the dash'],
    [`${text}\n${line.replace('log.example', 'log+example')}`, 'a plus in the name'],
    [`${text}\n${line.replace('log.example', 'log\u00a0example')}`, 'a Unicode space in the name'],
    [`${text}\n— log.example AAAA\n`, 'a key id cut short'],
    [`${text}\n— log.example AAAAAA==\n`, 'no signature behind the key id'],
    [`${text}\n— log.example AAAAAAB=\n`, 'base64 with stray bits'],
    [`a\u0000b\n\n${line}`, 'a control character'],
    [`a\r\n\n${line}`, 'a carriage return'],
    [`a\ud800\n\n${line}`, 'a lone surrogate'],
    [`${text}\n${line.repeat(65)}`, 'too many signatures'],
    [`${'x'.repeat(65536)}\n\n${line}`, 'too large'],
  ])('refuses %j: %s', (malformed) => {
    expect(codeOf(() => parseNote(malformed))).toBe('TLOG_NOTE_MALFORMED');
  });

  test('takes sixteen signatures and more, and text with empty lines', () => {
    expect(parseNote(`${text}\n${line.repeat(64)}`).signatures).toHaveLength(64);
    expect(parseNote(`a\n\nb\n\n${line}`).text).toBe('a\n\nb\n');
  });

  test('parse and format are inverses; no foreign exception', () => {
    const chars = fc.string({
      unit: fc.constantFrom('a', '\n', '—', ' ', '+', 'A=', '\u0000', 'AAAAAAAA'),
      maxLength: 60,
    });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          chars,
          chars.map((c) => `${c}\n\n${line}${c}`),
        ),
        (n) => {
          try {
            expect(formatNote(parseNote(n))).toBe(n);
          } catch (failure) {
            expect(failure).toBeInstanceOf(Rejection);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('verifier keys', () => {
  const known = 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx';

  test('a published key reads and writes', () => {
    const key = parseVerifierKey(known, portableCrypto);
    expect(key).toMatchObject({ name: 'example.com/log/testdata', keyId: '33d7b496', type: 1 });
    expect(formatVerifierKey(key)).toBe(known);
  });

  test.each([
    '',
    'example.com',
    known.slice(0, -1),
    known.replace('33d7b496', '33d7b497'),
    known.replace('33d7', '33D7'),
    known.replace('example.com', 'example.org'),
    known.replace('+Ae', '+Be'),
    `a b${known.slice('example.com/log/testdata'.length)}`,
    'x+00000000+AQ==',
    'x'.repeat(9000),
  ])('refuses %j', (vkey) => {
    expect(codeOf(() => parseVerifierKey(vkey, portableCrypto))).toBe('TLOG_KEY_MALFORMED');
  });

  test('an Ed25519 key of another length is refused although its hash is right', () => {
    const publicKey = new Uint8Array(31);
    const keyId = noteKeyId('x', ED25519_NOTE, publicKey, portableCrypto);
    const vkey = formatVerifierKey({ name: 'x', keyId, type: ED25519_NOTE, publicKey });
    expect(codeOf(() => parseVerifierKey(vkey, portableCrypto))).toBe('TLOG_KEY_MALFORMED');
  });
});

describe('checkpoints', () => {
  const origin = { origin: 'log.example', keys: [log.key] };

  test('a signed checkpoint verifies for its log', () => {
    expect(verifyCheckpoint(note(log.sign(text)), origin, portableCrypto)).toMatchObject({ size: 3n });
  });

  test('a checkpoint of another origin is refused although our log key signed it', () => {
    const foreign = text.replace('log.example', 'evil.example');
    const signed = formatNote({ text: foreign, signatures: [log.sign(foreign)] });
    expect(codeOf(() => verifyCheckpoint(signed, origin, portableCrypto))).toBe('TLOG_CHECKPOINT_ORIGIN');
  });

  test('a malformed checkpoint is read only after its signature held', () => {
    const broken = formatNote({ text: 'log.example\n03\nx\n', signatures: [other.sign('x')] });
    expect(codeOf(() => verifyCheckpoint(broken, origin, portableCrypto))).toBe('TLOG_NOTE_UNSIGNED');
  });

  test.each([
    '',
    'log.example\n',
    'log.example\n3\n',
    text.trimEnd(),
    text.replace('log.example', ''),
    text.replace('\n3\n', '\n03\n'),
    text.replace('\n3\n', '\n-3\n'),
    text.replace('\n3\n', '\n+3\n'),
    text.replace('\n3\n', '\n3 \n'),
    text.replace('\n3\n', '\n0x3\n'),
    text.replace('\n3\n', '\n9223372036854775808\n'),
    text.replace('Wqx3', 'Wqx'),
    text.replace('Wqx3HIma', ''),
    text.replace('avKk=', 'avKl='),
    `${text}\n`,
    `${text}a\n\nb\n`,
  ])('refuses %j', (malformed) => {
    expect(codeOf(() => parseCheckpoint(malformed))).toBe('TLOG_CHECKPOINT_MALFORMED');
  });

  test('parse and format are inverses, extensions included', () => {
    const line = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(
        line,
        fc.bigInt(0n, (1n << 63n) - 1n),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.array(line, { maxLength: 3 }),
        (name, size, rootHash, extensions) => {
          const checkpoint = { origin: name, size, rootHash, extensions };
          expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint);
        },
      ),
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '\n', '0', '9', '=', 'A'), maxLength: 80 }), (t) => {
        if (codeOf(() => parseCheckpoint(t)) === 'accepted')
          expect(formatCheckpoint(parseCheckpoint(t))).toBe(t);
      }),
    );
  });
});
