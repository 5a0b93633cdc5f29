// SPDX-License-Identifier: Apache-2.0
// The next index of releases [docs/spec/release-index.md §Changes]. Pure: what may change, and what must never go back.

import { quote } from '../core/faults.ts';
import type { Denial, Release, ReleaseIndex } from '../core/release/release-index.ts';
import { compareVersions } from '../core/release/version.ts';
import { RELEASE } from './faults.ts';

/** The index before the first release. */
export function emptyIndex(product: string): ReleaseIndex {
  return { product, releases: [], denials: [] };
}

/** The highest version ever released: a withdrawn one counts, or it could come back with other bytes. */
export function lastVersionOf(index: ReleaseIndex): string | undefined {
  const versions = [...index.releases, ...index.denials].map(({ version }) => version);
  return versions.sort(compareVersions).at(-1);
}

/** The index with one more release. @throws RELEASE_VERSION_NOT_HIGHER, RELEASE_VERSION_MALFORMED, RELEASE_IMAGE_WITHDRAWN */
export function addRelease(index: ReleaseIndex, release: Release): ReleaseIndex {
  checkReleasable(index, release.version, release.image.sha256);
  return { ...index, releases: [...index.releases, release] };
}

/** What an index says against a release, before anything is made. @throws as `addRelease` */
export function checkReleasable(index: ReleaseIndex, version: string, imageSha256: string): void {
  const last = lastVersionOf(index);
  // Also refuses what is no version.
  if (compareVersions(version, last ?? '0') <= 0 && last !== undefined) {
    throw RELEASE.reject(
      'RELEASE_VERSION_NOT_HIGHER',
      `expected a version higher than ${last}, got ${version}`,
    );
  }
  const denial = index.denials.find((other) => other.imageSha256 === imageSha256);
  if (denial !== undefined) {
    throw RELEASE.reject(
      'RELEASE_IMAGE_WITHDRAWN',
      `sha256:${imageSha256} was withdrawn as ${denial.version} on ${denial.deniedAt}: ${quote(denial.reason)}`,
    );
  }
}

/**
 * The index with every release of an image turned into a denial (two versions may have the same bytes); asked again for the
 * same image, the index as it is. @throws RELEASE_UNKNOWN
 */
export function withdrawRelease(
  index: ReleaseIndex,
  imageSha256: string,
  reason: string,
  deniedAt: string,
): { readonly index: ReleaseIndex; readonly withdrawn: readonly Release[] } {
  const withdrawn = index.releases.filter(({ image }) => image.sha256 === imageSha256);
  if (withdrawn.length === 0) {
    if (index.denials.some((denial) => denial.imageSha256 === imageSha256)) return { index, withdrawn };
    throw RELEASE.reject(
      'RELEASE_UNKNOWN',
      `expected a release of ${index.product} with sha256:${imageSha256}, found none`,
    );
  }
  const denials = withdrawn.map(({ version }): Denial => ({ imageSha256, version, reason, deniedAt }));
  const releases = index.releases.filter((release) => !withdrawn.includes(release));
  return { index: { ...index, releases, denials: [...index.denials, ...denials] }, withdrawn };
}
