// SPDX-License-Identifier: Apache-2.0
// `waybill gate`: fetches evidence, verifies it here, evaluates the policy, and signs the decision if it is a yes.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import { keyHint } from '../attest/identity/key.ts';
import { signStatementWithKey } from '../attest/sign.ts';
import { submitBundle } from '../attest/submit.ts';
import { formatStatement } from '../core/intoto/statement.ts';
import { buildVerificationSummary } from '../core/intoto/vsa.ts';
import { LIMITS } from '../core/limits.ts';
import { parseReleaseIndex, releaseIndexName } from '../core/release/release-index.ts';
import { compareVersions, releaseUri } from '../core/release/version.ts';
import type { BundleVerifier } from '../core/verify/verified.ts';
import type { TufClient } from '../device/tuf-client.ts';
import type { Decision } from '../policy/case.ts';
import { evaluate } from '../policy/evaluate.ts';
import { explain } from '../policy/explain.ts';
import { POLICY } from '../policy/faults.ts';
import { type Policy, readPolicy } from '../policy/policy.ts';
import { collectEvidence, sbomDigestOf } from '../release/evidence.ts';
import { releasesRole } from '../release/goods.ts';
import { lastVersionOf } from '../release/index-changes.ts';
import { publicKeyDer } from '../release/key-file.ts';
import { openSigningKey } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import { Registry } from '../release/registry.ts';
import type { SigningKey } from '../release/signing-key.ts';
import { openYaml, readInput, writeOutput } from './files.ts';
import { imageDigest } from './image.ts';
import { interruptible } from './interrupt.ts';
import { PASSPHRASE_FILE_HELP, passphrasesFrom } from './passphrase.ts';
import { EXIT, printJson, printLine, printProgress } from './terminal.ts';
import { openTrust, registryUrl, type Trust } from './trust.ts';

export interface GateInputs {
  readonly registry: string;
  readonly root: string;
  /** Path of policy.yaml. */
  readonly policy: string;
  readonly productVersion: string;
  /** A file, or `sha256:…`. */
  readonly image: string;
  /** The gate's private key: a path or a `pkcs11:` URI. */
  readonly key: string;
  readonly passphrases?: Passphrases | undefined;
  /** Folder for the bundle of the decision, `vsa-<digest>.sigstore.json`. */
  readonly out?: string | undefined;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A decision, and for a yes its signed form. */
export interface GateResult {
  readonly decision: Decision;
  readonly summary?: {
    readonly sha256: string;
    readonly leafIndex: number;
    readonly path?: string;
  };
}

/** Adds `waybill gate`. */
export function gateVerb(program: Command): void {
  program
    .command('gate')
    .summary('decide by policy whether an image may be released')
    .description(
      'Fetches the evidence about an image from the registry, verifies all of it on this machine, and evaluates the ' +
        'policy. Prints each rule with verdict and reason. If every rule holds, signs a verification summary (SLSA VSA) ' +
        'with the gate key, logs and submits it. If one does not, nothing is signed and the exit code is 1.',
    )
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .requiredOption('--root <file>', 'TUF root.json that you trust')
    .requiredOption('--policy <file>', 'policy.yaml')
    .requiredOption('--product-version <version>', 'the version that is to be released')
    .requiredOption('--image <file>', 'the image, or its digest as sha256:…')
    .requiredOption('--key <file>', 'private key of the gate (`waybill key new --for gate`) or pkcs11: URI')
    .option('--passphrase-file <file>', PASSPHRASE_FILE_HELP)
    .option(
      '--out <folder>',
      'also write the signed summary there, as vsa-<digest>.sigstore.json; the monitor explains decisions by these files',
    )
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  waybill gate --registry http://127.0.0.1:8410 --root root.json --policy policy.yaml \\\n' +
        '    --product-version 8.1.0 --image optiboot.bin --key gate.pem',
    )
    .action(async (options: Options) => {
      const given = { ...options, passphrases: passphrasesFrom(options), progress: printProgress };
      const result = await interruptible((signal) => gate({ ...given, signal }));
      if (options.json === true) printJson(result);
      else print(result);
      if (result.decision.result !== 'PASSED') process.exitCode = EXIT.refused;
    });
}

interface Options extends Omit<GateInputs, 'progress' | 'signal' | 'passphrases'> {
  readonly passphraseFile?: string;
  readonly json?: true;
}

function print({ decision, summary }: GateResult): void {
  for (const line of explain(decision)) printLine(line);
  if (summary === undefined) printLine('nothing was signed');
  else {
    printLine(`signed summary sha256:${summary.sha256}, log index ${summary.leafIndex}`);
    if (summary.path !== undefined) printLine(`  written to ${summary.path}`);
  }
}

/**
 * Does the work of `waybill gate`. A denial is a result, not an exception.
 * @throws CLI_*, POLICY_MALFORMED, CEREMONY_KEY_*, TUF_*, EVIDENCE_*, RELEASE_REGISTRY_*, SIGSTORE_*, SIGN_*, SUBMIT_*
 */
export async function gate(inputs: GateInputs): Promise<GateResult> {
  const { progress, signal } = inputs;
  const url = registryUrl(inputs.registry);
  // Refuses what is no version, whether or not the policy asks the rule that compares it.
  compareVersions(inputs.productVersion, '0');
  const policyBytes = await readInput(inputs.policy);
  const policy = openPolicy(inputs.policy, policyBytes);
  const key = await openSigningKey(inputs.key, 'p256', inputs.passphrases);
  const imageSha256 = await imageDigest(inputs.image);
  progress(`fetching trust material from ${url}`);
  const trust = await openTrust({ registryUrl: url, rootPath: inputs.root });
  const verifier = await trust.verifier([publicKeyDer(key.publicKey), ...rebuilderKeys(policy)]);
  const registry = new Registry(url, signal);
  progress('fetching and verifying evidence');
  const lastVersion = await lastReleased(trust.client, policy.product);
  const decision = await decide(
    { registry, verifier, policy, imageSha256, lastVersion },
    inputs.productVersion,
  );
  if (decision.result !== 'PASSED') return { decision };
  signal?.throwIfAborted();
  progress('signing and submitting the summary');
  const bundle = await signSummary(trust, policy, policyBytes, decision, key);
  const verified = verifier.verify(bundle);
  const { sha256 } = await submitBundle(url, bundle, signal);
  // One file a decision: the monitor looks for each of them.
  const path =
    inputs.out === undefined ? undefined : join(inputs.out, `vsa-${sha256.slice(0, 16)}.sigstore.json`);
  if (path !== undefined) await writeOutput(path, bundle);
  const summary = { sha256, leafIndex: Number(verified.leafIndex), ...(path === undefined ? {} : { path }) };
  return { decision, summary };
}

function rebuilderKeys({ rebuilders }: Policy): readonly Uint8Array[] {
  if (rebuilders === 'none') return [];
  return rebuilders.listed.flatMap((listed) =>
    'publicKey' in listed ? [new Uint8Array(Buffer.from(listed.publicKey, 'base64'))] : [],
  );
}

function openPolicy(path: string, bytes: Uint8Array): Policy {
  const refuse = (message: string, at: string) => POLICY.reject('POLICY_MALFORMED', message, { at });
  return readPolicy(openYaml(path, bytes, refuse));
}

/** The highest version that the product's delegation released or withdrew; undefined before the first release. */
async function lastReleased(client: TufClient, product: string): Promise<string | undefined> {
  if ((await client.delegatedRole(releasesRole(product))) === undefined) return undefined;
  const bytes = await client.goods(product, releaseIndexName(product), LIMITS.releaseIndexSizeBytes);
  return lastVersionOf(parseReleaseIndex(bytes));
}

interface Question {
  readonly registry: Registry;
  readonly verifier: BundleVerifier;
  readonly policy: Policy;
  readonly imageSha256: string;
  readonly lastVersion: string | undefined;
}

async function decide(question: Question, version: string): Promise<Decision> {
  const { registry, policy, imageSha256, lastVersion } = question;
  const evidence = await collectEvidence(question, imageSha256, policy);
  const sbomSha256 = sbomDigestOf(evidence, imageSha256, policy);
  const bytes = sbomSha256 === undefined ? undefined : await registry.blob(sbomSha256);
  const sbom =
    bytes === undefined ? undefined : { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
  return evaluate({ policy, evidence, imageSha256, sbom, version, lastVersion, nowMs: Date.now() });
}

/** What the summary claims beyond "passed" [SLSA-v1.2 §VSA]: never more than the rules that were asked. */
function levelsOf(policy: Policy): readonly string[] {
  const asks = (...ids: readonly Policy['rules'][number][]) => ids.every((id) => policy.rules.includes(id));
  return [
    // Builder and signer run in one job: more than L1 needs a builder out of the job's reach (docs/trust.md).
    ...(asks('builder-trusted', 'chain-complete') ? ['SLSA_BUILD_LEVEL_1'] : []),
    ...(asks('build-hermetic') ? ['WAYBILL_HERMETIC'] : []),
    ...(asks('sbom-bound') ? ['WAYBILL_SBOM_BOUND'] : []),
  ];
}

async function signSummary(
  trust: Trust,
  policy: Policy,
  policyBytes: Uint8Array,
  decision: Decision,
  { publicKey, sign }: SigningKey,
): Promise<Uint8Array> {
  const { product, version, imageSha256, bundles, decidedAtMs } = decision;
  const statement = buildVerificationSummary(
    {
      subjects: [{ name: `${product}-${version}.bin`, sha256: imageSha256 }],
      verifierId: policy.verifierId,
      timeVerifiedMs: decidedAtMs,
      resourceUri: releaseUri(product, version),
      policyUri: policy.uri,
      policySha256: createHash('sha256').update(policyBytes).digest('hex'),
      inputAttestations: bundles,
      result: 'PASSED',
      verifiedLevels: levelsOf(policy),
    },
    new Date(decidedAtMs).toISOString(),
  );
  const der = publicKeyDer(publicKey);
  return signStatementWithKey(formatStatement(statement), {
    signingConfig: await trust.signingConfig(),
    key: { publicKey: der, hint: keyHint(der), sign },
  });
}
