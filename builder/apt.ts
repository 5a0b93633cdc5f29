// SPDX-License-Identifier: Apache-2.0
// apt in a private folder [docs/spec/lock.md §How it comes about]: own sources, state, cache, an empty package status, one
// keyring, nothing of the host's configuration.

import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import type { DebianInput } from './definition.ts';
import { BUILDER } from './faults.ts';
import { runTool, type ToolResult } from './host-tool.ts';
import type { LockedDebian, LockedPackage } from './lock-file.ts';
import { nearNames } from './near-names.ts';

/** What an archive must be for several inputs to share one download of its index. */
export type Archive = Pick<
  DebianInput,
  'distribution' | 'suite' | 'components' | 'architecture' | 'keyring'
> & {
  readonly mirror: string;
};

/** One archive, its index fetched and its signature verified. Close it to remove the private folder. */
export class AptArchive {
  readonly archive: Archive;
  readonly folder: string;
  readonly inReleaseSha256: string;
  readonly signers: readonly string[];
  readonly signal: AbortSignal | undefined;

  private constructor(
    archive: Archive,
    folder: string,
    release: Pick<LockedDebian, 'inReleaseSha256' | 'signers'>,
    signal: AbortSignal | undefined,
  ) {
    this.archive = archive;
    this.folder = folder;
    this.inReleaseSha256 = release.inReleaseSha256;
    this.signers = release.signers;
    this.signal = signal;
  }

  /**
   * Fetches and verifies the index of a suite. `archive.keyring` is absolute.
   * @throws LOCK_KEYRING_UNREADABLE, LOCK_SIGNATURE_INVALID, LOCK_MIRROR_UNREACHABLE, LOCK_SUITE_MISMATCH, SANDBOX_TOOL_MISSING
   */
  static async open(archive: Archive, signal?: AbortSignal): Promise<AptArchive> {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-apt-'));
    try {
      await prepareFolder(folder, archive);
      const update = await apt(folder, ['update', '--error-on=any', '-q'], signal);
      if (update.exitCode !== 0) throw refuseUpdate(update);
      const release = await readRelease(folder, archive, signal);
      return new AptArchive(archive, folder, release, signal);
    } catch (failure) {
      await rm(folder, { recursive: true, force: true });
      throw failure;
    }
  }

  /**
   * The dependency closure of packages of an input, of all that it names or of these, in a system where `installed` is there already and is left
   * alone if it serves. @throws LOCK_PACKAGE_UNKNOWN, LOCK_CLOSURE_UNRESOLVABLE
   */
  async resolve(
    input: DebianInput,
    packages: readonly string[] = input.packages,
    installed: readonly LockedPackage[] = [],
  ): Promise<LockedPackage[]> {
    await writeFile(join(this.folder, 'status'), await this.#describeInstalled(installed));
    const result = await apt(this.folder, ['install', '--print-uris', '-qq', '-y', ...packages], this.signal);
    if (result.exitCode !== 0) {
      const unknown =
        /^E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)/m.exec(
          result.stderr,
        );
      if (unknown !== null) {
        throw await this.#unknown(unknown[1] ?? unknown[2] ?? '', input);
      }
      throw BUILDER.reject(
        'LOCK_CLOSURE_UNRESOLVABLE',
        `expected packages that can be installed together, got from apt: ${quote(complaint(result))}`,
      );
    }
    const lines = result.stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '');
    return lines.map((line) => parseUri(line, this.archive.mirror));
  }

  async #unknown(name: string, input: DebianInput): Promise<Error> {
    const environment = { APT_CONFIG: join(this.folder, 'apt.conf') };
    const { stdout } = await runTool('apt-cache', ['pkgnames'], { signal: this.signal, environment });
    const near = nearNames(name, stdout.toString('utf8').split('\n'));
    const hint = near.length === 0 ? '' : `; near it is ${near.map(quote).join(', ')}`;
    const { distribution, suite, components } = this.archive;
    const where = `${distribution} ${suite} (${components.join(', ')})`;
    return BUILDER.reject(
      'LOCK_PACKAGE_UNKNOWN',
      `expected input ${input.name} to name packages of ${where}, got ${quote(name)}${hint}`,
      { at: input.placeOf(name) },
    );
  }

  /** The status file of a system where these packages are installed. What the index holds no more is known by name and version alone. */
  async #describeInstalled(installed: readonly LockedPackage[]): Promise<string> {
    const stanzas: (string | undefined)[] = [];
    for (const { name, version } of installed) {
      const environment = { APT_CONFIG: join(this.folder, 'apt.conf') };
      const shown = await runTool('apt-cache', ['show', `${name}=${version}`], {
        signal: this.signal,
        environment,
      });
      const stanza = shown.exitCode === 0 ? shown.stdout.toString('utf8').split('\n\n')[0] : undefined;
      stanzas.push(stanza?.startsWith(`Package: ${name}\n`) === true ? stanza : undefined);
    }
    // Relations that lead to a package without any would look broken: then none is told, and versions alone count.
    const whole = stanzas.every((stanza) => stanza !== undefined);
    const relations = /^(?:Pre-Depends|Depends|Breaks|Conflicts):.*\n(?:[ \t].*\n)*/gm;
    return installed
      .map(({ name, version, architecture }, i) => {
        const bare = `Package: ${name}\nVersion: ${version}\nArchitecture: ${architecture}\nMaintainer: none`;
        const stanza = `${stanzas[i] ?? bare}\nStatus: install ok installed\n\n`;
        return whole ? stanza : stanza.replace(relations, '');
      })
      .join('');
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function prepareFolder(folder: string, archive: Archive): Promise<void> {
  for (const path of ['lists/partial', 'cache/archives/partial', 'parts', 'log']) {
    await mkdir(join(folder, path), { recursive: true });
  }
  await copyKeyring(archive.keyring, join(folder, 'keyring.gpg'));
  await writeFile(join(folder, 'status'), '');
  const { mirror, suite, components, architecture } = archive;
  await writeFile(
    join(folder, 'sources.list'),
    `deb [arch=${architecture}] ${mirror} ${suite} ${components.join(' ')}\n`,
  );
  const at = (path: string) => JSON.stringify(join(folder, path));
  const settings = [
    `Dir ${at('')};`,
    `Dir::State ${at('')};`,
    `Dir::State::lists ${at('lists/')};`,
    `Dir::State::status ${at('status')};`,
    `Dir::State::extended_states ${at('extended_states')};`,
    `Dir::Cache ${at('cache/')};`,
    `Dir::Log ${at('log/')};`,
    `Dir::Etc ${at('')};`,
    `Dir::Etc::sourcelist ${at('sources.list')};`,
    `Dir::Etc::sourceparts ${at('parts/')};`,
    `Dir::Etc::parts ${at('parts/')};`,
    'Dir::Etc::main "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    `Dir::Etc::preferencesparts ${at('parts/')};`,
    `Dir::Etc::netrcparts ${at('parts/')};`,
    // The only keys apt may believe here: no key of the host's trusted.gpg.d vouches for anything.
    `Dir::Etc::trusted ${at('keyring.gpg')};`,
    `Dir::Etc::trustedparts ${at('parts/')};`,
    `APT::Architecture "${architecture}";`,
    `APT::Architectures { "${architecture}"; };`,
    'APT::Install-Recommends "false";',
    'APT::Install-Suggests "false";',
    // The private folder belongs to whoever runs this; apt's own user could not write there.
    'APT::Sandbox::User "root";',
    'Acquire::Languages "none";',
    'Acquire::ForceHash "SHA256";',
    'Acquire::Retries "2";',
    'Acquire::http::Timeout "30";',
  ];
  await writeFile(join(folder, 'apt.conf'), `${settings.join('\n')}\n`);
}

async function copyKeyring(from: string, to: string): Promise<void> {
  const bad = (got: string, cause?: unknown) =>
    BUILDER.reject(
      'LOCK_KEYRING_UNREADABLE',
      `expected a binary OpenPGP keyring ${quote(from)}, got ${got}`,
      {
        cause,
      },
    );
  try {
    await copyFile(from, to);
  } catch (cause) {
    throw bad((cause as NodeJS.ErrnoException).code ?? 'an error', cause);
  }
  const file = await open(to);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1), 0, 1, 0);
  await file.close();
  // Every OpenPGP packet starts with bit 7 set [RFC9580 §4.2]; armoured text never does.
  if (bytesRead === 0 || ((buffer[0] as number) & 0x80) === 0) throw bad('text or an empty file');
}

function apt(folder: string, args: readonly string[], signal: AbortSignal | undefined): Promise<ToolResult> {
  return runTool('apt-get', args, { signal, environment: { APT_CONFIG: join(folder, 'apt.conf') } });
}

/** The lines of apt that say what is wrong, on one line. */
function complaint(result: ToolResult): string {
  const lines = `${result.stderr}\n${result.stdout.toString('utf8')}`.split('\n');
  const said = lines.filter((line) => /^(?:[EW]:|Err:| {2}|.*(?:Depends|Breaks|Conflicts):)/.test(line));
  return said.map((line) => line.trim()).join(' ') || `exit code ${result.exitCode}`;
}

function refuseUpdate(result: ToolResult): Error {
  const said = complaint(result);
  const signature =
    /GPG error|is not signed|NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|signatures? (?:couldn't|were invalid)|NODATA|Clearsigned|is expired|Hash Sum mismatch|File has unexpected size/;
  if (signature.test(said)) {
    return BUILDER.reject(
      'LOCK_SIGNATURE_INVALID',
      `expected an index validly signed by the keyring, got from apt: ${quote(said)}`,
    );
  }
  return BUILDER.unavailable(
    'LOCK_MIRROR_UNREACHABLE',
    `expected the index of the suite, got from apt: ${quote(said)}`,
  );
}

/** Reads the InRelease file that apt accepted once more, to name who signed it and what it is the index of. */
async function readRelease(
  folder: string,
  archive: Archive,
  signal: AbortSignal | undefined,
): Promise<Pick<LockedDebian, 'inReleaseSha256' | 'signers'>> {
  const lists = join(folder, 'lists');
  const file = (await readdir(lists)).find((name) => name.endsWith('_InRelease'));
  if (file === undefined) {
    throw BUILDER.reject('LOCK_SIGNATURE_INVALID', 'expected a signed InRelease file, got an unsigned index');
  }
  const bytes = await readFile(join(lists, file));
  const args = ['--quiet', '--keyring', join(folder, 'keyring.gpg'), '--status-fd', '2', '--output', '-'];
  const verified = await runTool('gpgv', [...args, join(lists, file)], { signal });
  const status = verified.stderr.split('\n').filter((line) => line.startsWith('[GNUPG:] '));
  // Archives are signed by several keys, of which a keyring may know some; one that it knows must never be wrong.
  const signers = status.flatMap((line) => /^\[GNUPG:\] VALIDSIG ([0-9A-F]+) /.exec(line)?.[1] ?? []);
  if (signers.length === 0 || status.some((line) => line.includes(' BADSIG '))) {
    throw BUILDER.reject(
      'LOCK_SIGNATURE_INVALID',
      `expected a valid signature by a key of the keyring, got from gpgv: ${quote(verified.stderr)}`,
    );
  }
  checkSuite(verified.stdout.toString('utf8'), archive);
  return {
    inReleaseSha256: createHash('sha256').update(bytes).digest('hex'),
    signers: [...new Set(signers)].sort(),
  };
}

/** `release` is the text that the signature covers. */
function checkSuite(release: string, archive: Archive): void {
  const field = (name: string) => new RegExp(`^${name}: *(.*)$`, 'm').exec(release)?.[1]?.trim() ?? '';
  const [origin, suite, codename] = [field('Origin'), field('Suite'), field('Codename')];
  if (origin.toLowerCase() !== archive.distribution || ![suite, codename].includes(archive.suite)) {
    throw BUILDER.reject(
      'LOCK_SUITE_MISMATCH',
      `expected ${archive.distribution} ${archive.suite}, got ${quote(`${origin} ${suite} ${codename}`)}`,
    );
  }
}

/** A line of `--print-uris`: `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`. */
function parseUri(line: string, mirror: string): LockedPackage {
  const match = /^'([^']+)' ([^_ ]+)_([^_ ]+)_([^_ ]+)\.deb ([0-9]+) SHA256:([0-9a-f]{64})$/.exec(line);
  // apt writes one slash where the URL standard writes three.
  const uri = (match?.[1] ?? '').replace(/^file:\/+/, 'file:///');
  if (match === null || !uri.startsWith(mirror)) {
    throw BUILDER.reject(
      'LOCK_CLOSURE_UNRESOLVABLE',
      `expected packages of the mirror with a SHA-256 digest, got from apt: ${quote(line)}`,
    );
  }
  return {
    name: match[2] as string,
    version: decodeURIComponent(match[3] as string),
    architecture: match[4] as string,
    sha256: match[6] as string,
    sizeBytes: Number(match[5]),
    path: decodeURIComponent(uri.slice(mirror.length)),
  };
}
