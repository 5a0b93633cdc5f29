// SPDX-License-Identifier: Apache-2.0
// Verifying one bundle in a process that does nothing else: core and the library of the field in Node, and the field's command lines in Python and
// Go where they are at hand.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { cacheFolder } from '../../builder/store.ts';

const run = promisify(execFile);
const REPOSITORY = new URL('../../', import.meta.url).pathname;
const VECTORS = join(REPOSITORY, 'test/vectors/sigstore-bundle');
const CASE = join(VECTORS, 'rekor2-dsse-happy-path');
const [BUNDLE, TRUSTED_ROOT] = [join(CASE, 'bundle.sigstore.json'), join(CASE, 'trusted_root.json')];
const ARTIFACT = join(VECTORS, 'a.txt');
const IDENTITY =
  'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main';
const ISSUER = 'https://token.actions.githubusercontent.com';
/** What this bundle's bench was measured with. */
const PYTHON_PACKAGE = 'sigstore==4.5.1';

/** One way to verify: its name, and the process. */
export interface ColdWay {
  readonly name: string;
  readonly once: () => Promise<unknown>;
}

/** The ways that this machine has; `say` hears which it has not, and why. */
export async function coldWays(
  say: (text: string) => void,
): Promise<{ ways: ColdWay[]; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-bench-bundle-'));
  await build({
    absWorkingDir: REPOSITORY,
    // Bundled, so that neither side pays for many small files.
    entryPoints: ['bench/bundle/core-once.ts', 'bench/bundle/library-once.ts'],
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: "import{createRequire as c}from'node:module';const require=c(import.meta.url);" },
    logLevel: 'warning',
  });
  const inNode = (script: string) => () =>
    run(process.execPath, [join(folder, script), BUNDLE, TRUSTED_ROOT, ARTIFACT]);
  const ways: ColdWay[] = [
    { name: 'core', once: inNode('core-once.mjs') },
    { name: '@sigstore/verify 4.1', once: inNode('library-once.mjs') },
  ];
  for (const [name, make] of [
    ['sigstore-python', () => python(folder)],
    ['cosign', () => cosign()],
  ] as const) {
    try {
      const way = await make();
      await way.once();
      ways.push(way);
    } catch (failure) {
      say(`without ${name}: ${(failure as Error).message.split('\n')[0]}`);
    }
  }
  return { ways, end: () => rm(folder, { recursive: true }) };
}

/** In an environment of its own beside Waybill's cache, made the first time. */
async function python(folder: string): Promise<ColdWay> {
  const place = join(benchFolder(), 'python');
  const command = join(place, 'bin/sigstore');
  if (!existsSync(command)) {
    await mkdir(dirname(place), { recursive: true });
    await run('python3', ['-m', 'venv', place]);
    await run(join(place, 'bin/pip'), ['install', '--quiet', PYTHON_PACKAGE]);
  }
  const config = join(folder, 'trust-config.json');
  const empty = { caUrls: [], oidcUrls: [], rekorTlogUrls: [], tsaUrls: [] };
  const any = { rekorTlogConfig: { selector: 'ANY' }, tsaConfig: { selector: 'ANY' } };
  await writeFile(
    config,
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
      trustedRoot: JSON.parse(await readFile(TRUSTED_ROOT, 'utf8')),
      signingConfig: { mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json', ...empty, ...any },
    }),
  );
  const who = ['--cert-identity', IDENTITY, '--cert-oidc-issuer', ISSUER];
  const what = ['--trust-config', config, 'verify', 'identity', '--offline', '--bundle', BUNDLE];
  return {
    name: PYTHON_PACKAGE.replace('==', '-python '),
    once: () => run(command, [...what, ...who, ARTIFACT]),
  };
}

/** From the path, or where `go install` with GOBIN in the bench's folder would put it; it is not built here, which takes a quarter of an hour. */
async function cosign(): Promise<ColdWay> {
  const own = join(benchFolder(), 'go/bin/cosign');
  const command = existsSync(own) ? own : 'cosign';
  const who = ['--certificate-identity', IDENTITY, '--certificate-oidc-issuer', ISSUER];
  const what = ['--type', 'slsaprovenance1', '--bundle', BUNDLE, '--trusted-root', TRUSTED_ROOT];
  const { stdout } = await run(command, ['version', '--json']);
  const { gitVersion } = JSON.parse(stdout) as { gitVersion: string };
  const words = ['verify-blob-attestation', ...who, ...what, '--use-signed-timestamps', ARTIFACT];
  return { name: `cosign ${gitVersion}`, once: () => run(command, words) };
}

function benchFolder(): string {
  return join(dirname(cacheFolder(process.env, homedir())), 'waybill-bench');
}
