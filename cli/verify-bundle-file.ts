// SPDX-License-Identifier: Apache-2.0
// `waybill verify` of one Sigstore bundle [docs/spec/verification.md §Bundle], Waybill's or anybody's: both verifiers, and the signer that
// is expected.

import { stat } from 'node:fs/promises';
import { formatInstant } from '../core/encoding/document.ts';
import { hexDecode, hexEncode } from '../core/encoding/hex.ts';
import { quote, several } from '../core/faults.ts';
import { type Artifact, type EvidencePolicy, STRICT_POLICY } from '../core/verify/evidence.ts';
import { checkSigner, type ExpectedSigner } from '../core/verify/expected-signer.ts';
import { checkClock, found } from '../core/verify/pack-steps.ts';
import type { VerifiedSigner } from '../core/verify/verified.ts';
import type { VerifiedSignature } from '../core/verify/verified-signature.ts';
import { type BundleTrust, signatureVerifier } from '../core/verify/verify-bundle.ts';
import { fieldVerifier } from '../peers/field-verifier.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { publicKeyDer, readAnyKey } from '../release/key-file.ts';
import type { ChainAccount } from './chain-account.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { readDigest } from './image.ts';
import type { GivenFile } from './verify-pack-file.ts';
import { type RepositoryPlace, withRepository } from './verify-trust.ts';

/** What the command line says about a bundle. */
export interface BundleQuestion extends RepositoryPlace {
  readonly trustedRoot?: string;
  readonly identity?: string;
  readonly issuer?: string;
  /** Path of a public key. */
  readonly key?: string;
  readonly without?: readonly ('timestamps' | 'log' | 'certificate-log')[];
}

/** A signature over an artifact is checked over its bytes, in memory. */
const ARTIFACT_SIZE_BYTES_MAX = 1024 * 1024 * 1024;

/** Verifies a bundle and returns in words what it is about. @throws Rejection as the account says */
export async function verifyBundleFile(
  { bytes, image, nowMs }: GivenFile,
  question: BundleQuestion,
  account: ChainAccount,
): Promise<string> {
  const expected = await expectedSigner(question);
  const artifact = image === undefined ? undefined : await openArtifact(image);
  const trust: BundleTrust = {
    trustedRoot: await openTrustedRoot(question, nowMs, account),
    keys: expected.kind === 'key' ? [{ publicKey: expected.publicKey }] : [],
    policy: policyOf(question),
  };
  const verified = judge({ bytes, nowMs }, trust, artifact, account);
  account.check('expected signer', () => {
    checkSigner(verified.signer, expected);
    return found(undefined, inWords(expected));
  });
  askField(bytes, trust, verified, artifact, account);
  if (artifact === undefined) account.skip('image', 'none was given');
  return `${contentOf(verified)}, signed ${formatInstant(verified.signedAtMs)}`;
}

/** core's verdict, with what it learned as one link a subject. */
function judge(
  { bytes, nowMs }: Pick<GivenFile, 'bytes' | 'nowMs'>,
  trust: BundleTrust,
  artifact: Artifact | undefined,
  account: ChainAccount,
): VerifiedSignature {
  let step = 'trust';
  try {
    const verifier = signatureVerifier(trust, nodeCrypto);
    step = 'form';
    const verified = verifier.verify(bytes, artifact, (name) => {
      step = name;
    });
    step = 'time';
    checkClock([verified], nowMs);
    describe(verified, account);
    return verified;
  } catch (failure) {
    return account.check(step, () => {
      throw failure;
    });
  }
}

/** Nobody is trusted for having signed at all: the user says whom to expect. @throws CLI_USAGE, CLI_FILE_UNREADABLE, CEREMONY_KEY_… */
async function expectedSigner({ identity, issuer, key }: BundleQuestion): Promise<ExpectedSigner> {
  if (key !== undefined && identity === undefined && issuer === undefined) {
    return { kind: 'key', publicKey: publicKeyDer(await readAnyKey(key)) };
  }
  if (key === undefined && identity !== undefined && issuer !== undefined) {
    return { kind: 'certificate', identity, issuer };
  }
  throw CLI.reject(
    'CLI_USAGE',
    'expected for a bundle either --identity and --issuer, or --key: whom to expect as signer',
  );
}

function policyOf({ without = [] }: BundleQuestion): EvidencePolicy {
  const demand = (kind: (typeof without)[number]) => (without.includes(kind) ? 'none' : 'required');
  return {
    ...STRICT_POLICY,
    timestamps: demand('timestamps'),
    log: demand('log'),
    certificateLog: demand('certificate-log'),
  };
}

async function openTrustedRoot(
  question: BundleQuestion,
  nowMs: number,
  account: ChainAccount,
): Promise<Uint8Array> {
  const { root, trustedRoot } = question;
  if ((root === undefined) === (trustedRoot === undefined)) {
    throw CLI.reject('CLI_USAGE', 'expected --trusted-root, or --root with --tuf or --registry');
  }
  if (root !== undefined) {
    return withRepository({ ...question, root }, nowMs, account, (trust) => trust.trustedRoot());
  }
  const bytes = await readInput(trustedRoot as string);
  account.check('trust', () =>
    found(undefined, `${quote(trustedRoot as string)}, as given: nobody's signature on it was checked`),
  );
  return bytes;
}

/** The bytes of a file, or a digest alone. @throws CLI_USAGE, CLI_FILE_UNREADABLE */
async function openArtifact(image: string): Promise<Artifact> {
  if (image.startsWith('sha256:')) return { sha256: hexDecode(readDigest(image, 'the image')) as Uint8Array };
  const { size } = await stat(image).catch(() => ({ size: 0 }));
  if (size > ARTIFACT_SIZE_BYTES_MAX) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected a file of at most 1 GiB, got ${size} bytes; give its digest as sha256:…`,
    );
  }
  return { bytes: await readInput(image, ARTIFACT_SIZE_BYTES_MAX) };
}

function describe(verified: VerifiedSignature, account: ChainAccount): void {
  const { signer, certificate, times, entries, waived } = verified;
  const say = (link: string, ...lines: readonly string[]) =>
    account.check(link, () => found(undefined, ...lines));
  const logs = certificate?.certificateLogs ?? [];
  say(
    'signature',
    `by ${inWords(signer)}`,
    ...Object.entries(certificate?.claims ?? {}).map(([name, value]) => `${name}: ${quote(value)}`),
    ...(logs.length === 0 ? [] : [`certificate in the log ${logs.join(', ')}`]),
  );
  say('time', ...times.map(({ by, name, timeMs }) => `${formatInstant(timeMs)} by the ${by} ${quote(name)}`));
  if (entries.length > 0) {
    say(
      'log',
      ...entries.map(
        ({ origin, index, treeSize }) =>
          `index ${index} of ${quote(origin)}${treeSize === undefined ? ', by its promise alone' : `, in the tree of ${treeSize}`}`,
      ),
    );
  }
  for (const kind of waived) {
    const name = kind === 'certificateLog' ? 'certificate-log' : kind;
    account.skip(name, 'not demanded, as --without says; what is there was verified');
  }
  say('content', contentOf(verified));
}

/** Asks the library of the field, which needs the bytes of an artifact that was signed itself. */
function askField(
  bytes: Uint8Array,
  { trustedRoot, keys, policy }: BundleTrust,
  { content }: VerifiedSignature,
  artifact: Artifact | undefined,
  account: ChainAccount,
): void {
  const data = artifact !== undefined && 'bytes' in artifact ? artifact.bytes : undefined;
  if (content.kind === 'artifact' && data === undefined) {
    account.skip('second opinion', '@sigstore/verify needs the file itself, and was given its digest');
    return;
  }
  account.check('second opinion', () => {
    const listed = keys.map(({ publicKey }) => publicKey);
    fieldVerifier({ trustedRoot, keys: listed }, policy).check(
      bytes,
      content.kind === 'artifact' ? data : undefined,
    );
    return found(undefined, '@sigstore/verify accepts it too');
  });
}

function contentOf({ content }: VerifiedSignature): string {
  if (content.kind === 'artifact') return `signature over sha256:${hexEncode(content.sha256)}`;
  const { predicateType, subjects } = content.statement;
  return `${quote(predicateType)} about ${several(subjects.map(({ name, sha256 }) => `${quote(name)} sha256:${sha256}`))}`;
}

function inWords(signer: VerifiedSigner): string {
  return signer.kind === 'certificate'
    ? `${quote(signer.identity)} of issuer ${quote(signer.issuer)}`
    : `the key sha256:${hexEncode(nodeCrypto.sha256(signer.publicKey))}`;
}
