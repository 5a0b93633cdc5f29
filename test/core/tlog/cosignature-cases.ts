// SPDX-License-Identifier: Apache-2.0
// The cases of test/vectors/tlog-cosignature as their README says. Keys follow from names, so they come out the same each time. Run by
// itself, `node test/core/tlog/cosignature-cases.ts`, it writes them anew.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { portableCrypto } from '../../../core/crypto.ts';
import {
  formatNote,
  formatVerifierKey,
  type NoteSignature,
  noteKeyId,
  parseNote,
} from '../../../core/tlog/note.ts';
import { noteSigner, seededKey, witnessSigner } from './note-signers.ts';

const FOLDER = new URL('../../vectors/tlog-cosignature/', import.meta.url);

/** What a verifier must answer. */
export interface Verdict {
  /** `accepted`, or the code of the refusal. */
  readonly code: string;
  /** Where accepted: who counts for the quorum. */
  readonly witnesses?: 'none' | readonly { readonly name: string; readonly timeMs: number }[];
}

export interface CosignatureCase {
  readonly checkpoint: string;
  readonly policy: string;
  readonly verdict: Verdict;
}

/** The cases as they lie in the folder. */
export function readCases(): [string, CosignatureCase][] {
  const names = readdirSync(FOLDER, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return names.map(({ name }) => {
    const read = (file: string) => readFileSync(new URL(`${name}/${file}`, FOLDER), 'utf8');
    return [
      name,
      {
        checkpoint: read('checkpoint'),
        policy: read('tlog-policy'),
        verdict: JSON.parse(read('expected.json')),
      },
    ];
  });
}

const TIME_S = 1_780_000_000;
const text = 'log.example\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n';
const forged = 'log.example\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n';
const extended = `${text}an extension\n`;
const log = noteSigner('log.example');
const w1 = witnessSigner('witness.example/w1');
const w2 = witnessSigner('witness.example/w2');
const w3 = witnessSigner('witness.example/w3');
/** The same key under another name. */
const w1Again = witnessSigner('witness.example/again', seededKey('witness.example/w1'));
const stranger = witnessSigner('stranger.example');

const WITNESSES = [w1, w2, w3].map(({ vkey }, i) => `witness w${i + 1} ${vkey}`);
const policyOf = (...lines: string[]) => `${[`log ${log.vkey}`, ...lines].join('\n')}\n`;
const quorum = (rule: string) => policyOf(...WITNESSES, `group g ${rule} w1 w2 w3`, 'quorum g');
const noteOf = (of: string, ...signatures: NoteSignature[]) =>
  formatNote({ text: of, signatures: [log.sign(of), ...signatures] });
const accepted = (...names: readonly string[]): Verdict => ({
  code: 'accepted',
  witnesses: names.map((name) => ({ name, timeMs: TIME_S * 1000 })),
});
const refused = (code: string): Verdict => ({ code });
const forgery = refused('TLOG_NOTE_SIGNATURE');

const one = w1.cosign(text, TIME_S);
const two = w2.cosign(text, TIME_S);
const three = w3.cosign(text, TIME_S);

/** A cosignature with its time changed and the signature left. */
function redated(line: NoteSignature, time: bigint): NoteSignature {
  const signature = new Uint8Array(line.signature);
  new DataView(signature.buffer).setBigUint64(0, time);
  return { ...line, signature };
}

/** Name, checkpoint, policy, verdict. */
type Row = [string, string, string, Verdict];

function ours(): [string, CosignatureCase][] {
  const cases: Row[] = [
    ['quorum-of-one', noteOf(text, one), policyOf(...WITNESSES, 'quorum w1'), accepted('w1')],
    ['all-of-three', noteOf(text, three, one, two), quorum('all'), accepted('w1', 'w2', 'w3')],
    ['any-of-three', noteOf(text, two), quorum('any'), accepted('w2')],
    ['two-of-three', noteOf(text, one, three), quorum('2'), accepted('w1', 'w3')],
    ['two-of-three-by-one', noteOf(text, one), quorum('2'), refused('TLOG_QUORUM_UNMET')],
    ['quorum-without-cosignature', noteOf(text), quorum('any'), refused('TLOG_QUORUM_UNMET')],
    [
      'quorum-none',
      noteOf(text, one),
      policyOf(...WITNESSES, 'quorum none'),
      { code: 'accepted', witnesses: 'none' },
    ],
    ...nested(),
    ...whoCounts(),
    ...whatIsSigned(),
    ...impossible(),
  ];
  return cases.map(([name, checkpoint, policy, verdict]) => [name, { checkpoint, policy, verdict }]);
}

function nested(): Row[] {
  const policy = policyOf(...WITNESSES, 'group x 1 w1 w2', 'group y any w3', 'group xy all x y', 'quorum xy');
  return [
    ['nested-groups', noteOf(text, two, three), policy, accepted('w2', 'w3')],
    ['nested-groups-one-unmet', noteOf(text, one, two), policy, refused('TLOG_QUORUM_UNMET')],
  ];
}

function whoCounts(): Row[] {
  const { name } = w3.key;
  const publicKey = new Uint8Array(1312).fill(7);
  const postQuantum = { name, keyId: noteKeyId(name, 6, publicKey, portableCrypto), type: 6, publicKey };
  const byPostQuantum = { name, keyId: postQuantum.keyId, signature: new Uint8Array(8 + 2420).fill(7) };
  const mixed = [WITNESSES[0] as string, `witness w3 ${formatVerifierKey(postQuantum)}`];
  const twice = (vkey: string) =>
    policyOf(WITNESSES[0] as string, `witness again ${vkey}`, 'group g all w1 again', 'quorum g');
  return [
    ['strangers-mean-nothing', noteOf(text, stranger.cosign(forged, 0), one), quorum('any'), accepted('w1')],
    [
      'strangers-do-not-count',
      noteOf(text, one, stranger.cosign(text, TIME_S)),
      quorum('2'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    [
      'witness-under-another-key-id',
      noteOf(text, { ...one, keyId: '00000000' }),
      quorum('any'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    [
      'witness-under-another-name',
      noteOf(text, { ...one, name: 'witness.example/another' }),
      quorum('any'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    [
      'witness-outside-the-quorum',
      noteOf(text, one, two),
      policyOf(...WITNESSES, 'group g all w1 w3', 'quorum g'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    ['one-witness-twice', noteOf(text, one, one), quorum('2'), refused('TLOG_QUORUM_UNMET')],
    [
      'newest-time-of-a-witness',
      noteOf(text, w1.cosign(text, TIME_S - 60), one, w1.cosign(text, TIME_S - 30)),
      quorum('any'),
      accepted('w1'),
    ],
    ['one-key-under-two-names', noteOf(text, one), twice(w1.vkey), refused('TLOG_POLICY_MALFORMED')],
    [
      'one-key-of-two-key-names',
      noteOf(text, one, w1Again.cosign(text, TIME_S)),
      twice(w1Again.vkey),
      refused('TLOG_POLICY_MALFORMED'),
    ],
    [
      'ml-dsa-is-not-counted',
      noteOf(text, one, byPostQuantum),
      policyOf(...mixed, 'group g all w1 w3', 'quorum g'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    [
      'ml-dsa-beside-is-ignored',
      noteOf(text, one, byPostQuantum),
      policyOf(...mixed, 'group g any w1 w3', 'quorum g'),
      accepted('w1'),
    ],
    [
      'witnesses-without-the-log',
      formatNote({ text, signatures: [one, two, three] }),
      quorum('all'),
      refused('TLOG_NOTE_UNSIGNED'),
    ],
  ];
}

function whatIsSigned(): Row[] {
  const plain = redated({ ...one, signature: new Uint8Array(72) }, BigInt(TIME_S));
  plain.signature.set(noteSigner(w1.key.name).sign(text).signature, 8);
  return [
    [
      'extension-lines',
      noteOf(extended, w1.cosign(extended, TIME_S)),
      policyOf(...WITNESSES, 'quorum w1'),
      accepted('w1'),
    ],
    ['extension-line-added', noteOf(extended, one), quorum('any'), refused('TLOG_NOTE_SIGNATURE')],
    ['split-view-with-cosignatures-moved', noteOf(forged, one, two, three), quorum('2'), forgery],
    [
      'split-view-with-one-witness-too-few',
      noteOf(forged, w1.cosign(forged, TIME_S)),
      quorum('2'),
      refused('TLOG_QUORUM_UNMET'),
    ],
    ['another-time', noteOf(text, redated(one, BigInt(TIME_S) + 1n)), quorum('any'), forgery],
    [
      'one-witness-forged-beside-a-quorum',
      noteOf(text, two, three, { ...one, signature: two.signature }),
      quorum('2'),
      forgery,
    ],
    ['forged-where-none-is-asked', noteOf(text, plain), policyOf(...WITNESSES, 'quorum none'), forgery],
    ['signature-over-the-bare-text', noteOf(text, plain), quorum('any'), forgery],
  ];
}

function impossible(): Row[] {
  const cut = { ...one, signature: one.signature.subarray(0, 71) };
  const longer = { ...one, signature: new Uint8Array(73) };
  const lines: [string, NoteSignature][] = [
    ['time-zero', w1.cosign(text, 0)],
    ['time-after-9999', w1.cosign(text, 253_402_300_800)],
    ['time-past-63-bits', redated(one, 2n ** 63n)],
    ['cut-short', cut],
    ['too-long', longer],
  ];
  return lines.map(([name, line]) => [
    name,
    noteOf(text, line),
    quorum('any'),
    refused('TLOG_COSIGNATURE_MALFORMED'),
  ]);
}

/** A checkpoint of a public log with cosignatures of three public witnesses, and what becomes of it when it is changed. */
function foreign(): [string, CosignatureCase][] {
  const entry = JSON.parse(
    readFileSync(new URL('../hashed-rekord/rekor2-dsse-happy-path.json', FOLDER), 'utf8'),
  );
  const checkpoint: string = entry.checkpoint;
  const names = ['stagemole', 'ring-any-bells', 'navigli'];
  const vkeys = [
    'witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv',
    'staging.witness.transparency.goog/ring-any-bells+2e1a8dc9+BG5JTpLc3FJtwzgh1Uv+Qelz9qeOH2bfWjS1s0s+y4rL',
    'witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G',
  ];
  const witnesses = names.map((name, i) => `witness ${name} ${vkeys[i]}`);
  const policy = (...lines: string[]) =>
    `${[`log ${entry.verifierKey}`, ...witnesses, ...lines, 'quorum g'].join('\n')}\n`;
  const all = policy(`group g all ${names.join(' ')}`);
  const times = names.map((name) => ({ name, timeMs: 1_778_700_214_000 }));
  const { text: signed, signatures } = parseNote(checkpoint);
  const later = signatures.map((line, i) => (i === 1 ? redated(line, 1_778_700_215n) : line));
  return [
    ['public', { checkpoint, policy: all, verdict: { code: 'accepted', witnesses: times } }],
    [
      'public-with-another-time',
      { checkpoint: formatNote({ text: signed, signatures: later }), policy: all, verdict: forgery },
    ],
    [
      'public-without-one',
      {
        checkpoint: formatNote({ text: signed, signatures: signatures.slice(0, 3) }),
        policy: all,
        verdict: refused('TLOG_QUORUM_UNMET'),
      },
    ],
  ];
}

/** All cases, made anew. */
export function makeCases(): [string, CosignatureCase][] {
  return [...ours(), ...foreign()];
}

if (import.meta.main) {
  for (const [name, { checkpoint, policy, verdict }] of makeCases()) {
    const folder = new URL(`${name}/`, FOLDER);
    mkdirSync(folder, { recursive: true });
    writeFileSync(new URL('checkpoint', folder), checkpoint);
    writeFileSync(new URL('tlog-policy', folder), policy);
    writeFileSync(new URL('expected.json', folder), `${JSON.stringify(verdict)}\n`);
  }
}
