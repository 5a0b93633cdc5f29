// SPDX-License-Identifier: Apache-2.0
// Sigstore's clients as their users run them: each in a home of its own, with nothing but the TUF root of a registry.

import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { initTUF } from '@sigstore/tuf';
import { STOCK_CLIENTS, type StockClientName } from '../../scripts/stock-clients.ts';
import type { RegistryProcess } from '../attest/registry-process.ts';

/** What one command did. */
export interface Said {
  readonly exitCode: number;
  readonly text: string;
}

/** What a bundle must be about, and who must have signed it. */
export interface Question {
  readonly bundle: string;
  readonly artifact: string;
  readonly identity: string;
  readonly issuer: string;
  /** Of a statement; undefined for the signature of a file. */
  readonly predicateType?: string | undefined;
}

/** Signs a file, or with `statement` an in-toto statement about it; the bundle is written to `bundle`. */
export interface SignRequest {
  readonly artifact: string;
  readonly bundle: string;
  readonly token: string;
  readonly statement?: { readonly path: string; readonly predicate: string; readonly predicateType: string };
}

/** One client of another project. */
export interface Client {
  /** What has to be there. */
  readonly programs: readonly StockClientName[];
  /** Takes over the trust of a registry, given its root. */
  bootstrap(root: string): Promise<Said>;
  sign(request: SignRequest): Promise<Said>;
  verify(question: Question): Promise<Said>;
}

/** Runs a stock client to its end, in `home`. Its own words come back with the exit code. */
export function runIn(home: string, command: string, args: readonly string[]): Promise<Said> {
  // Nothing of this machine's user: no configuration, no token of a job that this test may be in. Lines are not to be wrapped.
  const env = { PATH: process.env.PATH ?? '', HOME: home, COLUMNS: '1000' };
  return new Promise((resolve) => {
    execFile(command, args, { env, cwd: home, timeout: 60_000 }, (failure, stdout, stderr) => {
      const code = failure === null ? 0 : typeof failure.code === 'number' ? failure.code : 128;
      resolve({ exitCode: code, text: `${stdout}${stderr}` });
    });
  });
}

/** The clients, each in a folder below `folder`, of a registry that they know by its address. */
export function clientsOf(registry: RegistryProcess, folder: string) {
  const mirror = `${registry.url}/tuf`;
  return {
    cosign: cosign(join(folder, 'cosign'), mirror),
    'sigstore-python': sigstorePython(join(folder, 'sigstore-python'), mirror),
    'sigstore-go': sigstoreGo(join(folder, 'sigstore-go'), mirror),
  } as const satisfies Record<string, Client>;
}

function cosign(home: string, mirror: string): Client {
  const run = (...args: string[]) => runIn(home, STOCK_CLIENTS.cosign.path, args);
  return {
    programs: ['cosign'],
    async bootstrap(root) {
      await mkdir(home, { recursive: true });
      return run('initialize', '--mirror', mirror, '--root', root);
    },
    async sign({ artifact, bundle, token, statement }) {
      const file = join(home, 'token');
      await writeFile(file, token, { mode: 0o600 });
      const what = ['--yes', '--bundle', bundle, '--identity-token', file];
      return statement === undefined
        ? run('sign-blob', ...what, artifact)
        : run('attest-blob', ...what, '--statement', statement.path);
    },
    verify({ bundle, artifact, identity, issuer, predicateType }) {
      const who = ['--certificate-identity', identity, '--certificate-oidc-issuer', issuer];
      return predicateType === undefined
        ? run('verify-blob', '--bundle', bundle, ...who, artifact)
        : run('verify-blob-attestation', '--type', predicateType, '--bundle', bundle, ...who, artifact);
    },
  };
}

function sigstorePython(home: string, mirror: string): Client {
  const run = (...args: string[]) =>
    runIn(home, STOCK_CLIENTS['sigstore-python'].path, ['--instance', mirror, ...args]);
  return {
    programs: ['sigstore-python'],
    async bootstrap(root) {
      await mkdir(home, { recursive: true });
      return run('trust-instance', root);
    },
    sign({ artifact, bundle, token, statement }) {
      const how = ['--identity-token', token, '--bundle', bundle, artifact];
      return statement === undefined
        ? run('sign', ...how)
        : run(
            'attest',
            '--predicate',
            statement.predicate,
            '--predicate-type',
            statement.predicateType,
            ...how,
          );
    },
    verify({ bundle, artifact, identity, issuer }) {
      const who = ['--cert-identity', identity, '--cert-oidc-issuer', issuer];
      return run('verify', 'identity', '--bundle', bundle, ...who, artifact);
    },
  };
}

/** The library's two examples. That which verifies reads TUF by itself; that which signs takes files, which `@sigstore/tuf` fetches. */
function sigstoreGo(home: string, mirror: string): Client {
  const { 'sigstore-go-signing': signing, 'sigstore-go-verification': verification } = STOCK_CLIENTS;
  const [trustedRoot, signingConfig] = [join(home, 'trusted_root.json'), join(home, 'signing_config.json')];
  let rootPath = '';
  return {
    programs: ['sigstore-go-signing', 'sigstore-go-verification'],
    async bootstrap(root) {
      await mkdir(home, { recursive: true });
      rootPath = root;
      try {
        const tuf = await initTUF({ mirrorURL: mirror, rootPath, cachePath: join(home, 'sigstore-js') });
        await writeFile(trustedRoot, await tuf.getTarget('trusted_root.json'));
        await writeFile(signingConfig, await tuf.getTarget('signing_config.v0.2.json'));
        return { exitCode: 0, text: '' };
      } catch (failure) {
        return { exitCode: 1, text: String(failure) };
      }
    },
    async sign({ artifact, bundle, token, statement }) {
      const said = await runIn(home, signing.path, [
        ...['-signing-config', signingConfig, '-trusted-root', trustedRoot],
        ...['-id-token', token, '-rekor', '-tsa'],
        ...(statement === undefined ? [artifact] : ['-in-toto', statement.path]),
      ]);
      const document = said.text.split('\n').find((line) => line.startsWith('{'));
      if (document !== undefined) await writeFile(bundle, document);
      return said;
    },
    verify: ({ bundle, artifact, identity, issuer }) =>
      runIn(home, verification.path, [
        ...['-tufRootURL', mirror, '-tufTrustedRoot', rootPath, '-artifact', artifact],
        ...['-expectedIssuer', issuer, '-expectedSAN', identity, bundle],
      ]),
  };
}
