// SPDX-License-Identifier: Apache-2.0
// The trust services on a real port, over a real data folder, with a loopback issuer.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { parseDocument } from '../../../core/encoding/document.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { type Issuer, readIssuers } from '../../../registry/ca/issuers.ts';
import { caRoutes } from '../../../registry/ca/routes.ts';
import { tokenVerifier } from '../../../registry/ca/token.ts';
import { TokenMemory } from '../../../registry/ca/token-memory.ts';
import { CtLog } from '../../../registry/ct/ct-log.ts';
import { ctRoutes } from '../../../registry/ct/routes.ts';
import { Database } from '../../../registry/store/database.ts';
import type { Authority } from '../../../registry/trust/authority.ts';
import {
  createTrustServices,
  openTrustServices,
  type TrustMaterial,
} from '../../../registry/trust/services.ts';
import type { LocalSigner } from '../../../registry/trust/signer.ts';
import { TRUST } from '../../../registry/trust-faults.ts';
import { tsaRoutes } from '../../../registry/tsa/routes.ts';
import { LoopbackIssuer } from './loopback-issuer.ts';

export interface TrustServer {
  readonly url: string;
  readonly issuer: LoopbackIssuer;
  readonly material: TrustMaterial;
  readonly services: { readonly ca: Authority; readonly tsa: Authority; readonly ct: LocalSigner };
  readonly ctLog: CtLog;
  /** Lines that the server logged. */
  readonly logged: string[];
  /** `skewMs`: milliseconds that the server's clock is ahead. */
  readonly time: { skewMs: number };
  close(): Promise<void>;
}

/** Reads an `issuers` list given as JSON. */
export function issuersOf(list: Json): readonly Issuer[] {
  return readIssuers(
    parseDocument(utf8(JSON.stringify(list)), {
      refuse: (message, at) => TRUST.reject('OIDC_CONFIG_MALFORMED', message, { at }),
    }),
  );
}

/** The entry that the tests' tokens satisfy. */
export const entryFor = (url: string): { [name: string]: Json } => ({
  url,
  audience: 'waybill',
  allowLoopbackHttp: true,
  kind: 'github-actions',
  require: {
    repository_id: '1001',
    repository_owner_id: '2002',
    repository: 'example/firmware',
    job_workflow_ref: 'example/firmware/.github/workflows/build.yml@refs/heads/main',
  },
});

/** @param entriesOf the list of issuers, given the address of the one that is started */
export async function startTrustServer(
  entriesOf: (url: string) => readonly { [name: string]: Json }[] = (url) => [entryFor(url)],
): Promise<TrustServer> {
  const home = await mkdtemp(join(tmpdir(), 'waybill-trust-'));
  const folder = join(home, 'data');
  const material = await createTrustServices({
    folder,
    offlineFolder: join(home, 'offline'),
    org: 'waybill',
    now: Date.now(),
  });
  // The server works without the offline keys.
  await rm(join(home, 'offline'), { recursive: true });
  const held = await openTrustServices(folder);
  const [ca, tsa, ct] = [held.ca[0], held.tsa[0], held.ct[0]] as [Authority, Authority, LocalSigner];
  const services = { ca, tsa, ct };
  const issuer = await LoopbackIssuer.start();
  const issuers = issuersOf(entriesOf(issuer.url));
  const time = { skewMs: 0 };
  const clock = (): number => Date.now() + time.skewMs;
  const database = await Database.open(join(home, 'state'));
  const ctLog = await CtLog.open({
    db: database.sublevel('ct'),
    origin: material.names.ct,
    signer: services.ct,
    issuers: services.ca.chain,
    clock,
  });
  const logged: string[] = [];
  const app: FastifyInstance = Fastify({
    logger: { level: 'trace', stream: { write: (line: string) => logged.push(line) } },
  });
  await app.register(caRoutes, {
    prefix: '/ca',
    authority: services.ca,
    ctLog,
    clock,
    issuers,
    tokens: tokenVerifier(issuers, clock),
    used: await TokenMemory.open(database, clock),
  });
  await app.register(ctRoutes, { prefix: '/ct', ctLog });
  await app.register(tsaRoutes, { prefix: '/tsa', authority: () => services.tsa, clock });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    issuer,
    material,
    services,
    ctLog,
    logged,
    time,
    async close() {
      await app.close();
      await ctLog.close();
      await database.close();
      await issuer.close();
      await rm(home, { recursive: true });
    },
  };
}
