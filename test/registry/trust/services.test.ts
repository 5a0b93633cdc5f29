// SPDX-License-Identifier: Apache-2.0
// Keys and certificates on disk, the documents built from them, and the encodings below.

import { spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogKey, openLogKey } from '../../../registry/log/log-key.ts';
import { joinAuthority } from '../../../registry/trust/authority.ts';
import * as der from '../../../registry/trust/der.ts';
import { checkOwnerWrites } from '../../../registry/trust/files.ts';
import { createTrustServices, openTrustServices, serviceNames } from '../../../registry/trust/services.ts';
import { type P256Signer, signerFromPem } from '../../../registry/trust/signer.ts';
import { buildTrustedRoot } from '../../../registry/trust/trusted-root.ts';
import { createTufOnlineKeys, openTufOnlineKeys } from '../../../registry/tuf/online-keys.ts';
import { codeOfAsync } from '../../core/tlog/refusal.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-ceremony-'));
});
afterEach(() => rm(home, { recursive: true }));

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0, 987);
const create = (org = 'Acme Ltd') =>
  createTrustServices({ folder: join(home, 'data'), offlineFolder: join(home, 'offline'), org, now: NOW });
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('what init makes', () => {
  test('files, each private key readable by its owner alone', async () => {
    await create();
    const listed = await readdir(home, { recursive: true, withFileTypes: true });
    const files = listed.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    expect(files.map((file) => file.slice(home.length + 1)).sort()).toEqual([
      'data/keys/ca-intermediate.pem',
      'data/keys/ct.pem',
      'data/keys/tsa.pem',
      'data/trust/ca-chain.pem',
      'data/trust/tsa-chain.pem',
      'data/unbegun/ct',
      'offline/ca-root.pem',
      'offline/tsa-root.pem',
    ]);
    for (const file of files) {
      const isSecret = (await readFile(file, 'utf8')).includes('PRIVATE');
      expect(isSecret).toBe(!/\/(trust|unbegun)\//.test(file));
      if (isSecret) expect((await stat(file)).mode & 0o777).toBe(0o600);
    }
  });

  test('a root and an intermediate as Fulcio specifies, a root and a leaf for timestamps', async () => {
    const { caChain, tsaChain } = await create();
    const [intermediate, root] = caChain.map((bytes) => new X509Certificate(bytes)) as [
      X509Certificate,
      X509Certificate,
    ];
    expect(root.subject).toBe('O=Acme Ltd\nCN=ca.acme-ltd.example root');
    expect(root.issuer).toBe(root.subject);
    expect(root.keyUsage).toBeUndefined();
    expect(intermediate.subject).toBe('O=Acme Ltd\nCN=ca.acme-ltd.example');
    expect(intermediate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.3']);
    for (const certificate of [intermediate, root]) {
      expect(certificate.ca).toBe(true);
      expect(certificate.serialNumber).toHaveLength(40);
      expect(certificate.validFromDate.getTime()).toBe(Math.floor(NOW / 1000) * 1000);
      expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    }
    expect(intermediate.validToDate < root.validToDate).toBe(true);
    expect(root.verify(root.publicKey) && intermediate.verify(root.publicKey)).toBe(true);
    // CA:TRUE with pathlen 0 and with pathlen 1; key usage keyCertSign and cRLSign, critical.
    expect(hex(caChain[0] ?? new Uint8Array())).toContain('0603551d130101ff040830060101ff020100');
    expect(hex(caChain[1] ?? new Uint8Array())).toContain('0603551d130101ff040830060101ff020101');
    for (const bytes of caChain) expect(hex(bytes)).toContain('0603551d0f0101ff040403020106');
    const [leaf, tsaRoot] = tsaChain.map((bytes) => new X509Certificate(bytes)) as [
      X509Certificate,
      X509Certificate,
    ];
    expect(leaf.ca).toBe(false);
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.8']);
    expect(leaf.verify(tsaRoot.publicKey)).toBe(true);
    expect(tsaRoot.fingerprint256).not.toBe(root.fingerprint256);
  });

  test('nothing that exists is overwritten, and nothing is left of a ceremony that failed', async () => {
    const path = join(home, 'data', 'keys', 'ct.pem');
    await mkdir(join(home, 'data', 'keys'), { recursive: true });
    await writeFile(path, 'precious');
    await expect(create()).rejects.toMatchObject({ code: 'CA_FILES_EXIST' });
    expect(await readFile(path, 'utf8')).toBe('precious');
    expect(await readdir(join(home, 'data', 'keys'))).toEqual(['ct.pem']);
    expect(await readdir(join(home, 'offline'))).toEqual([]);
    const below = join(path, 'below');
    const blocked = createTrustServices({ folder: below, offlineFolder: below, org: 'x', now: NOW });
    await expect(blocked).rejects.toMatchObject({ code: 'CA_FILES_UNWRITABLE' });
  });
});

describe('what serve opens', () => {
  test('works without the offline folder', async () => {
    const { caChain, ctSpki } = await create();
    await rm(join(home, 'offline'), { recursive: true });
    const services = await openTrustServices(join(home, 'data'));
    expect(services.ca[0]?.chain).toEqual(caChain);
    expect(services.ct[0]?.spki).toEqual(ctSpki);
  });

  test('refuses missing files, files that hold something else, and keys of another chain', async () => {
    await create();
    const at = (...path: string[]): string => join(home, 'data', ...path);
    const open = () => openTrustServices(join(home, 'data'));
    const tsaKey = await readFile(at('keys', 'tsa.pem'));
    await writeFile(at('keys', 'tsa.pem'), await readFile(at('keys', 'ct.pem')));
    await expect(open()).rejects.toMatchObject({ code: 'CA_KEY_MISMATCH' });
    await writeFile(at('keys', 'tsa.pem'), tsaKey);
    const chain = await readFile(at('trust', 'ca-chain.pem'));
    await writeFile(at('trust', 'ca-chain.pem'), 'no certificate');
    await expect(open()).rejects.toMatchObject({ code: 'CA_FILES_UNREADABLE' });
    await writeFile(at('trust', 'ca-chain.pem'), chain);
    const { privateKey } = generateKeyPairSync('ed25519');
    await writeFile(at('keys', 'ct.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await expect(open()).rejects.toMatchObject({ code: 'CA_FILES_UNREADABLE' });
    await chmod(at('keys', 'ct.pem'), 0o600);
    await rm(at('keys', 'ct.pem'));
    await expect(open()).rejects.toMatchObject({ code: 'CA_FILES_UNREADABLE' });
  });

  test('a private key that others may read is refused; a group may read what belongs to root', async () => {
    await create();
    const folder = join(home, 'data');
    await createLogKey({ folder });
    await createTufOnlineKeys({ folder: join(folder, 'keys') });
    const openers = {
      ct: () => openTrustServices(folder),
      tsa: () => openTrustServices(folder),
      'ca-intermediate': () => openTrustServices(folder),
      log: () => openLogKey({ folder }),
      'tuf-timestamp': () => openTufOnlineKeys(join(folder, 'keys')),
    };
    const isRoot = process.getuid?.() === 0;
    for (const [name, open] of Object.entries(openers)) {
      const path = join(folder, 'keys', `${name}.pem`);
      const codeWith = async (mode: number) => {
        await chmod(path, mode);
        return codeOfAsync(open());
      };
      for (const mode of [0o604, 0o602, 0o601, 0o620, 0o610, 0o660]) {
        expect([name, mode, await codeWith(mode)]).toEqual([name, mode, 'CA_KEY_EXPOSED']);
      }
      for (const mode of [0o600, 0o400, 0o700]) expect(await codeWith(mode)).toBe('accepted');
      // A test that is not root owns the file, and so could a service.
      for (const mode of [0o640, 0o440]) {
        expect(await codeWith(mode)).toBe(isRoot ? 'accepted' : 'CA_KEY_EXPOSED');
      }
      if (isRoot) {
        await chown(path, 12_345, 12_345);
        for (const mode of [0o640, 0o440]) expect(await codeWith(mode)).toBe('CA_KEY_EXPOSED');
      }
      expect(await codeWith(0o600)).toBe('accepted');
    }
  });

  test('what is no secret may be read by others, not changed, but where nobody can write', async () => {
    const [file, keys] = [join(home, 'tsa.signer'), join(home, 'keys')];
    await mkdir(keys);
    await writeFile(file, '/run/tsa.sock\n');
    for (const [path, isFolder] of [
      [file, false],
      [keys, true],
    ] as const) {
      const codeWith = async (mode: number) => {
        await chmod(path, mode);
        return codeOfAsync(checkOwnerWrites(path, 'a thing'));
      };
      for (const mode of isFolder ? [0o700, 0o755, 0o750, 0o500] : [0o644, 0o600, 0o444]) {
        expect(await codeWith(mode)).toBe('accepted');
      }
      for (const mode of [0o777, 0o720, 0o702]) {
        expect([mode, await codeWith(mode)]).toEqual([mode, 'CA_KEY_EXPOSED']);
      }
      await chmod(path, 0o777);
      const source = JSON.stringify(join(import.meta.dirname, '../../../registry/trust/files.ts'));
      const script = `const { checkOwnerWrites } = await import(${source});
        await checkOwnerWrites(${JSON.stringify(path)}, 'a thing'); console.log('accepted')`;
      const node = [process.execPath, '--input-type=module', '-e', script];
      const argv = ['--dev-bind', '/', '/', '--ro-bind', path, path, '--', ...node];
      expect(spawnSync('bwrap', argv, { encoding: 'utf8' })).toMatchObject({ stdout: 'accepted\n' });
    }
  });

  test('a private key is never part of a fault', () => {
    expect(signerFromPem('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----')).toBeUndefined();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    expect(signerFromPem(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())).toBeUndefined();
  });

  test('a certificate without key identifier cannot be an authority', async () => {
    const { caChain } = await create();
    const services = await openTrustServices(join(home, 'data'));
    const own = Buffer.from(caChain[0] ?? []);
    // 2.5.29.14 becomes 2.5.29.127: the identifier is there no more.
    const at = own.indexOf(Buffer.from('0603551d0e', 'hex'));
    own.writeUInt8(0x7f, at + 4);
    expect(() => joinAuthority(services.ca[0]?.signer as P256Signer, [new Uint8Array(own)], 'x')).toThrow(
      expect.objectContaining({ code: 'CA_FILES_UNREADABLE' }),
    );
  });
});

test.each([
  ['waybill', 'log.waybill.example'],
  ['Acme Ltd', 'log.acme-ltd.example'],
  ['acme.com', 'log.acme.com'],
  ['Firmware.Acme.com', 'log.firmware.acme.com'],
  ['Müller & Söhne', 'log.m-ller-s-hne.example'],
  ['../..', 'log.waybill.example'],
])('the log of %s is called %s', (org, name) => {
  expect(serviceNames(org).log).toBe(name);
});

test('trusted_root.json has every field that clients insist on, in one line', async () => {
  const material = await create();
  const { publicKey } = generateKeyPairSync('ed25519');
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const raw = new Uint8Array(spki).subarray(12);
  const origin = material.names.log;
  const bytes = buildTrustedRoot(material, [{ origin, publicKey: raw, startMs: material.startMs }]);
  const text = Buffer.from(bytes).toString();
  expect(text.indexOf('\n')).toBe(text.length - 1);
  const json = JSON.parse(text);
  expect(json.mediaType).toBe('application/vnd.dev.sigstore.trustedroot+json;version=0.1');
  const start = '2026-11-22T12:00:00Z';
  const keyId = createHash('sha256')
    .update(Buffer.concat([Buffer.from(`${origin}\n`), Buffer.of(1), raw]))
    .digest('base64');
  expect(json.tlogs).toEqual([
    {
      baseUrl: 'https://log.acme-ltd.example',
      hashAlgorithm: 'SHA2_256',
      publicKey: { rawBytes: spki.toString('base64'), keyDetails: 'PKIX_ED25519', validFor: { start } },
      logId: { keyId },
    },
  ]);
  expect(json.ctlogs).toEqual([
    {
      baseUrl: 'https://ct.acme-ltd.example',
      hashAlgorithm: 'SHA2_256',
      publicKey: {
        rawBytes: Buffer.from(material.ctSpki).toString('base64'),
        keyDetails: 'PKIX_ECDSA_P256_SHA_256',
        validFor: { start },
      },
      logId: { keyId: createHash('sha256').update(material.ctSpki).digest('base64') },
    },
  ]);
  expect(json.certificateAuthorities[0].validFor).toEqual({ start });
  expect(json.certificateAuthorities[0].subject).toEqual({
    organization: 'Acme Ltd',
    commonName: 'ca.acme-ltd.example root',
  });
  const parsed = TrustedRoot.fromJSON(json);
  const chainOf = (chain: readonly { rawBytes: Uint8Array }[] | undefined) =>
    chain?.map(({ rawBytes }) => new Uint8Array(rawBytes));
  expect(chainOf(parsed.certificateAuthorities[0]?.certChain?.certificates)).toEqual(material.caChain);
  expect(chainOf(parsed.timestampAuthorities[0]?.certChain?.certificates)).toEqual(material.tsaChain);
});

describe('DER', () => {
  test.each([
    ['a length below 128', der.octetString(new Uint8Array(127)), '047f'],
    ['a length of one octet', der.octetString(new Uint8Array(128)), '048180'],
    ['a length of two octets', der.octetString(new Uint8Array(256)), '04820100'],
    ['zero', der.small(0), '020100'],
    ['a number that looks negative', der.small(0x80), '02020080'],
    ['leading zeros', der.unsigned(Uint8Array.of(0, 0, 1)), '020101'],
    ['no octets at all', der.unsigned(new Uint8Array()), '020100'],
    ['an object identifier with long arcs', der.oid('1.3.6.1.4.1.57264.1.8'), '060a2b0601040183bf300108'],
    ['the last second of short years', der.certificateTime(Date.UTC(2049, 11, 31, 23, 59, 59)), '170d3439'],
    ['the first second of long years', der.certificateTime(Date.UTC(2050, 0, 1)), '180f3230353030'],
    [
      'a time rounded down',
      der.generalizedTime(Date.UTC(2026, 0, 1, 0, 0, 1, 999)),
      '180f3230323630313031303030303031',
    ],
    ['a set in order', der.setOf(der.small(2), der.small(1)), '3106020101020102'],
  ])('%s', (_name, bytes, expected) => {
    expect(hex(bytes).slice(0, expected.length)).toBe(expected);
  });
});
