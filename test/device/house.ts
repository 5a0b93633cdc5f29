// SPDX-License-Identifier: Apache-2.0
// What a device meets on loopback: a TUF repository that can be bent, and the registry's own device API over LevelDB.

import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import { portableCrypto } from '../../core/crypto.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { formatReleaseIndex, type Release, type ReleaseIndex } from '../../core/release/release-index.ts';
import { formatLogPolicy } from '../../core/tlog/log-policy.ts';
import { ED25519_NOTE, noteKeyId } from '../../core/tlog/note.ts';
import { enrolDevice, makeDevice } from '../../device/enrolment.ts';
import { nodeHost } from '../../device/node-host.ts';
import { TufForge } from '../../examples/demo/tuf-forge.ts';
import { type Device, DeviceRegister } from '../../registry/devices/device-register.ts';
import { handleError } from '../../registry/http-errors.ts';
import { type ApiDeps, deviceRoutes } from '../../registry/routes.ts';
import { Database } from '../../registry/store/database.ts';
import { createTrustServices } from '../../registry/trust/services.ts';
import { buildTrustedRoot } from '../../registry/trust/trusted-root.ts';
import { roleKey } from '../../release/role-metadata.ts';
import { factory, temporaryFolder } from './folder.ts';

export const TOKEN = 'enrol-me-please';
export const OWN = 'releases-optiboot';
export const INDEX = 'packs/optiboot/releases.json';
export const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

const EXPIRES = '2036-01-01T00:00:00Z';
const newKey = () => generateKeyPairSync('ed25519').privateKey;
const rawKey = () => new Uint8Array(Buffer.from(newKey().export({ format: 'jwk' }).x as string, 'base64url'));
/** Sound, and of nobody: whoever needs evidence that verifies publishes another (`House.trust`). */
const TRUSTED_ROOT = await someTrustedRoot();

export class House {
  readonly forge = soundRepository();
  readonly folder: string;
  /** Requests that got an answer, `METHOD path status`, newest last. */
  readonly asked: string[] = [];
  private readonly dispose: () => Promise<void>;
  private readonly database: Database;
  private readonly devices: DeviceRegister;
  private app: FastifyInstance | undefined;
  private port = 0;

  private constructor(folder: { path: string; dispose: () => Promise<void> }, database: Database) {
    this.folder = folder.path;
    this.dispose = folder.dispose;
    this.database = database;
    this.devices = new DeviceRegister({ database, token: TOKEN, clock: () => Date.now() });
  }

  static async build(): Promise<House> {
    const folder = await temporaryFolder();
    const house = new House(folder, await Database.open(join(folder.path, 'level')));
    await house.rise();
    return house;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Answers again, at the same address. */
  async rise(): Promise<void> {
    const app = fastify({ forceCloseConnections: true });
    app.setErrorHandler(handleError);
    app.addHook('onResponse', async (request, reply) => {
      this.asked.push(`${request.method} ${request.url} ${reply.statusCode}`);
    });
    await app.register(deviceRoutes, { prefix: '/api/v1', devices: this.devices } as unknown as ApiDeps);
    app.get('/tuf/*', (request, reply) => {
      const file = this.forge.files.get((request.params as { '*': string })['*']);
      return file === undefined ? reply.code(404).send() : reply.send(Buffer.from(file));
    });
    await app.listen({ port: this.port, host: '127.0.0.1' });
    this.port = (app.server.address() as { port: number }).port;
    this.app = app;
  }

  /** Does not answer any more. */
  async fall(): Promise<void> {
    await this.app?.close();
    this.app = undefined;
  }

  async raze(): Promise<void> {
    await this.fall();
    await this.database.close();
    await this.dispose();
  }

  /** A device in a folder of its own, enrolled unless told otherwise. */
  async device(change: Parameters<typeof factory>[0] = {}, enrolled = true): Promise<string> {
    const folder = join(this.folder, 'device');
    const root = this.forge.files.get('1.root.json') as Uint8Array;
    await makeDevice(folder, factory({ registryUrl: this.url, root, ...change }), nodeHost());
    if (enrolled) await enrolDevice(folder, TOKEN, nodeHost());
    return folder;
  }

  /** The device as the registry knows it. */
  known(id = 'bench-1'): Promise<Device> {
    return this.devices.device(id);
  }

  /** Publishes other trust material. */
  trust(files: Readonly<Record<string, Uint8Array>>): void {
    for (const [name, bytes] of Object.entries(files)) this.forge.addTarget('targets', name, bytes);
    this.forge.publish('targets');
  }

  /** Publishes an index, and the files that it names where their bytes are given. */
  offer(index: Partial<ReleaseIndex>, files: Readonly<Record<string, Uint8Array>> = {}): void {
    const whole = { product: 'optiboot', releases: [], denials: [], ...index };
    this.forge.addTarget(OWN, INDEX, formatReleaseIndex(whole));
    for (const [name, bytes] of Object.entries(files)) this.forge.addTarget(OWN, name, bytes);
    this.forge.publish(OWN);
  }
}

/** A release of these bytes as an index lists it. */
export function listed(
  version: string,
  image: Uint8Array,
  pack: Uint8Array,
  hardwareIds = ['atmega328p'],
): Release {
  const file = (name: string, bytes: Uint8Array) => ({
    name,
    sha256: sha256(bytes),
    sizeBytes: bytes.length,
  });
  return {
    version,
    image: file(`images/optiboot/optiboot-${version}.bin`, image),
    pack: file(`packs/optiboot/optiboot-${version}.waybill`, pack),
    hardwareIds,
    releasedAt: '2026-11-01T00:00:00Z',
  };
}

/** A device policy that this product's devices can follow. */
export function devicePolicy(change: object = {}): Uint8Array {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    type: 'spki',
    format: 'der',
  });
  return utf8(
    JSON.stringify({
      product: 'optiboot',
      builders: [
        {
          builderId: 'https://waybill.example/b',
          identity: 'https://ci.example/w',
          issuer: 'https://ci.example',
        },
      ],
      steps: ['compile', 'image'],
      source: 'pkg:deb/debian/arduino-core-avr',
      hardwareIds: ['atmega328p'],
      gate: {
        verifierId: 'https://waybill.example/gates/main',
        publicKey: key.toString('base64'),
        policies: [{ uri: 'https://waybill.example/policies/release', sha256: sha256('policy') }],
      },
      witnesses: 'none',
      ...change,
    }),
  );
}

function soundRepository(): TufForge {
  const forge = new TufForge();
  const names = ['root', 'targets', 'snapshot', 'timestamp', OWN];
  for (const name of names) forge.keys.set(name, [newKey()]);
  const keyOf = (name: string) => roleKey((forge.keys.get(name) as [KeyObject])[0]);
  const listedKeys = (...roles: string[]) =>
    Object.fromEntries(roles.map((r) => [keyOf(r).keyId, keyOf(r).json]));
  const head = { spec_version: '1.0.31', version: 1, expires: EXPIRES };
  const top = names.slice(0, 4);
  forge.roles.set('root', {
    _type: 'root',
    ...head,
    consistent_snapshot: true,
    keys: listedKeys(...top),
    roles: Object.fromEntries(top.map((name) => [name, { keyids: [keyOf(name).keyId], threshold: 1 }])),
  });
  const paths = ['images/optiboot/*', 'packs/optiboot/*'];
  const delegation = { name: OWN, keyids: [keyOf(OWN).keyId], threshold: 1, terminating: true, paths };
  const delegations = { keys: listedKeys(OWN), roles: [delegation] };
  forge.roles.set('targets', { _type: 'targets', ...head, targets: {}, delegations });
  forge.roles.set(OWN, { _type: 'targets', ...head, targets: {} });
  forge.roles.set('snapshot', { _type: 'snapshot', ...head, meta: {} });
  forge.roles.set('timestamp', { _type: 'timestamp', ...head, meta: {} });
  for (const [name, bytes] of Object.entries(trustMaterial())) forge.addTarget('targets', name, bytes);
  forge.sign('root');
  forge.publish('targets', OWN);
  return forge;
}

async function someTrustedRoot(): Promise<Uint8Array> {
  const { path, dispose } = await temporaryFolder();
  try {
    const folders = { folder: join(path, 'online'), offlineFolder: join(path, 'offline') };
    const material = await createTrustServices({ ...folders, org: 'waybill', now: Date.now() });
    const log = { origin: material.names.log, publicKey: rawKey(), startMs: material.startMs };
    return buildTrustedRoot(material, [log]);
  } finally {
    await dispose();
  }
}

function trustMaterial(): Record<string, Uint8Array> {
  const publicKey = rawKey();
  const name = 'log.waybill.example';
  const keyId = noteKeyId(name, ED25519_NOTE, publicKey, portableCrypto);
  const key = { name, keyId, type: ED25519_NOTE, publicKey };
  return {
    'trusted_root.json': TRUSTED_ROOT,
    'tlog-policy': utf8(formatLogPolicy({ logs: [{ key }], witnesses: [], groups: [], quorum: 'none' })),
    'device-policy/optiboot.json': devicePolicy(),
  };
}
