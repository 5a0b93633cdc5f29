// SPDX-License-Identifier: Apache-2.0
// Keys that live in tokens are ECDSA P-256; the repository counts them as clients do.

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { Metadata, MetadataKind } from '@tufjs/models';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { portableCrypto } from '../../core/crypto.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { canonicalMetadata } from '../../core/tuf/canonical.ts';
import { verifyTrustedRoot } from '../../core/tuf/trusted-metadata.ts';
import type { TufRepository } from '../../registry/tuf/repository.ts';
import { roleKey } from '../../release/role-metadata.ts';
import { buildHouse, type House, sha256, signRole } from './tuf-house.ts';

let house: House;
let tuf: TufRepository;
beforeEach(async () => {
  house = await buildHouse();
  tuf = await house.open();
});
afterEach(() => house.remove());

const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
/** Root 2 with one more root key, as `spell` writes it, and all signatures that it needs. */
const rootWith = (key: KeyObject, spell = (json: TestKey): TestKey => json) => {
  const { keys, roles } = house.root(2) as { keys: object; roles: Record<string, { keyids: string[] }> };
  const json = spell(roleKey(key).json as TestKey);
  const id = sha256(canonicalMetadata(json as never) as Uint8Array);
  const keyids = [...(roles.root?.keyids ?? []), id];
  const change = { keys: { ...keys, [id]: json }, roles: { ...roles, root: { keyids, threshold: 3 } } };
  const root = house.root(2, change);
  const { signed, signatures } = JSON.parse(
    Buffer.from(signRole(root, house.rootKeys.slice(0, 2))).toString(),
  );
  const sig = sign('sha256', canonicalMetadata(signed) as Uint8Array, key).toString('hex');
  return utf8(JSON.stringify({ signed, signatures: [...signatures, { keyid: id, sig }] }));
};
interface TestKey {
  readonly keytype: string;
  readonly scheme: string;
  readonly keyval: { readonly public: string };
}

it('sign roles by ECDSA P-256, and clients agree', async () => {
  const root = rootWith(p256());
  expect(await tuf.putRoot(root)).toMatchObject({ kind: 'published' });
  expect(verifyTrustedRoot(root, portableCrypto).signed.version).toBe(2);
  const parsed = Metadata.fromJSON(MetadataKind.Root, JSON.parse(Buffer.from(root).toString()));
  expect(() => parsed.verifyDelegate('root', parsed)).not.toThrow();
});

it('count only if their signature is theirs, and in one spelling', async () => {
  const refused = (root: Uint8Array, code: string) =>
    expect(tuf.putRoot(root)).rejects.toMatchObject({ code });
  const other = JSON.parse(Buffer.from(rootWith(p256())).toString());
  other.signatures[2].sig = JSON.parse(Buffer.from(rootWith(p256())).toString()).signatures[2].sig;
  await refused(utf8(JSON.stringify(other)), 'TUF_REPOSITORY_THRESHOLD_UNMET');
  const bad = 'TUF_REPOSITORY_ROOT_UNSUITABLE';
  const spelled = (change: (text: string) => string) => (json: TestKey) => ({
    ...json,
    keyval: { public: change(json.keyval.public) },
  });
  await refused(
    rootWith(
      p256(),
      spelled((pem) => pem.trimEnd()),
    ),
    bad,
  );
  await refused(
    rootWith(
      p256(),
      spelled((pem) => pem.replace(/\n(?=[A-Za-z0-9+/])/, '\n\n')),
    ),
    bad,
  );
  await refused(
    rootWith(p256(), (json) => ({ ...json, keytype: 'ecdsa-sha2-nistp256' })),
    bad,
  );
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  await refused(rootWith(p384), bad);
});
