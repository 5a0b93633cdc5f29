// SPDX-License-Identifier: Apache-2.0
// Where a server of this room listens [docs/spec/registry-api.md §Configuration].

import type { FastifyInstance } from 'fastify';
import { quote } from '../core/faults.ts';
import type { ListenAddress } from './config.ts';
import { STORE } from './store-faults.ts';

/** Listens on an address; returns the address as it can be used. @throws REGISTRY_ADDRESS_UNAVAILABLE */
export async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (!/^E(ADDRINUSE|ADDRNOTAVAIL|ACCES|NOTFOUND|AFNOSUPPORT|INVAL)$/.test(code)) throw cause;
    const reason = code === 'EADDRINUSE' ? 'another process listens there' : code;
    throw STORE.unavailable(
      'REGISTRY_ADDRESS_UNAVAILABLE',
      `expected ${quote(host)} port ${port} to be free: ${reason}`,
      { cause },
    );
  }
}
