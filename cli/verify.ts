// SPDX-License-Identifier: Apache-2.0
// `waybill verify`: an evidence pack or a Sigstore bundle, without a network; a tree of what was checked, or the first broken link.

import type { Command } from 'commander';
import { Option } from 'commander';
import { parseInstantMs } from '../core/encoding/document.ts';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote, Rejection } from '../core/faults.ts';
import { PACK_MEDIA_TYPE } from '../core/release/pack.ts';
import { ChainAccount } from './chain-account.ts';
import { CLI } from './faults.ts';
import { readInput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { EXIT, printJson, printLine } from './terminal.ts';
import { type BundleQuestion, verifyBundleFile } from './verify-bundle-file.ts';
import { type PackQuestionFiles, verifyPackFile } from './verify-pack-file.ts';

/** What the command line says. */
export interface VerifyOptions extends BundleQuestion, PackQuestionFiles {
  /** An instant in UTC; now, if absent. */
  readonly at?: string;
}

/** The verdict, as plain data. */
export interface VerifyResult {
  readonly verdict: 'verified' | 'refused';
  readonly kind: 'pack' | 'bundle';
  /** What it is about, in words. */
  readonly about: string;
  readonly links: ChainAccount['links'];
  /** Links that nothing was given for. */
  readonly notChecked: readonly string[];
  readonly code?: string;
}

/** Adds `waybill verify`. */
export function verifyVerb(program: Command): void {
  program
    .command('verify')
    .summary('check a pack or a bundle, without a network')
    .description(
      'Verifies an evidence pack link by link as a device does, or one Sigstore bundle, and prints what was checked, who signed, when, ' +
        'and where it was logged. At the first link that does not hold it says what was expected, what was found and what that ' +
        'means, and the exit code is 1. Options that are for one of the two say which of them is expected. Nothing is fetched, unless ' +
        '--registry is given.',
    )
    .argument('<file>', 'an evidence pack (*.waybill) or a Sigstore bundle (*.sigstore.json)')
    .argument('[image]', 'the file that it is about, or its digest as sha256:…')
    .optionsGroup('Whom to trust, by update metadata:')
    .option('--root <file>', 'TUF root.json that you trust; with --tuf or --registry')
    .option('--tuf <folder>', "a copy of the repository's metadata and trust material, made with --keep")
    .option('--registry <url>', 'fetch them from `waybill serve`')
    .option('--keep <folder>', 'with --registry: keep what was fetched, once all holds, as a copy for --tuf')
    .optionsGroup('Or by files that you have checked yourself:')
    .option('--trusted-root <file>', "Sigstore's trusted_root.json")
    .option('--log-policy <file>', 'pack: the tlog-policy')
    .option('--device-policy <file>', "pack: the product's device policy, as published (JSON)")
    .optionsGroup('Who must have signed a bundle:')
    .option('--identity <name>', 'identity in the certificate, compared as a string; with --issuer')
    .option('--issuer <url>', 'OIDC issuer in the certificate, compared as a string')
    .option('--key <file>', 'public key in PEM that signed without a certificate')
    .addOption(
      new Option(
        '--without <kind...>',
        'bundle: do not demand this kind of evidence; the verdict says so',
      ).choices(['timestamps', 'log', 'certificate-log']),
    )
    .optionsGroup('Options:')
    .option('--sbom <file>', "pack: the SBOM; beside the pack, or from the repository's copy, by default")
    .option('--at <time>', 'verify as of this time, e.g. 2026-01-31T12:00:00Z; now by default')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  waybill verify optiboot-8.1.0.waybill optiboot.bin --root root.json \\\n' +
        '    --registry http://127.0.0.1:8410 --keep copy\n' +
        '  waybill verify optiboot-8.1.0.waybill optiboot.bin --root root.json \\\n' +
        '    --tuf copy\n' +
        '  waybill verify image.sigstore.json optiboot.bin \\\n' +
        '    --trusted-root trusted_root.json \\\n' +
        '    --identity https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main \\\n' +
        '    --issuer https://token.actions.githubusercontent.com',
    )
    .action(async (file: string, image: string | undefined, options: VerifyOptions & { json?: true }) => {
      const result = await interruptible(() => verify(file, image, options));
      if (options.json === true) printJson(result);
      else print(file, result);
      if (result.verdict === 'refused') process.exitCode = EXIT.refused;
    });
}

/**
 * Does the work of `waybill verify`. What does not hold is a result; what could not be read or obtained is thrown.
 * @throws CLI_USAGE, CLI_FILE_UNREADABLE, TUF_UNREACHABLE, TUF_STATE_UNWRITABLE
 */
export async function verify(
  file: string,
  image: string | undefined,
  options: VerifyOptions,
): Promise<VerifyResult> {
  const nowMs = timeOf(options.at);
  const bytes = await readInput(file);
  const kind = askedKind(options) ?? kindOf(file, bytes);
  refuseRootless(options);
  const account = new ChainAccount();
  const given = { file, bytes, image, nowMs };
  const facts = { kind, links: account.links };
  try {
    const about =
      kind === 'pack'
        ? await verifyPackFile(given, options, account)
        : await verifyBundleFile(given, options, account);
    return { verdict: 'verified', about, ...facts, notChecked: account.skipped };
  } catch (failure) {
    // What is wrong with the command line is no verdict.
    if (!(failure instanceof Rejection) || failure.row.usage === true || account.links.length === 0)
      throw failure;
    const notChecked = account.skipped;
    return { verdict: 'refused', about: file, ...facts, notChecked, code: failure.code };
  }
}

/** Update metadata is nothing without a root to trust. @throws CLI_USAGE */
function refuseRootless(options: VerifyOptions): void {
  for (const name of ['tuf', 'registry', 'keep'] as const) {
    if (options[name] !== undefined && options.root === undefined) {
      throw CLI.reject('CLI_USAGE', `expected --root with --${name}: whose metadata to trust`);
    }
  }
}

function timeOf(at: string | undefined): number {
  if (at === undefined) return Date.now();
  const nowMs = parseInstantMs(at);
  if (nowMs === undefined) {
    throw CLI.reject('CLI_USAGE', `expected --at to be a time like 2026-01-31T12:00:00Z, got ${quote(at)}`);
  }
  return nowMs;
}

/**
 * What is expected, where an option is of one kind alone: whoever names a signer must not get the verdict on a pack, of whatever signers.
 * @throws CLI_USAGE
 */
function askedKind(options: VerifyOptions): VerifyResult['kind'] | undefined {
  const { identity, issuer, key, without, logPolicy, devicePolicy, sbom } = options;
  const isGiven = (option: unknown) => option !== undefined;
  const bundle = [identity, issuer, key, without].some(isGiven);
  const pack = [logPolicy, devicePolicy, sbom].some(isGiven);
  if (bundle && pack) {
    throw CLI.reject('CLI_USAGE', 'expected options for a pack or for a bundle, got some of both');
  }
  return bundle ? 'bundle' : pack ? 'pack' : undefined;
}

/**
 * By the media type, or by the name where nothing can be read; whether it is one is for the verifier to say.
 * @throws CLI_USAGE for a file that is neither by its content nor by its name
 */
function kindOf(file: string, bytes: Uint8Array): VerifyResult['kind'] {
  const parsed = parseStrictJson(bytes);
  const value = 'problem' in parsed ? undefined : parsed.value;
  const type = (value as { readonly mediaType?: unknown } | null | undefined)?.mediaType;
  if (type === PACK_MEDIA_TYPE || (type === undefined && file.endsWith('.waybill'))) return 'pack';
  if (typeof type === 'string' || /\.sigstore(\.json)?$/.test(file)) return 'bundle';
  throw CLI.reject(
    'CLI_USAGE',
    `expected an evidence pack or a Sigstore bundle first, and the image after it, got ${quote(file)}, which is neither`,
  );
}

function print(file: string, { verdict, about, links, notChecked }: VerifyResult): void {
  const account = new ChainAccount();
  account.links.push(...links);
  printLine(file);
  for (const line of account.lines()) printLine(line);
  if (verdict === 'verified') {
    const missing = notChecked.length === 0 ? '' : `, but for what was not given: ${notChecked.join(', ')}`;
    printLine(`verified: ${about}${missing}`);
  } else printLine('refused: nothing after the link that does not hold was looked at');
}
