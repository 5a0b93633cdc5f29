// SPDX-License-Identifier: Apache-2.0
// The cases that every engine answers: the vectors of test/vectors/, update metadata, and text that parsers disagree about.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { STRICT_POLICY } from '../../core/verify/evidence.ts';
import { signatureCases } from '../core/curve/signature-cases.ts';
import { CASE_POLICY, CASES } from '../core/sigstore/cases.ts';
import type { Octets, Question } from './replay.ts';

/** A question, and the verdict that it must get. */
export interface Case {
  readonly name: string;
  readonly question: Question;
  /** `accepted` or a code; a list where the vector only says that it is bad. */
  readonly expected: string | readonly string[];
}

const VECTORS = new URL('../vectors/', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, VECTORS));
const b64 = (bytes: Uint8Array): Octets => Buffer.from(bytes).toString('base64');
const fromPem = (pem: Buffer): Octets => pem.toString().replace(/-----[A-Z ]+-----|\s/g, '');

/** The cases of sigstore-conformance. */
export function conformanceCases(): Case[] {
  return CASES.map(({ name, bundle, trustedRoot, keys, artifact, expected }) => ({
    name: `sigstore-bundle/${name}`,
    question: {
      ask: 'bundle',
      bundle: b64(bundle),
      trustedRoot: b64(trustedRoot),
      keys: keys.map(({ publicKey }) => b64(publicKey)),
      policy: CASE_POLICY,
      artifact: b64(artifact.bytes),
    },
    expected,
  }));
}

/** Bundles that the field's library accepts and core refuses. */
export function differenceCases(): Case[] {
  const folder = 'sigstore-differences';
  const expected: Record<string, string> = JSON.parse(read(`${folder}/expected.json`).toString());
  return Object.entries(expected).map(([name, code]) => {
    const own = (file: string) => {
      const path = `${folder}/${name}/${file}`;
      return existsSync(new URL(path, VECTORS)) ? read(path) : undefined;
    };
    const key = own('key.pub');
    const artifact = own('artifact');
    return {
      name: `${folder}/${name}`,
      question: {
        ask: 'bundle',
        bundle: b64(read(`${folder}/${name}/bundle.sigstore.json`)),
        trustedRoot: b64(own('trusted_root.json') ?? read(`${folder}/trusted_root.json`)),
        keys: key === undefined ? [] : [fromPem(key)],
        policy: STRICT_POLICY,
        artifact: artifact === undefined ? undefined : b64(artifact),
      },
      expected: code,
    };
  });
}

/** Proofs of transparency-dev/merkle. They say that they are bad, not why. */
export function merkleCases(): Case[] {
  const bad = {
    inclusion: ['TLOG_INDEX_OUTSIDE_TREE', 'TLOG_INCLUSION_MISMATCH'],
    consistency: ['TLOG_CONSISTENCY_SIZES', 'TLOG_CONSISTENCY_MISMATCH'],
  };
  return (['inclusion', 'consistency'] as const).flatMap((kind) =>
    readdirSync(new URL(`merkle/${kind}/`, VECTORS), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.json'))
      .map((path) => {
        const name = `merkle/${kind}/${path}`;
        // Some sizes are past what a double holds.
        const vector = JSON.parse(
          read(name)
            .toString()
            .replace(/: (\d+)(,?)$/gm, ': "$1"$2'),
        );
        const proof: Octets[] = vector.proof ?? [];
        const question: Question =
          kind === 'inclusion'
            ? {
                ask: kind,
                index: vector.leafIdx,
                size: vector.treeSize,
                root: vector.root ?? '',
                leafHash: vector.leafHash ?? '',
                proof,
              }
            : {
                ask: kind,
                oldSize: vector.size1,
                newSize: vector.size2,
                oldRoot: vector.root1 ?? '',
                newRoot: vector.root2 ?? '',
                proof,
              };
        return { name, question, expected: vector.wantErr ? bad[kind] : 'accepted' };
      }),
  );
}

const TILED_LOG = 'example.com/log/testdata';
const TILED_KEY = `${TILED_LOG}+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx`;

/** Checkpoints and entries of a tiled log that others made; one checkpoint is changed. */
export function tiledLogCases(): Case[] {
  const sizes = Array.from({ length: 16 }, (_, size) => size);
  const note = (size: number) => read(`tlog-tiles/log/checkpoint.${size}`).toString();
  const checkpoint = (name: string, text: string, expected: string): Case => ({
    name: `tlog-tiles/${name}`,
    question: { ask: 'checkpoint', note: text, key: TILED_KEY, origin: TILED_LOG },
    expected,
  });
  return [
    ...sizes.map((size) => checkpoint(`checkpoint.${size}`, note(size), 'accepted')),
    checkpoint('checkpoint.15 as one of 14', note(15).replace('\n15\n', '\n14\n'), 'TLOG_NOTE_SIGNATURE'),
    ...sizes.slice(1).map(
      (size): Case => ({
        name: `tlog-tiles/entries of ${size}`,
        question: { ask: 'leaf hashes', entries: b64(read(`tlog-tiles/log/tile/entries/000.p/${size}`)) },
        expected: 'accepted',
      }),
    ),
  ];
}

/** Entries of a public log, each with its proof; and one under the index of another. */
export function logProofCases(): Case[] {
  return ['rekor2-happy-path', 'rekor2-dsse-happy-path'].flatMap((name): Case[] => {
    const vector = JSON.parse(read(`hashed-rekord/${name}.json`).toString());
    const question = {
      ask: 'log proof',
      leaf: vector.leaf,
      index: String(vector.index),
      proof: vector.hashes,
      checkpoint: vector.checkpoint,
      policy: `log ${vector.verifierKey}\nquorum none\n`,
    } as const;
    return [
      { name: `hashed-rekord/${name}`, question, expected: 'accepted' },
      {
        name: `hashed-rekord/${name} elsewhere`,
        question: { ...question, index: String(vector.index - 1) },
        expected: 'TLOG_INCLUSION_MISMATCH',
      },
    ];
  });
}

/** Folders of cases below a folder of vectors. */
function foldersIn(path: string): string[] {
  return readdirSync(new URL(path, VECTORS), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}

/** Checkpoints with cosignatures. */
export function witnessCases(): Case[] {
  return foldersIn('tlog-cosignature/').map((name) => {
    const file = (of: string) => read(`tlog-cosignature/${name}/${of}`).toString();
    const question = { ask: 'witnessed', note: file('checkpoint'), policy: file('tlog-policy') } as const;
    return { name: `tlog-cosignature/${name}`, question, expected: JSON.parse(file('expected.json')).code };
  });
}

/** Signatures of Project Wycheproof. */
export function curveCases(): Case[] {
  return signatureCases().map(({ name, scheme, key, message, signature, valid }) => ({
    name,
    question: { ask: 'signature', scheme, key: b64(key), message: b64(message), signature: b64(signature) },
    expected: valid ? 'accepted' : 'refused',
  }));
}

/** Evidence packs. */
export function packCases(): Case[] {
  return foldersIn('packs/').map((name) => {
    const file = (of: string) => {
      const own = `packs/${name}/${of}`;
      return read(existsSync(new URL(own, VECTORS)) ? own : `packs/${of}`);
    };
    const { now, release } = JSON.parse(file('question.json').toString());
    const { code = 'accepted' } = JSON.parse(file('expected.json').toString());
    return {
      name: `packs/${name}`,
      question: {
        ask: 'pack',
        pack: b64(file('pack.waybill')),
        trustedRoot: b64(file('trusted_root.json')),
        logPolicy: b64(file('tlog-policy')),
        devicePolicy: b64(file('device-policy.json')),
        sbom: b64(file('sbom.cdx.json')),
        image: b64(file('image.bin')),
        nowMs: Date.parse(now),
        release,
      },
      expected: code,
    };
  });
}
