// SPDX-License-Identifier: Apache-2.0
// `waybill attest`: hashes a build output again, signs its statements as the CI's identity and submits them.

import type { Command } from 'commander';
import type { InputFinder } from '../attest/archive-inputs.ts';
import { type AttestedBuild, type AttestedStatement, attestBuildOutput } from '../attest/attest.ts';
import { findIdentity } from '../attest/identity/token.ts';
import { parseRegistryUrl } from '../attest/submit.ts';
import { ContentStore } from '../builder/store.ts';
import { hostOption } from './definition-file.ts';
import { CLI } from './faults.ts';
import { writeOutput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { printJson, printLine, printProgress } from './terminal.ts';
import { openTrust } from './trust.ts';
import { userCache } from './user-folders.ts';

/** The inputs of `attest`, the same for the command and for the GitHub action. */
export interface AttestInputs {
  /** What `waybill build --out` wrote. */
  readonly folder: string;
  readonly registry: string;
  /** TUF root.json that the user trusts. */
  readonly root: string;
  readonly tokenFile?: string | undefined;
  readonly audience: string;
  /** Give every input to the registry, too. */
  readonly archiveInputs?: boolean | undefined;
  /** A folder that keeps inputs by digest, read before the cache of `waybill build`. */
  readonly archive?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Does the work of `waybill attest`. @throws as `attestBuildOutput` and `openTrust` */
export async function attest(inputs: AttestInputs): Promise<AttestedBuild> {
  const { folder, tokenFile, audience, env, progress, signal } = inputs;
  const registryUrl = parseRegistryUrl(inputs.registry);
  const identity = findIdentity({ env, tokenFile, audience, signal });
  const trust = async () => {
    progress(`fetching trust material from ${registryUrl}`);
    const opened = await openTrust({ registryUrl, rootPath: inputs.root });
    return { signingConfig: await opened.signingConfig(), verifier: await opened.verifier([]) };
  };
  const findInput = inputs.archiveInputs === true ? inputFinder(inputs.archive) : undefined;
  const services = { registryUrl, trust, identity, findInput, write: writeOutput };
  return attestBuildOutput({ folder, ...services, progress, signal });
}

/** Finds inputs in the archive, if there is one, else in the cache; both hold bytes by digest, hashed again when they are asked. */
function inputFinder(option: string | undefined): InputFinder {
  const archive = hostOption(option, 'WAYBILL_ARCHIVE');
  const stores = [
    ...(archive === undefined ? [] : [ContentStore.archive(archive)]),
    new ContentStore(userCache()),
  ];
  return async (input) => {
    for (const store of stores) if (await store.holds(input)) return store.path(input.sha256);
    return undefined;
  };
}

export function attestVerb(program: Command): void {
  program
    .command('attest')
    .summary('sign and submit the statements of a build')
    .description(
      'Hashes every file of a build output again, refuses statements that disagree, signs each statement with a ' +
        'short-lived certificate for the identity of this CI job, and submits the bundles, the images and their ' +
        'SBOMs to the registry. Safe to run again: what is signed and stored is not done twice.\n\n' +
        'With --archive-inputs the registry keeps every input, too: packages, archives, commits, folders. Then `waybill build ' +
        '--registry` and `waybill rebuild` work when the originals are gone. Whoever may read the registry can read them.\n\n' +
        'The identity token comes from --token-file, else WAYBILL_ID_TOKEN, else GitHub Actions ' +
        '(permissions: id-token: write).',
    )
    .argument('<out>', 'the folder that `waybill build --out` wrote')
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .requiredOption('--root <file>', 'TUF root.json that you trust')
    .option('--token-file <file>', 'file that holds an OIDC identity token')
    .option('--audience <name>', 'whom the token is for', 'waybill')
    .option(
      '--archive-inputs',
      'upload every input that the provenance names and the registry does not keep yet',
    )
    .option(
      '--archive <folder>',
      "with --archive-inputs: read them from here, else from the build's cache; default WAYBILL_ARCHIVE",
    )
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n  waybill attest out --registry https://registry.example --root root.json\n' +
        '  waybill attest out --registry https://registry.example --root root.json \\\n' +
        '    --archive-inputs',
    )
    .action(async (folder: string, options: Options) => {
      if (options.archive !== undefined && options.archiveInputs !== true) {
        throw CLI.reject('CLI_USAGE', 'expected --archive beside --archive-inputs only');
      }
      const done = await interruptible((signal) =>
        attest({ ...options, folder, env: process.env, progress: printProgress, signal }),
      );
      if (options.json === true) printJson(reportOf(done));
      else print(done);
    });
}

interface Options {
  readonly registry: string;
  readonly root: string;
  readonly tokenFile?: string;
  readonly audience: string;
  readonly archiveInputs?: true;
  readonly archive?: string;
  readonly json?: true;
}

export type AttestReport = ReturnType<typeof reportOf>;

/** What was attested, as plain data. */
export function reportOf({ output, bundleFolder, statements, inputs }: AttestedBuild) {
  const { product, version, builderId, products, sboms } = output;
  return {
    product,
    version,
    builderId,
    bundleFolder,
    statements: statements.map((one) => ({
      name: one.name,
      sha256: one.statementSha256,
      bundle: one.bundlePath,
      bundleSha256: one.bundle.sha256,
      logIndex: Number(one.bundle.leafIndex),
      ...identityOf(one),
      reused: one.reused,
    })),
    images: [...products].map(([name, { path, sha256, sizeBytes }]) => ({
      ...{ name, path, sha256, sizeBytes },
      sbom: sbomOf(name, sboms),
    })),
    ...(inputs === undefined ? {} : { inputs }),
  };
}

/** `readBuildOutput` found that each image has one. */
function sbomOf(image: string, sboms: AttestedBuild['output']['sboms']) {
  const { sha256, sizeBytes } = sboms.get(`sboms/${image}.cdx.json`) ?? {};
  return { sha256, sizeBytes };
}

function identityOf({ bundle }: AttestedStatement): { readonly identity: string; readonly issuer: string } {
  const { signer } = bundle;
  if (signer.kind === 'certificate') return { identity: signer.identity, issuer: signer.issuer };
  // The verifier was opened without listed keys, so that it accepts certificates only.
  throw new TypeError('a statement was signed with a key');
}

function print(done: AttestedBuild): void {
  const report = reportOf(done);
  printLine(`${report.product} ${report.version}: ${report.statements.length} statements attested`);
  for (const one of report.statements) {
    printLine(`  ${one.name}${one.reused ? '  (signed by an earlier run)' : ''}`);
    printLine(`    sha256 ${one.bundleSha256}  log index ${one.logIndex}`);
  }
  for (const { identity, issuer } of distinctSigners(report.statements)) {
    printLine(`  signed by ${identity}`);
    printLine(`    issuer  ${issuer}`);
  }
  for (const image of report.images) printLine(`  image ${image.name}  sha256 ${image.sha256}`);
  if (report.inputs !== undefined) {
    const { count, sizeBytes, uploadedCount, uploadedSizeBytes } = report.inputs;
    printLine(
      `  inputs in the registry: ${count}, ${sizeBytes} bytes; uploaded now: ${uploadedCount}, ${uploadedSizeBytes} bytes`,
    );
  }
  printLine(`  bundles are in ${report.bundleFolder}`);
}

function distinctSigners<S extends { readonly identity: string; readonly issuer: string }>(
  all: readonly S[],
) {
  return all.filter(
    (one, i) => all.findIndex((o) => o.identity === one.identity && o.issuer === one.issuer) === i,
  );
}
