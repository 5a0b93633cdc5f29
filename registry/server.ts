// SPDX-License-Identifier: Apache-2.0
// The registry as one process [docs/spec/registry-api.md]: opens a data folder, joins trust services, log, store, TUF repository
// and device API behind one port with one prefix a service, and closes them in an order that keeps every promise.

import { stat } from 'node:fs/promises';
import type { Server as HttpsServer } from 'node:https';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { quote } from '../core/faults.ts';
import type { TrustedRoot } from '../core/sigstore/trusted-root.ts';
import { describeApi } from './api/openapi.ts';
import type { IssuedCertificate } from './ca/certificate-authority.ts';
import { caRoutes } from './ca/routes.ts';
import { type TokenVerifier, tokenVerifier } from './ca/token.ts';
import { TokenMemory } from './ca/token-memory.ts';
import type { RegistryConfig } from './config.ts';
import { CtLog } from './ct/ct-log.ts';
import { ctRoutes } from './ct/routes.ts';
import { DeviceRegister } from './devices/device-register.ts';
import { demandCertificates, limitRates } from './http/client-rules.ts';
import { makeHttpServer, refuseUnknown } from './http/http-server.ts';
import { serveOperations } from './http/operations-server.ts';
import { probeRoutes } from './http/readiness.ts';
import { logRequests } from './http/request-log.ts';
import { readTlsFiles, type TlsFiles } from './http/tls-files.ts';
import { Turns } from './http/turns.ts';
import { told } from './http-errors.ts';
import { Ingest } from './ingest.ts';
import { Cosigning, type WitnessReport } from './log/cosigning.ts';
import { headFolder, LogHead } from './log/log-head.ts';
import { openLogKeys } from './log/log-key.ts';
import { rekorRoutes } from './log/rekor-routes.ts';
import { SignatureLog } from './log/signature-log.ts';
import { Writers } from './log/writers.ts';
import { LOG } from './log-faults.ts';
import { checkNamesLog } from './log-named.ts';
import { ReleaseRecords } from './releases.ts';
import { type ApiDeps, attestationRoutes, blobRoutes, deviceRoutes, traceRoutes } from './routes.ts';
import { checkAllRead, type LogShard, ServicesInForce } from './services-in-force.ts';
import { Blobs } from './store/blobs.ts';
import { Database } from './store/database.ts';
import { diskFiles } from './store/durable-files.ts';
import { STORE } from './store-faults.ts';
import { Tracer } from './trace.ts';
import { checkKeyMode, checkOwnerWrites } from './trust/files.ts';
import { shardName, shardOrigin } from './trust/instances.ts';
import { NamedInstances } from './trust/named-instances.ts';
import type { KeyGone, KeylessRule } from './trust/open-instances.ts';
import { checkReopensNone } from './trust/reopened.ts';
import { openTrustServices, serviceNames } from './trust/services.ts';
import { unbegunPath } from './trust/unbegun.ts';
import { type LogTrust, TrustInForce } from './trust-in-force.ts';
import { tsaRoutes } from './tsa/routes.ts';
import { ExpiryWarnings } from './tuf/expiry-warnings.ts';
import { readPublishedTarget } from './tuf/published-target.ts';
import { type ChangeObserver, TufRepository } from './tuf/repository.ts';
import { tufReadRoutes, tufWriteRoutes } from './tuf/routes.ts';

export interface RegistryOptions {
  /** Made by `waybill init`. */
  readonly dataFolder: string;
  readonly config: RegistryConfig;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** An open data folder with everything that serves it. */
export interface Registry extends ApiDeps {
  readonly dataFolder: string;
  readonly config: RegistryConfig;
  /** Files that `config.listen.tls` names; undefined: plain HTTP. */
  readonly tls: TlsFiles | undefined;
  readonly clock: () => number;
  readonly tuf: TufRepository;
  readonly observer: ChangeObserver;
  readonly trust: TrustInForce;
  /** What signs now, and all that it was before. */
  readonly services: ServicesInForce;
  /** Instances that are read without their keys. */
  readonly keysGone: readonly KeyGone[];
  readonly tokens: TokenVerifier;
  readonly usedTokens: TokenMemory;
  /** Of the connections that bring entries. */
  readonly turns: Turns;
  /** Finishes what was promised and frees the folder. */
  close(): Promise<void>;
}

/** How often the online TUF roles are looked at; they are signed again long before they expire. */
const RENEWAL_CHECK_MS = 10 * 60_000;

/**
 * Opens a data folder; nothing listens yet. Reads no offline key.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_TLS_*, REGISTRY_DATA_LOCKED, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED, CA_FILES_UNREADABLE,
 * CA_KEY_EXPOSED, CA_KEY_MISMATCH, LOG_STORE_*, LOG_HEAD_*, LOG_KEY_UNREADABLE, and the codes of the trust material
 */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { dataFolder, config, clock } = options;
  await checkFolder(dataFolder);
  const { tls } = config.listen;
  const tlsFiles = tls === undefined ? undefined : await readTlsFiles(dataFolder, tls);
  const names = serviceNames(config.org);
  const named = new NamedInstances(await readPublishedTarget(dataFolder, 'trusted_root.json'), names);
  const rule: KeylessRule = { named, nowMs: clock(), gone: [] };
  await checkOwnerWrites(join(dataFolder, 'keys'), 'a folder of keys');
  const keys = await openTrustServices(dataFolder, rule);
  const logKeys = await openLogKeys(dataFolder, rule);
  const token = await readToken(join(dataFolder, 'keys', 'enrolment.token'));
  const state = join(dataFolder, 'state');
  const database = await Database.open(join(state, 'db'));
  try {
    const heads = headFolder(dataFolder, config.headFolder);
    const ct: CtLog[] = [];
    for (const [i, signer] of keys.ct.entries()) {
      const db = database.sublevel(shardName('ct', i + 1));
      const issuers = keys.ca.flatMap(({ chain }) => chain);
      const origin = shardOrigin('ct', names.ct, i + 1);
      const hasSuccessor = i + 1 < keys.ct.length;
      const head = LogHead.in(heads, origin, unbegunPath(dataFolder, 'ct', i + 1));
      ct.push(await CtLog.open({ db, head, hasSuccessor, origin, signer, issuers, clock }));
    }
    const blobs = await Blobs.open(join(state, 'blobs'), { reserveBytes: config.limits.diskReserveBytes });
    const tuf = await TufRepository.open({
      folder: join(state, 'tuf'),
      keysFolder: join(dataFolder, 'keys'),
      blobs,
      clock,
    });
    await tuf.renew();
    const releases = new ReleaseRecords(database, blobs);
    // What was published just before a crash may not have been recorded.
    for (const role of tuf.roles()) await releases.record(role, tuf.targets(role));
    const trust = await TrustInForce.open(blobs, config.keys, tuf.targets('targets'));
    const shards: LogShard[] = [];
    for (const [i, key] of logKeys.entries()) {
      const db = database.sublevel(shardName('log', i + 1));
      const origin = shardOrigin('log', names.log, i + 1);
      const hasSuccessor = i + 1 < logKeys.length;
      const head = LogHead.in(heads, origin, unbegunPath(dataFolder, 'log', i + 1));
      const log = await SignatureLog.open({ db, head, hasSuccessor, origin, key, clock });
      shards.push({
        log,
        cosigning: await Cosigning.open({ tiles: log.tiles, policy: () => trust.logPolicy, clock }),
      });
    }
    const held = { ca: keys.ca, tsa: keys.tsa, ct, log: shards };
    const services = new ServicesInForce(held, () => trust.root, clock);
    const devices = new DeviceRegister({ database, token, clock });
    const ingest = new Ingest({
      database,
      blobs,
      verifier: () => trust.verifier,
      shardOf: (origin) => {
        const i = shards.findIndex(({ log }) => log.tiles.origin === origin);
        const tiles = shards[i]?.log.tiles;
        return tiles && { number: i + 1, leafAt: (index) => tiles.leafBytes(index) };
      },
      isTarget: (sha256) => tuf.names(sha256),
      clock,
    });
    return {
      dataFolder,
      config,
      tls: tlsFiles,
      clock,
      limits: config.limits,
      database,
      blobs,
      ingest,
      devices,
      tracer: new Tracer(database, devices, releases),
      tuf,
      observer: observerOf(
        trust,
        releases,
        async (next) => {
          services.checkKeepsAll(next);
          await checkAllRead(dataFolder, held);
        },
        (next) => {
          const shard = services.logBy(next.root);
          if (shard !== undefined) checkNamesLog(shard, next, clock());
        },
      ),
      trust,
      services,
      keysGone: rule.gone,
      tokens: tokenVerifier(config.issuers, clock),
      usedTokens: await TokenMemory.open(database, clock),
      turns: new Turns(),
      async close() {
        for (const { cosigning, log } of shards) {
          await cosigning.close();
          await log.close();
        }
        for (const ctLog of ct) await ctLog.close();
        await database.close();
      },
    };
  } catch (failure) {
    await database.close();
    throw failure;
  }
}

async function checkFolder(folder: string): Promise<void> {
  const isFolder = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) {
    throw STORE.reject('REGISTRY_DATA_MISSING', `expected a data folder at ${quote(folder)}, found none`);
  }
}

/** The token that enrolment asks for; at least 128 bits, or it could be guessed. */
async function readToken(path: string): Promise<string> {
  await checkKeyMode(path, 'an enrolment token');
  const bytes = await diskFiles.read(path);
  if (bytes === undefined) {
    throw STORE.reject('REGISTRY_DATA_MISSING', `expected an enrolment token in ${quote(path)}, found none`);
  }
  const token = Buffer.from(bytes).toString().trim();
  if (!/^[A-Za-z0-9._~+/=-]{22,512}$/.test(token)) {
    throw STORE.reject(
      'REGISTRY_DATA_DAMAGED',
      `expected an enrolment token of 22 to 512 characters in ${quote(path)}`,
    );
  }
  return token;
}

/** Trust material counts, and releases are recorded, once TUF has verified and published them. */
function observerOf(
  trust: TrustInForce,
  releases: ReleaseRecords,
  checkRoot: (next: TrustedRoot) => Promise<void>,
  checkLog: (next: LogTrust) => void,
): ChangeObserver {
  return {
    async examine(role, targets, { reopen }) {
      if (role === 'targets') {
        const next = await trust.check(targets);
        if (trust.isOtherRoot(targets)) {
          if (!reopen) checkReopensNone(next.root, trust.root);
          await checkRoot(next.root);
        }
        if (trust.hasOtherLogFiles(targets)) checkLog(next);
      } else await releases.check(role, targets);
    },
    async published(role, targets) {
      if (role === 'targets') await trust.adopt(targets);
      else await releases.record(role, targets);
    },
  };
}

/** Puts an open registry behind HTTP or HTTPS; the caller listens. Closing the server closes the registry. */
export async function buildServer(registry: Registry): Promise<FastifyInstance> {
  const { config, tls } = registry;
  const { limits, logLevel, listen, metrics } = config;
  const required = listen.tls?.requireClientCertificate;
  const app = makeHttpServer({ limits, logLevel, tls, onlyCertified: required === 'always' });
  const figures =
    metrics === undefined ? undefined : serveOperations(app, registry, { at: metrics, limits, logLevel });
  logRequests(app, figures?.answered);
  if (required === 'except-public-reads') demandCertificates(app);
  await limitRates(app, limits);
  describeApi(app, config.url);
  probeRoutes(app, registry);
  await mountServices(app, registry);
  refuseUnknown(app);
  keepFresh(app, registry);
  app.addHook('onReady', async () => {
    reportLost(app, registry);
    for (const gone of registry.keysGone)
      app.log.warn(gone, 'a key that signs no more is not here: read only');
    for (const { log, cosigning } of registry.services.held.log)
      cosigning.start((what) => reportWitness(app, { log: log.tiles.origin, ...what }));
  });
  app.addHook('onClose', () => registry.close());
  return app;
}

/**
 * Takes certificate and key from their files again; open connections stay as they are.
 * @throws REGISTRY_TLS_UNREADABLE, REGISTRY_TLS_KEY_EXPOSED, REGISTRY_TLS_MISMATCH: the old ones are used further
 */
export async function reloadTls(app: FastifyInstance, { dataFolder, config }: Registry): Promise<void> {
  const { tls } = config.listen;
  if (tls !== undefined) (app.server as HttpsServer).setSecureContext(await readTlsFiles(dataFolder, tls));
}

async function mountServices(app: FastifyInstance, registry: Registry): Promise<void> {
  const { services, clock, config, tokens, trust, tuf, blobs, observer } = registry;
  const isListedKey = (spki: Uint8Array) => trust.keys.some((key) => Buffer.compare(key, spki) === 0);
  const writers = new Writers({
    get authorities() {
      return services.caChains();
    },
    isListedKey,
    clock,
  });
  // Asked anew for each certificate: a publication may change what signs.
  const ca = {
    get authority() {
      return services.ca();
    },
    get ctLog() {
      return services.ctLog();
    },
    clock,
    issuers: config.issuers,
    tokens,
    used: registry.usedTokens,
    issued: (certificate: IssuedCertificate) => writers.issued(certificate),
  };
  await app.register(async (scope) => caRoutes(scope, ca), { prefix: '/ca' });
  // Again without a prefix: sigstore-python keeps the host of an authority's address alone.
  await app.register(async (scope) => caRoutes(scope, ca));
  for (const [i, ctLog] of services.held.ct.entries()) {
    await app.register(ctRoutes, { prefix: `/${shardName('ct', i + 1)}`, ctLog });
  }
  await app.register(tsaRoutes, { prefix: '/tsa', authority: () => services.tsa(), clock });
  for (const [i, shard] of services.held.log.entries()) {
    const checkActive = () => checkShard(services, shard);
    await app.register(rekorRoutes, {
      prefix: `/${shardName('log', i + 1)}`,
      ...shard,
      writers,
      checkActive,
      turns: registry.turns,
    });
  }
  await app.register(tufReadRoutes, { prefix: '/tuf', tuf, blobs, observer });
  await app.register(tufWriteRoutes, { prefix: '/api/v1', tuf, blobs, observer });
  for (const routes of [attestationRoutes, blobRoutes, deviceRoutes, traceRoutes]) {
    await app.register(routes, { prefix: '/api/v1', ...registry });
  }
}

/** Entries go to the shard in force; the others are read only. @throws LOG_SHARD_INACTIVE, TRUST_KEY_UNPUBLISHED */
function checkShard(services: ServicesInForce, { log }: LogShard): void {
  const active = services.log().log;
  if (log === active) return;
  throw LOG.reject(
    'LOG_SHARD_INACTIVE',
    `expected an entry for the log ${quote(active.tiles.origin)}, got one for ${quote(log.tiles.origin)}`,
  );
}

/** A shard that cannot take entries from the start on. */
function reportLost(app: FastifyInstance, { services }: Registry): void {
  for (const { tiles } of [...services.held.ct, ...services.held.log.map(({ log }) => log)]) {
    try {
      tiles.checkAccepting();
    } catch (failure) {
      app.log.error(
        { origin: tiles.origin, failure: (failure as Error).message },
        'a shard takes no entries',
      );
    }
  }
}

function reportWitness(
  app: FastifyInstance,
  what: Parameters<WitnessReport>[0] & { readonly log: string },
): void {
  if (what.failure === undefined) app.log.info(what, 'cosigning goes well again');
  else app.log.warn(what, 'cosigning is disturbed');
}

/** Signs the online TUF roles again in time, and says early when people must sign the offline ones. */
function keepFresh(app: FastifyInstance, { tuf, clock }: Registry): void {
  const warnings = new ExpiryWarnings();
  const warn = (): void => {
    for (const { role, days, level } of warnings.due(tuf.offlineExpiriesMs(), clock())) {
      const what = days < 0 ? 'an offline role has expired' : 'an offline role expires soon';
      app.log[level]({ role, days }, `${what}: waybill tuf renew`);
    }
  };
  const check = async (): Promise<void> => {
    warn();
    try {
      const signed = await tuf.renew();
      if (signed.length > 0) app.log.info({ signed }, 'online roles signed again');
    } catch (failure) {
      app.log.error(told(failure), 'online roles could not be signed again');
    }
  };
  let timer: NodeJS.Timeout | undefined;
  app.addHook('onReady', async () => {
    warn();
    timer = setInterval(() => void check(), RENEWAL_CHECK_MS);
    timer.unref();
  });
  app.addHook('onClose', async () => clearInterval(timer));
}
