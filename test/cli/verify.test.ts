// SPDX-License-Identifier: Apache-2.0
// `waybill verify` on a whole release: by a copy of the repository without a network, by files, and with every link broken once.

import { execFile, spawn, spawnSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keepCopy } from '../../cli/repository-copy.ts';
import { type VerifyOptions, verify } from '../../cli/verify.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { type EvidencePack, formatPack } from '../../core/release/pack.ts';
import { type Casting, Foundry, publish, WORKFLOW } from '../device/foundry.ts';
import { House, OWN } from '../device/house.ts';

const image = utf8('the image of 8.1.0'.repeat(1000));
let foundry: Foundry;
let house: House;
let folder: string;
let sound: Casting;
let pack: EvidencePack;
let byFiles: VerifyOptions;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  foundry = await Foundry.build();
  house = await House.build();
  folder = await mkdtemp(join(tmpdir(), 'waybill-verify-test-'));
  sound = await foundry.cast('8.1.0', image);
  pack = await foundry.gated(sound);
  house.trust(foundry.trustMaterial());
  // As in life, `timestamp` expires before the others.
  Object.assign(house.forge.roles.get('timestamp') ?? {}, { expires: '2035-01-01T00:00:00Z' });
  publish(house, sound, pack);
  const files: Record<string, Uint8Array> = {
    'root.json': house.forge.files.get('1.root.json') as Uint8Array,
    'optiboot-8.1.0.waybill': formatPack(pack),
    'optiboot.bin': image,
    'other.bin': utf8('another image'),
  };
  for (const [name, bytes] of Object.entries(foundry.trustMaterial())) files[name.replace('/', '-')] = bytes;
  for (const [name, bytes] of Object.entries(files)) await writeFile(at(name), bytes);
  byFiles = {
    trustedRoot: at('trusted_root.json'),
    logPolicy: at('tlog-policy'),
    devicePolicy: at('device-policy-optiboot.json'),
  };
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await house.raze();
  await foundry.raze();
});

const run = (
  options: VerifyOptions,
  given: string | undefined = at('optiboot.bin'),
  file = 'optiboot-8.1.0.waybill',
) => verify(at(file), given, options);

/** A pack that is wrong in one place, and the link and code that refuse it. */
async function refused(
  bent: EvidencePack,
  link: string,
  code: string,
  options: VerifyOptions = byFiles,
): Promise<void> {
  await writeFile(at('bent.waybill'), formatPack(bent));
  const result = await run(options, at('optiboot.bin'), 'bent.waybill');
  expect(result).toMatchObject({ verdict: 'refused', code });
  expect(result.links.at(-1)).toMatchObject({ link, verdict: 'refused', code });
}

describe('a sound pack', () => {
  test('is verified by the registry, and by a copy of its repository without a network', async () => {
    const whole = { verdict: 'verified', kind: 'pack', notChecked: [] };
    const online = await run({ root: at('root.json'), registry: house.url, keep: at('copy') });
    expect(online).toMatchObject(whole);
    await house.fall();
    try {
      const offline = await run({ root: at('root.json'), tuf: at('copy') });
      expect(offline).toMatchObject(whole);
      expect(offline.links[0]?.details[0]).toMatch(/, good until 2035-01-01T00:00:00Z \(timestamp\), from /);
      expect(offline.links.map(({ link }) => link)).toEqual([
        ...['metadata', 'form', 'trust', 'release'],
        ...['pack', 'log', 'signature', 'summary', 'builder', 'chain', 'sbom', 'sbom file', 'image'],
      ]);
    } finally {
      await house.rise();
    }
  });

  test('is verified by files; what was not given is said', async () => {
    const bare = await run(byFiles, undefined);
    expect(bare).toMatchObject({ verdict: 'verified', notChecked: ['sbom file'] });
    await writeFile(at('optiboot-8.1.0.cdx.json'), sound.sbom);
    try {
      expect(await run(byFiles)).toMatchObject({ verdict: 'verified', notChecked: [] });
    } finally {
      await rm(at('optiboot-8.1.0.cdx.json'));
    }
    const digest = `sha256:${pack.imageSha256}`;
    const byDigest = await run(byFiles, digest);
    expect(byDigest).toMatchObject({ verdict: 'verified', notChecked: ['sbom file'] });
    // The pack's word on the size is not repeated as if a file had been seen.
    expect(byDigest.links.at(-1)?.details).toEqual([`${digest}, as given: no file was read`]);
  });

  test('is shown as a tree on the command line', async () => {
    const args = ['--trusted-root', 'trusted_root.json', '--log-policy', 'tlog-policy'];
    const policy = ['--device-policy', 'device-policy-optiboot.json'];
    const { code, stdout } = await command('optiboot-8.1.0.waybill', 'optiboot.bin', ...args, ...policy);
    expect(code).toBe(0);
    expect(stdout).toContain('├─ pack: ok  optiboot 8.1.0, image sha256:');
    expect(stdout).toMatch(/\n│ {2}└─ ".*verification_summary.*" by the gate key at .*Z, log index 3\n/);
    expect(stdout).toContain('└─ image: ok  sha256:');
    expect(stdout).toMatch(/\nverified: optiboot 8\.1\.0, .*, but for what was not given: sbom file\n$/);
  });
});

describe('a broken link is named, with what it means', () => {
  test('another image, another SBOM', async () => {
    const other = await run(byFiles, at('other.bin'));
    expect(other).toMatchObject({ verdict: 'refused', code: 'PACK_IMAGE_MISMATCH' });
    const digest = `sha256:${'0'.repeat(64)}`;
    const byDigest = await run(byFiles, digest);
    expect(byDigest).toMatchObject({ code: 'PACK_IMAGE_MISMATCH' });
    expect(byDigest.links.at(-1)?.details[0]).toMatch(/, got sha256:0{64}$/);
    expect(await run({ ...byFiles, sbom: at('other.bin') })).toMatchObject({ code: 'SBOM_DIGEST_MISMATCH' });
  });

  test('each link of the pack', async () => {
    const [first, ...rest] = pack.bundles as [EvidencePack['bundles'][number]];
    await refused({ ...pack, product: 'other' }, 'pack', 'PACK_RELEASE_MISMATCH');
    await refused(
      { ...pack, bundles: [{ ...first, leafIndex: first.leafIndex + 1n }, ...rest] },
      'log',
      'TLOG_INCLUSION_MISMATCH',
    );
    await refused(pack, 'signature', 'PACK_EVIDENCE_FROM_FUTURE', { ...byFiles, at: '2020-01-01T00:00:00Z' });
    await refused(await foundry.gated(sound, { result: 'FAILED' }), 'summary', 'PACK_SUMMARY_FAILED');
    await writeFile(
      at('policy'),
      Object.values(foundry.trustMaterial({ steps: ['image'] }))[2] as Uint8Array,
    );
    await refused(pack, 'chain', 'CHAIN_STEP_UNEXPECTED', { ...byFiles, devicePolicy: at('policy') });
    const stranger = [{ builderId: 'https://waybill.example/other', identity: 'x', issuer: 'https://y' }];
    await writeFile(
      at('policy'),
      Object.values(foundry.trustMaterial({ builders: stranger }))[2] as Uint8Array,
    );
    await refused(pack, 'builder', 'CHAIN_BUILDER_NOT_TRUSTED', { ...byFiles, devicePolicy: at('policy') });
    const elsewhere = { ...sound, image: utf8('an image that no reference names') };
    const { imageSha256, imageSizeBytes, ...unbound } = await foundry.gated(elsewhere);
    expect(imageSha256).not.toBe(pack.imageSha256);
    await refused({ ...unbound, imageSha256, imageSizeBytes }, 'chain', 'CHAIN_IMAGE_NOT_PRODUCED');
    await refused({ ...pack, bodies: [] }, 'sbom', 'PACK_SBOM_MISSING');
  });

  test('a pack that was cut off is a pack by its name', async () => {
    await writeFile(at('cut.waybill'), formatPack(pack).subarray(0, 1000));
    const result = await run(byFiles, at('optiboot.bin'), 'cut.waybill');
    expect(result).toMatchObject({ verdict: 'refused', kind: 'pack', code: 'PACK_MALFORMED' });
  });

  test('what the repository says of the release', async () => {
    const online = { root: at('root.json'), registry: house.url };
    const release = { releasedAt: '2026-11-01T00:00:00Z', reason: 'bricks revision B' };
    const denial = {
      imageSha256: pack.imageSha256,
      version: '8.1.0',
      deniedAt: release.releasedAt,
      reason: release.reason,
    };
    await refused({ ...pack, version: '9.9.9' }, 'release', 'PACK_NOT_RELEASED', online);
    await refused({ ...pack, bodies: [] }, 'release', 'UPDATE_PACK_DIGEST', online);
    for (const name of ['images/optiboot/optiboot-8.1.0.bin', 'packs/optiboot/optiboot-8.1.0.waybill']) {
      publish(house, sound, pack);
      house.forge.addTarget(OWN, name, utf8('another file'));
      house.forge.publish(OWN);
      expect((await run(online)).links.at(-1)).toMatchObject({
        link: 'release',
        code: 'UPDATE_TARGET_MISMATCH',
      });
    }
    publish(house, sound, pack, { denials: [denial] });
    try {
      expect(await run(online)).toMatchObject({ verdict: 'refused', code: 'UPDATE_WITHDRAWN' });
    } finally {
      publish(house, sound, pack);
    }
    expect(await run({ ...online, at: '2046-01-01T00:00:00Z' })).toMatchObject({ code: 'TUF_ROLE_EXPIRED' });
  });

  test('on the command line: what was expected, what was found, what it means, what to do', async () => {
    const args = ['--trusted-root', 'trusted_root.json', '--log-policy', 'tlog-policy'];
    const policy = ['--device-policy', 'device-policy-optiboot.json'];
    const { code, stdout } = await command('optiboot-8.1.0.waybill', 'other.bin', ...args, ...policy);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /\n└─ image: REFUSED {2}PACK_IMAGE_MISMATCH\n {3}├─ expected sha256:.*, got sha256:.*\n {3}├─ what it means: .*\n {3}└─ what to do: .*\nrefused: /,
    );
  });
});

describe('a copy of a repository', () => {
  test('that was changed is refused, one that lacks a file cannot be judged', async () => {
    const copy = { root: at('root.json'), tuf: at('copy-bent') };
    await run({ root: at('root.json'), registry: house.url, keep: at('copy-bent') });
    const timestamp = at('copy-bent/timestamp.json');
    const text = await readFile(timestamp, 'utf8');
    await writeFile(timestamp, text.replace(/"version":\d+/, '"version":99'));
    expect(await run(copy)).toMatchObject({ verdict: 'refused', code: 'TUF_SIGNATURE_THRESHOLD' });
    await writeFile(timestamp, text);
    await rm(at('copy-bent/targets'), { recursive: true });
    await expect(run(copy)).rejects.toMatchObject({ code: 'TUF_UNREACHABLE' });
    await rm(timestamp);
    await expect(run(copy)).rejects.toMatchObject({ code: 'CLI_FILE_UNREADABLE' });
    const none = { root: at('root.json'), tuf: at('nowhere') };
    await expect(run(none)).rejects.toMatchObject({ code: 'CLI_FILE_UNREADABLE' });
  });

  test('holds files; a pipe in it is none, and nobody waits for it', async () => {
    const copy = { root: at('root.json'), tuf: at('copy-with-pipe') };
    await run({ root: at('root.json'), registry: house.url, keep: at('copy-with-pipe') });
    await rm(at('copy-with-pipe/timestamp.json'));
    spawnSync('mkfifo', [at('copy-with-pipe/timestamp.json')]);
    await expect(run(copy)).rejects.toMatchObject({ code: 'TUF_UNREACHABLE' });
  });

  test('that is good stays as it is where the registry says what does not hold, or the pack does not', async () => {
    const online = { root: at('root.json'), registry: house.url, keep: at('copy-good') };
    const names = async () => (await readdir(at('copy-good'), { recursive: true })).sort();
    await run(online);
    const good = await names();
    const stray = createServer((_, response) => response.end('no metadata')).listen(0, '127.0.0.1');
    await once(stray, 'listening');
    const { port } = stray.address() as AddressInfo;
    const hostile = { ...online, registry: `http://127.0.0.1:${port}` };
    expect(await run(hostile)).toMatchObject({ verdict: 'refused', code: 'TUF_METADATA_MALFORMED' });
    stray.close();
    expect(await names()).toEqual(good);
    const elsewhere = { ...online, keep: at('copy-of-refused') };
    expect(await run(elsewhere, at('other.bin'))).toMatchObject({ verdict: 'refused' });
    await expect(stat(at('copy-of-refused'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await run({ root: at('root.json'), tuf: at('copy-good') })).toMatchObject({ verdict: 'verified' });
    await writeFile(at('in-the-way'), '');
    const blocked = run({ ...online, keep: at('in-the-way') });
    await expect(blocked).rejects.toMatchObject({ code: 'CLI_FILE_UNWRITABLE' });
  });

  test('lies in its folder whatever the path of the registry is', async () => {
    const { fetch: fetched, write } = keepCopy(
      at('copy-named'),
      'http://registry.example/tuf',
      async () => new Response('x'),
    );
    expect(await (await fetched('http://registry.example/tuf/tuf/targets/a%20b', {})).text()).toBe('x');
    await expect(stat(at('copy-named'))).rejects.toMatchObject({ code: 'ENOENT' });
    await write();
    expect(await readFile(at('copy-named/targets/a b'), 'utf8')).toBe('x');
    for (const path of ['tuf/a', 'tuf/tuf/..%2fa', 'tuf/tuf/%00', 'tuf/tuf/a//b', 'tuf/tuf/']) {
      const answer = fetched(`http://registry.example/${path}`, {});
      await expect(answer, path).rejects.toMatchObject({ code: 'CLI_USAGE' });
    }
  });
});

describe('whoever asks about one kind gets no verdict on the other', () => {
  test('a pack is no bundle of a signer, a bundle is no pack', async () => {
    const signer = { identity: 'https://example.com/me', issuer: 'https://example.com' };
    const trustedRoot = at('trusted_root.json');
    for (const options of [signer, { ...signer, without: ['log'] }, { key: at('gate-of-pack.pub') }]) {
      await writeFile(
        at('gate-of-pack.pub'),
        createPublicKey(foundry.gateKey).export({ type: 'spki', format: 'pem' }),
      );
      const result = await run({ trustedRoot, ...options } as VerifyOptions);
      expect(result).toMatchObject({ verdict: 'refused', code: 'SIGSTORE_BUNDLE_MALFORMED' });
      const byRoot = run({ root: at('root.json'), registry: house.url, ...options } as VerifyOptions);
      expect(await byRoot).toMatchObject({ verdict: 'refused', code: 'SIGSTORE_BUNDLE_MALFORMED' });
    }
    await writeFile(at('one.sigstore.json'), pack.bundles[1]?.bundle ?? '');
    const asPack = await run(byFiles, undefined, 'one.sigstore.json');
    expect(asPack).toMatchObject({ verdict: 'refused', code: 'PACK_MALFORMED' });
    const both = run({ ...byFiles, ...signer });
    await expect(both).rejects.toMatchObject({ code: 'CLI_USAGE' });
  });
});

describe('a bundle', () => {
  const ci = () => ({ identity: WORKFLOW, issuer: foundry.issuerUrl, trustedRoot: at('trusted_root.json') });
  const bundle = async (n: number) => {
    await writeFile(at('one.sigstore.json'), pack.bundles[n]?.bundle ?? '');
    return (options: VerifyOptions, given?: string) => verify(at('one.sigstore.json'), given, options);
  };

  test('is verified for the signer that is expected, and for the image', async () => {
    const check = await bundle(1);
    const bare = await check(ci());
    expect(bare).toMatchObject({ verdict: 'verified', kind: 'bundle', notChecked: ['image'] });
    expect(bare.links.map(({ link }) => link)).toEqual([
      ...['trust', 'signature', 'time', 'log', 'content', 'expected signer', 'second opinion', 'image'],
    ]);
    expect(await check(ci(), at('optiboot.bin'))).toMatchObject({ verdict: 'verified', notChecked: [] });
    const lenient = await check({ ...ci(), without: ['certificate-log'] });
    expect(lenient).toMatchObject({ verdict: 'verified', notChecked: ['certificate-log', 'image'] });
    const { trustedRoot: _, ...who } = ci();
    const byRoot = { ...who, root: at('root.json'), registry: house.url };
    expect(await check(byRoot)).toMatchObject({ verdict: 'verified' });
  });

  test('of the gate is verified by its key', async () => {
    const check = await bundle(3);
    await writeFile(at('gate.pub'), createPublicKey(foundry.gateKey).export({ type: 'spki', format: 'pem' }));
    const trustedRoot = at('trusted_root.json');
    expect(await check({ trustedRoot, key: at('gate.pub') })).toMatchObject({ verdict: 'verified' });
    expect(await check(ci())).toMatchObject({ verdict: 'refused', code: 'SIGSTORE_KEY_UNKNOWN' });
  });

  test('is refused for another signer, another image, a changed octet; the step is named', async () => {
    const check = await bundle(1);
    const other = await check({ ...ci(), identity: 'https://github.com/example/other' });
    expect(other.links.at(-1)).toMatchObject({ link: 'expected signer', code: 'SIGSTORE_SIGNER_UNEXPECTED' });
    // What tells two workflows apart may stand at the end of a long name.
    const long = `https://github.com/${'long/'.repeat(20)}build.yml@refs/tags/v1`;
    const tagged = await check({ ...ci(), identity: long });
    expect(tagged.links.at(-1)?.details[0]).toContain(`expected "${long}" of issuer`);
    const wrong = await check(ci(), at('other.bin'));
    expect(wrong.links.at(-1)).toMatchObject({ link: 'content', code: 'SIGSTORE_ARTIFACT_MISMATCH' });
    const early = await check({ ...ci(), at: '2020-01-01T00:00:00Z' });
    expect(early.links.at(-1)).toMatchObject({ link: 'time', code: 'PACK_EVIDENCE_FROM_FUTURE' });
    await writeFile(at('one.sigstore.json'), 'no bundle');
    const form = await verify(at('one.sigstore.json'), undefined, ci());
    expect(form.links.at(-1)).toMatchObject({ link: 'form', code: 'SIGSTORE_BUNDLE_MALFORMED' });
  });

  test('of others is verified with what it lacks waived, and the verdict says so', async () => {
    const vectors = new URL('../vectors/sigstore-bundle/', import.meta.url).pathname;
    const options: VerifyOptions = {
      trustedRoot: join(vectors, 'public-good.trusted_root.json'),
      identity:
        'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main',
      issuer: 'https://token.actions.githubusercontent.com',
    };
    const file = join(vectors, 'happy-path-v0.2/bundle.sigstore.json');
    const strict = await verify(file, join(vectors, 'a.txt'), options);
    expect(strict.links.at(-1)).toMatchObject({ link: 'trust', code: 'SIGSTORE_TRUSTED_ROOT_INCOMPLETE' });
    const waived = await verify(file, join(vectors, 'a.txt'), { ...options, without: ['timestamps'] });
    expect(waived).toMatchObject({ verdict: 'verified', notChecked: ['timestamps'] });
  });
});

test('an interrupt ends a command that waits for a registry; it says so and leaves nothing behind', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  await mkdir(at('scratch'));
  const registry = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const waybill = new URL('../../cli/waybill.js', import.meta.url).pathname;
  const args = ['optiboot-8.1.0.waybill', '--root', 'root.json', '--registry', registry, '--keep', 'never'];
  const env = { ...process.env, TMPDIR: at('scratch') };
  const child = spawn(process.execPath, [waybill, 'verify', ...args], { cwd: folder, env });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  await once(silent, 'request');
  expect(await readdir(at('scratch'))).toHaveLength(1);
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  silent.closeAllConnections();
  silent.close();
  expect({ code, said }).toEqual({ code: 75, said: expect.stringContaining('CLI_CANCELLED') });
  expect(await readdir(at('scratch'))).toEqual([]);
});

test('a file that is neither pack nor bundle, as where the image comes first, is told so', async () => {
  const neither = expect.objectContaining({ code: 'CLI_USAGE', message: expect.stringContaining('neither') });
  for (const options of [{}, { root: at('root.json'), registry: house.url }]) {
    await expect(run(options, at('optiboot-8.1.0.waybill'), 'optiboot.bin')).rejects.toEqual(neither);
  }
});

test('a command line that does not say whom to trust, or whom to expect, is no verdict', async () => {
  const usage = expect.objectContaining({ code: 'CLI_USAGE' });
  const root = at('root.json');
  const wrong: VerifyOptions[] = [
    {},
    { trustedRoot: at('trusted_root.json') },
    { root },
    { root, tuf: at('copy'), registry: house.url },
    { root, tuf: at('copy'), keep: at('copy') },
    { ...byFiles, root, tuf: at('copy') },
    { ...byFiles, at: 'yesterday' },
    // What nothing would look at.
    { ...byFiles, key: at('gate.pub') },
    { ...byFiles, identity: 'x', issuer: 'y' },
    { ...byFiles, without: ['log'] },
    { ...byFiles, registry: house.url },
    { ...byFiles, tuf: at('copy') },
    { ...byFiles, keep: at('copy') },
  ];
  for (const options of wrong) await expect(run(options), JSON.stringify(options)).rejects.toEqual(usage);
  await writeFile(at('one.sigstore.json'), pack.bundles[1]?.bundle ?? '');
  const trustedRoot = at('trusted_root.json');
  for (const options of [{ trustedRoot }, { trustedRoot, identity: 'x' }, { identity: 'x', issuer: 'y' }]) {
    await expect(verify(at('one.sigstore.json'), undefined, options)).rejects.toEqual(usage);
  }
  const whom = { identity: WORKFLOW, issuer: foundry.issuerUrl };
  for (const name of ['logPolicy', 'devicePolicy', 'sbom']) {
    const options = { trustedRoot, ...whom, [name]: at('optiboot.bin') };
    await expect(verify(at('one.sigstore.json'), undefined, options), name).rejects.toEqual(usage);
  }
});

async function command(...args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const waybill = new URL('../../cli/waybill.js', import.meta.url).pathname;
  return new Promise((resolve) => {
    execFile(process.execPath, [waybill, 'verify', ...args], { cwd: folder }, (failure, stdout) =>
      resolve({ code: failure === null ? 0 : Number(failure.code), stdout }),
    );
  });
}
