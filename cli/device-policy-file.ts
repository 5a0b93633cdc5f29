// SPDX-License-Identifier: Apache-2.0
// A device policy as people write it [docs/spec/device-policy.md §Writing]: YAML in which the gate's public key and the digests of
// policies may be paths, turned into the published JSON.

import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import { DocumentNode } from '../core/encoding/document.ts';
import { hexDecode } from '../core/encoding/hex.ts';
import type { Json, JsonObject } from '../core/encoding/strict-json.ts';
import { CORE, quote, Rejection } from '../core/faults.ts';
import { type DevicePolicy, parseDevicePolicy, readDevicePolicy } from '../core/release/device-policy.ts';
import { publicKeyDer, readPublicKey } from '../release/key-file.ts';
import { openYaml, readInput } from './files.ts';

/** A policy and the bytes to publish. */
export interface WrittenDevicePolicy {
  readonly policy: DevicePolicy;
  readonly bytes: Uint8Array;
}

/**
 * Reads a device policy for a product, resolving paths against the file's own folder.
 * @throws CLI_FILE_UNREADABLE, DEVICE_POLICY_MALFORMED, CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE
 */
export async function readDevicePolicyFile(path: string, product: string): Promise<WrittenDevicePolicy> {
  const refuse = (message: string, at: string) => CORE.reject('DEVICE_POLICY_MALFORMED', message, { at });
  const written = openYaml(path, await readInput(path), refuse);
  const value = await withPathsRead(written, dirname(path));
  const policy = readDevicePolicy(new DocumentNode(value, written.context));
  if (policy.product !== product) {
    throw written.field('product').wrong(`expected the product ${quote(product)} of the command line`);
  }
  const bytes = canonicalJsonBytes(value);
  parseDevicePolicy(bytes);
  return { policy, bytes };
}

/** The document with contents in place of paths. */
async function withPathsRead(written: DocumentNode, folder: string): Promise<Json> {
  const gate = written.field('gate');
  const publicKey = await keyOf(gate.field('publicKey'), folder);
  const policies: Json[] = [];
  for (const policy of gate.field('policies').someElements()) {
    const sha256 = await digestOf(policy.field('sha256'), folder);
    policies.push({ ...(policy.value as JsonObject), sha256 });
  }
  return { ...(written.value as JsonObject), gate: { ...(gate.value as JsonObject), publicKey, policies } };
}

/** Base64 of a DER P-256 key starts so; no path does by accident. */
const P256_SPKI_BASE64 = /^MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/;

async function keyOf(node: DocumentNode, folder: string): Promise<string> {
  const text = node.string();
  if (P256_SPKI_BASE64.test(text)) return text;
  try {
    const key = await readPublicKey(resolve(folder, text), 'p256');
    return Buffer.from(publicKeyDer(key)).toString('base64');
  } catch (failure) {
    if (!(failure instanceof Rejection)) throw failure;
    throw node.wrong(
      `expected a P-256 public key, in base64 of its DER form or as a path: ${failure.message}`,
    );
  }
}

async function digestOf(node: DocumentNode, folder: string): Promise<string> {
  const text = node.string();
  if (hexDecode(text)?.length === 32) return text;
  try {
    return createHash('sha256')
      .update(await readInput(resolve(folder, text)))
      .digest('hex');
  } catch (failure) {
    if (!(failure instanceof Rejection)) throw failure;
    throw node.wrong(`expected a SHA-256 digest, or the path of a policy: ${failure.message}`);
  }
}
