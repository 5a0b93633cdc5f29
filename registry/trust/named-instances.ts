// SPDX-License-Identifier: Apache-2.0
// What a trusted root says of our instances [docs/spec/trust-services.md §Rotation]: how many there are, which of them signs now, and the
// public keys of the logs. By it an instance that signs no more is read without its key.

import { base64Decode } from '../../core/encoding/base64.ts';
import type { JsonObject } from '../../core/encoding/strict-json.ts';
import { type CertifiedService, type LogService, type Service, shardOrigin } from './instances.ts';
import type { ServiceNames } from './services.ts';
import { instancesOf, readTrustedRoot } from './trust-changes.ts';

export class NamedInstances {
  readonly #root: JsonObject;
  readonly #names: ServiceNames;

  /** @param bytes a trusted_root.json, authenticated by whoever gives it @throws SIGSTORE_TRUSTED_ROOT_MALFORMED */
  constructor(bytes: Uint8Array, names: ServiceNames) {
    this.#root = readTrustedRoot(bytes);
    this.#names = names;
  }

  /** How many instances of a service are named. */
  count(service: Service): number {
    return instancesOf(this.#root, service, this.#names).length;
  }

  /** The number of the newest instance that is named for a time, milliseconds since 1970; 0 if there is none. */
  inForce(service: Service, timeMs: number): number {
    const instances = instancesOf(this.#root, service, this.#names);
    return instances.map((instance) => isNamedFor(instance, timeMs)).lastIndexOf(true) + 1;
  }

  /** The key of a shard, DER SubjectPublicKeyInfo; undefined if the shard is not named. */
  logKey(service: LogService, instance: number): Uint8Array | undefined {
    const baseUrl = `https://${shardOrigin(service, this.#names[service], instance)}`;
    const log = instancesOf(this.#root, service, this.#names).find((each) => each.baseUrl === baseUrl);
    const key = log?.publicKey as JsonObject | undefined;
    return key && base64Decode(String(key.rawBytes));
  }

  /** The certificates of each instance, its own first, in DER. */
  chains(service: CertifiedService): readonly (readonly Uint8Array[])[] {
    return instancesOf(this.#root, service, this.#names).map(({ certChain }) => {
      const { certificates } = certChain as { readonly certificates: readonly JsonObject[] };
      return certificates.map(({ rawBytes }) => base64Decode(String(rawBytes)) ?? new Uint8Array());
    });
  }
}

function isNamedFor(instance: JsonObject, timeMs: number): boolean {
  const { validFor } = (instance.publicKey ?? instance) as JsonObject;
  const { start, end } = validFor as { readonly start: string; readonly end?: string | null };
  return Date.parse(start) <= timeMs && (typeof end !== 'string' || timeMs <= Date.parse(end));
}
