// SPDX-License-Identifier: Apache-2.0
// The signature log of a data folder on a port of its own, as `waybill serve` mounts it, until it is killed. Prints its address. It starts in a
// fraction of the time, so that many kills fit into a test. Arguments: the data folder, its
// organisation, the key that may write.

import { join } from 'node:path';
import Fastify from 'fastify';
import { CtLog } from '../../../registry/ct/ct-log.ts';
import { Cosigning } from '../../../registry/log/cosigning.ts';
import { headFolder, LogHead } from '../../../registry/log/log-head.ts';
import { openLogKey } from '../../../registry/log/log-key.ts';
import { rekorRoutes } from '../../../registry/log/rekor-routes.ts';
import { SignatureLog } from '../../../registry/log/signature-log.ts';
import { Writers } from '../../../registry/log/writers.ts';
import { Database } from '../../../registry/store/database.ts';
import { openTrustServices, serviceNames } from '../../../registry/trust/services.ts';
import type { P256Signer } from '../../../registry/trust/signer.ts';

const [dataFolder = '', org = '', key = ''] = process.argv.slice(2);
const { log: origin, ct } = serviceNames(org);
const heads = headFolder(dataFolder, undefined);
const database = await Database.open(join(dataFolder, 'state', 'db'));
const log = await SignatureLog.open({
  db: database.sublevel('log'),
  head: LogHead.in(heads, origin),
  origin,
  key: await openLogKey({ folder: dataFolder }),
  clock: Date.now,
});
// A registry begins both logs.
const services = await openTrustServices(dataFolder);
await CtLog.open({
  db: database.sublevel('ct'),
  head: LogHead.in(heads, ct),
  origin: ct,
  signer: services.ct[0] as P256Signer,
  issuers: services.ca.flatMap(({ chain }) => chain),
  clock: Date.now,
});
const cosigning = await Cosigning.open({ tiles: log.tiles, policy: () => undefined });
const app = Fastify({ logger: false });
const isListedKey = (spki: Uint8Array) => Buffer.compare(Buffer.from(key, 'base64'), spki) === 0;
const writers = new Writers({ authorities: [], isListedKey, clock: Date.now });
await app.register(rekorRoutes, { prefix: '/log', log, cosigning, writers });
process.stdout.write(`${JSON.stringify({ address: await app.listen({ host: '127.0.0.1', port: 0 }) })}\n`);
