// SPDX-License-Identifier: Apache-2.0
// Keys in tokens sign whatever offline keys sign; a wrong PIN, an absent token or another kind of key is told apart, and no PIN is
// ever repeated.

import { createPublicKey, verify } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { init } from '../../cli/init.ts';
import { renewRole, rotateKeys } from '../../cli/tuf-roles.ts';
import { publicKeyPem } from '../../release/key-file.ts';
import { openSigningKey } from '../../release/open-key.ts';
import { readTokenPublicKey } from '../../release/token-key.ts';
import { House } from './house.ts';
import { waybill } from './run-waybill.ts';
import { lacksTokens, SOFTHSM_MODULE, Tokens } from './token-house.ts';

const PIN = '73519';
const lacking = lacksTokens();
let folder: string;
let tokens: Tokens;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-tokens-'));
  if (lacking !== undefined) return;
  tokens = await Tokens.open(folder);
  for (const officer of ['alice', 'bob']) {
    await tokens.make(officer, PIN);
    await tokens.addKey(officer, 'first', '01');
    await tokens.addKey(officer, 'second', '02');
  }
  await tokens.addKey('alice', 'edwards', '0a', 'EC:edwards25519');
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach((context) => {
  if (lacking !== undefined) context.skip(lacking);
});

const data = new Uint8Array(5000).fill(7);
const asking = (pin: string) => ({ ask: async () => pin });

test('a token signs with the key that is named, by label or id, whatever the length', async () => {
  const second = await readTokenPublicKey(tokens.uri('alice', 'second'));
  const byLabel = await openSigningKey(tokens.uri('alice', 'second'), 'ed25519');
  const byId = `pkcs11:id=%02;token=alice;type=private?module-path=${SOFTHSM_MODULE}`;
  const other = await openSigningKey(byId, 'p256', asking(PIN));
  for (const key of [byLabel, other]) {
    expect(publicKeyPem(key.publicKey)).toBe(publicKeyPem(second));
    expect(verify('sha256', data, second, await key.sign(data))).toBe(true);
  }
  const first = await readTokenPublicKey(tokens.uri('alice', 'first'));
  expect(publicKeyPem(first)).not.toBe(publicKeyPem(second));
});

test('what goes wrong has its own code, and the PIN stands in no text', async () => {
  const sign = async (uri: string, pin?: string) =>
    (await openSigningKey(uri, 'p256', pin === undefined ? undefined : asking(pin))).sign(data);
  const refused = async (uri: string, code: string, pin?: string) => {
    const failure: Error & { code?: string } = await sign(uri, pin).then(
      () => new Error('signed'),
      (cause) => cause,
    );
    expect([uri, failure.code]).toEqual([uri, code]);
    expect(`${failure.message}${failure.stack}`).not.toMatch(/73519|99999/);
  };
  const bare = (label: string, key = 'first') =>
    `pkcs11:token=${label};object=${key}?module-path=${SOFTHSM_MODULE}`;
  await refused(bare('bob'), 'CEREMONY_PASSPHRASE_WRONG', '99999');
  await refused(bare('bob'), 'CEREMONY_PASSPHRASE_MISSING');
  await refused(bare('carol'), 'CEREMONY_TOKEN_FAILED', PIN);
  await refused(bare('bob', 'third'), 'CEREMONY_TOKEN_KEY_UNKNOWN', PIN);
  await refused(bare('alice', 'edwards'), 'CEREMONY_KEY_UNSUITABLE', PIN);
  await refused(`pkcs11:token=bob;object=first?module-path=/none.so`, 'CEREMONY_TOKEN_FAILED', PIN);
  const malformed = [
    'pkcs11:token=bob;object=first',
    `pkcs11:object=first?module-path=${SOFTHSM_MODULE}`,
    `pkcs11:token=bob?module-path=${SOFTHSM_MODULE}`,
    `${bare('bob')}&pin-value=99999`,
    `${bare('bob')}&pin-value=99999`.replace('pkcs11', 'PKCS11'),
    `${bare('bob')};pin-value=99999`,
    `pkcs11:token=bob,pin-value=99999;object=first?module-path=${SOFTHSM_MODULE}`,
    `${bare('bob')};pin-source=file:/none`,
    `${bare('bob')}&pin-source=|cat`,
    `pkcs11:token=bob;object=first;object=second?module-path=${SOFTHSM_MODULE}`,
    `${bare('bob')}&serial=1`,
    `${bare('bob')}?x`,
    `pkcs11:token=%ff;object=first?module-path=${SOFTHSM_MODULE}`,
    `pkcs11:token=bob;id=%1;object=first?module-path=${SOFTHSM_MODULE}`,
    `pkcs11:token=bob;object=first;type=cert?module-path=${SOFTHSM_MODULE}`,
    'pkcs11:nonsense',
  ];
  for (const uri of malformed) await refused(uri, 'CEREMONY_TOKEN_URI_MALFORMED', PIN);
  await chmod(tokens.pinPath('bob'), 0o640);
  await refused(tokens.uri('bob', 'first'), 'CEREMONY_PASSPHRASE_UNSUITABLE');
  await chmod(tokens.pinPath('bob'), 0o600);
  const path = process.env.PATH;
  process.env.PATH = folder;
  await refused(bare('bob'), 'CEREMONY_TOKEN_TOOL_MISSING', PIN).finally(() => {
    process.env.PATH = path;
  });
});

test('a tool that answers something else than a signature by the key is not believed', async () => {
  const bin = join(folder, 'bin');
  await rm(bin, { recursive: true, force: true });
  await mkdir(bin);
  const key = await openSigningKey(tokens.uri('bob', 'first'), 'p256');
  const liar = '#!/bin/sh\ncat >/dev/null\necho nonsense\n';
  await writeFile(join(bin, 'pkcs11-tool'), liar, { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  try {
    await expect(key.sign(data)).rejects.toMatchObject({ code: 'CEREMONY_TOKEN_FAILED' });
  } finally {
    process.env.PATH = path;
  }
});

test('the PIN is on no command line', async () => {
  const bin = join(folder, 'spy');
  await mkdir(bin, { recursive: true });
  const seen = join(folder, 'seen');
  const spy = `#!/bin/sh\necho "$@" >> ${seen}\nexec /usr/bin/pkcs11-tool "$@"\n`;
  await writeFile(join(bin, 'pkcs11-tool'), spy, { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  try {
    await (await openSigningKey(tokens.uri('bob', 'first'), 'p256')).sign(data);
  } finally {
    process.env.PATH = path;
  }
  const lines = await readFile(seen, 'utf8');
  expect(lines).toContain('--sign');
  expect(lines).not.toContain(PIN);
  expect(Object.values(process.env)).not.toContain(PIN);
});

test('a ceremony with the tokens of officers who are here and the public key of one who is not', async () => {
  const carol = join(folder, 'carol.pub');
  await writeFile(carol, publicKeyPem(await readTokenPublicKey(tokens.uri('bob', 'second'))));
  const made = (name: string, rootKey: string[], rootThreshold = 2) =>
    init({
      folder: join(folder, name, 'data'),
      offline: join(folder, name, 'offline'),
      url: 'http://127.0.0.1:8410',
      org: 'acme.example',
      ...{ rootKey, rootThreshold },
    });
  const here = [tokens.uri('alice', 'first'), tokens.uri('bob', 'first')];
  await expect(made('few', [here[0] as string, carol])).rejects.toMatchObject({
    code: 'CEREMONY_SIGNERS_MISSING',
  });
  await expect(made('same', [here[0] as string, here[0] as string])).rejects.toMatchObject({
    code: 'CEREMONY_THRESHOLD_INVALID',
  });
  expect(await readdir(join(folder, 'few'))).toEqual([]);
  const { offlineKeys, rootPath } = await made('three', [...here, carol]);
  expect(offlineKeys.map((path) => path.split('/').at(-1))).toEqual([
    'ca-root.pem',
    'targets-1.pem',
    'tsa-root.pem',
  ]);
  const root = JSON.parse(await readFile(rootPath, 'utf8'));
  expect(root.signed.roles.root).toMatchObject({ keyids: { length: 3 }, threshold: 2 });
  expect(root.signatures).toHaveLength(2);
});

test('tokens sign root, targets, a summary and a release of a running registry', {
  timeout: 120_000,
}, async () => {
  const house = await House.open();
  try {
    const pub = async (name: string, label: string, key: string) => {
      const path = house.path(`${name}.pub`);
      await writeFile(path, publicKeyPem(await readTokenPublicKey(tokens.uri(label, key))));
      return path;
    };
    const base = { registry: house.url, root: house.root, progress: () => {} };
    const offline = (...names: string[]) => names.map((name) => house.path('offline', `${name}.pem`));
    const [alice, bob] = [tokens.uri('alice', 'first'), tokens.uri('bob', 'first')];
    // A token joins the root officers, another one takes over targets.
    await renewRole({ ...base, keys: offline('targets-1'), role: 'targets', newKeys: [bob] });
    await rotateKeys({
      ...base,
      keys: offline('root-1', 'root-2'),
      addRoot: [alice],
      targetsKey: [await pub('bob', 'bob', 'first')],
    });
    await renewRole({ ...base, keys: [...offline('root-1'), alice], role: 'root' });
    // The gate and the release manager have theirs in the other slots.
    const gateKey = await pub('gate', 'alice', 'second');
    await pub('releases', 'bob', 'second');
    const pem = await readFile(gateKey, 'utf8');
    expect(createPublicKey(pem).asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    await house.product('add', { offlineFolder: undefined, keys: [bob] });
    const build = await house.build('8.0.0');
    await house.attestBuild(build);
    await house.gate(build, { key: tokens.uri('alice', 'second') });
    await house.release(build, { keys: [tokens.uri('bob', 'second')] });
    // The present metadata of the product bears a token's signature, which counts.
    await house.product('update', { offlineFolder: undefined, keys: [bob], releasesThreshold: 1 });
    const listed = await waybill(
      'release',
      '--registry',
      house.url,
      '--root',
      house.root,
      '--product',
      'optiboot',
      '--list',
    );
    expect(listed.out).toContain('8.0.0');
  } finally {
    await house.close();
  }
});

test('key show gives the id of a key in a token, and asks for no PIN', async () => {
  const shown = await waybill('key', 'show', tokens.uri('alice', 'first', undefined), '--json');
  expect(JSON.parse(shown.out)).toMatchObject({ algorithm: 'ECDSA P-256', tufKeyId: expect.any(String) });
});
