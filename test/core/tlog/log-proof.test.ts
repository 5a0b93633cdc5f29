// SPDX-License-Identifier: Apache-2.0
// Log policies, leaf form and log proofs: entries of a public log as vectors, and each link of a proof broken in turn.

import { generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { base64Encode } from '../../../core/encoding/base64.ts';
import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { LIMITS } from '../../../core/limits.ts';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import {
  formatHashedRekord,
  type HashedRekord,
  parseHashedRekord,
} from '../../../core/tlog/hashed-rekord.ts';
import { formatLogPolicy, parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { hashLeaf, hashNode } from '../../../core/tlog/merkle.ts';
import {
  ED25519_NOTE,
  formatNote,
  formatVerifierKey,
  type NoteSignature,
  noteKeyHash,
  noteKeyId,
  parseVerifierKey,
} from '../../../core/tlog/note.ts';
import {
  checkLogProof,
  formatLogProof,
  type LogProofClaim,
  parseLogProof,
} from '../../../core/tlog/proof.ts';
import { seededKey, witnessSigner } from './note-signers.ts';
import { codeOf } from './refusal.ts';

const VECTORS = join(import.meta.dirname, '../../vectors/hashed-rekord');
const policyOf = (text: string) => parseLogPolicy(utf8(text), portableCrypto);
const fromBase64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

function publicEntry(name: string) {
  const v = JSON.parse(readFileSync(join(VECTORS, `${name}.json`), 'utf8'));
  const claim: LogProofClaim = {
    leaf: fromBase64(v.leaf),
    index: BigInt(v.index),
    proof: v.hashes.map(fromBase64),
    checkpoint: v.checkpoint,
    policy: policyOf(`log ${v.verifierKey}\nquorum none\n`),
  };
  return { claim, verifierKey: v.verifierKey as string, logId: fromBase64(v.logId) };
}

function vkeyOf(name: string, type = ED25519_NOTE, pair = generateKeyPairSync('ed25519')) {
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const keyId = noteKeyId(name, type, publicKey, portableCrypto);
  const key = { name, keyId, type, publicKey };
  const signText = (text: string) => ({
    name,
    keyId,
    signature: new Uint8Array(sign(null, Buffer.from(text), pair.privateKey)),
  });
  return { vkey: formatVerifierKey(key), signText };
}

describe.each(['rekor2-happy-path', 'rekor2-dsse-happy-path'])('the public entry %s', (name) => {
  const { claim, verifierKey, logId } = publicEntry(name);

  test('is proved by its checkpoint, whoever else signed that', () => {
    expect(checkLogProof(claim, portableCrypto)).toMatchObject({ witnesses: 'none' });
  });

  test('its leaf is what we would write', () => {
    expect(formatHashedRekord(parseHashedRekord(claim.leaf))).toEqual(claim.leaf);
  });

  test('its log id is the whole hash of the key', () => {
    const { name: origin, type, publicKey } = parseVerifierKey(verifierKey, portableCrypto);
    expect(noteKeyHash(origin, type, publicKey, portableCrypto)).toEqual(logId);
  });

  test('its proof survives the text form', () => {
    const { index, proof: hashes, checkpoint } = claim;
    const proof = { index, hashes, checkpoint };
    expect(parseLogProof(formatLogProof(proof))).toEqual(proof);
  });
});

describe('a proof is refused when one link is broken', () => {
  const { claim } = publicEntry('rekor2-dsse-happy-path');
  const log = vkeyOf('log.example');
  const leaf = utf8('an entry');
  const sibling = hashLeaf(utf8('another'), portableCrypto);
  const rootHash = hashNode(hashLeaf(leaf, portableCrypto), sibling, portableCrypto);
  const text = formatCheckpoint({ origin: 'log.example', size: 2n, rootHash, extensions: [] });
  const ours: LogProofClaim = {
    leaf,
    index: 0n,
    proof: [sibling],
    checkpoint: formatNote({ text, signatures: [log.signText(text)] }),
    policy: policyOf(`log ${log.vkey}\nquorum none\n`),
  };
  const codeWith = (change: Partial<LogProofClaim>) =>
    codeOf(() => checkLogProof({ ...ours, ...change }, portableCrypto));

  test('none is', () => {
    expect(checkLogProof(ours, portableCrypto)).toEqual({
      size: 2n,
      origin: 'log.example',
      rootHash,
      extensions: [],
      witnesses: 'none',
    });
  });

  test('the key is another log’s', () => {
    expect(codeWith({ checkpoint: claim.checkpoint })).toBe('TLOG_NOTE_UNSIGNED');
    expect(codeWith({ policy: claim.policy })).toBe('TLOG_NOTE_UNSIGNED');
    expect(codeWith({ policy: policyOf(`log ${vkeyOf('log.example').vkey}\nquorum none\n`) })).toBe(
      'TLOG_NOTE_UNSIGNED',
    );
    expect(codeWith({ policy: policyOf('quorum none\n') })).toBe('TLOG_NOTE_UNSIGNED');
  });

  test('the signature is not over this checkpoint', () => {
    const grown = text.replace('\n2\n', '\n3\n');
    const checkpoint = formatNote({ text: grown, signatures: [log.signText(text)] });
    expect(codeWith({ checkpoint })).toBe('TLOG_NOTE_SIGNATURE');
  });

  test('a listed log signs a checkpoint of another listed log', () => {
    const second = vkeyOf('second.example');
    const policy = policyOf(`log ${log.vkey}\nlog ${second.vkey}\nquorum none\n`);
    const checkpoint = formatNote({ text, signatures: [second.signText(text)] });
    expect(codeWith({ policy })).toBe('accepted');
    expect(codeWith({ policy, checkpoint })).toBe('TLOG_CHECKPOINT_ORIGIN');
  });

  test('what the key signed is no checkpoint', () => {
    const checkpoint = formatNote({ text: 'hello\n', signatures: [log.signText('hello\n')] });
    expect(codeWith({ checkpoint })).toBe('TLOG_CHECKPOINT_MALFORMED');
    expect(codeWith({ checkpoint: 'hello' })).toBe('TLOG_NOTE_MALFORMED');
  });

  test('the index is not in the tree', () => {
    expect(codeWith({ index: 2n })).toBe('TLOG_INDEX_OUTSIDE_TREE');
  });

  test('the leaf, the index or a hash is another', () => {
    expect(codeWith({ leaf: utf8('forged') })).toBe('TLOG_INCLUSION_MISMATCH');
    expect(codeWith({ index: 1n })).toBe('TLOG_INCLUSION_MISMATCH');
    expect(codeWith({ proof: [] })).toBe('TLOG_INCLUSION_MISMATCH');
    expect(codeWith({ proof: [rootHash] })).toBe('TLOG_INCLUSION_MISMATCH');
  });

  test('the witnesses that the policy asks for are not behind it', () => {
    const witness = witnessSigner('w.example');
    const policy = policyOf(`log ${log.vkey}\nwitness w ${witness.vkey}\nquorum w\n`);
    expect(codeWith({ policy })).toBe('TLOG_QUORUM_UNMET');
    const checkpoint = formatNote({ text, signatures: [log.signText(text), witness.cosign(text, 10)] });
    expect(checkLogProof({ ...ours, policy, checkpoint }, portableCrypto).witnesses).toEqual([
      { name: 'w', keyId: witness.key.keyId, timeMs: 10_000 },
    ]);
  });

  test('several links are broken: signature before origin, origin before witnesses, witnesses before inclusion', () => {
    const witness = witnessSigner('w.example');
    const second = vkeyOf('second.example');
    const asked = `witness w ${witness.vkey}\nquorum w\n`;
    const policy = policyOf(`log ${log.vkey}\nlog ${second.vkey}\n${asked}`);
    const forged = { ...witness.cosign(text, 10), signature: new Uint8Array(72) };
    const by = (...signatures: NoteSignature[]) => formatNote({ text, signatures });
    const broken = { policy, leaf: utf8('forged') };
    expect(codeWith({ ...broken, checkpoint: by(forged) })).toBe('TLOG_NOTE_UNSIGNED');
    expect(codeWith({ ...broken, checkpoint: by(second.signText(text), forged) })).toBe(
      'TLOG_CHECKPOINT_ORIGIN',
    );
    expect(codeWith({ ...broken, checkpoint: by(log.signText(text), forged) })).toBe(
      'TLOG_COSIGNATURE_MALFORMED',
    );
    expect(codeWith({ ...broken, checkpoint: by(log.signText(text)) })).toBe('TLOG_QUORUM_UNMET');
    expect(codeWith({ ...broken, checkpoint: by(log.signText(text), witness.cosign(text, 10)) })).toBe(
      'TLOG_INCLUSION_MISMATCH',
    );
  });

  test('keys of other kinds beside the log’s Ed25519 key change nothing', () => {
    const policy = policyOf(`log ${log.vkey}\nlog ${vkeyOf('log.example', 6).vkey}\nquorum none\n`);
    expect(codeWith({ policy })).toBe('accepted');
  });
});

describe('A44: of a proof in its text form', () => {
  const { claim } = publicEntry('rekor2-dsse-happy-path');
  const { index, proof: hashes, checkpoint } = claim;
  const check = (text: string) => {
    const { hashes: proof, ...read } = parseLogProof(text);
    return checkLogProof({ ...claim, ...read, proof }, portableCrypto);
  };
  const sound = formatLogProof({ index, hashes, checkpoint });

  test('what is extra means nothing', () => {
    for (const extra of [undefined, new Uint8Array(0), utf8('index 0'), new Uint8Array(500).fill(255)]) {
      const proof = { index, hashes, checkpoint, ...(extra === undefined ? {} : { extra }) };
      expect(check(formatLogProof(proof))).toEqual(check(sound));
    }
  });

  test.each([
    ['version', sound.replace('@v1', '@v2'), 'TLOG_PROOF_MALFORMED'],
    ['index', sound.replace(/^index \d+/m, `index ${index - 1n}`), 'TLOG_INCLUSION_MISMATCH'],
    ['index, past the tree', sound.replace(/^index \d+/m, `index ${index + 1n}`), 'TLOG_INDEX_OUTSIDE_TREE'],
    ['hashes, one less', sound.replace(/^y9eH.*\n/m, ''), 'TLOG_INCLUSION_MISMATCH'],
    ['hashes, one twice', sound.replace(/^y9eH.*\n/m, '$&$&'), 'TLOG_INCLUSION_MISMATCH'],
    ['hashes, another', sound.replace(/^y9eH/m, 'y9eI'), 'TLOG_INCLUSION_MISMATCH'],
    ['origin', sound.replace('\nlog2025-alpha3.rekor', '\nlog2025-alpha4.rekor'), 'TLOG_NOTE_SIGNATURE'],
    ['size', sound.replace('\n4026479\n', '\n4026480\n'), 'TLOG_NOTE_SIGNATURE'],
    ['root', sound.replace('\n5iaX', '\n5iaY'), 'TLOG_NOTE_SIGNATURE'],
    ['signature', sound.replace('09OnDHwV', '09OnDHwW'), 'TLOG_NOTE_SIGNATURE'],
    ['key id', sound.replace('09OnDHwV', '09OmDHwV'), 'TLOG_NOTE_UNSIGNED'],
    ['signer', sound.replace('— log2025', '— log2026'), 'TLOG_NOTE_UNSIGNED'],
  ])('another %s is refused', (_, text, code) => {
    expect(text).not.toBe(sound);
    expect(codeOf(() => check(text))).toBe(code);
  });

  test('no other byte of it is another proof', () => {
    // Bytes that only witnesses vouch for mean nothing under a policy that asks for none.
    const vouched = sound.indexOf('— witness.stagemole.eu');
    fc.assert(
      fc.property(fc.nat({ max: vouched - 1 }), fc.integer({ min: 1, max: 127 }), (at, code) => {
        const put = String.fromCharCode(sound.charCodeAt(at) ^ code);
        const text = sound.slice(0, at) + put + sound.slice(at + 1);
        expect(codeOf(() => check(text))).toMatch(/^TLOG_/);
      }),
      { numRuns: 200 },
    );
  });
});

describe('log policies', () => {
  const keys = Array.from({ length: 140 }, (_, i) => vkeyOf(`w${i}.example`, 4).vkey);
  const log = `log ${vkeyOf('log.example').vkey}`;
  const witness = (i: number) => `witness w${i} ${keys[i]}`;

  test('the example of the specification reads, with comments, tabs and addresses', () => {
    const policy = policyOf(
      [
        '# a comment',
        '',
        `\t${log}  https://log.example/  `,
        witness(0),
        witness(1),
        `${witness(2)} https://w.example`,
        'group X 2 w0 w1',
        'group Y any w2',
        'group XY all X Y',
        'quorum XY',
        '',
      ].join('\n'),
    );
    expect(policy.groups).toEqual([
      { name: 'X', threshold: 2, members: ['w0', 'w1'] },
      { name: 'Y', threshold: 1, members: ['w2'] },
      { name: 'XY', threshold: 2, members: ['X', 'Y'] },
    ]);
    expect(policy.quorum).toBe('XY');
    expect(policyOf(formatLogPolicy(policy))).toEqual(policy);
  });

  test('takes 128 witnesses', () => {
    const lines = Array.from({ length: 128 }, (_, i) => witness(i));
    expect(policyOf(`${lines.join('\n')}\nquorum w0\n`).witnesses).toHaveLength(128);
  });

  test.each([
    ['', 'no quorum'],
    [`${log}\n`, 'no quorum'],
    [`${log}\nquorum none`, 'no newline at the end'],
    [`quorum none\nquorum none\n`, 'two quorums'],
    [`quorum\n`, 'a quorum of nothing'],
    [`quorum w0\n`, 'an undefined quorum'],
    [`quorum w0\n${witness(0)}\n`, 'a quorum defined later'],
    [`log\nquorum none\n`, 'a log without key'],
    [`log x+00000000+AQ==\nquorum none\n`, 'a malformed key'],
    [`${log} a b\nquorum none\n`, 'two addresses'],
    [`${log}\n${log}\nquorum none\n`, 'a log listed twice'],
    [`log ${keys[0]}\nquorum none\n`, 'a witness key for a log'],
    [`witness w ${vkeyOf('x').vkey}\nquorum w\n`, 'a log key for a witness'],
    [`witness w\nquorum none\n`, 'a witness without key'],
    [`${witness(0)}\nwitness again ${keys[0]}\nquorum none\n`, 'a witness key listed twice'],
    [
      `witness a ${witnessSigner('a', seededKey('one')).vkey}\nwitness b ${witnessSigner('b', seededKey('one')).vkey}\nquorum none\n`,
      'one key of two witnesses',
    ],
    [`${witness(0)}\nwitness w0 ${keys[1]}\nquorum none\n`, 'a name defined twice'],
    [`witness none ${keys[0]}\nquorum none\n`, 'the name "none"'],
    [`${witness(0)}\ngroup g any none\nquorum g\n`, '"none" as a member'],
    [`${witness(0)}\ngroup g any\nquorum none\n`, 'a group without members'],
    [`${witness(0)}\ngroup g 0 w0\nquorum g\n`, 'a threshold of zero'],
    [`${witness(0)}\ngroup g 2 w0\nquorum g\n`, 'a threshold past the members'],
    [`${witness(0)}\ngroup g 01 w0\nquorum g\n`, 'a threshold with a leading zero'],
    [`${witness(0)}\ngroup g any w0 w0\nquorum g\n`, 'a member twice'],
    [`${witness(0)}\ngroup g any w0\ngroup h any w0\nquorum g\n`, 'a member of two groups'],
    [`${witness(0)}\ngroup g any g\nquorum g\n`, 'a group in itself'],
    ['permit all\nquorum none\n', 'an unknown keyword'],
    ['quorum none\u0000\n', 'a control character'],
    ['quorum none\r\n', 'a carriage return'],
    [`${keys.map((_, i) => witness(i)).join('\n')}\nquorum none\n`, 'too many witnesses'],
    [`#${'x'.repeat(256 * 1024)}\nquorum none\n`, 'too large'],
  ])('refuses %j: %s', (text) => {
    expect(codeOf(() => policyOf(text))).toBe('TLOG_POLICY_MALFORMED');
  });

  test('refuses bytes that are not UTF-8', () => {
    expect(codeOf(() => parseLogPolicy(Uint8Array.of(0x23, 0xff, 0x0a), portableCrypto))).toBe(
      'TLOG_POLICY_MALFORMED',
    );
  });

  test('no foreign exception', () => {
    const words = fc.constantFrom(
      'log',
      'witness',
      'group',
      'quorum',
      'none',
      'a',
      'b',
      'any',
      '1',
      keys[0],
      '\n',
    );
    fc.assert(
      fc.property(fc.array(words), (list) => {
        try {
          policyOf(`${list.join(' ')}\n`);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('leaves', () => {
  const entry: HashedRekord = {
    digest: new Uint8Array(32).fill(1),
    signature: Uint8Array.of(1, 2, 3),
    verifier: { publicKey: Uint8Array.of(4, 5, 6) },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  };
  const text = utf8Decode(formatHashedRekord(entry)) as string;

  test('parse and format are inverses', () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 100 });
    const verifier = fc.oneof(fc.record({ certificate: bytes }), fc.record({ publicKey: bytes }));
    const digest = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(fc.record({ digest, signature: bytes, verifier }), (made) => {
        const leaf = { ...made, keyDetails: 'PKIX_ECDSA_P256_SHA_256' as const };
        expect(parseHashedRekord(formatHashedRekord(leaf))).toEqual(leaf);
      }),
    );
  });

  test.each([
    ['', 'nothing'],
    ['{}', 'an empty object'],
    [` ${text}`, 'a space before it'],
    [text.replace('"data":{', '"data": {'), 'a space inside'],
    [text.replace('hashedrekord"', 'dsse"'), 'another kind'],
    [text.replace('0.0.2', '0.0.1'), 'another version'],
    [text.replace('SHA2_256', 'SHA2_512'), 'another hash'],
    [text.replace('PKIX_ECDSA_P256_SHA_256', 'PKIX_ED25519'), 'another key'],
    [text.replace(base64Encode(entry.digest), 'AQ=='), 'a short digest'],
    [text.replace('"AQID"', '"AQI"'), 'base64 cut short'],
    [text.replace('"publicKey"', '"publicKeys"'), 'an unknown member'],
    [
      text.replace(
        '"publicKey":{"rawBytes":"BAUG"}',
        '"publicKey":{"rawBytes":"BAUG"},"x509Certificate":{"rawBytes":"BAUG"}',
      ),
      'two verifiers',
    ],
    [text.replace(',"publicKey":{"rawBytes":"BAUG"}', ''), 'no verifier'],
    [text.replace('"AQID"', `"${'AAAA'.repeat(LIMITS.logEntrySizeBytes / 3)}"`), 'too large'],
  ])('refuses %j: %s', (leaf) => {
    expect(codeOf(() => parseHashedRekord(utf8(leaf)))).toBe('TLOG_LEAF_MALFORMED');
  });
});

describe('the text form of proofs', () => {
  const { claim } = publicEntry('rekor2-happy-path');
  const text = formatLogProof({ index: claim.index, hashes: claim.proof, checkpoint: claim.checkpoint });

  test('parse and format are inverses, extra data included', () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const proof = fc.record(
      {
        index: fc.bigInt(0n, 10n ** 18n),
        hashes: fc.array(hash, { maxLength: 64 }),
        checkpoint: fc.constant(claim.checkpoint),
        extra: fc.uint8Array({ maxLength: 30 }),
      },
      { requiredKeys: ['index', 'hashes', 'checkpoint'] },
    );
    fc.assert(
      fc.property(proof, (made) => {
        expect(parseLogProof(formatLogProof(made))).toEqual(made);
      }),
    );
  });

  test.each([
    ['', 'nothing'],
    [text.replace('@v1', '@v2'), 'another version'],
    [text.replace('\nindex ', '\nextra !\nindex '), 'extra data that is not base64'],
    [text.replace('\nindex ', '\nindex 0'), 'a leading zero'],
    [text.replace('\nindex ', '\nindx '), 'no index'],
    [text.replace('\nindex ', '\n\nindex '), 'an empty line too early'],
    [text.replace('=\n', '\n'), 'a hash cut short'],
    [text.replace(/\n\n[\s\S]*/, '\n'), 'no checkpoint'],
    [text.replace('\n\n', `\n${`${base64Encode(new Uint8Array(32))}\n`.repeat(65)}\n`), 'too many hashes'],
    [`${text}${'x'.repeat(140_000)}`, 'too large'],
  ])('refuses %j: %s', (malformed) => {
    expect(codeOf(() => parseLogProof(malformed))).toBe('TLOG_PROOF_MALFORMED');
  });
});
