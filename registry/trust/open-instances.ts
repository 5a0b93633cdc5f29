// SPDX-License-Identifier: Apache-2.0
// Opens all instances of a service, oldest first. One that signs no more, since a newer one is in force, needs its key no more: without
// it, it is opened for reading alone.

import { Rejection, Unavailable } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';
import { countInstances, type Service } from './instances.ts';
import type { NamedInstances } from './named-instances.ts';

/** An instance that was opened without its key. */
export interface KeyGone {
  readonly service: Service;
  /** Counted from 1. */
  readonly instance: number;
  readonly reason: string;
}

/** Which instances may be opened without their keys. */
export interface KeylessRule {
  /** By the published trusted root. */
  readonly named: NamedInstances;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Those that were. */
  readonly gone: KeyGone[];
}

/**
 * @param open opens an instance with its key @param openPublic opens one without; undefined if nothing public is known of it
 * @throws CA_FILES_UNREADABLE, and what `open` throws of an instance that signs, or may sign yet
 */
export async function openInstances<T>(
  folder: string,
  service: Service,
  open: (instance: number) => Promise<T>,
  rule: KeylessRule | undefined,
  openPublic: (instance: number, refusing: RefusingSigner) => Promise<T | undefined>,
): Promise<readonly T[]> {
  const count = Math.max(await countInstances(folder, service), rule?.named.count(service) ?? 0);
  const inForce = rule?.named.inForce(service, rule.nowMs) ?? 0;
  const opened: T[] = [];
  for (let instance = 1; instance <= count; instance++) {
    try {
      opened.push(await open(instance));
    } catch (failure) {
      const isFault = failure instanceof Rejection || failure instanceof Unavailable;
      if (rule === undefined || !isFault || instance >= inForce) throw failure;
      const found = await openPublic(instance, refusingSigner(service, instance));
      if (found === undefined) throw failure;
      const place = failure.at === undefined ? '' : ` (${failure.at})`;
      rule.gone.push({ service, instance, reason: `${failure.message}${place}` });
      opened.push(found);
    }
  }
  return opened;
}

/** Throws TRUST_KEY_GONE for all that it is asked. */
interface RefusingSigner {
  readonly sign: () => never;
  readonly checkReachable: () => Promise<void>;
}

function refusingSigner(service: Service, instance: number): RefusingSigner {
  const sign = () => {
    throw TRUST.unavailable(
      'TRUST_KEY_GONE',
      `expected the key of ${JSON.stringify(service)}, instance ${instance}, which was there no more at the start`,
    );
  };
  return { sign, checkReachable: async () => sign() };
}
