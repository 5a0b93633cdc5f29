// SPDX-License-Identifier: Apache-2.0
// Whom the registry believes right now: the trusted root that TUF's top-level targets names, the listed keys of config.yaml, and
// the gate keys of the published device policies. It changes only with a verified publication [docs/spec/tuf-repository.md §Trust material].

import { createPublicKey } from 'node:crypto';
import { parseDocument } from '../core/encoding/document.ts';
import { quote } from '../core/faults.ts';
import { parseDevicePolicy } from '../core/release/device-policy.ts';
import { parseTrustedRoot, type TrustedRoot } from '../core/sigstore/trusted-root.ts';
import { type LogPolicy, parseLogPolicy } from '../core/tlog/log-policy.ts';
import type { BundleVerifier } from '../core/verify/verified.ts';
import { bothVerifiers } from '../peers/both-verifiers.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import type { Blobs } from './store/blobs.ts';
import { STORE } from './store-faults.ts';
import type { NamedTarget } from './tuf/role-document.ts';

/** What top-level targets says about the signature log. */
export interface LogTrust {
  readonly root: TrustedRoot;
  readonly logPolicy: LogPolicy | undefined;
  /** The bytes of the signing configuration. */
  readonly signingConfig: Uint8Array | undefined;
}

/** The files of `LogTrust`. */
const LOG_FILES = ['trusted_root.json', 'signing_config.v0.2.json', 'tlog-policy'];

interface Trust extends LogTrust {
  /** SHA-256 of the `LOG_FILES`, in hexadecimal. */
  readonly hashes: readonly (string | undefined)[];
  readonly verifier: BundleVerifier;
  readonly keys: readonly Uint8Array[];
}

export class TrustInForce {
  readonly #blobs: Blobs;
  readonly #configured: readonly Uint8Array[];
  #trust: Trust;

  private constructor(blobs: Blobs, configured: readonly Uint8Array[], trust: Trust) {
    this.#blobs = blobs;
    this.#configured = configured;
    this.#trust = trust;
  }

  /** Reads the trust that top-level targets names. @throws the codes of `check` */
  static async open(
    blobs: Blobs,
    configured: readonly Uint8Array[],
    targets: readonly NamedTarget[],
  ): Promise<TrustInForce> {
    return new TrustInForce(blobs, configured, await readTrust(blobs, configured, targets));
  }

  /** The verifier for bundles that arrive now. */
  get verifier(): BundleVerifier {
    return this.#trust.verifier;
  }

  /** The trusted root that is published now. */
  get root(): TrustedRoot {
    return this.#trust.root;
  }

  /** True if these targets name another trusted root than is published now. */
  isOtherRoot(targets: readonly NamedTarget[]): boolean {
    return hashesOf(targets)[0] !== this.#trust.hashes[0];
  }

  /** True if these targets name another trusted root, signing configuration or log policy than are published now. */
  hasOtherLogFiles(targets: readonly NamedTarget[]): boolean {
    return hashesOf(targets).some((sha256, i) => sha256 !== this.#trust.hashes[i]);
  }

  /** Keys (DER SubjectPublicKeyInfo) that may sign without a certificate now. */
  get keys(): readonly Uint8Array[] {
    return this.#trust.keys;
  }

  /** Which witnesses must have cosigned a checkpoint now; undefined if no log policy is published. */
  get logPolicy(): LogPolicy | undefined {
    return this.#trust.logPolicy;
  }

  /**
   * Refuses top-level targets whose trust material cannot be used.
   * @returns what they say about the log
   * @throws TUF_REPOSITORY_TRUST_MISSING, SIGSTORE_TRUSTED_ROOT_MALFORMED, DEVICE_POLICY_MALFORMED, TLOG_POLICY_MALFORMED,
   *   REGISTRY_KEY_UNSUITABLE
   */
  async check(targets: readonly NamedTarget[]): Promise<LogTrust> {
    return readTrust(this.#blobs, this.#configured, targets);
  }

  /** Takes over the trust material of published targets. @throws the codes of `check` */
  async adopt(targets: readonly NamedTarget[]): Promise<void> {
    this.#trust = await readTrust(this.#blobs, this.#configured, targets);
  }
}

const hashesOf = (targets: readonly NamedTarget[]): readonly (string | undefined)[] =>
  LOG_FILES.map((file) => targets.find(({ name }) => name === file)?.sha256);

async function readTrust(
  blobs: Blobs,
  configured: readonly Uint8Array[],
  targets: readonly NamedTarget[],
): Promise<Trust> {
  const root = targets.find((target) => target.name === 'trusted_root.json');
  if (root === undefined) {
    throw STORE.reject(
      'TUF_REPOSITORY_TRUST_MISSING',
      'expected top-level targets to name trusted_root.json',
    );
  }
  const trustedRoot = await blobs.read(root.sha256);
  checkComplete(trustedRoot);
  const keys = [...configured];
  for (const { name, sha256 } of targets) {
    if (!name.startsWith('device-policy/')) continue;
    const { gate, product } = parseDevicePolicy(await blobs.read(sha256));
    if (name !== `device-policy/${product}.json`) {
      throw STORE.reject(
        'TUF_REPOSITORY_TARGET_FORBIDDEN',
        `target ${quote(name)}: expected the policy of that product, got ${quote(product)}`,
      );
    }
    checkListedKey(gate.publicKey, `${name}: /gate/publicKey`);
    keys.push(gate.publicKey);
  }
  const policy = targets.find((target) => target.name === 'tlog-policy');
  const logPolicy =
    policy === undefined ? undefined : parseLogPolicy(await blobs.read(policy.sha256), nodeCrypto);
  const config = targets.find((target) => target.name === 'signing_config.v0.2.json');
  return {
    root: parseTrustedRoot(trustedRoot),
    hashes: hashesOf(targets),
    verifier: bothVerifiers({ trustedRoot, keys }),
    keys,
    logPolicy,
    signingConfig: config && (await blobs.read(config.sha256)),
  };
}

/** A trusted root without one of its parts is valid, and refuses everything from then on. */
function checkComplete(trustedRoot: Uint8Array): void {
  const refuse = (message: string, at: string) =>
    STORE.reject('TUF_REPOSITORY_TRUST_MISSING', `trusted_root.json: ${message}`, { at });
  const document = parseDocument(trustedRoot, { refuse });
  for (const part of ['tlogs', 'certificateAuthorities', 'ctlogs', 'timestampAuthorities']) {
    document.field(part).someElements();
  }
}

/** Checks that a key is one whose signatures bundles can carry. @throws REGISTRY_KEY_UNSUITABLE */
export function checkListedKey(spki: Uint8Array, at: string): void {
  let curve: string | undefined;
  try {
    curve = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).asymmetricKeyDetails
      ?.namedCurve;
  } catch {
    curve = undefined;
  }
  if (curve !== 'prime256v1') {
    throw STORE.reject('REGISTRY_KEY_UNSUITABLE', 'expected a P-256 public key as DER SubjectPublicKeyInfo', {
      at,
    });
  }
}
