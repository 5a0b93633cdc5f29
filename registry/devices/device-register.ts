// SPDX-License-Identifier: Apache-2.0
// The devices that may report [docs/spec/registry-api.md §Devices]: enrolled once with the owner's token and a proof that the device
// holds its private key; from then on each report must be signed by that key and carry a counter that only grows.

import { createHash, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import { base64Decode } from '../../core/encoding/base64.ts';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { type DocumentNode, parseDocument } from '../../core/encoding/document.ts';
import { quote } from '../../core/faults.ts';
import { type InstallReport, parseInstallReport } from '../../core/intoto/install-report.ts';
import { PAYLOAD_TYPE, parseStatement } from '../../core/intoto/statement.ts';
import { LIMITS } from '../../core/limits.ts';
import { isProductName } from '../../core/release/version.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { EVIDENCE_STRUCTURE_MAX, isCrowded } from '../document-shape.ts';
import type { Database } from '../store/database.ts';
import { Turns } from '../store/turns.ts';
import { STORE } from '../store-faults.ts';

/** A device as the registry shows it. */
export interface Device {
  readonly deviceId: string;
  readonly product: string;
  readonly hardwareId: string;
  /** DER SubjectPublicKeyInfo in base64. */
  readonly publicKey: string;
  /** RFC 3339. */
  readonly enrolledAt: string;
  readonly lastReport?: StoredReport;
}

/** A report that was accepted. */
export interface StoredReport extends Omit<InstallReport, 'deviceId' | 'product' | 'reportedAtMs'> {
  /** By the device's clock, RFC 3339. */
  readonly reportedAt: string;
  /** By the registry's clock, RFC 3339. */
  readonly receivedAt: string;
  /** Digest of the envelope's bytes, which are kept. */
  readonly sha256: string;
}

const DEVICE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const REQUEST_SIZE_BYTES = 16 * 1024;

export class DeviceRegister {
  readonly #database: Database;
  readonly #token: string;
  readonly #clock: () => number;
  readonly #turns = new Turns();

  /** `token` is what enrolment asks for. */
  constructor(options: {
    readonly database: Database;
    readonly token: string;
    readonly clock: () => number;
  }) {
    this.#database = options.database;
    this.#token = options.token;
    this.#clock = options.clock;
  }

  /**
   * Enrols a device; true if it was not known. Durable when it resolves.
   * @throws DEVICE_ENROL_UNAUTHORIZED, DEVICE_ENROL_MALFORMED, DEVICE_ENROL_KEY_UNSUITABLE, DEVICE_ENROL_PROOF_WRONG,
   * DEVICE_ENROL_CONFLICT, REGISTRY_STORE_FAILED
   */
  async enrol(bytes: Uint8Array, authorization: string | undefined): Promise<boolean> {
    this.#checkToken(authorization);
    const { claim, proof } = parseEnrolment(bytes);
    const key = Buffer.from(claim.publicKey, 'base64');
    checkDeviceKey(key);
    if (!verifiesP256(key, canonicalJsonBytes({ ...claim }), proof)) {
      throw STORE.reject('DEVICE_ENROL_PROOF_WRONG', 'expected a proof signed by the key to be enrolled');
    }
    return this.#turns.take(claim.deviceId, async () => {
      const known = await this.#database.json<Device>('device', claim.deviceId);
      if (known === undefined) {
        const device: Device = { ...claim, enrolledAt: new Date(this.#clock()).toISOString() };
        await this.#database.write([
          { table: 'device', key: [claim.deviceId], value: { ...device } as never },
        ]);
        return true;
      }
      for (const member of ['publicKey', 'product', 'hardwareId'] as const) {
        if (known[member] !== claim[member]) {
          throw STORE.reject(
            'DEVICE_ENROL_CONFLICT',
            `device ${quote(claim.deviceId)}: expected its known ${member}, got another`,
          );
        }
      }
      return false;
    });
  }

  #checkToken(authorization: string | undefined): void {
    const given = /^Bearer ([A-Za-z0-9._~+/=-]{1,512})$/.exec(authorization ?? '')?.[1] ?? '';
    const digest = (text: string) => createHash('sha256').update(text).digest();
    // Equal length and constant time, whatever was sent.
    if (!timingSafeEqual(digest(given), digest(this.#token))) {
      throw STORE.reject(
        'DEVICE_ENROL_UNAUTHORIZED',
        'expected the enrolment token as `Authorization: Bearer …`, got none or another',
      );
    }
  }

  /**
   * Takes a report. Durable when it resolves.
   * @throws DEVICE_UNKNOWN, DEVICE_REPORT_ENVELOPE_MALFORMED, DEVICE_REPORT_SIGNATURE_WRONG, INSTALL_REPORT_MALFORMED,
   * INTOTO_STATEMENT_MALFORMED, DEVICE_REPORT_MISMATCH, DEVICE_REPORT_REPLAYED, REGISTRY_STORE_FAILED
   */
  async report(deviceId: string, bytes: Uint8Array): Promise<StoredReport> {
    const envelope = parseEnvelope(bytes);
    return this.#turns.take(deviceId, async () => {
      const device = await this.device(deviceId);
      const signed = preAuthEncoding(PAYLOAD_TYPE, envelope.payload);
      if (!verifiesP256(Buffer.from(device.publicKey, 'base64'), signed, envelope.signature)) {
        throw STORE.reject(
          'DEVICE_REPORT_SIGNATURE_WRONG',
          `expected a signature by the key of device ${quote(deviceId)}`,
        );
      }
      const report = parseInstallReport(parseStatement(envelope.payload));
      checkBelongs(report, device);
      const last = device.lastReport?.counter ?? 0;
      if (report.counter <= last) {
        throw STORE.reject(
          'DEVICE_REPORT_REPLAYED',
          `device ${quote(deviceId)}: expected a counter above ${last}, got ${report.counter}`,
        );
      }
      const stored = this.#storedReport(report, bytes);
      await this.#write(device, stored, bytes);
      return stored;
    });
  }

  #storedReport(report: InstallReport, bytes: Uint8Array): StoredReport {
    const { deviceId: _, product: __, reportedAtMs, ...rest } = report;
    return {
      ...rest,
      reportedAt: new Date(reportedAtMs).toISOString(),
      receivedAt: new Date(this.#clock()).toISOString(),
      sha256: createHash('sha256').update(bytes).digest('hex'),
    };
  }

  async #write(device: Device, report: StoredReport, bytes: Uint8Array): Promise<void> {
    const counter = String(report.counter).padStart(16, '0');
    await this.#database.write([
      { table: 'report', key: [device.deviceId, counter, 'bytes'], value: bytes },
      { table: 'device', key: [device.deviceId], value: { ...device, lastReport: { ...report } } as never },
      { table: 'byImage', key: [report.imageSha256, device.deviceId], value: { ...report } as never },
    ]);
  }

  /** A device by its id. @throws DEVICE_UNKNOWN, REGISTRY_STORE_FAILED */
  async device(deviceId: string): Promise<Device> {
    const found = DEVICE_ID.test(deviceId)
      ? await this.#database.json<Device>('device', deviceId)
      : undefined;
    if (found === undefined) {
      throw STORE.reject('DEVICE_UNKNOWN', `expected an enrolled device, got ${quote(deviceId)}`);
    }
    return found;
  }

  /** Enrolled devices in order of their ids, of one product or all. @throws REGISTRY_STORE_FAILED */
  async devices(product: string | undefined): Promise<readonly Device[]> {
    const found: Device[] = [];
    for await (const [, device] of this.#database.entriesUnder<Device>('device')) {
      if (product === undefined || device.product === product) found.push(device);
    }
    return found;
  }

  /** For each device that ever reported this image as its active one: its last such report. @throws REGISTRY_STORE_FAILED */
  async reportsOf(imageSha256: string): Promise<readonly (StoredReport & { readonly deviceId: string })[]> {
    const found: (StoredReport & { deviceId: string })[] = [];
    for await (const [[deviceId = ''], report] of this.#database.entriesUnder<StoredReport>(
      'byImage',
      imageSha256,
    )) {
      found.push({ ...report, deviceId });
    }
    return found;
  }
}

type EnrolmentClaim = Pick<Device, 'deviceId' | 'product' | 'hardwareId' | 'publicKey'>;

function parseEnrolment(bytes: Uint8Array): { readonly claim: EnrolmentClaim; readonly proof: Uint8Array } {
  const refuse = (message: string, at: string) => STORE.reject('DEVICE_ENROL_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse }, REQUEST_SIZE_BYTES);
  root.only('deviceId', 'product', 'hardwareId', 'publicKey', 'proof');
  const product = root.field('product');
  if (!isProductName(product.string())) throw product.wrong('expected a product name');
  decode(root.field('publicKey'));
  return {
    claim: {
      deviceId: root
        .field('deviceId')
        .matching(DEVICE_ID, 'a device id of letters, digits, dots and hyphens'),
      product: product.string(),
      hardwareId: root.field('hardwareId').matching(/^[\x21-\x7e]{1,128}$/, 'a hardware id'),
      publicKey: root.field('publicKey').string(),
    },
    proof: decode(root.field('proof')),
  };
}

function decode(node: DocumentNode): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  return bytes;
}

/** One key must have one spelling, or a second enrolment with "another" key would be a conflict. */
function checkDeviceKey(spki: Buffer): void {
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const canonical = key.export({ format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1' && canonical.equals(spki)) return;
  } catch {
    // Falls through: whatever OpenSSL dislikes about it, it is no such key.
  }
  throw STORE.reject(
    'DEVICE_ENROL_KEY_UNSUITABLE',
    'expected a P-256 key as DER SubjectPublicKeyInfo, got another',
  );
}

function verifiesP256(spki: Buffer, data: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', data, { key: spki, format: 'der', type: 'spki' }, signature);
  } catch {
    return false;
  }
}

/** DSSE envelope [DSSE-v1.0.2 §Protocol] with one signature; the key id is a hint that nobody here needs. */
function parseEnvelope(bytes: Uint8Array): { readonly payload: Uint8Array; readonly signature: Uint8Array } {
  const refuse = (message: string, at: string) =>
    STORE.reject('DEVICE_REPORT_ENVELOPE_MALFORMED', message, { at });
  if (isCrowded(bytes, EVIDENCE_STRUCTURE_MAX)) {
    throw refuse(`expected at most ${EVIDENCE_STRUCTURE_MAX} commas, colons and brackets, got more`, '');
  }
  const root = parseDocument(bytes, { refuse }, LIMITS.bundleSizeBytes).only(
    'payloadType',
    'payload',
    'signatures',
  );
  root.field('payloadType').word(PAYLOAD_TYPE);
  const [signature, ...more] = root.field('signatures').someElements();
  if (signature === undefined || more.length > 0)
    throw root.field('signatures').wrong('expected one signature');
  signature.only('sig', 'keyid');
  return { payload: decode(root.field('payload')), signature: decode(signature.field('sig')) };
}

function checkBelongs(report: InstallReport, device: Device): void {
  for (const member of ['deviceId', 'product'] as const) {
    if (report[member] !== device[member]) {
      throw STORE.reject(
        'DEVICE_REPORT_MISMATCH',
        `expected ${member} ${quote(device[member])}, got ${quote(report[member])}`,
      );
    }
  }
}
