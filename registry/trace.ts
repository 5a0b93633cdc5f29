// SPDX-License-Identifier: Apache-2.0
// Where a package is used [docs/spec/registry-api.md §Trace]: the images whose SBOM lists it, and apart from those the images that
// some step on their way was built with it; each with build, signer, releases and devices.

import { quote } from '../core/faults.ts';
import { REFERENCE_TYPE } from '../core/intoto/reference.ts';
import type { DeviceRegister } from './devices/device-register.ts';
import { type AttestationFacts, byLogPlace, type Signer, type StepFacts } from './facts.ts';
import { isPackage, type PackageName, parsePackageUrl } from './package-url.ts';
import type { ReleaseRecord, ReleaseRecords } from './releases.ts';
import type { Database } from './store/database.ts';
import { STORE } from './store-faults.ts';

/** The build that made an image. */
export interface TracedBuild {
  readonly invocationId: string;
  readonly builderId: string;
  readonly step: string;
  readonly bundleSha256: string;
  readonly logIndex: number;
  /** Which shard of the log, counted from 1; absent for the first. */
  readonly logShard?: number;
  readonly signer: Signer;
  readonly signedAt: string;
}

/** One image in which, or for which, the package was used. */
export interface TracedImage {
  readonly imageSha256: string;
  readonly product: string;
  readonly version: string;
  /** As the SBOM or the provenance spells it, version included. */
  readonly component: string;
  /** In `builtWith`: `source`, `toolchain` or another role, and the step that used it. */
  readonly role?: string;
  readonly usedIn?: { readonly step: string; readonly bundleSha256: string };
  readonly sbomSha256?: string;
  readonly build?: TracedBuild;
  readonly releases: readonly ReleaseRecord[];
  readonly devices: readonly TracedDevice[];
}

export interface TracedDevice {
  readonly deviceId: string;
  readonly reportedAt: string;
  readonly outcome: string;
  /** True if the device's last report says that this image is the active one. */
  readonly current: boolean;
}

export interface Trace {
  readonly purl: string;
  readonly shipsIn: readonly TracedImage[];
  readonly builtWith: readonly TracedImage[];
}

/** Steps between a package and an image; a chain longer than this is a loop or an attack. */
const STEPS_MAX = 64;
/** Uses in one answer; more are an error, never a silent cut. */
const USES_MAX = 10_000;

/** A step and, if it was not that step itself, how the package came into it. */
interface Use {
  readonly purl: string;
  readonly role: string;
  readonly step: string;
  readonly bundleSha256: string;
}

export class Tracer {
  readonly #database: Database;
  readonly #devices: DeviceRegister;
  readonly #releases: ReleaseRecords;

  readonly #usesMax: number;

  constructor(
    database: Database,
    devices: DeviceRegister,
    releases: ReleaseRecords,
    limits: { readonly usesMax: number } = { usesMax: USES_MAX },
  ) {
    this.#database = database;
    this.#devices = devices;
    this.#releases = releases;
    this.#usesMax = limits.usesMax;
  }

  /** Answers for a package URL with or without a version. @throws REGISTRY_PURL_MALFORMED, REGISTRY_STORE_FAILED */
  async trace(purl: string): Promise<Trace> {
    const asked = parsePackageUrl(purl);
    if (asked === undefined) {
      throw STORE.reject('REGISTRY_PURL_MALFORMED', `expected a package URL, got ${quote(purl)}`);
    }
    return { purl, shipsIn: await this.#shipsIn(asked), builtWith: await this.#builtWith(asked) };
  }

  async #shipsIn(asked: PackageName): Promise<readonly TracedImage[]> {
    const found: TracedImage[] = [];
    for await (const [sbomSha256 = '', component = ''] of this.#database.keysUnder(
      'byComponent',
      asked.name,
    )) {
      if (!isAsked(asked, component)) continue;
      for (const image of await this.#imagesOf(sbomSha256)) {
        found.push(await this.#describe(image, { component, sbomSha256 }));
        this.#checkCount(found.length);
      }
    }
    return sorted(found);
  }

  /** Digests of the images whose SBOM has this digest. */
  async #imagesOf(sbomSha256: string): Promise<readonly string[]> {
    const images = new Set<string>();
    for await (const [bundle = ''] of this.#database.keysUnder('bySbom', sbomSha256)) {
      for (const subject of (await this.#facts(bundle))?.subjects ?? []) images.add(subject.sha256);
    }
    return [...images];
  }

  async #builtWith(asked: PackageName): Promise<readonly TracedImage[]> {
    const found = new Map<string, TracedImage>();
    for await (const [bundle = '', role = '', purl = ''] of this.#database.keysUnder(
      'byDependency',
      asked.name,
    )) {
      if (!isAsked(asked, purl)) continue;
      const facts = await this.#facts(bundle);
      if (facts?.step === undefined) continue;
      const use: Use = { purl, role, step: facts.step.step, bundleSha256: bundle };
      for (const image of await this.#imagesAfter(facts)) {
        const key = [image, purl, role, use.step].join('\n');
        // One build may be attested by several builders; the first found stands for the step.
        if (found.has(key)) continue;
        found.set(
          key,
          await this.#describe(image, {
            component: purl,
            role,
            usedIn: { step: use.step, bundleSha256: bundle },
          }),
        );
        this.#checkCount(found.size);
      }
    }
    return sorted([...found.values()]);
  }

  /** Images among the products of a step and of all steps that took its products in, however indirectly. */
  async #imagesAfter(start: AttestationFacts): Promise<ReadonlySet<string>> {
    const images = new Set<string>();
    const seen = new Set<string>();
    let products = start.subjects.map((subject) => subject.sha256);
    for (let depth = 0; depth < STEPS_MAX && products.length > 0; depth++) {
      const next: string[] = [];
      for (const product of products) {
        if (seen.has(product)) continue;
        seen.add(product);
        if (await this.#isImage(product)) images.add(product);
        for await (const [bundle = ''] of this.#database.keysUnder('byMaterial', product)) {
          next.push(...((await this.#facts(bundle))?.subjects ?? []).map((subject) => subject.sha256));
        }
      }
      products = next;
    }
    return images;
  }

  /** An image is what an SBOM was bound to, or what was released. */
  async #isImage(sha256: string): Promise<boolean> {
    if ((await this.#releases.of(sha256)).length > 0) return true;
    for (const facts of await this.#about(sha256)) {
      if (facts.predicateType === REFERENCE_TYPE && facts.sbomSha256 !== undefined) return true;
    }
    return false;
  }

  async #describe(
    image: string,
    what: Pick<TracedImage, 'component' | 'role' | 'usedIn' | 'sbomSha256'>,
  ): Promise<TracedImage> {
    const about = await this.#about(image);
    const made = about.find(isStep);
    const releases = await this.#releases.of(image);
    const sbomSha256 = what.sbomSha256 ?? about.find((facts) => facts.sbomSha256 !== undefined)?.sbomSha256;
    return {
      imageSha256: image,
      product: made?.step.product ?? releases[0]?.product ?? '',
      version: made?.step.version ?? releases[0]?.version ?? '',
      ...what,
      ...(sbomSha256 === undefined ? {} : { sbomSha256 }),
      ...(made === undefined ? {} : { build: describeBuild(made) }),
      releases,
      devices: await this.#devicesWith(image),
    };
  }

  async #devicesWith(image: string): Promise<readonly TracedDevice[]> {
    const devices: TracedDevice[] = [];
    for (const { deviceId, reportedAt, outcome } of await this.#devices.reportsOf(image)) {
      const last = (await this.#devices.device(deviceId)).lastReport;
      devices.push({ deviceId, reportedAt, outcome, current: last?.imageSha256 === image });
    }
    return devices;
  }

  /** Facts of all attestations about an artifact, in the order of the log. */
  async #about(sha256: string): Promise<readonly AttestationFacts[]> {
    const found: AttestationFacts[] = [];
    for await (const [bundle = ''] of this.#database.keysUnder('bySubject', sha256)) {
      const facts = await this.#facts(bundle);
      if (facts !== undefined) found.push(facts);
    }
    return found.sort(byLogPlace);
  }

  #checkCount(count: number): void {
    if (count <= this.#usesMax) return;
    throw STORE.reject(
      'REGISTRY_TRACE_TOO_LARGE',
      `expected at most ${this.#usesMax} images, got more; ask for one version`,
    );
  }

  #facts(bundleSha256: string): Promise<AttestationFacts | undefined> {
    return this.#database.json<AttestationFacts>('fact', bundleSha256);
  }
}

function isStep(facts: AttestationFacts): facts is AttestationFacts & { readonly step: StepFacts } {
  return facts.step !== undefined;
}

function describeBuild(facts: AttestationFacts & { readonly step: StepFacts }): TracedBuild {
  const { step, sha256, leafIndex, logShard, signer, signedAt } = facts;
  return {
    invocationId: step.invocationId,
    builderId: step.builderId,
    step: step.step,
    bundleSha256: sha256,
    logIndex: leafIndex,
    ...(logShard === undefined ? {} : { logShard }),
    signer,
    signedAt,
  };
}

function isAsked(asked: PackageName, purl: string): boolean {
  const found = parsePackageUrl(purl);
  return found !== undefined && isPackage(asked, found);
}

/** By product, image and component, so that the same question has the same answer. */
function sorted(images: readonly TracedImage[]): readonly TracedImage[] {
  const key = (traced: TracedImage) =>
    [traced.product, traced.version, traced.imageSha256, traced.component, traced.usedIn?.step ?? ''].join(
      '\n',
    );
  return [...images].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}
