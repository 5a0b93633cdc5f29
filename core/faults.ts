// SPDX-License-Identifier: Apache-2.0
// The two classes of failure, chosen by what the caller must do [docs/errors.md], and core's table of codes.

/** One row of a room's table: one code, one meaning, one remedy. */
export interface FaultRow {
  /** `rejection`: refuse, do not retry. `unavailable`: could not be obtained, retry later. */
  readonly class: 'rejection' | 'unavailable';
  /** What the code means, one sentence. */
  readonly meaning: string;
  /** What the reader should do, one sentence. */
  readonly remedy: string;
  /** True where the fault lies in what the user typed or wrote (exit code 2 instead of 1). */
  readonly usage?: true;
}

/** Where and why a fault happened. */
export interface FaultPlace {
  /** JSON pointer, `file:line:column` or byte offset. */
  readonly at?: string | undefined;
  readonly cause?: unknown;
}

/** Common to both classes: a stable code, and the table row that explains it. */
abstract class Fault extends Error {
  readonly code: string;
  readonly row: FaultRow;
  readonly at: string | undefined;

  constructor(code: string, row: FaultRow, message: string, place: FaultPlace) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause });
    this.code = code;
    this.row = row;
    this.at = place.at;
  }
}

/** The evidence or the input is bad: refuse, do not retry. */
export class Rejection extends Fault {
  override readonly name = 'Rejection';
}

/** Something could not be obtained: nothing is known about it yet, retry later. */
export class Unavailable extends Fault {
  override readonly name = 'Unavailable';
}

type CodesOf<T, C extends FaultRow['class']> = {
  [K in keyof T & string]: T[K] extends { class: C } ? K : never;
}[keyof T & string];

/** The constructors of one room's faults; codes are checked by the compiler. */
export interface Faults<T extends Record<string, FaultRow>> {
  readonly table: T;
  reject(code: CodesOf<T, 'rejection'>, message: string, place?: FaultPlace): Rejection;
  unavailable(code: CodesOf<T, 'unavailable'>, message: string, place?: FaultPlace): Unavailable;
}

/** Binds a table to the two constructors. The functions return the fault; the caller throws it. */
export function faultsOf<const T extends Record<string, FaultRow>>(table: T): Faults<T> {
  const row = (code: string): FaultRow => table[code] as FaultRow;
  return {
    table,
    reject: (code, message, place = {}) => new Rejection(code, row(code), message, place),
    unavailable: (code, message, place = {}) => new Unavailable(code, row(code), message, place),
  };
}

/** What steers a terminal or hides in it: controls, format characters (marks of direction, tags), separators of lines. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Foreign text with everything escaped that could repaint a terminal. */
export function printable(foreign: string): string {
  return foreign.replace(UNPRINTABLE, (character) => {
    const hex = (character.codePointAt(0) as number).toString(16);
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`;
  });
}

/** Foreign text for a message: quoted, escaped, cut at 256 characters: names of workflows have more than 80, and end in what tells one from another. */
export function quote(foreign: string): string {
  const cut = foreign.length > 256 ? `${foreign.slice(0, 256)}…` : foreign;
  return printable(JSON.stringify(cut));
}

/** Several things for a message, five at most: whoever signs a document decides how many are in it. */
export function several(things: readonly string[]): string {
  const more = things.length - 5;
  return more > 0 ? `${things.slice(0, 5).join(', ')} and ${more} more` : things.join(', ');
}

/** core's codes. */
export const CORE = faultsOf({
  INTOTO_STATEMENT_MALFORMED: {
    class: 'rejection',
    meaning: 'The payload is not an in-toto Statement v1 with named SHA-256 subjects.',
    remedy: 'Have the statement made again by the tool that signed it; do not edit signed statements.',
  },
  INTOTO_PREDICATE_UNKNOWN: {
    class: 'rejection',
    meaning: 'The evidence of a release holds a statement of a kind or version that nobody here can judge.',
    remedy: 'Use a version of Waybill that knows the predicate; what cannot be read cannot be passed.',
  },
  SLSA_PROVENANCE_MALFORMED: {
    class: 'rejection',
    meaning: 'A provenance statement is not SLSA Provenance v1 of the hermetic-step build type.',
    remedy: 'Build with a version of Waybill that this verifier knows; see docs/spec/build-type.md.',
  },
  INTOTO_REFERENCE_MALFORMED: {
    class: 'rejection',
    meaning: 'A reference statement does not name exactly one CycloneDX document by digest.',
    remedy: 'Run `waybill build` and `waybill attest` again; see docs/spec/evidence-pack.md.',
  },
  INTOTO_SCAI_MALFORMED: {
    class: 'rejection',
    meaning: 'An attribute report is not SCAI v0.3 with one attribute, its counts, evidence and producer.',
    remedy: 'Build again with `waybill build --audit` of a current version; see docs/spec/audit.md.',
  },
  INTOTO_TEST_RESULT_MALFORMED: {
    class: 'rejection',
    meaning: 'A test result is not in-toto test result v0.1, or its result contradicts its lists.',
    remedy: 'Build again with `waybill build --audit` of a current version; see docs/spec/audit.md.',
  },
  SLSA_VSA_MALFORMED: {
    class: 'rejection',
    meaning: 'A verification summary is not SLSA VSA v1.',
    remedy: 'Run `waybill gate` again with a current version.',
  },
  SIGSTORE_BUNDLE_MALFORMED: {
    class: 'rejection',
    meaning: 'The file is not a Sigstore bundle v0.3 with one DSSE signature and one log entry.',
    remedy: 'Fetch the bundle again; if it stays so, have it signed again with `waybill attest`.',
  },
  PACK_MALFORMED: {
    class: 'rejection',
    meaning: 'The evidence pack does not follow docs/spec/evidence-pack.md.',
    remedy: 'Release again with `waybill release`; refuse the pack until then.',
  },
  RELEASE_INDEX_MALFORMED: {
    class: 'rejection',
    meaning: 'The index of releases does not follow docs/spec/release-index.md.',
    remedy: 'Release again with `waybill release`.',
  },
  DEVICE_POLICY_MALFORMED: {
    class: 'rejection',
    meaning: 'The device policy does not follow docs/spec/device-policy.md.',
    remedy: 'Correct the policy at the place named and publish it with `waybill product`.',
    usage: true,
  },
  INSTALL_REPORT_MALFORMED: {
    class: 'rejection',
    meaning: 'An install report does not follow docs/spec/install-report.md.',
    remedy: 'Update the device agent; the registry keeps no report that it cannot read.',
  },
  REBUILD_STATEMENT_MALFORMED: {
    class: 'rejection',
    meaning:
      'A rebuild statement does not follow docs/spec/rebuild.md, or its verdict contradicts its digests.',
    remedy: 'Rebuild again with a current version of Waybill; no rebuild counts that cannot be read.',
  },
  RELEASE_VERSION_MALFORMED: {
    class: 'rejection',
    meaning: 'A version is not one to four dotted whole numbers.',
    remedy: 'Use versions such as 8.1.0; they are compared number by number.',
    usage: true,
  },
  CHAIN_BUILDER_NOT_TRUSTED: {
    class: 'rejection',
    meaning:
      'A statement was signed by an identity, or claims a builder, that the policy does not name as a pair.',
    remedy:
      'Release only what a trusted workflow built; if the builder is legitimate, add the pair to the policy.',
  },
  CHAIN_STEP_MISSING: {
    class: 'rejection',
    meaning: 'A step from source to image has no provenance.',
    remedy: 'Attest every step of the build and submit all bundles.',
  },
  CHAIN_STEP_UNEXPECTED: {
    class: 'rejection',
    meaning: 'There is provenance of a step that the policy does not know.',
    remedy: 'Add the step to the policy, or release a build without it.',
  },
  CHAIN_STEP_CONTRADICTED: {
    class: 'rejection',
    meaning: 'Two trusted statements about one step disagree.',
    remedy: 'Find out which build is the true one before anything is released; a builder may be compromised.',
  },
  CHAIN_STEP_NOT_HERMETIC: {
    class: 'rejection',
    meaning: 'A step was not run hermetically.',
    remedy: 'Build with `waybill build`, which runs every step in its sandbox.',
  },
  CHAIN_PRODUCT_MISMATCH: {
    class: 'rejection',
    meaning: 'A statement is about another product or another version.',
    remedy: 'Use the evidence of this release; a valid statement of another build proves nothing here.',
  },
  CHAIN_SOURCE_MISSING: {
    class: 'rejection',
    meaning: 'The first step does not have the expected source among its inputs.',
    remedy: 'Build from the source that the policy names.',
  },
  CHAIN_MATERIAL_MISMATCH: {
    class: 'rejection',
    meaning: 'A step used something that no earlier step made.',
    remedy: 'Build again from the first step; something was exchanged between two steps.',
  },
  CHAIN_LOCK_DIFFERS: {
    class: 'rejection',
    meaning: 'The steps of one release were not built from one waybill.lock.',
    remedy: 'Build all steps in one run of `waybill build`.',
  },
  CHAIN_IMAGE_NOT_PRODUCED: {
    class: 'rejection',
    meaning: 'The last step did not make this image.',
    remedy: 'Release the image that the attested build made, unchanged.',
  },
  SBOM_REFERENCE_MISSING: {
    class: 'rejection',
    meaning: 'No signed statement says which SBOM belongs to the image.',
    remedy: 'Run `waybill attest` on the whole build output.',
  },
  SBOM_REFERENCE_CONTRADICTED: {
    class: 'rejection',
    meaning: 'Two signed statements name different SBOMs for one image.',
    remedy: 'Find out which SBOM is the true one and build again.',
  },
  SBOM_DIGEST_MISMATCH: {
    class: 'rejection',
    meaning: 'The SBOM is not the one that was signed for.',
    remedy: 'Fetch the SBOM again; if it stays so, it was exchanged or changed.',
  },
  SBOM_MALFORMED: {
    class: 'rejection',
    meaning: 'The SBOM is not a CycloneDX 1.6 document.',
    remedy: 'Make it with `waybill build`.',
  },
  SBOM_NOT_BOUND: {
    class: 'rejection',
    meaning: 'The SBOM describes another image.',
    remedy: 'Build again; SBOM and image must come from one build.',
  },
});
