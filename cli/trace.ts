// SPDX-License-Identifier: Apache-2.0
// `waybill trace`: asks a registry where a package is used and prints the answer as a table.

import type { Command } from 'commander';
import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { parsePackageUrl } from '../registry/package-url.ts';
import { STORE } from '../registry/store-faults.ts';
import type { Trace, TracedImage } from '../registry/trace.ts';
import { interruptible } from './interrupt.ts';
import { printJson, printLine } from './terminal.ts';
import { registryUrl } from './trust.ts';

const TIMEOUT_MS = 30_000;

/** Asks a registry. The answer is the registry's word, not verified. @throws REGISTRY_PURL_MALFORMED, REGISTRY_UNREACHABLE, REGISTRY_REFUSED, REGISTRY_ANSWER_MALFORMED */
export async function trace(purl: string, registry: string, signal?: AbortSignal): Promise<Trace> {
  if (parsePackageUrl(purl) === undefined) {
    const message = `expected a package URL such as pkg:deb/debian/gcc-avr, got ${quote(purl)}`;
    throw STORE.reject('REGISTRY_PURL_MALFORMED', message);
  }
  const url = `${registryUrl(registry)}/api/v1/trace?purl=${encodeURIComponent(purl)}`;
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  let status: number;
  let body: Uint8Array;
  try {
    const response = await fetch(url, {
      redirect: 'error',
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    });
    status = response.status;
    body = await readBody(response);
  } catch (cause) {
    signal?.throwIfAborted();
    const inner = (cause as Error).cause as NodeJS.ErrnoException | undefined;
    const reason = inner?.code ?? (deadline.aborted ? 'no answer in time' : (cause as Error).message);
    throw STORE.unavailable(
      'REGISTRY_UNREACHABLE',
      `expected an answer from ${quote(registry)}, got ${quote(reason)}`,
      {
        cause,
      },
    );
  }
  if (status === 200) return read(body);
  const said = `status ${status} ${quote(Buffer.from(body).toString())}`;
  if (status >= 500 || status === 429) {
    throw STORE.unavailable(
      'REGISTRY_UNREACHABLE',
      `expected an answer from ${quote(registry)}, got ${said}`,
    );
  }
  throw STORE.reject(
    'REGISTRY_REFUSED',
    `expected an answer about ${quote(purl)}, got ${refusal(body) ?? said}`,
  );
}

/** The body, read no further than an answer may be long; the reader of documents refuses what is longer. */
async function readBody(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > LIMITS.jsonSizeBytes) break;
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function read(body: Uint8Array): Trace {
  const refuse = (message: string, at: string) => STORE.reject('REGISTRY_ANSWER_MALFORMED', message, { at });
  const root = parseDocument(body, { refuse }).only('purl', 'shipsIn', 'builtWith');
  root.field('purl').string();
  for (const list of ['shipsIn', 'builtWith']) root.field(list).elements().forEach(checkImage);
  // What is printed must not repaint the terminal.
  if (/[\p{C}\u2028\u2029]/u.test(allText(root.value)))
    throw refuse('expected plain text, got control characters', '/');
  return root.value as unknown as Trace;
}

/** Everything that is printed must be there; members that are not are let through, as later registries may tell more. */
function checkImage(image: DocumentNode): void {
  image.field('imageSha256').sha256();
  checkTexts(image, ['product', 'version', 'component']);
  if (image.optional('role') !== undefined) checkTexts(image.field('usedIn'), ['step']);
  const build = image.optional('build');
  if (build !== undefined) {
    checkTexts(build, ['invocationId', 'step', 'signedAt']);
    build.field('logIndex').integer();
    build.optional('logShard')?.integer(2);
    const signer = build.field('signer');
    if (signer.field('kind').word('key', 'certificate') === 'certificate')
      checkTexts(signer, ['identity', 'issuer']);
  }
  for (const release of image.field('releases').elements()) {
    checkTexts(release, ['version']);
    const withdrawn = release.optional('withdrawn');
    if (withdrawn !== undefined) checkTexts(withdrawn, ['deniedAt', 'reason']);
  }
  for (const device of image.field('devices').elements()) {
    checkTexts(device, ['deviceId', 'outcome', 'reportedAt']);
    device.field('current').boolean();
  }
}

/** An image that no attested step made has neither product nor version: those may be empty. */
function checkTexts(node: DocumentNode, names: readonly string[]): void {
  for (const name of names) {
    const text = node.field(name);
    if (text.value !== '') text.string();
  }
}

function allText(value: Json): string {
  if (typeof value === 'string') return value;
  if (value === null || typeof value !== 'object') return '';
  return Object.values(value).map(allText).join(' ');
}

/** Code and message, if the answer is one of ours. */
function refusal(body: Uint8Array): string | undefined {
  try {
    const { code, message } = JSON.parse(Buffer.from(body).toString()).error;
    return typeof code === 'string' && typeof message === 'string'
      ? `${quote(code)}: ${quote(message)}`
      : undefined;
  } catch {
    return undefined;
  }
}

export function traceVerb(program: Command): void {
  program
    .command('trace')
    .summary('find where a package is used')
    .description(
      'Lists the images that a package ships in and, separately, the images that were built with it: from which ' +
        'build, signed by whom, released when, on which devices. Without a version all versions are found.',
    )
    .argument('<purl>', 'package URL, e.g. pkg:deb/debian/gcc-avr')
    .requiredOption('--registry <url>', 'base URL of `waybill serve`')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  waybill trace pkg:deb/debian/arduino-core-avr --registry http://127.0.0.1:8410',
    )
    .action(async (purl: string, options: { readonly registry: string; readonly json?: true }) => {
      const found = await interruptible((signal) => trace(purl, options.registry, signal));
      if (options.json === true) printJson(found);
      else print(found);
    });
}

function print(found: Trace): void {
  printLine(`${found.purl}`);
  printList('ships in', 'ships in no image that the registry knows', found.shipsIn);
  printList('built with', 'no image was built with it, as far as the registry knows', found.builtWith);
}

function printList(heading: string, none: string, images: readonly TracedImage[]): void {
  printLine();
  if (images.length === 0) {
    printLine(none);
    return;
  }
  const count = new Set(images.map((image) => image.imageSha256)).size;
  printLine(`${heading}: ${count} ${count === 1 ? 'image' : 'images'}`);
  for (const uses of usesOf(images)) printImage(uses);
}

/** What differs in the step alone is one block. */
function usesOf(images: readonly TracedImage[]): readonly (readonly [TracedImage, ...TracedImage[]])[] {
  const blocks = new Map<string, [TracedImage, ...TracedImage[]]>();
  for (const image of images) {
    const key = JSON.stringify({ ...image, usedIn: undefined });
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, [image]);
    else block.push(image);
  }
  return [...blocks.values()];
}

/** What a device's last report with this image as its active one says [docs/spec/install-report.md]. */
const OUTCOMES: Readonly<Record<string, string>> = {
  installed: 'installed it',
  refused: 'refused an update',
  withdrawn: 'knew it to be withdrawn',
};

function printImage(uses: readonly [TracedImage, ...TracedImage[]]): void {
  const [image] = uses;
  printLine(`  ${image.product} ${image.version}  ${image.component}`);
  printLine(`    image    sha256:${image.imageSha256}`);
  if (image.role !== undefined) {
    const steps = uses.map(({ usedIn }) => usedIn?.step ?? '?');
    printLine(`    as       ${image.role} of ${steps.length === 1 ? 'step' : 'steps'} ${steps.join(', ')}`);
  }
  const { build } = image;
  if (build !== undefined) {
    const who =
      build.signer.kind === 'key' ? 'a listed key' : `${build.signer.identity} (${build.signer.issuer})`;
    const shard = build.logShard === undefined ? '' : ` of shard ${build.logShard}`;
    printLine(`    build    ${build.invocationId}, step ${build.step}, log entry ${build.logIndex}${shard}`);
    printLine(`    signed   ${build.signedAt} by ${who}`);
  }
  for (const { version, releasedAt, withdrawn } of image.releases) {
    const end = withdrawn === undefined ? '' : `, withdrawn ${withdrawn.deniedAt}: ${withdrawn.reason}`;
    printLine(`    release  ${version} of ${releasedAt ?? 'an unknown time'}${end}`);
  }
  if (image.releases.length === 0) printLine('    release  none');
  for (const { deviceId, reportedAt, outcome, current } of image.devices) {
    const last = OUTCOMES[outcome] ?? outcome;
    printLine(
      `    device   ${deviceId}: ${current ? 'runs it' : 'ran it, runs another now'}; ${last} ${reportedAt}`,
    );
  }
  if (image.devices.length === 0) printLine('    device   none');
}
