// SPDX-License-Identifier: Apache-2.0
// The outside of core's TUF workflow: answers its requests with a repository's files and with what is kept, and fetches targets.

import { quote } from '../core/faults.ts';
import { TUF } from '../core/tuf/faults.ts';
import { checkTargetBytes, type VerifiedTarget } from '../core/tuf/target.ts';
import { type TufRequest, type TufSteps, Workflow } from '../core/tuf/workflow.ts';
import { DEVICE } from './faults.ts';
import { fetchFile } from './fetch-file.ts';
import type { DeviceHost } from './host.ts';
import { MetadataStore } from './metadata-store.ts';

const IDLE_TIMEOUT_MS = 20_000;

export interface TufRepositoryPlace {
  /** Base URLs of metadata and of targets. */
  readonly metadataUrl: string;
  readonly targetsUrl: string;
  /** Folder in which verified metadata is kept between runs. */
  readonly stateFolder: string;
}

export class TufShell {
  private readonly host: DeviceHost;
  private readonly metadataUrl: string;
  private readonly targetsUrl: string;
  private readonly store: MetadataStore;

  constructor(host: DeviceHost, place: TufRepositoryPlace) {
    this.host = host;
    this.metadataUrl = place.metadataUrl.replace(/\/+$/, '');
    this.targetsUrl = place.targetsUrl.replace(/\/+$/, '');
    this.store = new MetadataStore(host.files, place.stateFolder);
  }

  /**
   * Opens the workflow on the newest root that was trusted before, else on the given one. Time is fixed here [TUF-1.0.34 §5.1].
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_STATE_UNWRITABLE
   */
  open(root: Uint8Array, nowMs: number): Promise<Workflow> {
    return this.run(Workflow.open(root, { nowMs, crypto: this.host.crypto }));
  }

  /** Takes steps of the workflow to their end. @throws TUF_UNREACHABLE, TUF_STATE_UNWRITABLE, and what the steps throw */
  async run<T>(steps: TufSteps<T>): Promise<T> {
    let step = steps.next();
    while (step.done !== true) step = steps.next(await this.answer(step.value));
    return step.value;
  }

  /** Where a target lies. */
  urlOf(target: VerifiedTarget): string {
    return `${this.targetsUrl}/${target.path}`;
  }

  /** A target file, verified. @throws TUF_METADATA_MALFORMED, TUF_UNREACHABLE, TUF_TARGET_DIGEST */
  async fetchTarget(target: VerifiedTarget, sizeBytesMax: number): Promise<Uint8Array> {
    if (target.sizeBytes > sizeBytesMax) {
      throw TUF.reject(
        'TUF_METADATA_MALFORMED',
        `expected a target of at most ${sizeBytesMax} bytes, got ${target.sizeBytes}`,
      );
    }
    const url = this.urlOf(target);
    const bytes = await fetchFile(this.host, url, {
      sizeBytesMax: target.sizeBytes,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      tooLong: 'TUF_TARGET_DIGEST',
    });
    if (bytes === undefined) throw missing(url);
    checkTargetBytes(target, bytes, this.host.crypto);
    return bytes;
  }

  private async answer(request: TufRequest): Promise<Uint8Array | undefined> {
    switch (request.kind) {
      case 'read':
        return this.store.read(request);
      case 'write':
        await this.store.write(request, request.bytes);
        return undefined;
      case 'remove':
        await this.store.remove(request);
        return undefined;
      case 'fetch': {
        const url = `${this.metadataUrl}/${request.path}`;
        const { sizeBytesMax } = request;
        const limits = {
          sizeBytesMax,
          idleTimeoutMs: IDLE_TIMEOUT_MS,
          tooLong: 'TUF_METADATA_MALFORMED',
        } as const;
        const bytes = await fetchFile(this.host, url, limits);
        if (bytes === undefined && request.required) throw missing(url);
        return bytes;
      }
    }
  }
}

function missing(url: string) {
  return DEVICE.unavailable('TUF_UNREACHABLE', `the repository does not have ${quote(url)}`);
}
