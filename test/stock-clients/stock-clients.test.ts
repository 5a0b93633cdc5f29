// SPDX-License-Identifier: Apache-2.0
// Every client signs against `waybill serve`, every other verifies what it signed, and each refuses the wrong signer, issuer and file. They
// get the TUF root of the registry, and nothing else.

import { createHash } from 'node:crypto';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleToJSON } from '@sigstore/bundle';
import { SigningConfig } from '@sigstore/protobuf-specs';
import { bundleBuilderFromSigningConfig } from '@sigstore/sign';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { whyAbsent } from '../../scripts/stock-clients.ts';
import { planBuild, removeBuild, writeBuild } from '../attest/build-folder.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';
import { claimedEntry, loggedEntry, rebuildLeaf } from '../independent/leaf.ts';
import { type Client, clientsOf, type Question, type Said } from './clients.ts';

const IDENTITY = 'https://github.com/example/firmware/.github/workflows/build.yml@refs/heads/main';
const PROVENANCE = 'https://slsa.dev/provenance/v1';
const GO_AND_PYTHON = ['cosign', 'sigstore-python', 'sigstore-go'] as const;
const SIGNERS = ['waybill', 'sigstore-js', ...GO_AND_PYTHON] as const;
const VERIFIERS = ['waybill', ...GO_AND_PYTHON] as const;
type Content = 'file' | 'statement';

const GO = {
  identity: /expected SAN value/,
  issuer: /expected issuer value/,
  artifact: /invalid signature|artifact digests do not match/,
} as const;

/** What a verifier says of a bundle that is not what was asked for. A crash says none of this. */
const REFUSALS = {
  waybill: {
    identity: /REFUSED {2}SIGSTORE_SIGNER_UNEXPECTED/,
    issuer: /REFUSED {2}SIGSTORE_SIGNER_UNEXPECTED/,
    artifact: /REFUSED {2}SIGSTORE_ARTIFACT_MISMATCH/,
  },
  cosign: GO,
  'sigstore-python': {
    identity: /SANs do not match/,
    issuer: /OIDCIssuer does not match/,
    artifact: /no subject for digest|digest mismatch/,
  },
  'sigstore-go': GO,
} as const;

let folder: string;
let registry: RegistryProcess;
let build: string;
let clients: ReturnType<typeof clientsOf>;
const artifact = () => join(folder, 'image.bin');
const predicate = () => join(folder, 'predicate.json');
const statement = () => join(folder, 'statement.json');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-stock-'));
  registry = await startRegistry([], true);
  clients = clientsOf(registry, folder);
  await writeFile(artifact(), 'the image of a device\n');
  const sha256 = createHash('sha256').update('the image of a device\n').digest('hex');
  const buildDefinition = { buildType: 'https://example.com/build', externalParameters: {} };
  const runDetails = { builder: { id: 'https://example.com/builder' } };
  await writeFile(predicate(), JSON.stringify({ buildDefinition, runDetails }));
  await writeFile(
    statement(),
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'image.bin', digest: { sha256 } }],
      predicateType: PROVENANCE,
      predicate: { buildDefinition, runDetails },
    }),
  );
  build = await writeBuild(planBuild());
  // Ours is the first entry of the log: what Go's clients write about entry 0, sigstore-python cannot read.
  const args = ['attest', build, '--registry', registry.url, '--root', registry.root];
  await registry.cli.must(args, { env: { WAYBILL_ID_TOKEN: await registry.issuer.token() } });
}, 120_000);
afterAll(async () => {
  await registry?.close();
  if (build !== undefined) await removeBuild(build);
  await rm(folder, { recursive: true, force: true });
});

/** Skips a test that needs a program that is not here. */
function need(context: TestContext, names: readonly string[]): void {
  for (const name of names) {
    for (const program of (clients as Partial<Record<string, Client>>)[name]?.programs ?? []) {
      const reason = whyAbsent(program);
      if (reason !== undefined) context.skip(reason);
    }
  }
}

const started = new Map<string, Promise<Said>>();

/** The client, with our root. */
async function trusting(name: (typeof GO_AND_PYTHON)[number]): Promise<Client> {
  const said = started.get(name) ?? clients[name].bootstrap(registry.root);
  started.set(name, said);
  expect(await said).toMatchObject({ exitCode: 0 });
  return clients[name];
}

const made = new Map<string, Promise<Question>>();

/** What a signer signed, once, as the question that its verifiers are asked. */
function signedBy(signer: (typeof SIGNERS)[number], content: Content): Promise<Question> {
  const name = `${signer}-${content}`;
  const known = made.get(name) ?? sign(signer, content, join(folder, `${name}.sigstore.json`));
  made.set(name, known);
  return known;
}

async function sign(signer: (typeof SIGNERS)[number], content: Content, bundle: string): Promise<Question> {
  const who = { identity: IDENTITY, issuer: registry.issuer.url };
  const predicateType = content === 'statement' ? PROVENANCE : undefined;
  if (signer === 'waybill') {
    const names = await readdir(join(build, 'bundles'));
    const name = names.find((one) => one.includes('-image.')) ?? '';
    return {
      bundle: join(build, 'bundles', name),
      artifact: join(build, 'products/optiboot.bin'),
      ...who,
      predicateType,
    };
  }
  const token = await registry.issuer.token({ aud: 'sigstore' });
  if (signer === 'sigstore-js') await signInNode(content, bundle, token);
  else {
    const about = { path: statement(), predicate: predicate(), predicateType: PROVENANCE };
    const request = { artifact: artifact(), bundle, token };
    const client = await trusting(signer);
    const said = await client.sign(content === 'file' ? request : { ...request, statement: about });
    expect(said).toMatchObject({ exitCode: 0 });
  }
  await access(bundle);
  return { bundle, artifact: artifact(), ...who, predicateType };
}

async function signInNode(content: Content, bundle: string, token: string): Promise<void> {
  const config = await readFile(join(registry.dataFolder, 'trust', 'signing_config.v0.2.json'), 'utf8');
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(JSON.parse(config)),
    identityProvider: { getToken: async () => token },
    bundleType: content === 'file' ? 'messageSignature' : 'dsseEnvelope',
  });
  const data = await readFile(content === 'file' ? artifact() : statement());
  const signed = await builder.create({ data, type: 'application/vnd.in-toto+json' });
  await writeFile(bundle, JSON.stringify(bundleToJSON(signed)));
}

async function ask(verifier: (typeof VERIFIERS)[number], question: Question): Promise<Said> {
  if (verifier !== 'waybill') return (await trusting(verifier)).verify(question);
  const who = ['--identity', question.identity, '--issuer', question.issuer];
  const trust = ['--registry', registry.url, '--root', registry.root];
  const run = await registry.cli.run(['verify', question.bundle, question.artifact, ...trust, ...who]);
  return { exitCode: run.exitCode, text: run.stdout + run.stderr };
}

describe.each(GO_AND_PYTHON)('%s', (name) => {
  test('starts from the root, and from the root of another registry it does not', async (context) => {
    need(context, [name]);
    await trusting(name);
    const [other, offline] = [join(folder, `other-${name}`), join(folder, `offline-${name}`)];
    await registry.cli.must(['init', other, '--offline', offline, '--url', registry.url, '--org', 'example']);
    const stranger = clientsOf(registry, join(folder, 'strangers'))[name];
    const said = await stranger.bootstrap(join(other, 'root.json'));
    expect(said.exitCode).not.toBe(0);
    expect(said.text).not.toMatch(/panic:/);
  });

  test('signs nothing for another workflow, and says why', async (context) => {
    need(context, [name]);
    const client = await trusting(name);
    const bundle = join(folder, `${name}-refused.json`);
    const claims = { aud: 'sigstore', job_workflow_ref: 'example/firmware/.github/workflows/other.yml@main' };
    const token = await registry.issuer.token(claims);
    const said = await client.sign({ artifact: artifact(), bundle, token });
    expect(said.exitCode).not.toBe(0);
    // sigstore-python does not pass on what the authority says.
    const reason = name === 'sigstore-python' ? /FulcioClientError/ : /OIDC_TOKEN_IDENTITY_REFUSED/;
    expect(said.text).toMatch(reason);
    await expect(access(bundle)).rejects.toThrow();
  });
});

const contents = ['file', 'statement'] as const;
const pairs = SIGNERS.flatMap((signer) =>
  contents
    .filter((content) => signer !== 'waybill' || content === 'statement')
    .map((content) => ({ signer, content })),
);

describe.each(pairs)('a $content signed by $signer', ({ signer, content }) => {
  test('is logged as the leaf that follows from the bundle', async (context) => {
    need(context, [signer]);
    const text = await readFile((await signedBy(signer, content)).bundle, 'utf8');
    const { index, body } = claimedEntry(text);
    expect(rebuildLeaf(text)).toBe(body);
    expect(body).toBe(await loggedEntry(`${registry.url}/log`, index));
  });

  test.for(VERIFIERS)('is accepted by %s, and not as anything else', async (verifier, context) => {
    need(context, [signer, verifier]);
    const question = await signedBy(signer, content);
    expect(await ask(verifier, question)).toMatchObject({ exitCode: 0 });
    const wrong = {
      identity: { identity: `${question.identity}x` },
      issuer: { issuer: `${question.issuer}/` },
      artifact: { artifact: registry.root },
    };
    for (const part of ['identity', 'issuer', 'artifact'] as const) {
      const said = await ask(verifier, { ...question, ...wrong[part] });
      expect(said.exitCode, `${part}: ${said.text}`).not.toBe(0);
      expect(said.text).toMatch(REFUSALS[verifier][part]);
      expect(said.text).not.toMatch(/Traceback|panic:/);
    }
  });
});
