// SPDX-License-Identifier: Apache-2.0
// Every key of the services is rotated under a running registry: what was signed before and after is verified by core and the field's
// verifier against the published trusted root, and the server never signs with a key that is not published.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import type { JsonObject } from '../../core/encoding/strict-json.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { attestationVerifier } from '../../core/verify/attestation-verifier.ts';
import { bothVerifiers } from '../../peers/both-verifiers.ts';
import { fieldVerifier } from '../../peers/field-verifier.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { type Rotated, type RotationOf, retire, rotate } from '../../registry/rotation.ts';
import type { Service } from '../../registry/trust/instances.ts';
import { openKey, serviceNames } from '../../registry/trust/services.ts';
import {
  endOlder,
  formatTrustedRoot,
  instancesOf,
  readTrustedRoot,
} from '../../registry/trust/trust-changes.ts';
import { readPublishedTarget } from '../../registry/tuf/published-target.ts';
import { RunningRegistry, refusal } from './running-registry.ts';

const ORG = 'example';
let registry: RunningRegistry;
let n = 0;

beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

const trusted = (): Promise<Uint8Array> => readPublishedTarget(registry.dataFolder, 'trusted_root.json');

/** A bundle over a new statement, signed where the published signing configuration says. */
async function sign(): Promise<Uint8Array> {
  const statement = formatStatement({
    predicateType: 'https://waybill.example/predicates/rotation',
    subjects: [{ name: 'artifact', sha256: (n++).toString(16).padStart(64, '0') }],
    predicate: {},
  });
  const signingConfig = await readPublishedTarget(registry.dataFolder, 'signing_config.v0.2.json');
  const identity = { token: () => registry.issuer.token() };
  return signStatement(statement, { signingConfig, identity: identity as never });
}

/** Publishes what a rotation changed, signed with the offline key. */
async function publish(changed: readonly string[] = ['trusted_root.json']) {
  const files: Record<string, Uint8Array> = {};
  for (const name of changed) {
    files[name] = new Uint8Array(await readFile(join(registry.dataFolder, 'trust', name)));
  }
  return registry.publish('targets', await registry.nextTargets(files), Object.values(files));
}

async function rotationOf(key: string): Promise<RotationOf> {
  const service = key.replace('-root', '') as Service;
  if (service === 'ct' || service === 'log') return { service };
  if (key.endsWith('-root')) return { service, newRootFolder: registry.offline };
  return { service, rootKey: await openKey(join(registry.offline, `${service}-root.pem`)) };
}

/** Core's answer and the field's, which must agree on whether a bundle is good. */
function verdict(bundle: Uint8Array, trustedRoot: Uint8Array): string {
  const ours = codeOf(() => attestationVerifier({ trustedRoot, keys: [] }, nodeCrypto).verify(bundle));
  const theirs = codeOf(() => fieldVerifier({ trustedRoot, keys: [] }).check(bundle));
  return `${ours ?? 'verified'}, field ${theirs === undefined ? 'verified' : 'refuses'}`;
}

/** With all our instances of a service but the newest ended before anything was signed. */
function endedBefore(trustedRoot: Uint8Array, service: Service): Uint8Array {
  const ended = endOlder(readTrustedRoot(trustedRoot), service, serviceNames(ORG), Date.parse('2001-01-01'));
  return formatTrustedRoot(ended);
}

/** The code of the refusal; undefined if there is none. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (failure) {
    return (failure as { code?: string }).code ?? String(failure);
  }
}

const BOTH = 'verified, field verified';

describe.each([
  ['tsa', 'TIMESTAMP_AUTHORITY_UNKNOWN', 'TIMESTAMP_AUTHORITY_UNKNOWN'],
  ['ca', 'X509_ISSUER_UNKNOWN', 'X509_ISSUER_UNKNOWN'],
  ['ct', 'X509_SCT_LOG_UNKNOWN', 'X509_SCT_LOG_UNKNOWN'],
  ['log', 'SIGSTORE_LOG_UNKNOWN', 'SIGSTORE_LOG_PERIOD'],
  ['tsa-root', 'TIMESTAMP_AUTHORITY_UNKNOWN', 'TIMESTAMP_AUTHORITY_UNKNOWN'],
  ['ca-root', 'X509_ISSUER_UNKNOWN', 'X509_ISSUER_UNKNOWN'],
])('%s', (key, unknown, ended) => {
  const service = key.replace('-root', '') as Service;
  let before: Uint8Array;
  let after: Uint8Array;
  let oldRoot: Uint8Array;
  let rotated: Rotated;

  test('is signed with once it is published, and not before', async () => {
    oldRoot = await trusted();
    before = await sign();
    rotated = await rotate(registry.rotationOptions(), await rotationOf(key));
    expect(refusal(await publish(rotated.changed))).toEqual({ status: 422, code: 'TRUST_KEY_UNREAD' });
    await registry.restart();
    expect(verdict(await sign(), oldRoot)).toBe(BOTH);
    expect((await publish(rotated.changed)).status).toBe(201);
    after = await sign();
    expect(verdict(after, oldRoot)).toBe(`${unknown}, field refuses`);
    expect(verdict(after, await trusted())).toBe(BOTH);
    expect(verdict(before, await trusted())).toBe(BOTH);
  });

  test('is still signed with after a restart, and evidence of both sides is let in', async () => {
    await registry.restart();
    const later = await sign();
    for (const bundle of [before, after, later]) expect((await registry.submit(bundle)).status).toBe(201);
  });

  test('older keys are retired with their window, and what they signed within it stays good', async () => {
    const { endMs, isNew, isPublished } = await retire(registry.rotationOptions(), service);
    expect({ isNew, isPublished }).toEqual({ isNew: true, isPublished: false });
    expect(endMs - Date.now()).toBeGreaterThan(590_000);
    const again = { endMs, isNew: false, isPublished: false };
    expect(await retire({ ...registry.rotationOptions(), nowMs: Date.now() + 60_000 }, service)).toEqual(
      again,
    );
    expect((await publish()).status).toBe(201);
    expect(await retire(registry.rotationOptions(), service)).toEqual({ ...again, isPublished: true });
    const published = await trusted();
    const instances = instancesOf(readTrustedRoot(published), service, serviceNames(ORG));
    expect(instances).toHaveLength(rotated.instance);
    const ends = instances.map(
      (each) => ((each.validFor ?? (each.publicKey as JsonObject).validFor) as JsonObject).end,
    );
    expect(ends.slice(0, -1).every((end) => typeof end === 'string')).toBe(true);
    expect(ends.at(-1)).toBeUndefined();
    expect(verdict(before, published)).toBe(BOTH);
    expect(verdict(await sign(), published)).toBe(BOTH);
  });

  test('what an older key signed after its end is refused', async () => {
    const stolen = endedBefore(await trusted(), service);
    // The field's verifier looks at the period of a log only where an entry has a time of its own.
    const field = service === 'log' ? 'verified' : 'refuses';
    expect(verdict(before, stolen)).toBe(`${ended}, field ${field}`);
    expect(codeOf(() => bothVerifiers({ trustedRoot: stolen, keys: [] }).verify(before))).toBe(ended);
    expect(verdict(await sign(), stolen)).toBe(BOTH);
  });
});
