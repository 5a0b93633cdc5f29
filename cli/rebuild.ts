// SPDX-License-Identifier: Apache-2.0
// `waybill rebuild`: builds an image again from the registry's evidence alone, and signs what came out.

import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openManagedKey } from '../attest/identity/key.ts';
import { findIdentity } from '../attest/identity/token.ts';
import { signStatement, signStatementWithKey } from '../attest/sign.ts';
import { submitBundle } from '../attest/submit.ts';
import { parseDefinition, refuseDefinition } from '../builder/definition.ts';
import { parseLock } from '../builder/lock-file.ts';
import { removeTree } from '../builder/remove-tree.ts';
import { buildRebuildReport, type RebuildReport } from '../core/intoto/rebuild.ts';
import { formatStatement } from '../core/intoto/statement.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import { type ClaimedBuild, fetchNamed, findClaimedBuild } from '../release/build-evidence.ts';
import type { EvidenceSource } from '../release/evidence.ts';
import { Registry } from '../release/registry.ts';
import { showEvents } from './build-events.ts';
import { hostOption, mirrorOption } from './definition-file.ts';
import { openYaml, readInput, writeOutput } from './files.ts';
import { readDigest } from './image.ts';
import { interruptible } from './interrupt.ts';
import { EXIT, printJson, printLine, printProgress } from './terminal.ts';
import { openTrust, registryUrl, type Trust } from './trust.ts';
import { userCache } from './user-folders.ts';

export interface RebuildInputs {
  /** Lower-case hex. */
  readonly imageSha256: string;
  readonly registry: string;
  readonly root: string;
  readonly rebuilderId: string;
  readonly builderIdentity?: string | undefined;
  readonly key?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly audience: string;
  readonly mirror?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly archive?: string | undefined;
  /** Folder for the build and `rebuild.sigstore.json`; else nothing is kept here. */
  readonly out?: string | undefined;
  readonly toolVersion: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface RebuildResult {
  readonly report: RebuildReport;
  readonly bundle: VerifiedBundle;
}

/**
 * Does the work of `waybill rebuild`. An image that differs is a result, not an exception.
 * @throws CLI_*, TUF_*, RELEASE_REGISTRY_*, REBUILD_*, DEFINITION_*, LOCK_*, what the builder throws, IDENTITY_*, SIGN_*, SUBMIT_*
 */
export async function rebuild(inputs: RebuildInputs): Promise<RebuildResult> {
  const { progress, signal } = inputs;
  const url = registryUrl(inputs.registry);
  const pem = inputs.key === undefined ? undefined : await readInput(inputs.key);
  const keys = pem === undefined ? [] : [openManagedKey(pem).publicKey];
  // Before an hour of building, not after it.
  const identity = pem === undefined ? findIdentity(inputs) : undefined;
  progress(`fetching trust material from ${url}`);
  const trust = await openTrust({ registryUrl: url, rootPath: inputs.root });
  const source = { registry: new Registry(url, signal), verifier: await trust.verifier(keys) };
  progress('fetching and verifying evidence');
  const claimed = await findClaimedBuild(source, inputs.imageSha256, inputs.builderIdentity);
  const scratch = await mkdtemp(join(tmpdir(), 'waybill-rebuild-'));
  try {
    const out = inputs.out ?? join(scratch, 'out');
    const report = await buildAgain(inputs, source, claimed, out);
    const statement = formatStatement(buildRebuildReport(report));
    progress('signing and submitting the statement');
    signal?.throwIfAborted();
    const bytes = await sign(statement, trust, pem, identity);
    const bundle = source.verifier.verify(bytes);
    await submitBundle(url, bytes, signal);
    if (inputs.out !== undefined) await writeOutput(join(out, 'rebuild.sigstore.json'), bytes);
    return { report, bundle };
  } finally {
    await removeTree(scratch);
  }
}

async function sign(
  statement: Uint8Array,
  trust: Trust,
  pem: Uint8Array | undefined,
  identity: ReturnType<typeof findIdentity> | undefined,
): Promise<Uint8Array> {
  const signingConfig = await trust.signingConfig();
  if (pem !== undefined) return signStatementWithKey(statement, { signingConfig, privateKeyPem: pem });
  if (identity === undefined) throw new TypeError('neither a key nor an identity');
  return signStatement(statement, { signingConfig, identity });
}

async function buildAgain(
  inputs: RebuildInputs,
  source: EvidenceSource,
  claimed: ClaimedBuild,
  out: string,
): Promise<RebuildReport> {
  const definitionBytes = await fetchNamed(source, claimed.definitionSha256, 'waybill.yaml');
  const lockBytes = await fetchNamed(source, claimed.lockSha256, 'waybill.lock');
  const definition = parseDefinition(openYaml('waybill.yaml', definitionBytes, refuseDefinition));
  const lock = parseLock(lockBytes, 'waybill.lock');
  const [{ build }, { checkClaims, compareRebuild }] = await Promise.all([
    import('../builder/build.ts'),
    import('../builder/rebuild.ts'),
  ]);
  checkClaims(definition, claimed.steps);
  const { signal, progress, mirror, snapshot, archive, rebuilderId, toolVersion } = inputs;
  const rebuilt = await build({
    // A published file is somebody else's claim: what was built is compared with the provenance.
    definition: { ...definition, steps: definition.steps.map(withoutPublished) },
    lock,
    definitionBytes,
    lockBytes,
    out,
    replace: false,
    cache: userCache(),
    builderId: rebuilderId,
    toolVersion,
    mirror: mirrorOption(mirror),
    snapshot: hostOption(snapshot, 'WAYBILL_SNAPSHOT'),
    archive: hostOption(archive, 'WAYBILL_ARCHIVE'),
    registry: inputs.registry,
    // What was kept of an earlier run would prove nothing.
    fresh: true,
    signal,
    onEvent: showEvents(progress),
  });
  const compared = await compareRebuild({
    definition,
    claims: claimed.steps,
    imageSha256: claimed.image.sha256,
    rebuilt,
    original: () => source.registry.blob(claimed.image.sha256),
    nowMs: Date.now(),
  });
  const { image, product, version, definitionSha256, lockSha256 } = claimed;
  return {
    ...{ image, product, version, definitionSha256, lockSha256, rebuilderId },
    inputAttestations: claimed.steps.map(({ bundle }) => bundle.sha256).sort(),
    sandbox: { mechanism: rebuilt.sandbox.mechanism, kernel: rebuilt.sandbox.kernel },
    ...compared,
  };
}

type Step = ReturnType<typeof parseDefinition>['steps'][number];

function withoutPublished(step: Step): Step {
  return { ...step, outputs: step.outputs.map(({ file, path }) => ({ file, path })) };
}

interface RebuildOptions {
  readonly registry: string;
  readonly root: string;
  readonly rebuilderId: string;
  readonly builderIdentity?: string;
  readonly key?: string;
  readonly tokenFile?: string;
  readonly audience: string;
  readonly mirror?: string;
  readonly snapshot?: string;
  readonly archive?: string;
  readonly out?: string;
  readonly json?: true;
}

/** Adds `waybill rebuild`. */
export function rebuildVerb(program: Command): void {
  program
    .command('rebuild')
    .summary('build an image again from evidence alone, and say whether it is the same')
    .description(
      'Takes the provenance of an image, its waybill.yaml and its waybill.lock from a registry, verifies them, fetches every ' +
        'input by digest from the registry, or from where it came if the registry does not keep it, builds again in the same ' +
        'sandbox, and compares every output. Signs a statement that agrees or differs, with the places in which the image ' +
        'differs, and submits it. Exit code 0: agrees; 1: differs.',
    )
    .argument('<digest>', 'the image, as sha256:…')
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .requiredOption('--root <file>', 'TUF root.json that you trust')
    .option(
      '--rebuilder-id <uri>',
      'who rebuilds, for the statement',
      'https://waybill.example/rebuilders/local',
    )
    .option('--builder-identity <name>', 'whose build is meant, if several claim the image')
    .option('--key <file>', 'sign with this private key instead of an identity')
    .option('--token-file <file>', 'file that holds an OIDC identity token')
    .option('--audience <name>', 'whom the token is for', 'waybill')
    .option(
      '--mirror <url>',
      "where to fetch packages that the registry does not keep; default WAYBILL_MIRROR, else the host's apt sources",
    )
    .option(
      '--snapshot <url>',
      'archive base that keeps older packages than the mirror; default WAYBILL_SNAPSHOT',
    )
    .option(
      '--archive <folder>',
      'read every input from here first, and keep every one here, by digest; default WAYBILL_ARCHIVE',
    )
    .option('--out <folder>', 'keep the build and the bundle there; must not exist')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `\nExample:\n  waybill rebuild sha256:${'4b'.repeat(32)} \\\n    --registry https://registry.example --root root.json --key rebuilder.pem`,
    )
    .action(async (digest: string, options: RebuildOptions) => {
      const imageSha256 = readDigest(digest, 'the image');
      const toolVersion = program.version() ?? '';
      const { report, bundle } = await interruptible((signal) =>
        rebuild({ ...options, imageSha256, toolVersion, env: process.env, progress: printProgress, signal }),
      );
      const { sha256, leafIndex } = bundle;
      if (options.json === true) printJson({ ...report, bundle: { sha256, logIndex: Number(leafIndex) } });
      else await print(report, bundle);
      if (report.verdict !== 'agrees') process.exitCode = EXIT.refused;
    });
}

async function print(report: RebuildReport, bundle: VerifiedBundle): Promise<void> {
  const { describeDifference, FIXES } = await import('../builder/difference.ts');
  printLine(`${report.product} ${report.version}, image sha256:${report.image.sha256}`);
  for (const { step, name, claimedSha256, rebuiltSha256 } of report.outputs) {
    const same = claimedSha256 === rebuiltSha256;
    const claimed = same ? '' : `, claimed is sha256:${claimedSha256}`;
    printLine(`  ${same ? 'same    ' : 'differs '}  ${step}/${name}, sha256:${rebuiltSha256}${claimed}`);
  }
  for (const difference of report.differences) printLine(`  ${describeDifference(difference)}`);
  for (const cause of new Set(report.differences.map((difference) => difference.cause))) {
    printLine(`  what to do  ${cause}: ${FIXES[cause]}`);
  }
  printLine(
    `the rebuild ${report.verdict}; signed statement sha256:${bundle.sha256}, log index ${bundle.leafIndex}`,
  );
}
