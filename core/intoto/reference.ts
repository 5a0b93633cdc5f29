// SPDX-License-Identifier: Apache-2.0
// in-toto Reference predicate v0.1 [in-toto-attestation-v1 §Reference]: binds a body kept elsewhere (the SBOM) to the image.

import { CORE } from '../faults.ts';
import {
  formatResourceDescriptor,
  parseResourceDescriptor,
  type Statement,
  type Subject,
  type UnsignedStatement,
} from './statement.ts';

export const REFERENCE_TYPE = 'https://in-toto.io/attestation/reference/v0.1';
export const CYCLONEDX_MEDIA_TYPE = 'application/vnd.cyclonedx+json';

/** "The SBOM of these subjects is the document with this digest." */
export interface SbomReference {
  readonly subjects: readonly Subject[];
  /** Who says so: the builder's id. */
  readonly attesterId: string;
  readonly sbomSha256: string;
  /** Where it was written, relative: `sboms/firmware.bin.cdx.json`. */
  readonly downloadLocation: string;
}

/** Reads a statement as the reference to exactly one CycloneDX document. @throws INTOTO_REFERENCE_MALFORMED */
export function parseSbomReference(statement: Statement): SbomReference {
  const bad = (message: string) => CORE.reject('INTOTO_REFERENCE_MALFORMED', message);
  if (statement.predicateType !== REFERENCE_TYPE)
    throw bad(`expected predicate type ${REFERENCE_TYPE}, got another`);
  const predicate = statement.predicate.only('attester', 'references');
  const [first, ...more] = predicate.field('references').someElements();
  if (first === undefined || more.length > 0) throw bad('expected exactly one reference, got several');
  const reference = parseResourceDescriptor(first);
  if (reference.mediaType !== CYCLONEDX_MEDIA_TYPE)
    throw bad(`expected media type ${CYCLONEDX_MEDIA_TYPE}, got another`);
  return {
    subjects: statement.subjects,
    attesterId: predicate.field('attester').field('id').string(),
    sbomSha256: reference.sha256,
    downloadLocation: reference.downloadLocation ?? '',
  };
}

/** Builds the unsigned statement; `parseSbomReference` is the inverse. */
export function buildSbomReference(reference: SbomReference): UnsignedStatement {
  return {
    subjects: reference.subjects,
    predicateType: REFERENCE_TYPE,
    predicate: {
      attester: { id: reference.attesterId },
      references: [
        formatResourceDescriptor({
          sha256: reference.sbomSha256,
          downloadLocation: reference.downloadLocation,
          mediaType: CYCLONEDX_MEDIA_TYPE,
        }),
      ],
    },
  };
}
