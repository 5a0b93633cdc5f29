// SPDX-License-Identifier: Apache-2.0
// What ingest lets in, keeps, and gives back; and what it refuses, by code, through the real services.

import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { readConfigFile } from '../../cli/serve.ts';
import { formatCanonicalJson } from '../../core/encoding/canonical-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { buildStepProvenance, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildServer, openRegistry } from '../../registry/server.ts';
import { devicePolicy, freePort, newP256, RunningRegistry, refusal } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

let running: RunningRegistry;
beforeAll(async () => {
  running = await RunningRegistry.start();
});
afterAll(() => running.close());

let serial = 0;
/** A statement that nobody has made before. */
const statement = (change: Partial<UnsignedStatement> = {}): UnsignedStatement => ({
  subjects: [{ name: 'thing', sha256: sha256(`thing ${serial++}`) }],
  predicateType: 'https://example.com/test/v1',
  predicate: { any: 'thing' },
  ...change,
});

const provenance = (change: Partial<StepProvenance> = {}): StepProvenance => ({
  products: [{ name: 'out', sha256: sha256(`out ${serial++}`) }],
  builderId: 'https://waybill.example/builders/test',
  product: 'optiboot',
  version: '8.1.0',
  step: 'compile',
  resolvedDependencies: [
    { uri: 'pkg:deb/debian/gcc-avr@1.0', sha256: 'aa'.repeat(32), annotations: { role: 'toolchain' } },
  ],
  sandbox: {
    hermetic: true,
    mechanism: 'test',
    kernel: 'none',
    sourceDateEpoch: 0,
    seccomp: true,
    limits: 'rlimits' as const,
    clock: 'host' as const,
    cpus: 1,
  },
  invocationId: 'run-1',
  ...change,
});

describe('accepting', () => {
  it('finds a bundle by the place of its entry in the log', async () => {
    const bundle = await running.sign(statement());
    const { leafIndex, sha256: digest } = (await running.submit(bundle)).json as {
      leafIndex: number;
      sha256: string;
    };
    const at = async (index: string) =>
      (await running.send('GET', `/api/v1/attestations/by-leaf/${index}`)).json;
    expect(await at(String(leafIndex))).toEqual({
      attestations: [{ sha256: digest, bundle: Buffer.from(bundle).toString() }],
    });
    expect(await at('123456')).toEqual({ attestations: [] });
    for (const index of [`0${leafIndex}`, 'x', '%00', '-1', '1'.repeat(16)]) {
      expect((await running.send('GET', `/api/v1/attestations/by-leaf/${index}`)).status, index).toBe(400);
    }
  });

  it('stores a verified bundle once and gives the very bytes back', async () => {
    const made = statement();
    const bundle = await running.sign(made);
    const first = await running.submit(bundle);
    expect(first.status).toBe(201);
    expect(first.json).toEqual({ sha256: sha256(bundle), leafIndex: expect.any(Number) });
    const again = await running.submit(bundle);
    expect([again.status, again.json]).toEqual([200, first.json]);
    const bySubject = await running.send('GET', `/api/v1/attestations?subject=${made.subjects[0]?.sha256}`);
    expect(bySubject.json).toEqual({
      attestations: [{ sha256: sha256(bundle), bundle: Buffer.from(bundle).toString() }],
    });
    const byDigest = await running.send('GET', `/api/v1/attestations/${sha256(bundle)}`);
    expect(byDigest.bytes).toEqual(bundle);
    expect(byDigest.headers.get('cache-control')).toContain('immutable');
  });

  it('finds all bundles of one subject, in the order of the log', async () => {
    const made = statement();
    const bundles = [await running.sign(made), await running.sign({ ...made, predicate: { any: 'other' } })];
    for (const bundle of [...bundles].reverse()) await running.submit(bundle);
    const found = await running.send('GET', `/api/v1/attestations?subject=${made.subjects[0]?.sha256}`);
    const list = (found.json as { attestations: { sha256: string }[] }).attestations;
    expect(list.map((entry) => entry.sha256)).toEqual(bundles.map(sha256));
  });

  it('has what it acknowledged after a restart', async () => {
    const bundle = await running.sign(statement());
    await running.submit(bundle);
    await running.restart();
    expect((await running.send('GET', `/api/v1/attestations/${sha256(bundle)}`)).bytes).toEqual(bundle);
    expect((await running.submit(bundle)).status).toBe(200);
  });

  it('answers with an empty list for a subject that nobody attested', async () => {
    const none = await running.send('GET', `/api/v1/attestations?subject=${'00'.repeat(32)}`);
    expect([none.status, none.json]).toEqual([200, { attestations: [] }]);
  });
});

describe('refusing', () => {
  const refused = async (bundle: Uint8Array, status: number, code: string) =>
    expect(refusal(await running.submit(bundle))).toEqual({ status, code });
  const edit = (bundle: Uint8Array, change: (json: never) => void): Uint8Array => {
    const json = JSON.parse(Buffer.from(bundle).toString());
    change(json as never);
    return utf8(JSON.stringify(json));
  };
  type Dsse = { dsseEnvelope: { payload: string } };

  it('what is no bundle, and what is too large', async () => {
    await refused(utf8('{"mediaType":1}'), 400, 'SIGSTORE_BUNDLE_MALFORMED');
    await refused(utf8(''), 400, 'SIGSTORE_BUNDLE_MALFORMED');
    await refused(new Uint8Array(1024 * 1024 + 1), 413, 'REGISTRY_REQUEST_TOO_LARGE');
  });

  it('a bundle whose statement was edited', async () => {
    const bundle = await running.sign(statement());
    const edited = edit(bundle, (json: Dsse) => {
      json.dsseEnvelope.payload = Buffer.from(formatStatement(statement())).toString('base64');
    });
    expect((await running.submit(edited)).status).toBe(422);
    const digest = await running.send('GET', `/api/v1/attestations/${sha256(edited)}`);
    expect(refusal(digest)).toEqual({ status: 404, code: 'REGISTRY_ATTESTATION_UNKNOWN' });
  });

  it('a provenance of another build type, and one whose inputs are no packages', async () => {
    const foreign = formatStatement(buildStepProvenance(provenance()));
    const text = Buffer.from(foreign).toString().replace('hermetic-step/v1', 'hermetic-step/v9');
    await refused(await running.sign(utf8(text)), 400, 'INTOTO_STATEMENT_MALFORMED');
    for (const [uri, role, code] of [
      ['pkg:deb', 'toolchain', 'REGISTRY_DEPENDENCY_MALFORMED'],
      ['pkg:deb/debian/gcc', 'Tool Chain', 'INTOTO_STATEMENT_MALFORMED'],
      ['pkg:deb/debian/gcc', '', 'INTOTO_STATEMENT_MALFORMED'],
    ] as const) {
      const annotations = role === '' ? undefined : { role };
      const inputs = [
        { uri, sha256: 'aa'.repeat(32), ...(annotations === undefined ? {} : { annotations }) },
      ];
      const bundle = await running.sign(buildStepProvenance(provenance({ resolvedDependencies: inputs })));
      await refused(bundle, 400, code);
    }
  });

  it('a verification summary and a reference that cannot be read as such', async () => {
    const vsa = statement({ predicateType: 'https://slsa.dev/verification_summary/v1' });
    await refused(await running.sign(vsa), 400, 'INTOTO_STATEMENT_MALFORMED');
    const reference = statement({ predicateType: 'https://in-toto.io/attestation/reference/v0.1' });
    await refused(await running.sign(reference), 400, 'INTOTO_STATEMENT_MALFORMED');
  });

  it('a leaf that this log never had, though all keys inside the server signed it', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const folder = join(running.home, 'thief');
    await running.restart(() => cp(running.dataFolder, folder, { recursive: true }));
    const config = join(folder, 'config.yaml');
    const text = await readFile(config, 'utf8');
    await writeFile(
      config,
      text.replaceAll(running.url, url).replace(/port: \d+/, `port: ${new URL(url).port}`),
    );
    const thiefConfig = await readConfigFile(folder);
    const thief = await buildServer(
      await openRegistry({ dataFolder: folder, config: thiefConfig, clock: Date.now }),
    );
    await thief.listen(thiefConfig.listen);
    const signing = Buffer.from(await running.signingConfig())
      .toString()
      .replaceAll(running.url, url);
    const forge = () =>
      signStatement(formatStatement(statement()), {
        signingConfig: utf8(signing),
        identity: { token: () => running.issuer.token() } as never,
      });
    const pastTheEnd = await forge();
    await refused(pastTheEnd, 422, 'REGISTRY_LEAF_UNKNOWN');
    // Now our log has another entry at that index.
    await running.sign(statement());
    await refused(pastTheEnd, 422, 'REGISTRY_LEAF_UNKNOWN');
    await thief.close();
    await rm(folder, { recursive: true });
  });

  it('an SBOM that is too large to be read in one piece, before it is read', async () => {
    const large = new Uint8Array(17 * 1024 * 1024).fill(0x20);
    const reference = buildSbomReference({
      subjects: [{ name: 'image.bin', sha256: sha256('image of a large SBOM') }],
      attesterId: 'https://waybill.example/builders/test',
      sbomSha256: sha256(large),
      downloadLocation: 'sbom.cdx.json',
    });
    expect((await running.submit(await running.sign(reference))).status).toBe(201);
    const answer = await running.putBlob(large);
    expect(refusal(answer)).toEqual({ status: 400, code: 'BLOB_SBOM_MALFORMED' });
    expect((answer.json as { error: { message: string } }).error.message).toContain('an SBOM of at most');
  });

  it('questions that are none', async () => {
    for (const path of [
      '/api/v1/attestations',
      '/api/v1/attestations?subject=AB',
      '/api/v1/attestations?subject=x&y=1',
    ]) {
      expect(refusal(await running.send('GET', path))).toEqual({
        status: 400,
        code: 'REGISTRY_REQUEST_MALFORMED',
      });
    }
    const path = '/api/v1/attestations/..%2f..%2fkeys';
    expect(refusal(await running.send('GET', path)).code).toBe('REGISTRY_ATTESTATION_UNKNOWN');
  });
});

describe('listed keys', () => {
  it('count once TUF has published the device policy that names them, and after a restart', async () => {
    await expect(running.signAsGate(statement())).rejects.toMatchObject({ code: 'SIGN_SERVICE_REFUSED' });
    expect((await running.addProduct()).status).toBe(201);
    const bundle = await running.signAsGate(statement());
    expect((await running.submit(bundle)).status).toBe(201);
    await running.restart();
    expect((await running.submit(await running.signAsGate(statement()))).status).toBe(201);
  });

  it('come from policies that can be read, under their own name', async () => {
    const offer = async (name: string, policy: unknown) => {
      const bytes = utf8(formatCanonicalJson(policy as never));
      return refusal(await running.publish('targets', await running.nextTargets({ [name]: bytes }), [bytes]));
    };
    const { gate } = running;
    expect(await offer('device-policy/optiboot.json', { product: 1 })).toEqual({
      status: 400,
      code: 'DEVICE_POLICY_MALFORMED',
    });
    const other = devicePolicy(gate.spki, { product: 'other' });
    expect((await offer('device-policy/optiboot.json', other)).code).toBe('TUF_REPOSITORY_TARGET_FORBIDDEN');
    const badKey = devicePolicy(newP256().spki.slice(1));
    expect(await offer('device-policy/optiboot.json', badKey)).toEqual({
      status: 422,
      code: 'REGISTRY_KEY_UNSUITABLE',
    });
    const offerRoot = async (text: string) => {
      const root = utf8(text);
      const metadata = await running.nextTargets({ 'trusted_root.json': root });
      return refusal(await running.publish('targets', metadata, [root])).code;
    };
    const sound = await readFile(join(running.dataFolder, 'trust', 'trusted_root.json'), 'utf8');
    expect(await offerRoot('{"mediaType":"none"}')).toBe('TUF_REPOSITORY_TRUST_MISSING');
    expect(await offerRoot(sound.replace(/"ctlogs":\[.*?\}\]/, '"ctlogs":[]'))).toBe(
      'TUF_REPOSITORY_TRUST_MISSING',
    );
    expect(await offerRoot(sound.replace(/"rawBytes":"M[^"]*"/, '"rawBytes":7'))).toBe(
      'SIGSTORE_TRUSTED_ROOT_MALFORMED',
    );
    const bare = await running.nextTargets({}, { targets: {} });
    expect(refusal(await running.putRole('targets', bare)).code).toBe('TUF_REPOSITORY_TRUST_MISSING');
    // None of it took hold.
    expect((await running.submit(await running.signAsGate(statement()))).status).toBe(201);
  });
});
