// SPDX-License-Identifier: Apache-2.0
// Which bodies the registry keeps, and that an SBOM is read when it comes, before or after the statement that names it.

import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { buildAttributeReport, INPUTS_TRACED } from '../../core/intoto/scai.ts';
import { Blobs } from '../../registry/store/blobs.ts';
import { RunningRegistry, refusal } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

const LIMIT = 100_000;
let running: RunningRegistry;
beforeAll(async () => {
  running = await RunningRegistry.start({ limits: { blobSizeBytes: LIMIT } });
});
afterAll(() => running.close());

/** Submits a statement about some bytes, so that they may be stored. */
async function attest(bytes: Uint8Array): Promise<void> {
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256(bytes) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  expect((await running.submit(await running.sign(statement))).status).toBe(201);
}

async function attestSbom(sbom: Uint8Array, image = sha256(`image of ${sha256(sbom)}`)): Promise<number> {
  const reference = buildSbomReference({
    subjects: [{ name: 'image.bin', sha256: image }],
    attesterId: 'https://waybill.example/builders/test',
    sbomSha256: sha256(sbom),
    downloadLocation: 'sbom.cdx.json',
  });
  return (await running.submit(await running.sign(reference))).status;
}

const sbom = (purl: string, more: Record<string, unknown> = {}): Uint8Array =>
  utf8(
    JSON.stringify({
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      components: [{ type: 'library', name: 'x', purl }],
      ...more,
    }),
  );

const shipsIn = async (purl: string): Promise<readonly { imageSha256: string; component: string }[]> =>
  ((await running.send('GET', `/api/v1/trace?purl=${encodeURIComponent(purl)}`)).json as { shipsIn: never })
    .shipsIn;

const noLeftovers = async () =>
  expect(await readdir(join(running.dataFolder, 'state', 'blobs', 'incoming'))).toEqual([]);

describe('a blob', () => {
  it('is kept when a statement names it, and given back byte by byte', async () => {
    const bytes = new Uint8Array(LIMIT).fill(7);
    await attest(bytes);
    expect((await running.putBlob(bytes)).status).toBe(201);
    expect((await running.putBlob(bytes)).status).toBe(200);
    const back = await running.send('GET', `/api/v1/blobs/${sha256(bytes)}`);
    expect(back.bytes).toEqual(bytes);
    expect(back.headers.get('content-length')).toBe(String(LIMIT));
    await noLeftovers();
  });

  it('is kept when it comes without a length', async () => {
    const bytes = utf8('in pieces');
    await attest(bytes);
    const path = join(running.home, 'pieces');
    await writeFile(path, bytes);
    const response = await fetch(`${running.url}/api/v1/blobs/${sha256(bytes)}`, {
      method: 'PUT',
      body: createReadStream(path) as never,
      duplex: 'half',
    } as RequestInit);
    expect(response.status).toBe(201);
  });

  it('is kept when provenance names it as an input, whatever its role, and not before', async () => {
    const named = (role: string) => utf8(`an input of role ${role}`);
    const roles = ['source', 'toolchain', 'config', 'blob', 'rootfs', 'material'];
    const statement = buildStepProvenance({
      products: [{ name: 'built', sha256: sha256('built') }],
      builderId: 'https://waybill.example/builders/test',
      product: 'thing',
      version: '1.0',
      step: 'make',
      resolvedDependencies: roles.map((role) => ({
        ...(role === 'material'
          ? { name: role, uri: 'waybill:step/other/x' }
          : { uri: `pkg:generic/${role}` }),
        sha256: sha256(named(role)),
        annotations: { role, commit: sha256('a digest that is no dependency') },
      })),
      sandbox: {
        hermetic: true,
        mechanism: 'test',
        kernel: 'none',
        sourceDateEpoch: 0,
        seccomp: true,
        limits: 'rlimits',
        clock: 'host',
        cpus: 1,
      },
      invocationId: 'urn:uuid:1',
    });
    for (const role of roles) expect((await running.putBlob(named(role))).status).toBe(403);
    expect((await running.submit(await running.sign(statement))).status).toBe(201);
    for (const role of roles) {
      expect((await running.putBlob(named(role))).status).toBe(201);
      const back = await running.send('GET', `/api/v1/blobs/${sha256(named(role))}`);
      expect(back.bytes).toEqual(named(role));
    }
    const answer = await running.putBlob(utf8('a digest that is no dependency'));
    expect(refusal(answer).code).toBe('BLOB_NOT_NAMED');
  });

  it('is kept when an audit names it as its evidence; one that cannot be read is refused, one of others names nothing', async () => {
    const bytes = utf8('{"auditVersion":1}');
    const subjects = [{ name: 'audited', sha256: sha256('audited') }];
    const report = buildAttributeReport({
      ...{ subjects, attribute: INPUTS_TRACED, producerId: 'https://waybill.example/builders/test' },
      conditions: { openedCount: 1 },
      evidence: { name: 'audit.json', sha256: sha256(bytes) },
    });
    const [attribute] = (report.predicate as { attributes: [object] }).attributes;
    const others = [{ ...attribute, attribute: 'OTHER' }, { attribute: 'ANOTHER' }];
    const foreign = { ...report, predicate: { attributes: others } as never };
    expect((await running.submit(await running.sign(foreign))).status).toBe(201);
    for (const predicate of [{ attributes: null }, { attributes: [null] }, {}])
      expect((await running.submit(await running.sign({ ...report, predicate }))).status).toBe(201);
    const mixed = { ...report, predicate: { attributes: [...others, attribute] } as never };
    expect(refusal(await running.submit(await running.sign(mixed)))).toEqual({
      status: 400,
      code: 'INTOTO_SCAI_MALFORMED',
    });
    expect(refusal(await running.putBlob(bytes)).code).toBe('BLOB_NOT_NAMED');
    expect((await running.submit(await running.sign(report))).status).toBe(201);
    expect((await running.putBlob(bytes)).status).toBe(201);
    expect((await running.send('GET', `/api/v1/blobs/${sha256(bytes)}`)).bytes).toEqual(bytes);
  });

  it('is asked for without its bytes', async () => {
    const bytes = utf8('there or not');
    await attest(bytes);
    const path = `/api/v1/blobs/${sha256(bytes)}`;
    expect((await running.send('HEAD', path)).status).toBe(404);
    await running.putBlob(bytes);
    const there = await running.send('HEAD', path);
    expect([there.status, there.headers.get('content-length'), there.bytes.length]).toEqual([
      200,
      String(bytes.length),
      0,
    ]);
    expect((await running.send('HEAD', '/api/v1/blobs/AB')).status).toBe(400);
  });

  it('is refused when nobody named it', async () => {
    const answer = await running.putBlob(utf8('unnamed'));
    expect(refusal(answer)).toEqual({ status: 403, code: 'BLOB_NOT_NAMED' });
    const missing = await running.send('GET', `/api/v1/blobs/${sha256('unnamed')}`);
    expect(refusal(missing)).toEqual({ status: 404, code: 'BLOB_UNKNOWN' });
  });

  it('is refused when it is not the one that was named', async () => {
    const bytes = utf8('the right bytes');
    await attest(bytes);
    const answer = await running.putBlob(utf8('the wrong bytes'), sha256(bytes));
    expect(refusal(answer)).toEqual({ status: 422, code: 'BLOB_DIGEST_MISMATCH' });
    expect((await running.send('GET', `/api/v1/blobs/${sha256(bytes)}`)).status).toBe(404);
    await noLeftovers();
  });

  it('is refused under a name that is no digest', async () => {
    for (const name of ['AB', `${'ab'.repeat(31)}AB`, '..%2f..%2fdb']) {
      expect(refusal(await running.send('PUT', `/api/v1/blobs/${name}`, 'x')).code).toBe(
        'BLOB_DIGEST_MALFORMED',
      );
    }
  });

  it('leaves nothing when its sender goes away', async () => {
    const bytes = utf8('never arrives whole');
    await attest(bytes);
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    const head = `PUT /api/v1/blobs/${sha256(bytes)} HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\nnever`;
    await new Promise<void>((resolve) => socket.write(head, () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await expect.poll(() => readdir(join(running.dataFolder, 'state', 'blobs', 'incoming'))).toEqual([]);
    expect((await running.send('GET', `/api/v1/blobs/${sha256(bytes)}`)).status).toBe(404);
  });
});

describe('the blob store alone', () => {
  it('says that a body was cut off, and forgets it', async () => {
    const blobs = await Blobs.open(join(running.home, 'alone'));
    const cut = (async function* () {
      yield utf8('half');
      throw Object.assign(new Error('gone'), { code: 'ECONNRESET' });
    })();
    await expect(blobs.stage(cut, 10)).rejects.toMatchObject({ code: 'BLOB_TRUNCATED' });
    expect(await readdir(join(running.home, 'alone', 'incoming'))).toEqual([]);
  });

  it('forgets at start what an interrupted upload left', async () => {
    const folder = join(running.home, 'alone');
    await writeFile(join(folder, 'incoming', '0123456789abcdef01234567.new'), 'left');
    await Blobs.open(folder);
    expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  });

  it('says that storage failed when it does', async () => {
    const path = join(running.home, 'a-file');
    await writeFile(path, '');
    await expect(Blobs.open(path)).rejects.toMatchObject({ code: 'REGISTRY_STORE_FAILED' });
    const folder = join(running.home, 'failing');
    const blobs = await Blobs.open(folder);
    const failed = (work: Promise<unknown>) =>
      expect(work).rejects.toMatchObject({ code: 'REGISTRY_STORE_FAILED' });
    const bytes = async function* () {
      yield utf8('x');
    };
    const staged = await blobs.stage(bytes(), 1);
    const digest = sha256(utf8('x'));
    // A file where a folder should be fails as a broken disk does: with anything but "not there".
    await mkdir(join(folder, 'sha256'));
    await writeFile(join(folder, 'sha256', digest.slice(0, 2)), '');
    await failed(blobs.sizeBytes(digest));
    await failed(blobs.read(digest));
    await failed(blobs.keep(staged));
    expect(await readdir(join(folder, 'incoming'))).toEqual([]);
    await failed(blobs.readStaged(staged));
    await rm(join(folder, 'incoming'), { recursive: true });
    await failed(blobs.stage(bytes(), 1));
    await rm(join(folder, 'sha256'), { recursive: true });
    await expect(blobs.read(digest)).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
  });
});

describe('an SBOM', () => {
  it('tells where its components ship, once body and statement are there', async () => {
    const document = sbom('pkg:deb/debian/first@1.0');
    expect(await attestSbom(document)).toBe(201);
    expect(await shipsIn('pkg:deb/debian/first')).toEqual([]);
    expect((await running.putBlob(document)).status).toBe(201);
    expect(await shipsIn('pkg:deb/debian/first')).toMatchObject([
      { imageSha256: sha256(`image of ${sha256(document)}`), component: 'pkg:deb/debian/first@1.0' },
    ]);
  });

  it('is read too if its body came first, for another reason', async () => {
    const document = sbom('pkg:deb/debian/second@1.0');
    await attest(document);
    expect((await running.putBlob(document)).status).toBe(201);
    expect(await shipsIn('pkg:deb/debian/second')).toEqual([]);
    expect(await attestSbom(document)).toBe(201);
    expect(await shipsIn('pkg:deb/debian/second')).toHaveLength(1);
  });

  it('counts nested components and leaves out what it says is excluded', async () => {
    const inner = { type: 'library', name: 'inner', purl: 'pkg:generic/inner@1' };
    const components = [
      { type: 'library', name: 'outer', components: [inner] },
      { type: 'library', name: 'not', scope: 'excluded', purl: 'pkg:generic/not@1', components: [inner] },
    ];
    const document = sbom('', { components });
    await attestSbom(document);
    expect((await running.putBlob(document)).status).toBe(201);
    expect(await shipsIn('pkg:generic/inner')).toHaveLength(1);
    expect(await shipsIn('pkg:generic/not')).toEqual([]);
  });

  it('is refused when it cannot be read, whichever comes first', async () => {
    const refused = async (document: Uint8Array) => {
      await attestSbom(document);
      const answer = await running.putBlob(document);
      expect(refusal(answer)).toEqual({ status: 400, code: 'BLOB_SBOM_MALFORMED' });
      expect((await running.send('GET', `/api/v1/blobs/${sha256(document)}`)).status).toBe(404);
    };
    await refused(utf8('not JSON'));
    await refused(sbom('pkg:'));
    await refused(sbom('pkg:generic/x', { specVersion: '1.2' }));
    await refused(sbom('pkg:generic/x', { bomFormat: 'SPDX' }));
    await refused(sbom('pkg:generic/x', { components: [{ name: 'no type' }] }));
    const stored = utf8('no SBOM at all');
    await attest(stored);
    await running.putBlob(stored);
    expect(await attestSbom(stored)).toBe(400);
    await noLeftovers();
  });
});
