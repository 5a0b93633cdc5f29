// SPDX-License-Identifier: Apache-2.0
// Release versions and the URI of a release [docs/spec/release-index.md §Versions].

import { CORE, quote } from '../faults.ts';

const VERSION = /^(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,3}$/;
const PRODUCT = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** True for a product name: lower-case letters, digits and hyphens, at most 63, as a path segment and a role name need. */
export function isProductName(text: string): boolean {
  return PRODUCT.test(text);
}

/** True for one to four dotted whole numbers without leading zeros. */
export function isVersion(text: string): boolean {
  return VERSION.test(text);
}

/** Negative, zero or positive as `a` is before, equal to or after `b`; absent parts count as zero. @throws RELEASE_VERSION_MALFORMED */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < 4; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function parts(version: string): number[] {
  if (!isVersion(version)) {
    throw CORE.reject('RELEASE_VERSION_MALFORMED', `expected a version such as 8.1.0, got ${quote(version)}`);
  }
  return version.split('.').map(Number);
}

/** The URI that stands for one release in a VSA's `resourceUri` [SLSA-v1.2 §VSA]. */
export function releaseUri(product: string, version: string): string {
  return `pkg:generic/${product}@${version}`;
}
