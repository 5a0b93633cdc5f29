// SPDX-License-Identifier: Apache-2.0
// A build output, attested: hashed again, each statement signed, verified, kept and submitted [docs/spec/attest.md §Order].

import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Rejection } from '../core/faults.ts';
import { PAYLOAD_TYPE } from '../core/intoto/statement.ts';
import { LIMITS } from '../core/limits.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import type { BundleVerifier, VerifiedBundle } from '../core/verify/verified.ts';
import { type ArchivedInputs, archiveInputs, type InputFinder } from './archive-inputs.ts';
import { type BuildOutput, readBuildOutput, type StatementFile } from './build-output.ts';
import type { HashedFile } from './folder.ts';
import type { IdentitySource } from './identity/token.ts';
import { signStatement } from './sign.ts';
import { submitBundle, uploadBlob } from './submit.ts';

export interface AttestOptions {
  /** What `waybill build --out` wrote. */
  readonly folder: string;
  readonly registryUrl: string;
  /** Asked for once the folder is found sound, so that a bad build is refused without any network. */
  readonly trust: () => Promise<SigningTrust>;
  readonly identity: IdentitySource;
  /** Finds the bytes of inputs. If it is given, the registry is to keep every input that the statements name. */
  readonly findInput?: InputFinder | undefined;
  /** Writes a file whole or not at all. */
  readonly write: (path: string, bytes: Uint8Array) => Promise<void>;
  readonly progress?: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** What the registry's TUF repository says about signing. */
export interface SigningTrust {
  /** signing_config.v0.2.json, authenticated by TUF. */
  readonly signingConfig: Uint8Array;
  /** Judges every bundle, new or found, before it is kept or submitted. */
  readonly verifier: BundleVerifier;
}

/** One statement and its attestation in the registry. */
export interface AttestedStatement {
  readonly name: string;
  readonly statementSha256: string;
  readonly bundlePath: string;
  readonly bundle: VerifiedBundle;
  /** True if the bundle was there from an earlier run. */
  readonly reused: boolean;
}

export interface AttestedBuild {
  readonly output: BuildOutput;
  readonly bundleFolder: string;
  readonly statements: readonly AttestedStatement[];
  /** Absent if nobody asked for it. */
  readonly inputs?: ArchivedInputs;
}

/**
 * Attests a build output. Can be run again after any failure: what is signed and stored already is not done twice.
 * @throws ATTEST_*, IDENTITY_*, SIGN_*, SUBMIT_*, and the verifier's faults; the signal's reason when it is aborted
 */
export async function attestBuildOutput(options: AttestOptions): Promise<AttestedBuild> {
  const { progress = () => {}, signal } = options;
  progress(`hashing ${options.folder} again`);
  const output = await readBuildOutput(options.folder);
  const bundleFolder = join(options.folder, 'bundles');
  const trust = await unlessAborted(options.trust(), signal);
  const signed: Signed[] = [];
  for (const statement of output.statements) {
    const path = join(bundleFolder, `${statement.name.replace(/\.json$/, '')}.sigstore.json`);
    const found = await reusable(path, statement, trust.verifier);
    if (found === undefined) progress(`signing ${statement.name} as ${options.identity.origin}`);
    signed.push(found ?? (await signAndKeep(path, statement, trust, options)));
  }
  for (const [i, one] of signed.entries()) {
    progress(`submitting ${one.statement.name}`);
    signed[i] = await submit(one, trust, options);
  }
  for (const [name, file] of bodies(output)) {
    progress(`uploading ${name} (${file.sizeBytes} bytes)`);
    await uploadBlob(options.registryUrl, file, signal);
  }
  const statements = signed.map(describe);
  const { registryUrl, findInput } = options;
  if (findInput === undefined) return { output, bundleFolder, statements };
  const archiving = { registryUrl, find: findInput, progress, signal };
  return { output, bundleFolder, statements, inputs: await archiveInputs(output.inputs, archiving) };
}

interface Signed {
  readonly statement: StatementFile;
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly verified: VerifiedBundle;
  readonly reused: boolean;
}

const bodies = (output: BuildOutput): readonly (readonly [string, HashedFile])[] => [
  ...output.products,
  ...output.sboms,
  ['waybill.yaml', output.definition],
  ['waybill.lock', output.lock],
  ...(output.audit === undefined ? [] : [['audit.json', output.audit] as const]),
];

function describe({ statement, path, verified, reused }: Signed): AttestedStatement {
  const { name, sha256 } = statement;
  return { name, statementSha256: sha256, bundlePath: path, bundle: verified, reused };
}

/** A bundle of an earlier run, if it is sound and holds this very statement; anything else is made anew. */
async function reusable(
  path: string,
  statement: StatementFile,
  verifier: BundleVerifier,
): Promise<Signed | undefined> {
  let bytes: Uint8Array;
  try {
    const info = await lstat(path);
    // A pipe would be waited for without end.
    if (!info.isFile() || info.size > LIMITS.bundleSizeBytes) return undefined;
    bytes = new Uint8Array(await readFile(path));
  } catch {
    return undefined;
  }
  try {
    if (!carries(bytes, statement)) return undefined;
    return { statement, path, bytes, verified: verifier.verify(bytes), reused: true };
  } catch (failure) {
    if (failure instanceof Rejection) return undefined;
    throw failure;
  }
}

async function signAndKeep(
  path: string,
  statement: StatementFile,
  trust: SigningTrust,
  options: AttestOptions,
): Promise<Signed> {
  const { identity, signal } = options;
  const { signingConfig, verifier } = trust;
  const bytes = await unlessAborted(signStatement(statement.bytes, { signingConfig, identity }), signal);
  const verified = verifier.verify(bytes);
  await options.write(path, bytes);
  return { statement, path, bytes, verified, reused: false };
}

/** True if a bundle carries exactly this statement. @throws SIGSTORE_BUNDLE_MALFORMED */
function carries(bytes: Uint8Array, statement: StatementFile): boolean {
  const { payload, payloadType } = parseBundle(bytes);
  return payloadType === PAYLOAD_TYPE && Buffer.compare(payload, statement.bytes) === 0;
}

/** Submits; a bundle of an earlier run that the registry refuses is signed anew, once. */
async function submit(one: Signed, trust: SigningTrust, options: AttestOptions): Promise<Signed> {
  try {
    await submitBundle(options.registryUrl, one.bytes, options.signal);
    return one;
  } catch (failure) {
    const refused = failure instanceof Rejection && failure.code === 'SUBMIT_REFUSED';
    if (!one.reused || !refused) throw failure;
  }
  const anew = await signAndKeep(one.path, one.statement, trust, options);
  await submitBundle(options.registryUrl, anew.bytes, options.signal);
  return anew;
}

/** The library that signs takes no signal; nothing is written after an abort. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
  });
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
