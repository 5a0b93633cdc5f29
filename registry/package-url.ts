// SPDX-License-Identifier: Apache-2.0
// Package URLs, read by the field's library and compared part by part, never as strings: `gcc` is no
// prefix of `gcc-avr`, and `@1.2` is not `@1.20`.

import { PackageURL } from 'packageurl-js';

/** The parts of a package URL that say which package it is. */
export interface PackageName {
  /** Type, namespace and name in canonical spelling: `pkg:deb/debian/gcc-avr`. */
  readonly name: string;
  readonly version: string | undefined;
  readonly qualifiers: Readonly<Record<string, string>>;
}

/** Reads a package URL; undefined for anything else. */
export function parsePackageUrl(text: string): PackageName | undefined {
  if (text.length > 1024 || /[\u0000-\u0020\u007f]/.test(text)) return undefined;
  try {
    const url = PackageURL.fromString(text);
    const name = new PackageURL(
      url.type,
      url.namespace,
      url.name,
      undefined,
      undefined,
      undefined,
    ).toString();
    return { name, version: url.version, qualifiers: { ...url.qualifiers } };
  } catch {
    return undefined;
  }
}

/** True if a package is the one asked for: same name; version and qualifiers equal wherever the question gives them. */
export function isPackage(asked: PackageName, found: PackageName): boolean {
  return (
    asked.name === found.name &&
    (asked.version === undefined || asked.version === found.version) &&
    Object.entries(asked.qualifiers).every(([key, value]) => found.qualifiers[key] === value)
  );
}
