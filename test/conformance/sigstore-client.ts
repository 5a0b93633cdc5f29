// SPDX-License-Identifier: Apache-2.0
// The client that sigstore-conformance drives; see the file of the same name without extension for how it is called.

import { createPublicKey } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Rejection, Unavailable } from '../../core/faults.ts';
import type { Artifact, EvidencePolicy } from '../../core/verify/evidence.ts';
import { checkSigner, type ExpectedSigner } from '../../core/verify/expected-signer.ts';
import { signatureVerifier } from '../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { signBundle } from './sign-bundle.ts';

const INSTANCES = new URL('../vectors/sigstore-instances/', import.meta.url);

/** Bundles of all ages: old ones are dated by their log. */
const POLICY: EvidencePolicy = { timestamps: 'none', log: 'required', certificateLog: 'required' };

/** Not the protocol. */
class Usage extends Error {}

/** Options by name, and the one argument. */
interface Call {
  readonly command: string;
  readonly options: ReadonlyMap<string, string>;
  readonly flags: ReadonlySet<string>;
  readonly file: string;
}

const FLAGS = ['--staging', '--in-toto'];

function parseCall([command = '', ...words]: readonly string[]): Call {
  const options = new Map<string, string>();
  const flags = new Set<string>();
  const files: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (FLAGS.includes(word)) flags.add(word);
    else if (word.startsWith('--')) {
      const value = words[++i];
      if (value === undefined) throw new Usage(`expected a value after ${word}`);
      options.set(word, value);
    } else files.push(word);
  }
  const [file, ...more] = files;
  if (file === undefined || more.length > 0) throw new Usage('expected one file or digest');
  return { command, options, flags, file };
}

function required({ options }: Call, name: string): string {
  const value = options.get(name);
  if (value === undefined) throw new Usage(`expected ${name}`);
  return value;
}

const read = (path: string | URL) => new Uint8Array(readFileSync(path));

/** A document of the instance that the call is about, unless it names its own. */
function instanceFile(call: Call, option: string, name: string): Uint8Array {
  const own = call.options.get(option);
  if (own !== undefined) return read(own);
  return read(new URL(`${call.flags.has('--staging') ? 'staging' : 'public-good'}/${name}`, INSTANCES));
}

/** A digest if it looks like one and is no file. */
function artifactOf(word: string): Artifact {
  const digest = /^sha256:([0-9a-fA-F]{64})$/.exec(word)?.[1];
  if (digest !== undefined && !existsSync(word))
    return { sha256: new Uint8Array(Buffer.from(digest, 'hex')) };
  return { bytes: read(word) };
}

function verifyBundle(call: Call): void {
  const keyPath = call.options.get('--key');
  let expected: ExpectedSigner;
  if (keyPath === undefined) {
    const identity = required(call, '--certificate-identity');
    expected = { kind: 'certificate', identity, issuer: required(call, '--certificate-oidc-issuer') };
  } else expected = { kind: 'key', publicKey: readKey(keyPath) };
  const trustedRoot = instanceFile(call, '--trusted-root', 'trusted_root.json');
  const keys = expected.kind === 'key' ? [{ publicKey: expected.publicKey }] : [];
  const verifier = signatureVerifier({ trustedRoot, keys, policy: POLICY }, nodeCrypto);
  const verified = verifier.verify(read(required(call, '--bundle')), artifactOf(call.file));
  checkSigner(verified.signer, expected);
  console.log(`signed at ${new Date(verified.signedAtMs).toISOString()}`);
}

/** A PEM key as DER; what OpenSSL cannot open has no DER, and lists nobody. */
function readKey(path: string): Uint8Array {
  try {
    return new Uint8Array(createPublicKey(readFileSync(path)).export({ type: 'spki', format: 'der' }));
  } catch {
    return new Uint8Array(0);
  }
}

async function sign(call: Call): Promise<void> {
  const token = required(call, '--identity-token');
  const path = required(call, '--bundle');
  const bundle = await signBundle(read(call.file), {
    inToto: call.flags.has('--in-toto'),
    token,
    signingConfig: instanceFile(call, '--signing-config', 'signing_config.v0.2.json'),
  });
  // What would not verify is not handed out.
  const trustedRoot = instanceFile(call, '--trusted-root', 'trusted_root.json');
  const artifact = call.flags.has('--in-toto') ? undefined : { bytes: read(call.file) };
  signatureVerifier({ trustedRoot, keys: [], policy: POLICY }, nodeCrypto).verify(bundle, artifact);
  writeFileSync(path, bundle);
}

/** Does what the words say. @returns the exit code */
export async function run(words: readonly string[], complain: (line: string) => void): Promise<number> {
  try {
    const call = parseCall(words);
    if (call.command === 'verify-bundle') verifyBundle(call);
    else if (call.command === 'sign-bundle') await sign(call);
    else throw new Usage('expected verify-bundle or sign-bundle');
    return 0;
  } catch (failure) {
    if (failure instanceof Rejection || failure instanceof Unavailable) {
      complain(`${failure.code}: ${failure.message}${failure.at === undefined ? '' : ` (${failure.at})`}`);
      return failure instanceof Rejection ? 1 : 75;
    }
    if (failure instanceof Usage) complain(failure.message);
    else complain(failure instanceof Error ? (failure.stack ?? failure.message) : String(failure));
    return failure instanceof Usage ? 2 : 70;
  }
}

if (import.meta.main) process.exitCode = await run(process.argv.slice(2), console.error);
