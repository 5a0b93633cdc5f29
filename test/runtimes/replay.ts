// SPDX-License-Identifier: Apache-2.0
// What runs inside each engine: cases in, answers out, both as JSON text, so that nothing of one engine reaches another. It asks the
// verifier that was built, by its global, and nothing of a host.

import type { Crypto } from '../../core/crypto.ts';
import type * as Verifier from '../../core/portable.ts';
import type { TufRequest, TufSteps } from '../../core/tuf/workflow.ts';
import type { EvidencePolicy } from '../../core/verify/evidence.ts';
import type { ReleaseFacts } from '../../core/verify/pack-steps.ts';
import type { SignatureVerifier } from '../../core/verify/verify-bundle.ts';

declare const waybillVerifier: typeof Verifier;
const v = waybillVerifier;

/** Octets as base64; whole numbers past a double as decimal text. */
export type Octets = string;

/** What is asked. */
export type Question =
  | {
      readonly ask: 'bundle';
      readonly bundle: Octets;
      readonly trustedRoot: Octets;
      readonly keys: readonly Octets[];
      readonly policy: EvidencePolicy;
      readonly artifact?: Octets | undefined;
    }
  | {
      readonly ask: 'inclusion';
      readonly index: string;
      readonly size: string;
      readonly root: Octets;
      readonly leafHash: Octets;
      readonly proof: readonly Octets[];
    }
  | {
      readonly ask: 'consistency';
      readonly oldSize: string;
      readonly newSize: string;
      readonly oldRoot: Octets;
      readonly newRoot: Octets;
      readonly proof: readonly Octets[];
    }
  | { readonly ask: 'checkpoint'; readonly note: string; readonly key: string; readonly origin: string }
  | { readonly ask: 'witnessed'; readonly note: string; readonly policy: string }
  | {
      readonly ask: 'pack';
      readonly pack: Octets;
      readonly trustedRoot: Octets;
      readonly logPolicy: Octets;
      readonly devicePolicy: Octets;
      readonly sbom: Octets;
      readonly image: Octets;
      readonly nowMs: number;
      readonly release?: ReleaseFacts | undefined;
    }
  | { readonly ask: 'leaf hashes'; readonly entries: Octets }
  | {
      readonly ask: 'log proof';
      readonly leaf: Octets;
      readonly index: string;
      readonly proof: readonly Octets[];
      readonly checkpoint: string;
      readonly policy: string;
    }
  | {
      readonly ask: 'update';
      readonly root: Octets;
      /** Metadata of the repository by path. */
      readonly files: Readonly<Record<string, Octets>>;
      /** Metadata kept from an earlier update. */
      readonly kept: Readonly<Record<string, Octets>>;
      readonly nowMs: number;
      readonly target: string;
    }
  | {
      readonly ask: 'signature';
      readonly scheme: Parameters<Crypto['verifyEcdsa']>[0] | 'Ed25519';
      readonly key: Octets;
      readonly message: Octets;
      readonly signature: Octets;
    }
  | { readonly ask: 'json'; readonly text: Octets }
  | { readonly ask: 'base64'; readonly text: string }
  | { readonly ask: 'utf8'; readonly octets: Octets };

/** `accepted` or the code of the refusal, and what was learned, in a form that compares. */
export interface Answer {
  readonly verdict: string;
  readonly learned?: unknown;
}

/** Answers questions, in order. Anything thrown but a refusal is a fault of the verifier and is passed on. */
export function replay(questions: string): string {
  const answers = (JSON.parse(questions) as Question[]).map((question): Answer => {
    try {
      return { verdict: 'accepted', learned: answer(question) };
    } catch (failure) {
      if (failure instanceof v.Rejection) return { verdict: failure.code, learned: failure.message };
      if (failure instanceof Refused) return failure;
      throw failure;
    }
  });
  return JSON.stringify(answers, (_, value) => {
    if (typeof value === 'bigint') return String(value);
    return value instanceof Uint8Array ? v.base64Encode(value) : value;
  });
}

/** The answer of a parser that has no code: what it says, or nothing but that it is not so. */
class Refused implements Answer {
  readonly verdict: string;
  readonly learned: unknown;
  constructor(verdict: string, learned: unknown) {
    this.verdict = verdict;
    this.learned = learned;
  }
}

function refused(): never {
  throw new Refused('refused', undefined);
}

function octets(text: Octets): Uint8Array {
  const decoded = v.base64Decode(text);
  if (decoded === undefined) throw new Error('a case holds base64 that is none');
  return decoded;
}

function answer(question: Question): unknown {
  const crypto = v.portableCrypto;
  switch (question.ask) {
    case 'bundle': {
      const { bundle, artifact } = question;
      const about = artifact === undefined ? undefined : { bytes: octets(artifact) };
      return verifierOf(question).verify(octets(bundle), about);
    }
    case 'inclusion': {
      const { index, size, root, leafHash, proof } = question;
      const claim = { index: BigInt(index), size: BigInt(size), root: octets(root) };
      return v.checkInclusion({ ...claim, leafHash: octets(leafHash), proof: proof.map(octets) }, crypto);
    }
    case 'consistency': {
      const { oldSize, newSize, oldRoot, newRoot, proof } = question;
      const sizes = { oldSize: BigInt(oldSize), newSize: BigInt(newSize) };
      const roots = { oldRoot: octets(oldRoot), newRoot: octets(newRoot) };
      return v.checkConsistency({ ...sizes, ...roots, proof: proof.map(octets) }, crypto);
    }
    case 'checkpoint': {
      const { note, key, origin } = question;
      return v.verifyCheckpoint(note, { origin, keys: [v.parseVerifierKey(key, crypto)] }, crypto);
    }
    case 'witnessed':
      return v.verifyWitnessedCheckpoint(
        question.note,
        v.parseLogPolicy(encoded(question.policy), crypto),
        crypto,
      );
    case 'pack':
      return verifyPack(question);
    case 'leaf hashes':
      return v.parseEntryBundle(octets(question.entries)).map((entry) => v.hashLeaf(entry, crypto));
    case 'log proof': {
      const policy = v.parseLogPolicy(encoded(question.policy), crypto);
      const { leaf, index, proof, checkpoint } = question;
      const claim = { leaf: octets(leaf), index: BigInt(index), proof: proof.map(octets) };
      return [v.checkLogProof({ ...claim, checkpoint, policy }, crypto), v.parseHashedRekord(claim.leaf)];
    }
    case 'update':
      return update(question);
    case 'signature': {
      const { scheme } = question;
      const [key, message, signature] = [question.key, question.message, question.signature].map(octets) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      const fits =
        scheme === 'Ed25519'
          ? crypto.verifyEd25519(key, message, signature)
          : crypto.verifyEcdsa(scheme, key, message, signature);
      return fits ? undefined : refused();
    }
    case 'json': {
      const read = v.parseStrictJson(octets(question.text));
      if ('problem' in read) throw new Refused(read.problem, `at ${read.offset}`);
      return read.value;
    }
    case 'base64':
      return v.base64Decode(question.text) ?? refused();
    case 'utf8':
      return v.utf8Encode(v.utf8Decode(octets(question.octets)) ?? refused());
  }
}

function encoded(text: string): Uint8Array {
  const bytes = v.utf8Encode(text);
  if (bytes === undefined) throw new Error('a case holds text that is none');
  return bytes;
}

/** A pack, its SBOM and its image; what comes out of it, each by what names it. */
function verifyPack(question: Extract<Question, { ask: 'pack' }>): unknown {
  const crypto = v.portableCrypto;
  const policy = v.parseDevicePolicy(octets(question.devicePolicy));
  const trust = {
    policy,
    logPolicy: v.parseLogPolicy(octets(question.logPolicy), crypto),
    verifier: attesterOf(question.trustedRoot, v.base64Encode(policy.gate.publicKey)),
  };
  const { nowMs, release } = question;
  const verified = v.verifyPack(octets(question.pack), { trust, release, nowMs }, crypto);
  const { lines } = v.checkPackSbom(verified, octets(question.sbom), crypto);
  const image = octets(question.image);
  v.checkPackImage(verified, { sha256: v.hexEncode(crypto.sha256(image)), sizeBytes: image.length });
  const { pack, bundles, summary, chain } = verified;
  return [pack.version, bundles.map(({ sha256 }) => sha256), summary, chain.map(({ step }) => step), lines];
}

const attesters = new Map<string, ReturnType<typeof v.attestationVerifier>>();

function attesterOf(trustedRoot: Octets, key: Octets): ReturnType<typeof v.attestationVerifier> {
  const known = attesters.get(trustedRoot + key);
  if (known !== undefined) return known;
  const trust = { trustedRoot: octets(trustedRoot), keys: [octets(key)] };
  const made = v.attestationVerifier(trust, v.portableCrypto);
  attesters.set(trustedRoot + key, made);
  return made;
}

type BundleQuestion = Extract<Question, { ask: 'bundle' }>;
const verifiers = new Map<string, SignatureVerifier>();

/** One verifier for each trust, as a device has: cases of one trust come one after another. */
function verifierOf({ trustedRoot, keys, policy }: BundleQuestion): SignatureVerifier {
  const name = JSON.stringify([trustedRoot, keys, policy]);
  const known = verifiers.get(name);
  if (known !== undefined) return known;
  const listed = keys.map((key) => ({ publicKey: octets(key) }));
  const trust = { trustedRoot: octets(trustedRoot), keys: listed, policy };
  const made = v.signatureVerifier(trust, v.portableCrypto);
  verifiers.set(name, made);
  return made;
}

/** An update and a search, by a host that has the files in memory. */
function update({ root, files, kept, nowMs, target }: Extract<Question, { ask: 'update' }>): unknown {
  const memory = new Map<string, Uint8Array>();
  for (const [role, bytes] of Object.entries(kept)) memory.set(role, octets(bytes));
  const reply = (request: TufRequest): Uint8Array | undefined => {
    if (request.kind === 'fetch') {
      const file = files[request.path];
      if (file === undefined && request.required) throw new Error(`no case has ${request.path}`);
      return file === undefined ? undefined : octets(file).slice(0, request.sizeBytesMax + 1);
    }
    const place = `${request.role}${request.copy ? '.copy' : ''}`;
    if (request.kind === 'read') return memory.get(place);
    if (request.kind === 'write') memory.set(place, request.bytes);
    else memory.delete(place);
    return undefined;
  };
  const run = <T>(steps: TufSteps<T>): T => {
    let step = steps.next();
    while (step.done !== true) step = steps.next(reply(step.value));
    return step.value;
  };
  const workflow = run(v.Workflow.open(octets(root), { nowMs, crypto: v.portableCrypto }));
  run(workflow.refresh());
  const { role, sizeBytes, hashes, path } = run(workflow.findTarget(target));
  return { role, sizeBytes, hashes, path, kept: [...memory.keys()].sort() };
}
