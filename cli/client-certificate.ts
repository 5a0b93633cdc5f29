// SPDX-License-Identifier: Apache-2.0
// The certificate that our commands show to servers which ask for one [docs/operating.md §TLS of its own]: one place for all of them.

import { globalAgent } from 'node:https';
import { CLI } from './faults.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Takes WAYBILL_CLIENT_CERT and WAYBILL_CLIENT_KEY, paths of PEM files, for every connection of this process from now on. A server sees the certificate if it
 * asks for one, whichever it is, and never the key.
 * @throws CLI_USAGE, REGISTRY_TLS_UNREADABLE, REGISTRY_TLS_KEY_EXPOSED, REGISTRY_TLS_MISMATCH
 */
export async function showClientCertificate(env: Environment): Promise<void> {
  const { WAYBILL_CLIENT_CERT: certificate = '', WAYBILL_CLIENT_KEY: key = '' } = env;
  if (certificate === '' && key === '') return;
  if (certificate === '' || key === '') {
    throw CLI.reject('CLI_USAGE', 'expected WAYBILL_CLIENT_CERT and WAYBILL_CLIENT_KEY, got one of them');
  }
  // Loaded where they are needed alone: a command without a certificate starts as before.
  const [{ readTlsFiles }, { Agent, setGlobalDispatcher }] = await Promise.all([
    import('../registry/http/tls-files.ts'),
    import('undici'),
  ]);
  const files = await readTlsFiles(process.cwd(), { certificate, key });
  // `fetch` of Node, and large bodies, which go through `node:https`.
  setGlobalDispatcher(new Agent({ allowH2: false, connect: { ...files } }));
  Object.assign(globalAgent.options, files);
}
