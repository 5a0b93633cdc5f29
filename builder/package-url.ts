// SPDX-License-Identifier: Apache-2.0
// Package URLs of Debian packages [purl-spec-v1.0.1 §deb].

import { PackageURL } from 'packageurl-js';
import type { LockedPackage } from './lock-file.ts';

/** `pkg:deb/<distribution>/<name>@<version>?arch=<architecture>`. */
export function packageUrl(distribution: string, entry: LockedPackage): string {
  const { name, version, architecture } = entry;
  return new PackageURL('deb', distribution, name, version, { arch: architecture }, null).toString();
}
