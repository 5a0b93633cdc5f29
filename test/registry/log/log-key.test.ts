// SPDX-License-Identifier: Apache-2.0
// The key of the log, the store that belongs to it, and the authorities whose certificates may write.

import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseVerifierKey } from '../../../core/tlog/note.ts';
import { createLogKey, logId, logVerifierKey, openLogKey } from '../../../registry/log/log-key.ts';
import { SignatureLog } from '../../../registry/log/signature-log.ts';
import { Writers } from '../../../registry/log/writers.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { codeOf, codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder } from './log-folder.ts';
import { TestAuthority } from './log-server.ts';
import { ORIGIN } from './numbered-entry.ts';

describe('keys and authorities', () => {
  test('the key file is private, made once, and gives the names that clients know the log by', async () => {
    const folder = await newFolder();
    const publicKey = await createLogKey({ folder });
    expect((await stat(join(folder, 'keys/log.pem'))).mode & 0o777).toBe(0o600);
    expect(await codeOfAsync(createLogKey({ folder }))).toBe('CA_FILES_EXIST');
    const key = await openLogKey({ folder });
    expect(key.publicKey).toEqual(publicKey);
    const text = utf8('text');
    expect(portableCrypto.verifyEd25519(publicKey, text, await key.sign(text))).toBe(true);
    const { keyId } = parseVerifierKey(logVerifierKey(ORIGIN, publicKey), portableCrypto);
    expect(Buffer.from(logId(ORIGIN, publicKey)).toString('hex').startsWith(keyId)).toBe(true);
    expect(logId(ORIGIN, publicKey)).toHaveLength(32);
  });

  test('a key file of another kind is refused without a word of what is in it', async () => {
    const folder = await newFolder();
    await createLogKey({ folder });
    for (const text of ['SECRET', newSigner().pem]) {
      await writeFile(join(folder, 'keys/log.pem'), text);
      const failure = await openLogKey({ folder }).catch(
        (error: unknown) => error as Error & { code: string },
      );
      expect(failure).toMatchObject({ code: 'LOG_KEY_UNREADABLE' });
      expect(String((failure as Error).message)).not.toContain('SECRET');
    }
  });

  test('a store is opened by the key that signed it, and by no other', async () => {
    const folder = await newFolder();
    await createLogKey({ folder });
    const db = new Level(join(folder, 'state'));
    const open = async () =>
      SignatureLog.open({ db, origin: ORIGIN, key: await openLogKey({ folder }), clock: Date.now });
    await (await open()).close();
    await (await open()).close();
    const other = await newFolder();
    await createLogKey({ folder: other });
    const key = await openLogKey({ folder: other });
    expect(await codeOfAsync(SignatureLog.open({ db, origin: ORIGIN, key, clock: Date.now }))).toBe(
      'LOG_STORE_ORIGIN',
    );
    await (await open()).close();
    await db.close();
  });

  test('authorities are whole chains', async () => {
    const [one, two] = [await TestAuthority.make('one'), await TestAuthority.make('two')];
    const [intermediate, root] = one.chain as [Uint8Array, Uint8Array];
    const leaf = await one.issue(newSigner().signer.spki);
    const rules = { isListedKey: () => false, clock: Date.now };
    const make = (...chain: Uint8Array[]) => codeOf(() => new Writers({ ...rules, authorities: [chain] }));
    expect(make(intermediate, root)).toBe('accepted');
    const bad = [
      [],
      [intermediate],
      [root, intermediate],
      [intermediate, two.chain[1] as Uint8Array],
      [leaf, intermediate, root],
      [Uint8Array.of(1)],
    ];
    expect(bad.map((chain) => make(...chain))).toEqual(bad.map(() => 'LOG_AUTHORITY_MALFORMED'));
  });
});
