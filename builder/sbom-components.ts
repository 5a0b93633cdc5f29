// SPDX-License-Identifier: Apache-2.0
// What ships, and what it runs on, as components of the library's models [CycloneDX-1.6 §components].

import {
  ComponentType,
  ExternalReferenceType,
  HashAlgorithm,
  LicenseAcknowledgement,
} from '@cyclonedx/cyclonedx-library/Enums';
import {
  Component,
  ExternalReference,
  HashDictionary,
  LicenseExpression,
  OrganizationalContact,
  OrganizationalContactRepository,
  OrganizationalEntity,
  Property,
  SpdxLicense,
} from '@cyclonedx/cyclonedx-library/Models';
import { isSupportedSpdxId } from '@cyclonedx/cyclonedx-library/SPDX';
import type { FileForm } from './file-form.ts';
import { joinLicences } from './licence-expression.ts';
import type { LockedPackage } from './lock-file.ts';
import type { PackageControl } from './package-control.ts';
import { type DeclaredComponent, type DeclaredHardware, type Party, parseParty } from './parts.ts';
import type { Occurrence, OpaqueFile } from './shipped.ts';

/** What is known of a package that ships. */
export interface PackageFacts {
  readonly control: PackageControl;
  /** Of the package file: BSI's guideline asks for it, and Debian's lists give SHA-256 alone. */
  readonly sha512?: string;
  /** SPDX expression, where clear. */
  readonly licence?: string;
}

/** A package. `url` is its package URL and reference. */
export function packageComponent(
  url: string,
  entry: LockedPackage,
  distribution: string,
  facts: PackageFacts | undefined,
): Component {
  const { maintainer, email, source, homepage } = facts?.control ?? {};
  const component = new Component(ComponentType.Library, entry.name, {
    bomRef: url,
    version: entry.version,
    purl: url,
    publisher: distribution,
    supplier: organisation({ name: maintainer ?? distribution, ...(email === undefined ? {} : { email }) }),
    hashes: sha256(entry.sha256),
  });
  if (facts?.sha512 !== undefined) component.hashes.set(HashAlgorithm['SHA-512'], facts.sha512);
  addLicence(component, facts?.licence);
  // Whether a package counts as executable for a program in it, the guideline leaves to who reads it: nothing is said.
  addFile(component, baseName(entry.path), { archive: true, structured: true });
  if (source !== undefined) component.properties.add(new Property('waybill:sourcePackage', source));
  if (homepage !== undefined) {
    component.externalReferences.add(new ExternalReference(homepage, ExternalReferenceType.Website));
  }
  return component;
}

/** A declared component. Its files' digests are with its occurrences: it is no single file. */
export function declaredComponent(
  declared: DeclaredComponent,
  occurrences: readonly Occurrence[],
  opaque: boolean,
): Component {
  const { name, version, supplier, purl, cpe } = declared;
  const component = new Component(ComponentType.Library, name, {
    bomRef: purl ?? `component:${name}@${version ?? ''}`,
    ...(version === undefined ? {} : { version }),
    ...(supplier === undefined ? {} : { supplier: organisation(parseParty(supplier)) }),
    ...(purl === undefined ? {} : { purl }),
    ...(cpe === undefined ? {} : { cpe }),
  });
  addLicence(component, declared.licence ?? taggedLicences(occurrences));
  if (opaque) addOpaque(component);
  return component;
}

/** A precompiled object or archive that nobody declared. */
export function opaqueComponent(file: OpaqueFile): Component {
  const name = baseName(file.path);
  const component = new Component(ComponentType.Library, name, {
    bomRef: `file:${file.path}`,
    hashes: sha256(file.sha256),
  });
  addFile(component, name, file.form);
  addOpaque(component);
  return component;
}

/** A part of the hardware; it depends on the firmware that runs on it. */
export function hardwareComponent(part: DeclaredHardware, firmware: Component): Component {
  const { name, kind, supplier, revision, partNumber } = part;
  const component = new Component(ComponentType.Device, name, {
    bomRef: `hardware:${name}@${revision ?? ''}`,
    ...(revision === undefined ? {} : { version: revision }),
    ...(supplier === undefined ? {} : { supplier: organisation(parseParty(supplier)) }),
  });
  // A name that the CycloneDX property taxonomy has for devices; it has none for what suppliers call a part.
  component.properties.add(new Property('cdx:device:function', kind));
  if (partNumber !== undefined) component.properties.add(new Property('waybill:partNumber', partNumber));
  component.dependencies.add(firmware.bomRef);
  return component;
}

/** The licence that all files' tags together say; undefined if one of them says none. */
export function taggedLicences(occurrences: readonly Occurrence[]): string | undefined {
  const tags = occurrences.map(({ licence }) => licence);
  const said = tags.filter((tag) => tag !== undefined);
  return said.length === tags.length ? joinLicences(said) : undefined;
}

export function addLicence(component: Component, licence: string | undefined): void {
  if (licence === undefined) return;
  const model = isSupportedSpdxId(licence) ? new SpdxLicense(licence) : new LicenseExpression(licence);
  model.acknowledgement = LicenseAcknowledgement.Declared;
  component.licenses.add(model);
}

/** Says of a component that is a file what BSI's taxonomy of properties asks for, as far as it is known [BSI-TR-03183-2 §5.2.2]. */
export function addFile(component: Component, name: string, form: FileForm): void {
  const add = (property: string, value: string) =>
    component.properties.add(new Property(`bsi:component:${property}`, value));
  const { executable, archive, structured } = form;
  add('filename', name);
  if (executable !== undefined) add('executable', executable ? 'executable' : 'non-executable');
  if (archive !== undefined) add('archive', archive ? 'archive' : 'no archive');
  if (structured !== undefined) add('structured', structured ? 'structured' : 'unstructured');
}

const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export function organisation({ name, email, url }: Party): OrganizationalEntity {
  return new OrganizationalEntity({
    name,
    ...(url === undefined ? {} : { url: new Set([url]) }),
    ...(email === undefined
      ? {}
      : { contact: new OrganizationalContactRepository([new OrganizationalContact({ email })]) }),
  });
}

function addOpaque(component: Component): void {
  component.properties.add(
    new Property('waybill:opaque', 'precompiled, or embedded as it is: what is inside is not known'),
  );
}

function sha256(digest: string): HashDictionary {
  return new HashDictionary([[HashAlgorithm['SHA-256'], digest]]);
}
