// SPDX-License-Identifier: Apache-2.0
// The SBOM of an image, CycloneDX 1.6 [CycloneDX-1.6]. Components are what ships in it, as `findShipped` proved; the library builds
// and normalises what it models, sbom-additions.ts adds the rest, the whole is validated against the schema, offline.

import { createHash } from 'node:crypto';
import { ComponentType, HashAlgorithm, LifecyclePhase } from '@cyclonedx/cyclonedx-library/Enums';
import {
  Bom,
  Component,
  HashDictionary,
  Metadata,
  Property,
  Tools,
} from '@cyclonedx/cyclonedx-library/Models';
import { JSON as CycloneDxJson, JsonSerializer } from '@cyclonedx/cyclonedx-library/Serialize';
import { Spec1dot6 } from '@cyclonedx/cyclonedx-library/Spec';
import { utf8 } from '../core/encoding/utf8.ts';
import { quote } from '../core/faults.ts';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import { releaseUri } from '../core/release/version.ts';
import { BUILDER } from './faults.ts';
import type { FileForm } from './file-form.ts';
import type { LockedPackage } from './lock-file.ts';
import { type DeclaredComponent, type DeclaredHardware, parseParty } from './parts.ts';
import { addUnmodelled, type CycloneDxDocument } from './sbom-additions.ts';
import {
  addFile,
  addLicence,
  declaredComponent,
  hardwareComponent,
  opaqueComponent,
  organisation,
  type PackageFacts,
  packageComponent,
  taggedLicences,
} from './sbom-components.ts';
import { schemaProblems } from './sbom-schema.ts';
import type { Occurrence, Shipped } from './shipped.ts';

export interface SbomContent {
  readonly product: string;
  readonly version: string;
  readonly image: {
    readonly file: string;
    readonly sha256: string;
    readonly sha512: string;
    readonly form: FileForm;
  };
  readonly sourceDateEpoch: number;
  /** Version of Waybill. */
  readonly toolVersion: string;
  /** Absent where the definition names no evidence: then nothing is claimed to ship. */
  readonly shipped?: Shipped;
  /** By package that ships. */
  readonly facts: ReadonlyMap<LockedPackage, PackageFacts>;
  /** What the definition declares; one with the product's name speaks of the product's own files. */
  readonly components: readonly DeclaredComponent[];
  readonly hardware: readonly DeclaredHardware[];
  /** Every package that any step could see, by its package URL. */
  readonly packages: ReadonlyMap<string, { readonly entry: LockedPackage; readonly distribution: string }>;
  /** What steps were given besides packages, by name of the input. */
  readonly inputs: ReadonlyMap<string, readonly ResourceDescriptor[]>;
  readonly steps: readonly {
    readonly name: string;
    readonly packageUrls: readonly string[];
    readonly inputs: readonly string[];
  }[];
  /** Files that steps opened, by `ownerKey`; absent where nobody looked. */
  readonly opened?: ReadonlyMap<string, readonly string[]> | undefined;
  /** What an independent publisher's file confirmed, for people. */
  readonly comparisons: readonly string[];
}

/** The bytes of the SBOM; the same content gives the same bytes. @throws SBOM_INVALID */
export async function buildSbom(content: SbomContent): Promise<Uint8Array> {
  const bom = new Bom({ metadata: buildMetadata(content), serialNumber: serialNumber(content) });
  const firmware = bom.metadata.component;
  if (firmware === undefined) throw new Error('a BOM without its firmware');
  const occurrences = new Map<string, readonly Occurrence[]>();
  for (const [component, places] of shippedComponents(content)) {
    bom.components.add(component);
    firmware.dependencies.add(component.bomRef);
    occurrences.set(component.bomRef.value ?? '', places);
  }
  for (const [declared, places] of content.shipped?.components ?? []) {
    if (declared.name === content.product) occurrences.set(firmware.bomRef.value ?? '', places);
  }
  for (const part of content.hardware) bom.components.add(hardwareComponent(part, firmware));
  const serializer = new JsonSerializer(new CycloneDxJson.Normalize.Factory(Spec1dot6));
  const modelled = JSON.parse(serializer.serialize(bom, { sortLists: true })) as CycloneDxDocument;
  const text = `${JSON.stringify(addUnmodelled(modelled, content, occurrences), null, 2)}\n`;
  const problems = schemaProblems(JSON.parse(text));
  if (problems.length > 0) {
    throw BUILDER.reject(
      'SBOM_INVALID',
      `expected a document of CycloneDX 1.6, got ${quote(JSON.stringify(problems))}`,
    );
  }
  return utf8(text);
}

/** Every component that ships but the product itself. */
function* shippedComponents(content: SbomContent): Generator<[Component, readonly Occurrence[]]> {
  const urls = new Map([...content.packages].map(([url, { entry }]) => [entry.sha256, url]));
  for (const [entry, places] of content.shipped?.packages ?? []) {
    const url = urls.get(entry.sha256);
    const found = url === undefined ? undefined : content.packages.get(url);
    if (url === undefined || found === undefined) continue;
    yield [packageComponent(url, entry, found.distribution, content.facts.get(entry)), places];
  }
  for (const [declared, places] of content.shipped?.components ?? []) {
    const opaque = content.shipped?.opaqueComponents.has(declared) === true;
    if (declared.name !== content.product) yield [declaredComponent(declared, places, opaque), places];
  }
  for (const file of content.shipped?.opaqueFiles ?? []) yield [opaqueComponent(file), file.occurrences];
}

function buildMetadata(content: SbomContent): Metadata {
  const own = content.components.find(({ name }) => name === content.product);
  const supplier = own?.supplier === undefined ? undefined : organisation(parseParty(own.supplier));
  const firmware = new Component(ComponentType.Firmware, content.product, {
    bomRef: releaseUri(content.product, content.version),
    version: content.version,
    purl: own?.purl ?? releaseUri(content.product, content.version),
    ...(own?.cpe === undefined ? {} : { cpe: own.cpe }),
    ...(supplier === undefined ? {} : { supplier }),
    hashes: new HashDictionary([
      [HashAlgorithm['SHA-256'], content.image.sha256],
      [HashAlgorithm['SHA-512'], content.image.sha512],
    ]),
  });
  addLicence(firmware, own?.licence ?? taggedLicences(own === undefined ? [] : ownPlaces(content)));
  // A firmware image is the guideline's own case of an archive without structure; one may have some.
  const form = { structured: false, ...content.image.form, executable: true, archive: true };
  addFile(firmware, content.image.file, form);
  const add = (name: string, value: string) =>
    firmware.properties.add(new Property(`waybill:${name}`, value));
  add('image', content.image.file);
  for (const comparison of content.comparisons) add('published', comparison);
  if (content.shipped !== undefined) {
    add('linkedSizeBytes', String(content.shipped.linkedSizeBytes));
    add('verbatimSizeBytes', String(content.shipped.verbatimSizeBytes));
    for (const gap of [...content.shipped.gaps, ...licenceGaps(content.shipped)]) add('gap', gap);
  } else add('gap', 'the definition names no linker map: nothing is proved about what ships');
  const tools = new Tools();
  tools.components.add(new Component(ComponentType.Application, 'waybill', { version: content.toolVersion }));
  const metadata = new Metadata({
    timestamp: new Date(content.sourceDateEpoch * 1000),
    component: firmware,
    tools,
    // Who is answerable for the firmware is for its SBOM as well.
    ...(supplier === undefined ? {} : { supplier }),
  });
  metadata.lifecycles.add(LifecyclePhase.Build);
  return metadata;
}

function ownPlaces({ shipped, product }: SbomContent): readonly Occurrence[] {
  return [...(shipped?.components ?? [])].find(([{ name }]) => name === product)?.[1] ?? [];
}

/** Files that ship and say another licence than their component is declared to have. */
function licenceGaps(shipped: Shipped): string[] {
  return [...shipped.components].flatMap(([{ name, licence: declared }, places]) =>
    places.flatMap(({ path, licence }) =>
      licence === undefined || declared === undefined || declared.includes(licence)
        ? []
        : [`${path} says ${licence}, its component ${name} is declared as ${declared}`],
    ),
  );
}

/** A name-based UUID [RFC9562 §5.8]: the SBOM of the same image from the same inputs is the same document. */
function serialNumber(content: SbomContent): string {
  const name = JSON.stringify([
    content.product,
    content.version,
    content.image.sha256,
    ...content.packages.keys(),
    ...[...content.inputs].map(([input, parts]) => [input, ...parts.map(({ uri = '' }) => uri)]),
  ]);
  const bytes = createHash('sha256').update(name).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
