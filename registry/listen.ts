// SPDX-License-Identifier: Apache-2.0
// Where a server of this room listens [docs/spec/registry-api.md §Configuration].

import { Server as TlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { quote } from '../core/faults.ts';
import type { ListenAddress } from './config.ts';
import { STORE } from './store-faults.ts';

/** Listens on an address; returns the address as it can be used. @throws REGISTRY_ADDRESS_UNAVAILABLE, REGISTRY_ADDRESS_FOREIGN */
export async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<string> {
  try {
    // Fastify knows of no server but its own, and calls every address http.
    const scheme = app.server instanceof TlsServer ? 'https:' : 'http:';
    const spelled = (address: string) => address.replace(/^https?:/, scheme);
    const listenTextResolver = (address: string) => `Server listening at ${spelled(address)}`;
    return spelled(await app.listen({ host, port, listenTextResolver }));
  } catch (cause) {
    throw refusal(cause as NodeJS.ErrnoException, { host, port });
  }
}

function refusal(cause: NodeJS.ErrnoException, { host, port }: ListenAddress): unknown {
  const { code = '' } = cause;
  if (code in PORT_REASONS) {
    const message = `expected ${quote(host)} port ${port} to be free: ${PORT_REASONS[code]}`;
    return STORE.unavailable('REGISTRY_ADDRESS_UNAVAILABLE', message, { cause });
  }
  if (HOST_FAILURES.includes(code)) {
    const message = `expected ${quote(host)} to be an address of this machine, got ${code}`;
    return STORE.unavailable('REGISTRY_ADDRESS_FOREIGN', message, { cause });
  }
  return cause;
}

const PORT_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EACCES: 'EACCES; ports below 1024 need CAP_NET_BIND_SERVICE',
};
/** Among them an address that the network does not have yet, and a name that nobody could be asked about. */
const HOST_FAILURES = ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EAFNOSUPPORT', 'EINVAL'];
