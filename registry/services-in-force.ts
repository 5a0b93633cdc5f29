// SPDX-License-Identifier: Apache-2.0
// What the services sign with now [docs/spec/trust-services.md §Rotation]: the newest instance that the published trusted root names
// for now. A key that clients cannot verify yet, or any more, signs nothing; which one it is follows each publication.

import type { TrustedRoot } from '../core/sigstore/trusted-root.ts';
import type { Certificate } from '../core/x509/certificate.ts';
import { isWithin, type Validity } from '../core/x509/path.ts';
import type { CtLog } from './ct/ct-log.ts';
import type { Cosigning } from './log/cosigning.ts';
import type { SignatureLog } from './log/signature-log.ts';
import type { Authority } from './trust/authority.ts';
import { countInstances, type Service } from './trust/instances.ts';
import { TRUST } from './trust-faults.ts';

/** One shard of the signature log. */
export interface LogShard {
  readonly log: SignatureLog;
  readonly cosigning: Cosigning;
}

/** Everything that this server has keys for, oldest first. */
export interface HeldInstances {
  readonly ca: readonly Authority[];
  readonly tsa: readonly Authority[];
  readonly ct: readonly CtLog[];
  readonly log: readonly LogShard[];
}

export class ServicesInForce {
  /** All that is held, for reading. */
  readonly held: HeldInstances;
  readonly #root: () => TrustedRoot;
  readonly #clock: () => number;
  #chains: readonly (readonly Uint8Array[])[] = [];

  constructor(held: HeldInstances, root: () => TrustedRoot, clock: () => number) {
    this.held = held;
    this.#root = root;
    this.#clock = clock;
  }

  /** What issues certificates now. @throws TRUST_KEY_UNPUBLISHED */
  ca(): Authority {
    return this.#newest('ca', this.held.ca, caPeriod);
  }

  /** What signs timestamps now. @throws TRUST_KEY_UNPUBLISHED */
  tsa(): Authority {
    return this.#newest('tsa', this.held.tsa, tsaPeriod);
  }

  /** The shard that takes precertificates now. @throws TRUST_KEY_UNPUBLISHED */
  ctLog(): CtLog {
    return this.#newest('ct', this.held.ct, ctPeriod);
  }

  /** The shard that takes signatures now. @throws TRUST_KEY_UNPUBLISHED */
  log(): LogShard {
    return this.#newest('log', this.held.log, logPeriod);
  }

  /** The shard that would take signatures now if that trusted root were published; undefined if none would. */
  logBy(next: TrustedRoot): LogShard | undefined {
    return this.#newestBy(next, this.held.log, logPeriod);
  }

  /**
   * Refuses a trusted root that lacks an instance of ours which the published one names: an older file, by which a key that was stolen
   * since would sign again. @throws TRUST_ROOT_BEHIND
   */
  checkKeepsAll(next: TrustedRoot): void {
    this.#checkKeeps('ca', this.held.ca, caPeriod, next);
    this.#checkKeeps('tsa', this.held.tsa, tsaPeriod, next);
    this.#checkKeeps('ct', this.held.ct, ctPeriod, next);
    this.#checkKeeps('log', this.held.log, logPeriod, next);
  }

  #checkKeeps<T>(service: Service, instances: readonly T[], period: PeriodOf<T>, next: TrustedRoot): void {
    const isNamed = (root: TrustedRoot) => (instance: T) => period(instance, root) !== undefined;
    const lost = instances.filter(isNamed(this.#root())).findIndex((each) => !isNamed(next)(each));
    if (lost < 0) return;
    throw TRUST.reject(
      'TRUST_ROOT_BEHIND',
      `expected every published key of ${quoteService(service)}, lack number ${lost + 1}`,
    );
  }

  /** Chains of the authorities whose certificates count now; the same array as long as they are the same. */
  caChains(): readonly (readonly Uint8Array[])[] {
    const chains = this.held.ca.filter((each) => this.#isInForce(caPeriod(each, this.#root())));
    const isSame =
      chains.length === this.#chains.length && chains.every(({ chain }, i) => chain === this.#chains[i]);
    if (!isSame) this.#chains = chains.map(({ chain }) => chain);
    return this.#chains;
  }

  #newest<T>(service: Service, instances: readonly T[], period: PeriodOf<T>): T {
    const newest = this.#newestBy(this.#root(), instances, period);
    if (newest !== undefined) return newest;
    throw TRUST.unavailable(
      'TRUST_KEY_UNPUBLISHED',
      `expected the published trusted root to name a key of ${quoteService(service)} for now, got none of the ${instances.length} held here`,
    );
  }

  #newestBy<T>(root: TrustedRoot, instances: readonly T[], period: PeriodOf<T>): T | undefined {
    return [...instances].reverse().find((instance) => this.#isInForce(period(instance, root)));
  }

  #isInForce(period: Validity | undefined): boolean {
    return period !== undefined && isWithin(period, this.#clock());
  }
}

/** When an instance counts by a trusted root; undefined if that does not name it. */
type PeriodOf<T> = (instance: T, root: TrustedRoot) => Validity | undefined;

const quoteService = (service: Service): string => `the service ${JSON.stringify(service)}`;

function caPeriod({ chain }: Authority, root: TrustedRoot): Validity | undefined {
  return root.certificateAuthorities.find(({ issuers }) => isChain(chain, issuers))?.validFor;
}

function tsaPeriod({ chain }: Authority, root: TrustedRoot): Validity | undefined {
  return root.timestampAuthorities.find(({ certificate, issuers }) =>
    isChain(chain, [certificate, ...issuers]),
  )?.validFor;
}

function ctPeriod({ logId }: CtLog, root: TrustedRoot): Validity | undefined {
  return periodOf(root.certificateLogs, logId);
}

function logPeriod({ log }: LogShard, root: TrustedRoot): Validity | undefined {
  return periodOf(root.signatureLogs, log.logId);
}

/** Natively: it is asked for each request. */
const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function isChain(chain: readonly Uint8Array[], certificates: readonly Certificate[]): boolean {
  return (
    chain.length === certificates.length &&
    certificates.every(({ der }, i) => isSame(der, chain[i] as Uint8Array))
  );
}

function periodOf(
  logs: readonly { readonly logId: Uint8Array; readonly validFor: Validity }[],
  logId: Uint8Array,
): Validity | undefined {
  return logs.find((log) => isSame(log.logId, logId))?.validFor;
}

/**
 * Refuses a new trusted root while the data folder has keys that were not there when the server started: it would send clients to
 * services that do not answer yet. @throws TRUST_KEY_UNREAD
 */
export async function checkAllRead(folder: string, held: HeldInstances): Promise<void> {
  for (const service of ['ca', 'ct', 'log', 'tsa'] as const) {
    const count = await countInstances(folder, service);
    if (count <= held[service].length) continue;
    throw TRUST.reject(
      'TRUST_KEY_UNREAD',
      `expected ${quoteService(service)} to have ${held[service].length} keys as at the start, found ${count}`,
    );
  }
}
