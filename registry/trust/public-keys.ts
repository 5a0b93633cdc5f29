// SPDX-License-Identifier: Apache-2.0
// Public keys of the logs of a data folder, without asking any signer: from the private keys that are there, else from the trusted root
// that lies beside them, which names all that `waybill init` and `waybill rotate` made or were given.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import { readTrustFile } from './files.ts';
import { countInstances, isThere, keyPath, type LogService } from './instances.ts';
import { NamedInstances } from './named-instances.ts';
import type { ServiceNames } from './services.ts';

/**
 * The key of each shard, oldest first, DER SubjectPublicKeyInfo; undefined for one whose key a signer has and that no trusted root
 * names yet. @throws CA_FILES_UNREADABLE, SIGSTORE_TRUSTED_ROOT_MALFORMED
 */
export async function publicKeysOf(
  folder: string,
  service: LogService,
  names: ServiceNames,
): Promise<readonly (Uint8Array | undefined)[]> {
  const keys: (Uint8Array | undefined)[] = [];
  const count = await countInstances(folder, service);
  let named: NamedInstances | undefined;
  for (let instance = 1; instance <= count; instance++) {
    const path = keyPath(folder, service, instance);
    if (await isThere(path)) keys.push(await readPublicKey(path));
    else {
      named ??= new NamedInstances(
        utf8(await readTrustFile(join(folder, 'trust', 'trusted_root.json'))),
        names,
      );
      keys.push(named.logKey(service, instance));
    }
  }
  return keys;
}

async function readPublicKey(path: string): Promise<Uint8Array> {
  try {
    const key = createPublicKey(createPrivateKey(await readTrustFile(path)));
    return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
  } catch {
    // No cause: OpenSSL's text could quote the file.
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected a private key in ${quote(path)}`, { at: path });
  }
}
