// SPDX-License-Identifier: Apache-2.0
// Where a server of this room listens [docs/spec/registry-api.md §Configuration].

import { Server as TlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { quote } from '../core/faults.ts';
import type { ListenAddress } from './config.ts';
import { STORE } from './store-faults.ts';

/** Listens on an address; returns the address as it can be used. @throws REGISTRY_ADDRESS_UNAVAILABLE */
export async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<string> {
  try {
    // Fastify knows of no server but its own, and calls every address http.
    const scheme = app.server instanceof TlsServer ? 'https:' : 'http:';
    const spelled = (address: string) => address.replace(/^https?:/, scheme);
    const listenTextResolver = (address: string) => `Server listening at ${spelled(address)}`;
    return spelled(await app.listen({ host, port, listenTextResolver }));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (!/^E(ADDRINUSE|ADDRNOTAVAIL|ACCES|NOTFOUND|AFNOSUPPORT|INVAL)$/.test(code)) throw cause;
    throw STORE.unavailable(
      'REGISTRY_ADDRESS_UNAVAILABLE',
      `expected ${quote(host)} port ${port} to be free: ${REASONS[code] ?? code}`,
      { cause },
    );
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EACCES: 'EACCES; ports below 1024 need CAP_NET_BIND_SERVICE',
};
