// SPDX-License-Identifier: Apache-2.0
// `waybill attest` against a real registry: signed, logged, stored; verified by a script that knows nothing of Waybill.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyHint } from '../../attest/identity/key.ts';
import { signStatementWithKey } from '../../attest/sign.ts';
import { submitBundle } from '../../attest/submit.ts';
import type { AttestReport } from '../../cli/attest.ts';
import { buildAttributeReport, parseAttributeReport } from '../../core/intoto/scai.ts';
import { formatStatement, parseStatement } from '../../core/intoto/statement.ts';
import { buildTestResult } from '../../core/intoto/test-result.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import type { Outcome } from '../../examples/demo/command-line.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { runHere } from '../cli/command-line.ts';
import { BUILDER_ID, planBuild, removeBuild, sha256, writeBuild } from './build-folder.ts';
import { type RegistryProcess, startRegistry } from './registry-process.ts';

const INDEPENDENT = fileURLToPath(new URL('../independent/verify-bundle.mjs', import.meta.url));
const BIN = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));

let registry: RegistryProcess;
let folder: string;

beforeAll(async () => {
  registry = await startRegistry([spki]);
  folder = await writeBuild(planBuild());
}, 60_000);
afterAll(async () => {
  await registry.close();
  await removeBuild(folder);
});

const argumentsFor = (out: string, url = registry.url) =>
  ['attest', out, '--registry', url, '--root', registry.root, '--json'] as const;

/** The command in a process of its own. */
async function attestAlone(out: string): Promise<Outcome> {
  return registry.cli.run(argumentsFor(out), { env: { WAYBILL_ID_TOKEN: await registry.issuer.token() } });
}

/** The command in this process. */
async function attest(out: string, options: { token?: string; url?: string } = {}): Promise<Outcome> {
  return runHere(argumentsFor(out, options.url), {
    XDG_STATE_HOME: join(registry.folder, 'state'),
    WAYBILL_ID_TOKEN: options.token ?? (await registry.issuer.token()),
  });
}

async function reportOf(out: string, run: (out: string) => Promise<Outcome> = attest): Promise<AttestReport> {
  const outcome = await run(out);
  expect(outcome.stderr).not.toContain('waybill:');
  expect(outcome.exitCode).toBe(0);
  return outcome.json as AttestReport;
}

const payloadOf = (bundle: Uint8Array) => parseBundle(new Uint8Array(bundle)).payload;
const trustPath = (name: string) => join(registry.dataFolder, 'trust', name);

test('a build output is attested, stored and verified by a stranger', { timeout: 60_000 }, async () => {
  const report = await reportOf(folder, attestAlone);
  expect(report).toMatchObject({ product: 'optiboot', version: '8.1.0' });
  expect(report.statements).toHaveLength(3);
  expect(new Set(report.statements.map(({ logIndex }) => logIndex)).size).toBe(3);
  for (const one of report.statements) {
    expect(one).toMatchObject({ identity: IDENTITY, issuer: registry.issuer.url, reused: false });
    const stored = await fetch(`${registry.url}/api/v1/attestations/${one.bundleSha256}`);
    expect(Buffer.from(await stored.arrayBuffer())).toEqual(await readFile(one.bundle));
  }
  for (const { sha256, path, sbom } of report.images) {
    expect((await fetch(`${registry.url}/api/v1/blobs/${sbom.sha256}`)).status).toBe(200);
    const stored = await fetch(`${registry.url}/api/v1/blobs/${sha256}`);
    expect(Buffer.from(await stored.arrayBuffer())).toEqual(await readFile(path));
  }
  for (const name of ['waybill.yaml', 'waybill.lock']) {
    const bytes = await readFile(join(folder, name));
    const stored = await fetch(`${registry.url}/api/v1/blobs/${sha256(bytes)}`);
    expect(Buffer.from(await stored.arrayBuffer())).toEqual(bytes);
  }

  const image = join(folder, 'products/optiboot.bin');
  const bundle = (n: number) => report.statements[n]?.bundle ?? '';
  const stranger = (...args: string[]) =>
    spawnSync(process.execPath, [INDEPENDENT, ...args], { encoding: 'utf8' });
  const root = trustPath('trusted_root.json');
  for (const n of [1, 2]) {
    expect(stranger(root, bundle(n), image, IDENTITY, registry.issuer.url)).toMatchObject({
      status: 0,
      stderr: '',
    });
  }
  const refused = [
    [root, bundle(0), image, IDENTITY, registry.issuer.url],
    [root, bundle(1), bundle(1), IDENTITY, registry.issuer.url],
    [root, bundle(1), image, IDENTITY.replace('build.yml', 'build.yaml'), registry.issuer.url],
    [root, bundle(1), image, IDENTITY.replace('.', '?'), registry.issuer.url],
    [root, bundle(1), image, IDENTITY, `${registry.issuer.url}/`],
  ];
  for (const args of refused) expect(stranger(...args).status).toBe(1);
});

test('what an audit found is signed, logged and stored like the rest, its evidence too', {
  timeout: 60_000,
}, async () => {
  const plan = planBuild();
  plan.files.set('audit.json', '{"auditVersion":1}\n');
  const subjects = plan.reference.subjects;
  const pinned = (name: string) => ({ name, sha256: sha256(plan.files.get(name) ?? '') });
  const sbom = [...plan.files.keys()].find((name) => name.endsWith('.cdx.json')) ?? '';
  const report = buildAttributeReport({
    ...{ subjects, attribute: 'WAYBILL_INPUTS_TRACED', producerId: BUILDER_ID },
    conditions: { openedCount: 3, usedCount: 1, unexplainedCount: 1 },
    evidence: { ...pinned('audit.json'), mediaType: 'application/json' },
  });
  const result = buildTestResult({
    ...{ subjects, result: 'PASSED', passedTests: ['prune-and-rebuild/compile'], failedTests: [] },
    configuration: [sbom, 'waybill.lock', 'waybill.yaml'].map(pinned),
  });
  plan.files.set('statements/04-audit.scai.json', formatStatement(report));
  plan.files.set('statements/05-prune.test-result.json', formatStatement(result));
  const out = await writeBuild(plan);
  try {
    const { statements } = await reportOf(out);
    expect(statements).toHaveLength(5);
    const image = join(out, 'products/optiboot.bin');
    const root = trustPath('trusted_root.json');
    for (const { bundle, bundleSha256 } of statements.slice(3)) {
      const args = [INDEPENDENT, root, bundle, image, IDENTITY, registry.issuer.url];
      expect(spawnSync(process.execPath, args, { encoding: 'utf8' })).toMatchObject({
        status: 0,
        stderr: '',
      });
      const stored = await fetch(`${registry.url}/api/v1/attestations/${bundleSha256}`);
      expect(Buffer.from(await stored.arrayBuffer())).toEqual(await readFile(bundle));
    }
    const { evidence } = parseAttributeReport(
      parseStatement(payloadOf(await readFile(statements[3]?.bundle ?? ''))),
    );
    const seen = await fetch(`${registry.url}/api/v1/blobs/${evidence.sha256}`);
    expect(sha256(new Uint8Array(await seen.arrayBuffer()))).toBe(evidence.sha256);
  } finally {
    await removeBuild(out);
  }
});

test('attesting again signs and stores nothing twice', { timeout: 60_000 }, async () => {
  const before = await reportOf(folder);
  const again = await reportOf(folder);
  expect(again.statements.every(({ reused }) => reused)).toBe(true);
  expect(again.statements.map(({ bundleSha256 }) => bundleSha256)).toEqual(
    before.statements.map(({ bundleSha256 }) => bundleSha256),
  );
});

test('a bundle that is damaged or of another statement is made anew', { timeout: 60_000 }, async () => {
  const [first, second, third] = (await reportOf(folder)).statements;
  if (first === undefined || second === undefined || third === undefined) throw new Error('three expected');
  await cp(first.bundle, second.bundle);
  await writeFile(third.bundle, (await readFile(third.bundle, 'utf8')).slice(0, -20));
  const again = await reportOf(folder);
  expect(again.statements.map(({ reused }) => reused)).toEqual([true, false, false]);
  await rm(first.bundle);
  execFileSync('mkfifo', [first.bundle]);
  const piped = await reportOf(folder);
  expect(piped.statements.map(({ reused }) => reused)).toEqual([false, true, true]);
});

test('a bundle of another registry is signed anew for this one', {
  timeout: 120_000,
}, async () => {
  // Another registry signed it: sound in itself, unverifiable here.
  const other = await startRegistry();
  const copy = await writeBuild(planBuild());
  try {
    const token = await other.issuer.token();
    const args = ['attest', copy, '--registry', other.url, '--root', other.root];
    await other.cli.must(args, { env: { WAYBILL_ID_TOKEN: token } });
    const report = await reportOf(copy);
    expect(report.statements.every(({ reused }) => !reused)).toBe(true);
  } finally {
    await removeBuild(copy);
    await other.close();
  }
});

test('a kept bundle that the registry refuses is signed anew, once; a fresh one is not', {
  timeout: 60_000,
}, async () => {
  const copy = await writeBuild(planBuild());
  await reportOf(copy);
  // Stands before the registry and refuses as many submissions as it is told.
  let refusals = 0;
  const gatekeeper = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    if (request.method === 'POST' && refusals-- > 0) {
      const error = { code: 'SIGSTORE_LOG_PROOF_MISSING', message: 'm', remedy: 'r' };
      response.writeHead(422).end(JSON.stringify({ error }));
      return;
    }
    const to = `${registry.url}${request.url}`;
    const passed = await fetch(to, { method: request.method ?? '', ...(body.length > 0 ? { body } : {}) });
    response.writeHead(passed.status).end(Buffer.from(await passed.arrayBuffer()));
  });
  gatekeeper.listen(0, '127.0.0.1');
  await once(gatekeeper, 'listening');
  const url = `http://127.0.0.1:${(gatekeeper.address() as AddressInfo).port}`;
  try {
    refusals = 1;
    const outcome = await attest(copy, { url });
    expect(outcome).toMatchObject({ exitCode: 0, stderr: expect.not.stringContaining('waybill:') });
    const { statements } = outcome.json as AttestReport;
    expect(statements.map(({ reused }) => reused)).toEqual([false, true, true]);
    refusals = 2;
    expect(await attest(copy, { url })).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'SUBMIT_REFUSED' } },
    });
  } finally {
    gatekeeper.closeAllConnections();
    gatekeeper.close();
    await removeBuild(copy);
  }
});

test('not one connection goes anywhere but to the registry', { timeout: 60_000 }, async () => {
  const copy = await writeBuild(planBuild());
  // Prints every address that the process connects to, and every name that it looks up.
  const spy = `
    import dns from 'node:dns'; import net from 'node:net';
    const connect = net.Socket.prototype.connect;
    net.Socket.prototype.connect = function (...args) {
      const [options] = Array.isArray(args[0]) ? args[0] : args;
      process.stderr.write('[to ' + (options.host ?? options.path) + ':' + options.port + ']\\n');
      return connect.apply(this, args);
    };
    const lookup = dns.lookup;
    dns.lookup = (name, ...rest) => { process.stderr.write('[name ' + name + ']\\n'); return lookup(name, ...rest); };`;
  try {
    const args = ['attest', copy, '--registry', registry.url, '--root', registry.root];
    const { stderr } = await registry.cli.must(args, {
      env: {
        WAYBILL_ID_TOKEN: await registry.issuer.token(),
        NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(spy)}`,
      },
    });
    const reached = new Set(stderr.match(/^\[(?:to|name) .*\]$/gm));
    expect([...reached].sort()).toEqual([`[to ${new URL(registry.url).host}]`]);
  } finally {
    await removeBuild(copy);
  }
});

test('a statement edited between build and attest is refused before anything is signed', async () => {
  const plan = planBuild();
  const edited = await writeBuild(plan);
  try {
    const path = join(edited, 'statements/02-image.provenance.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(/("digest":\{"sha256":")./, '$1x').replace('"x', '"0'));
    const outcome = await attest(edited, { url: 'http://127.0.0.1:1' });
    expect(outcome.exitCode).toBe(1);
    expect(await readdir(edited)).not.toContain('bundles');
  } finally {
    await removeBuild(edited);
  }
});

test('a token of another workflow is refused by the authority; its text shows nowhere', {
  timeout: 60_000,
}, async () => {
  const copy = await writeBuild(planBuild());
  try {
    const token = await registry.issuer.token({
      job_workflow_ref: 'example/firmware/.github/workflows/other.yml@refs/heads/main',
    });
    const outcome = await attest(copy, { token });
    expect(outcome.exitCode).toBe(1);
    expect(outcome.json).toMatchObject({ error: { code: 'SIGN_SERVICE_REFUSED' } });
    const said = outcome.stdout + outcome.stderr;
    for (let at = 0; at + 12 <= token.length; at++) expect(said).not.toContain(token.slice(at, at + 12));
    expect(said).toMatch(/OIDC_/);
    expect(await readdir(copy)).not.toContain('bundles');
  } finally {
    await removeBuild(copy);
  }
});

test('a registry that is down: try again later, nothing half-written', { timeout: 60_000 }, async () => {
  const copy = await writeBuild(planBuild());
  try {
    const outcome = await attest(copy, { url: 'http://127.0.0.1:1' });
    expect(outcome.exitCode).toBe(75);
    expect(await readdir(copy)).not.toContain('bundles');
  } finally {
    await removeBuild(copy);
  }
});

test('Ctrl-C ends the command soon and cleanly', { timeout: 60_000 }, async () => {
  // A registry that never answers.
  const silent = createServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const copy = await writeBuild(planBuild());
  try {
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const child = spawn(process.execPath, [BIN, 'attest', copy, '--registry', url, '--root', registry.root], {
      env: {
        ...process.env,
        XDG_STATE_HOME: registry.folder,
        WAYBILL_ID_TOKEN: await registry.issuer.token(),
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    await once(silent, 'request');
    child.kill('SIGINT');
    const [code] = (await once(child, 'exit')) as [number];
    expect({ code, said }).toMatchObject({ code: 75, said: expect.stringContaining('CLI_CANCELLED') });
    expect(await readdir(copy)).not.toContain('bundles');
  } finally {
    silent.closeAllConnections();
    silent.close();
    await removeBuild(copy);
  }
});

test('a managed key signs a bundle that names the key and whose log entry holds it', {
  timeout: 60_000,
}, async () => {
  const statement = new Uint8Array(await readFile(join(folder, 'statements/02-image.provenance.json')));
  const signingConfig = new Uint8Array(await readFile(trustPath('signing_config.v0.2.json')));
  const privateKeyPem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const bytes = await signStatementWithKey(statement, { signingConfig, privateKeyPem });
  const bundle = parseBundle(bytes);
  expect(bundle.verifier).toEqual({ keyHint: keyHint(spki) });
  const leaf = JSON.parse(Buffer.from(bundle.leaf).toString('utf8'));
  expect(leaf.spec.hashedRekordV002.signature.verifier.publicKey.rawBytes).toBe(
    Buffer.from(spki).toString('base64'),
  );
  const trustedRoot = new Uint8Array(await readFile(trustPath('trusted_root.json')));
  const verified = bothVerifiers({ trustedRoot, keys: [spki] }).verify(bytes);
  expect(verified.signer).toEqual({ kind: 'key', publicKey: spki });
  expect(() => bothVerifiers({ trustedRoot, keys: [] }).verify(bytes)).toThrow();
  await expect(submitBundle(registry.url, bytes)).resolves.toMatchObject({ known: false });
});
