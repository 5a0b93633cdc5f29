// SPDX-License-Identifier: Apache-2.0
// Calls of attestations, blobs, TUF, devices and trace, one for each answer and each refusal that the OpenAPI document promises.

import { type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJsonBytes } from '../../../core/encoding/canonical-json.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { buildInstallReport, type InstallReport } from '../../../core/intoto/install-report.ts';
import { buildSbomReference } from '../../../core/intoto/reference.ts';
import { formatStatement, PAYLOAD_TYPE } from '../../../core/intoto/statement.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { newP256 } from '../running-registry.ts';
import { delegationsTo, newKey, sha256, signRole, targetsRole } from '../tuf-house.ts';
import { b64, type Call, type Caller, get, JSON_TYPE, large, post } from './api-call.ts';

// --- attestations and blobs

const THING = utf8('the thing');
const SBOM = utf8('{"no":"SBOM"}');
const statement = (bytes: Uint8Array) => ({
  subjects: [{ name: 'thing', sha256: sha256(bytes) }],
  predicateType: 'https://example.com/test/v1',
  predicate: {},
});
let bundle = new Uint8Array();
const ATTEST = 'post /api/v1/attestations';
const BLOB = '/api/v1/blobs';
const blob = (
  method: 'put' | 'get' | 'head',
  expected: number | string,
  digest: string,
  body?: Uint8Array,
): Call => ({
  operation: `${method} ${BLOB}/{sha256}`,
  expected,
  send: ({ running }) => running.send(method.toUpperCase(), `${BLOB}/${digest}`, body),
});
const EVIDENCE: readonly Call[] = [
  {
    operation: ATTEST,
    expected: 201,
    send: async ({ running }) => {
      bundle = new Uint8Array(await running.sign(statement(THING)));
      return running.submit(bundle);
    },
  },
  { operation: ATTEST, expected: 200, send: ({ running }) => running.submit(bundle) },
  { operation: ATTEST, expected: 'SIGSTORE_BUNDLE_MALFORMED', send: post('/api/v1/attestations', {}) },
  { operation: ATTEST, expected: 'REGISTRY_REQUEST_TOO_LARGE', send: post('/api/v1/attestations', large) },
  {
    operation: ATTEST,
    expected: 'SIGSTORE_SIGNATURE_INVALID',
    send: ({ running }) => {
      const json = JSON.parse(Buffer.from(bundle).toString());
      json.dsseEnvelope.payload = b64(formatStatement(statement(SBOM)));
      return running.submit(utf8(JSON.stringify(json)));
    },
  },
  {
    operation: 'get /api/v1/attestations',
    expected: 200,
    send: get(`/api/v1/attestations?subject=${sha256(THING)}`),
  },
  {
    operation: 'get /api/v1/attestations',
    expected: 'REGISTRY_REQUEST_MALFORMED',
    send: get('/api/v1/attestations'),
  },
  {
    operation: 'get /api/v1/attestations/by-leaf/{index}',
    expected: 200,
    send: get('/api/v1/attestations/by-leaf/0'),
  },
  {
    operation: 'get /api/v1/attestations/by-leaf/{index}',
    expected: 'REGISTRY_REQUEST_MALFORMED',
    send: get('/api/v1/attestations/by-leaf/00'),
  },
  {
    operation: 'get /api/v1/attestations/{sha256}',
    expected: 200,
    send: (caller) => get(`/api/v1/attestations/${sha256(bundle)}`)(caller),
  },
  {
    operation: 'get /api/v1/attestations/{sha256}',
    expected: 'REGISTRY_ATTESTATION_UNKNOWN',
    send: get(`/api/v1/attestations/${'00'.repeat(32)}`),
  },
  blob('put', 201, sha256(THING), THING),
  blob('put', 200, sha256(THING), THING),
  blob('put', 'BLOB_DIGEST_MALFORMED', 'x', THING),
  blob('put', 'BLOB_NOT_NAMED', '00'.repeat(32), THING),
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_DIGEST_MISMATCH',
    send: async ({ running }) => {
      await running.submit(await running.sign(statement(utf8('another'))));
      return running.putBlob(THING, sha256(utf8('another')));
    },
  },
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_SBOM_MALFORMED',
    send: async ({ running }) => {
      const reference = buildSbomReference({
        subjects: [{ name: 'thing', sha256: sha256(THING) }],
        attesterId: 'https://waybill.example/builders/test',
        sbomSha256: sha256(SBOM),
        downloadLocation: 'sboms/thing.cdx.json',
      });
      await running.submit(await running.sign(reference));
      return running.putBlob(SBOM);
    },
  },
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_TOO_LARGE',
    send: async ({ running }) => {
      await running.submit(await running.sign(statement(large)));
      return running.putBlob(large);
    },
  },
  blob('head', 200, sha256(THING)),
  blob('get', 200, sha256(THING)),
  blob('get', 'BLOB_DIGEST_MALFORMED', 'x'),
  blob('get', 'BLOB_UNKNOWN', '00'.repeat(32)),
];

// --- TUF

const ROLE = 'put /api/v1/tuf/{role}';
const POLICY = utf8('the image');
const image = (version: number, more: Record<string, unknown> = {}, signer?: KeyObject) => ({
  operation: ROLE,
  send: ({ running }: Caller) =>
    running.putRole(
      'releases-optiboot',
      signRole(
        targetsRole(
          version,
          { 'images/optiboot/a.bin': POLICY },
          { expires: '2099-01-01T00:00:00Z', ...more },
        ),
        [signer ?? running.releasesKey],
      ),
    ),
});
const TUF: readonly Call[] = [
  { operation: ROLE, expected: 201, send: ({ running }) => running.addProduct() },
  {
    operation: ROLE,
    expected: 200,
    send: async (caller) => {
      const current = await get('/tuf/2.targets.json')(caller);
      return caller.running.putRole('targets', current.bytes);
    },
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_METADATA_MALFORMED',
    send: ({ running }) => running.putRole('targets', utf8('{')),
  },
  {
    operation: ROLE,
    expected: 'REGISTRY_REQUEST_TOO_LARGE',
    send: ({ running }) => running.putRole('targets', large),
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_ROLE_UNKNOWN',
    send: ({ running }) => running.putRole('snapshot', utf8('{}')),
  },
  { ...image(1), expected: 'TUF_TARGETS_MISSING' },
  { ...image(1, {}, newKey()), expected: 'TUF_REPOSITORY_THRESHOLD_UNMET' },
  { ...image(7), expected: 'TUF_REPOSITORY_VERSION_WRONG' },
  { ...image(1, { expires: '2020-01-01T00:00:00Z' }), expected: 'TUF_REPOSITORY_EXPIRED' },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_TARGET_FORBIDDEN',
    send: async ({ running }) =>
      running.putRole('targets', await running.nextTargets({ 'images/optiboot/a.bin': POLICY })),
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
    send: async ({ running }) => {
      const delegations = delegationsTo({ optiboot: [running.releasesKey] }, { terminating: false });
      return running.putRole('targets', await running.nextTargets({}, { delegations }));
    },
  },
  { operation: 'get /tuf/{name}', expected: 200, send: get('/tuf/timestamp.json') },
  { operation: 'get /tuf/{name}', expected: 'TUF_REPOSITORY_FILE_UNKNOWN', send: get('/tuf/9.root.json') },
  {
    operation: 'get /tuf/targets/{path}',
    expected: 200,
    send: async (caller) => {
      const { targets } = (await caller.running.current('targets')) as { targets: Record<string, never> };
      const { hashes } = targets['tlog-policy'] as unknown as { hashes: { sha256: string } };
      return get(`/tuf/targets/${hashes.sha256}.tlog-policy`)(caller);
    },
  },
  {
    operation: 'get /tuf/targets/{path}',
    expected: 'TUF_REPOSITORY_FILE_UNKNOWN',
    send: get('/tuf/targets/x'),
  },
];

// --- devices and trace

const device = newP256();
const claim = { deviceId: 'dev-1', product: 'optiboot', hardwareId: 'uno-r3', publicKey: b64(device.spki) };
const DEVICES = 'post /api/v1/devices';
const enrol = (
  expected: number | string,
  change: Record<string, Json> = {},
  proof?: string,
  bearer?: string,
): Call => ({
  operation: DEVICES,
  expected,
  send: async (caller) => {
    const token = await readFile(join(caller.running.dataFolder, 'keys', 'enrolment.token'), 'utf8');
    const body = { ...claim, ...change };
    const proved = { ...body, proof: proof ?? b64(sign('sha256', canonicalJsonBytes(body), device.key)) };
    const headers = { ...JSON_TYPE, authorization: `Bearer ${bearer ?? token.trim()}` };
    return post('/api/v1/devices', proved, headers)(caller);
  },
});
const REPORT = 'post /api/v1/devices/{id}/reports';
const envelope = (payload: Uint8Array, signer: KeyObject = device.key) => ({
  payloadType: PAYLOAD_TYPE,
  payload: b64(payload),
  signatures: [{ sig: b64(sign('sha256', preAuthEncoding(PAYLOAD_TYPE, payload), signer)) }],
});
const report = (change: Partial<InstallReport> = {}): Uint8Array =>
  formatStatement(
    buildInstallReport(
      {
        deviceId: 'dev-1',
        product: 'optiboot',
        counter: 1,
        outcome: 'installed',
        imageSha256: sha256('image'),
        version: '8.1.0',
        reportedAtMs: Date.UTC(2026, 10, 22),
        ...change,
      },
      '2026-11-22T00:00:00.000Z',
    ),
  );
const reporting = (expected: number | string, body: unknown, id = 'dev-1'): Call => ({
  operation: REPORT,
  expected,
  send: post(`/api/v1/devices/${id}/reports`, body),
});
const DEVICE: readonly Call[] = [
  enrol(201),
  enrol(200),
  enrol('DEVICE_ENROL_MALFORMED', { deviceId: '..' }),
  enrol('DEVICE_ENROL_UNAUTHORIZED', {}, undefined, 'x'),
  enrol('DEVICE_ENROL_CONFLICT', { hardwareId: 'other' }),
  enrol('DEVICE_ENROL_KEY_UNSUITABLE', { publicKey: 'AAAA' }),
  enrol('DEVICE_ENROL_PROOF_WRONG', {}, 'AAAA'),
  { operation: DEVICES, expected: 'REGISTRY_REQUEST_TOO_LARGE', send: post('/api/v1/devices', large) },
  reporting(201, envelope(report())),
  reporting('DEVICE_REPORT_REPLAYED', envelope(report())),
  reporting('DEVICE_REPORT_ENVELOPE_MALFORMED', {}),
  reporting('DEVICE_REPORT_SIGNATURE_WRONG', envelope(report({ counter: 2 }), newP256().key)),
  reporting('DEVICE_REPORT_MISMATCH', envelope(report({ counter: 2, product: 'other' }))),
  reporting('INTOTO_STATEMENT_MALFORMED', envelope(utf8('{}'))),
  reporting('INSTALL_REPORT_MALFORMED', envelope(formatStatement(statement(THING)))),
  reporting('DEVICE_UNKNOWN', envelope(report()), 'dev-7'),
  {
    operation: REPORT,
    expected: 'REGISTRY_REQUEST_TOO_LARGE',
    send: post('/api/v1/devices/dev-1/reports', large),
  },
  { operation: 'get /api/v1/devices/{id}', expected: 200, send: get('/api/v1/devices/dev-1') },
  { operation: 'get /api/v1/devices/{id}', expected: 'DEVICE_UNKNOWN', send: get('/api/v1/devices/dev-7') },
  { operation: 'get /api/v1/devices', expected: 200, send: get('/api/v1/devices?product=optiboot') },
  { operation: 'get /api/v1/trace', expected: 200, send: get('/api/v1/trace?purl=pkg:deb/debian/gcc-avr') },
  { operation: 'get /api/v1/trace', expected: 'REGISTRY_PURL_MALFORMED', send: get('/api/v1/trace?purl=x') },
];

/** In this order. */
export const EVIDENCE_CALLS: readonly Call[] = [...EVIDENCE, ...TUF, ...DEVICE];
