// SPDX-License-Identifier: Apache-2.0
// The TUF client of a Waybill repository [docs/spec/tuf-repository.md §Names]: core's workflow, and the rule which role may name
// what. Trust material comes from top-level targets alone, goods from the product's own delegation alone.

import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { isCovered } from '../core/tuf/delegation.ts';
import type { RoleKeys } from '../core/tuf/envelope.ts';
import { TUF } from '../core/tuf/faults.ts';
import { type RoleHead, type Root, type Targets, TOP_LEVEL, type TopLevelRole } from '../core/tuf/roles.ts';
import { type VerifiedTarget, verifiedTarget } from '../core/tuf/target.ts';
import type { Expiry, VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import type { Workflow } from '../core/tuf/workflow.ts';
import type { DeviceHost } from './host.ts';
import { TufShell } from './tuf-shell.ts';

export interface TufClientOptions {
  /** The root.json that the user or the factory trusts. */
  readonly root: Uint8Array;
  /** Base URL of `waybill serve`; metadata lies under `tuf/`, target files under `tuf/targets/`. */
  readonly registryUrl: string;
  /** Where verified metadata is kept between runs; rollback protection lives there. */
  readonly stateFolder: string;
  /** Milliseconds since 1970, read once [TUF-1.0.34 §5.1]. */
  readonly nowMs: number;
  readonly host: DeviceHost;
}

/** A target file as its role names it: where to fetch it and what it must be. */
export interface TargetPlace {
  readonly url: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export class TufClient {
  private readonly shell: TufShell;
  private readonly workflow: Workflow;
  private readonly host: DeviceHost;

  private constructor(shell: TufShell, workflow: Workflow, host: DeviceHost) {
    this.shell = shell;
    this.workflow = workflow;
    this.host = host;
  }

  /**
   * Opens the client on the newest root that it trusted before, else on the given one.
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED if the given root is no root; TUF_STATE_UNWRITABLE
   */
  static async open({ root, registryUrl, stateFolder, nowMs, host }: TufClientOptions): Promise<TufClient> {
    const metadataUrl = `${registryUrl.replace(/\/+$/, '')}/tuf`;
    const shell = new TufShell(host, { metadataUrl, targetsUrl: `${metadataUrl}/targets`, stateFolder });
    return new TufClient(shell, await shell.open(root, nowMs), host);
  }

  /**
   * Brings root, timestamp, snapshot and top-level targets up to date [TUF-1.0.34 §5.3 to §5.6].
   * @throws TUF_UNREACHABLE, TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_VERSION_ROLLBACK,
   * TUF_ROLE_EXPIRED, TUF_METADATA_DIGEST, TUF_STATE_UNWRITABLE
   */
  async refresh(whose: Expiry = {}): Promise<void> {
    await this.shell.run(this.workflow.refresh(whose));
    this.refuseGoodsAtTop();
  }

  /** A file that top-level targets names (trust material), verified. @throws TUF_TARGET_MISSING, TUF_TARGET_DIGEST, TUF_UNREACHABLE */
  async trustMaterial(name: string): Promise<Uint8Array> {
    const target = verifiedTarget(this.role('targets'), name, this.workflow.root.signed);
    return this.shell.fetchTarget(withSha256(target).target, LIMITS.tufTargetsSizeBytes);
  }

  /** Names of the top-level targets, in order of name. */
  trustMaterialNames(): string[] {
    return [...this.role('targets').signed.targets.keys()].sort();
  }

  /** A file of the product's own delegation, verified. @throws as `goodsTarget`, and TUF_TARGET_DIGEST */
  async goods(product: string, name: string, sizeBytesMax: number, whose: Expiry = {}): Promise<Uint8Array> {
    return this.shell.fetchTarget((await this.findGoods(product, name, whose)).target, sizeBytesMax);
  }

  /**
   * Where a file of the product's own delegation lies and what it must be; nothing is downloaded but the role.
   * @throws TUF_ROLE_MISSING, TUF_GOODS_WRONG_ROLE, TUF_TARGET_MISSING and what `refresh` throws
   */
  async goodsTarget(product: string, name: string): Promise<TargetPlace> {
    const { target, sha256 } = await this.findGoods(product, name, {});
    return { url: this.shell.urlOf(target), sha256, sizeBytes: target.sizeBytes };
  }

  /** A verified targets role; those who sign its next version start from it. */
  role(name: string): VerifiedRole<Targets> {
    return this.workflow.role(name);
  }

  /** The verified root; who signs the next one starts from it. */
  get root(): VerifiedRole<Root> {
    return this.workflow.root;
  }

  /** What root, targets, snapshot and timestamp say of themselves, and of each other. */
  topLevel(): readonly ({ readonly name: TopLevelRole } & RoleHead)[] {
    const { root, snapshot, timestamp } = this.workflow;
    const roles = { root, targets: this.role('targets'), snapshot, timestamp };
    return TOP_LEVEL.flatMap((name) => {
      const role = roles[name];
      if (role === undefined) return [];
      const { version, expires, expiresMs } = role.signed;
      return [{ name, version, expires, expiresMs }];
    });
  }

  /** Until when root, targets, snapshot and timestamp all hold: which of them expires first, and when. */
  firstToExpire(): { readonly name: string; readonly expires: string } {
    return this.topLevel().reduce((first, next) => (next.expiresMs < first.expiresMs ? next : first));
  }

  /** Who may sign a role, by the verified role above it; undefined for a role that nobody delegates to. */
  signersOf(name: string): RoleKeys | undefined {
    if (name in this.root.signed.roles) return this.root.signed.roles[name as TopLevelRole];
    return this.role('targets').signed.delegations.find((delegation) => delegation.name === name);
  }

  /** Loads a delegated role without asking for a target; undefined if the snapshot does not know it. @throws as `refresh` */
  async delegatedRole(name: string, whose: Expiry = {}): Promise<VerifiedRole<Targets> | undefined> {
    if (!this.workflow.isListed(name)) return undefined;
    return this.shell.run(this.workflow.load(name, this.role('targets').signed, whose));
  }

  private async findGoods(product: string, name: string, whose: Expiry) {
    const own = `releases-${product}`;
    const targets = this.role('targets').signed;
    const covering = targets.delegations.filter((delegation) =>
      isCovered(delegation, name, this.host.crypto),
    );
    const other = covering.find((delegation) => delegation.name !== own);
    if (other !== undefined) {
      // An earlier delegation would win in the standard's search order: it may not even cover the name.
      throw TUF.reject(
        'TUF_GOODS_WRONG_ROLE',
        `expected only ${quote(own)} to cover ${quote(name)}, ${quote(other.name)} does too`,
      );
    }
    if (covering[0]?.terminating !== true) {
      throw TUF.reject(
        'TUF_ROLE_MISSING',
        `expected a terminating delegation ${quote(own)} that covers ${quote(name)}, found none`,
      );
    }
    const role = await this.delegatedRole(own, whose);
    if (role === undefined) {
      throw TUF.reject('TUF_ROLE_MISSING', `the product ${quote(product)} has no release yet`);
    }
    return withSha256(verifiedTarget(role, name, this.workflow.root.signed));
  }

  /** Top-level targets signs trust material only. */
  private refuseGoodsAtTop(): void {
    const goods = this.trustMaterialNames().find((name) => /^(images|packs)(\/|$)/.test(name));
    if (goods !== undefined) {
      throw TUF.reject(
        'TUF_GOODS_WRONG_ROLE',
        `top-level targets names ${quote(goods)}; goods belong to releases-<product> alone`,
      );
    }
  }
}

/** Everything that follows knows files by their SHA-256. @throws TUF_METADATA_MALFORMED */
function withSha256(target: VerifiedTarget): { readonly target: VerifiedTarget; readonly sha256: string } {
  const { sha256 } = target.hashes;
  if (sha256 === undefined) {
    throw TUF.reject(
      'TUF_METADATA_MALFORMED',
      `expected a SHA-256 digest for ${quote(target.name)}, got none`,
    );
  }
  return { target, sha256 };
}
