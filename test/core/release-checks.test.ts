// SPDX-License-Identifier: Apache-2.0
// Each check of a release's evidence, alone: the honest chain passes, and each way to break it has its own code.

import { expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { buildStepProvenance, PROVENANCE_TYPE, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference, REFERENCE_TYPE } from '../../core/intoto/reference.ts';
import { formatStatement, parseStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { VSA_TYPE } from '../../core/intoto/vsa.ts';
import {
  checkBuilders,
  checkChain,
  checkHermetic,
  checkKinds,
  checkSbomBinding,
  checkSbomReference,
  provenanceOf,
  sbomReferencesOf,
} from '../../core/verify/release-checks.ts';
import type { VerifiedBundle, VerifiedSigner } from '../../core/verify/verified.ts';

const digest = (c: string) => c.repeat(64);
const [ELF, IMAGE, LOCK, SOURCE, SBOM] = ['1', '2', '3', '4', '5'].map(digest) as [
  string,
  string,
  string,
  string,
  string,
];
const BUILDER = 'https://waybill.example/builders/github-hermetic';
const CI: VerifiedSigner = {
  kind: 'certificate',
  identity: 'https://github.com/example/firmware/build.yml@main',
  issuer: 'https://issuer.example',
};
const expectations = {
  product: 'optiboot',
  builders: [
    { builderId: BUILDER, identity: (CI as { identity: string }).identity, issuer: 'https://issuer.example' },
  ],
  steps: ['compile', 'image'],
  source: 'pkg:deb/debian/arduino-core-avr',
};
const release = { version: '8.0.0', imageSha256: IMAGE };
const coded = (code: string) => expect.objectContaining({ code });

// Verified bundles are made by verifiers alone; here the statement is what is under test, so the brand is forged openly.
const signed = (statement: UnsignedStatement, signer: VerifiedSigner = CI) =>
  ({
    sha256: digest('f'),
    signer,
    statement: parseStatement(formatStatement(statement)),
    leafIndex: 0n,
    leaf: new Uint8Array(),
    signedAtMs: 0,
  }) as unknown as VerifiedBundle;

const base: StepProvenance = {
  products: [],
  builderId: BUILDER,
  product: 'optiboot',
  version: '8.0.0',
  step: '',
  resolvedDependencies: [],
  sandbox: {
    hermetic: true,
    mechanism: 'bubblewrap 0.8.0',
    kernel: '6.1',
    sourceDateEpoch: 0,
    seccomp: true,
    limits: 'rlimits' as const,
    clock: 'host' as const,
    cpus: 1,
  },
  invocationId: 'one',
};
const lock = { name: 'waybill.lock', sha256: LOCK, annotations: { role: 'config' } };
const source = {
  uri: 'pkg:deb/debian/arduino-core-avr@1.8.4',
  sha256: SOURCE,
  annotations: { role: 'source' },
};
const material = {
  name: 'fw.elf',
  uri: 'waybill:step/compile/fw.elf',
  sha256: ELF,
  annotations: { role: 'material', step: 'compile' },
};
const compile: StepProvenance = {
  ...base,
  step: 'compile',
  products: [{ name: 'fw.elf', sha256: ELF }],
  resolvedDependencies: [lock, source],
};
const image: StepProvenance = {
  ...base,
  step: 'image',
  products: [{ name: 'fw.bin', sha256: IMAGE }],
  resolvedDependencies: [lock, material],
};

const evidence = (...steps: StepProvenance[]) =>
  provenanceOf(steps.map((step) => signed(buildStepProvenance(step))));
const chain =
  (...steps: StepProvenance[]) =>
  () =>
    checkChain(evidence(...steps), expectations, release);

test('the honest chain passes, also with a second builder that agrees', () => {
  expect(chain(compile, image)().map(({ step }) => step)).toEqual(['compile', 'image']);
  expect(chain(image, compile, { ...compile, invocationId: 'two' })()).toHaveLength(2);
});

test.each<[string, StepProvenance[], string]>([
  ['nothing', [], 'CHAIN_STEP_MISSING'],
  ['no first step', [image], 'CHAIN_STEP_MISSING'],
  [
    'a step that the policy does not know',
    [compile, image, { ...image, step: 'patch' }],
    'CHAIN_STEP_UNEXPECTED',
  ],
  [
    'two statements that disagree on the output',
    [compile, image, { ...compile, products: [{ name: 'fw.elf', sha256: digest('9') }] }],
    'CHAIN_STEP_CONTRADICTED',
  ],
  [
    'two statements that disagree on an input',
    [compile, image, { ...image, resolvedDependencies: [lock, material, source] }],
    'CHAIN_STEP_CONTRADICTED',
  ],
  ['another version', [compile, { ...image, version: '7.0.0' }], 'CHAIN_PRODUCT_MISMATCH'],
  ['another product', [{ ...compile, product: 'other' }, image], 'CHAIN_PRODUCT_MISMATCH'],
  ['no source', [{ ...compile, resolvedDependencies: [lock] }, image], 'CHAIN_SOURCE_MISSING'],
  [
    'a source with a longer name',
    [
      {
        ...compile,
        resolvedDependencies: [lock, { ...source, uri: 'pkg:deb/debian/arduino-core-avr-evil@1' }],
      },
      image,
    ],
    'CHAIN_SOURCE_MISSING',
  ],
  [
    'the source in another role',
    [{ ...compile, resolvedDependencies: [lock, { ...source, annotations: { role: 'toolchain' } }] }, image],
    'CHAIN_SOURCE_MISSING',
  ],
  [
    'a material that the first step did not make',
    [compile, { ...image, resolvedDependencies: [lock, { ...material, sha256: digest('9') }] }],
    'CHAIN_MATERIAL_MISMATCH',
  ],
  [
    'a material of the first step, which nobody can have made',
    [{ ...compile, resolvedDependencies: [lock, source, { ...material, name: 'blob' }] }, image],
    'CHAIN_MATERIAL_MISMATCH',
  ],
  [
    'a material of no step',
    [compile, { ...image, resolvedDependencies: [lock, { ...material, annotations: { role: 'material' } }] }],
    'CHAIN_MATERIAL_MISMATCH',
  ],
  [
    'a material of the step itself',
    [
      compile,
      {
        ...image,
        resolvedDependencies: [lock, { ...material, annotations: { role: 'material', step: 'image' } }],
      },
    ],
    'CHAIN_MATERIAL_MISMATCH',
  ],
  ['no material at all', [compile, { ...image, resolvedDependencies: [lock] }], 'CHAIN_MATERIAL_MISMATCH'],
  [
    'another lock',
    [compile, { ...image, resolvedDependencies: [{ ...lock, sha256: digest('9') }, material] }],
    'CHAIN_LOCK_DIFFERS',
  ],
  ['no lock', [compile, { ...image, resolvedDependencies: [material] }], 'CHAIN_LOCK_DIFFERS'],
  ['two locks', [{ ...compile, resolvedDependencies: [lock, lock, source] }, image], 'CHAIN_LOCK_DIFFERS'],
  [
    'another image',
    [compile, { ...image, products: [{ name: 'fw.bin', sha256: digest('9') }] }],
    'CHAIN_IMAGE_NOT_PRODUCED',
  ],
])('the chain refuses %s', (_, steps, code) => {
  expect(chain(...steps)).toThrow(coded(code));
});

test('builders are believed as pairs only', () => {
  const check = (step: StepProvenance, signer: VerifiedSigner) => () =>
    checkBuilders(provenanceOf([signed(buildStepProvenance(step), signer)]), expectations);
  expect(check(compile, CI)).not.toThrow();
  const refused = coded('CHAIN_BUILDER_NOT_TRUSTED');
  expect(
    check(compile, { ...CI, identity: `${(CI as { identity: string }).identity}x` } as VerifiedSigner),
  ).toThrow(refused);
  expect(check(compile, { ...CI, issuer: 'https://issuer.example/' } as VerifiedSigner)).toThrow(refused);
  expect(check({ ...compile, builderId: 'https://waybill.example/builders/local' }, CI)).toThrow(refused);
  expect(check(compile, { kind: 'key', publicKey: new Uint8Array(91) })).toThrow(refused);
  expect(() => checkBuilders([], expectations)).toThrow(coded('CHAIN_STEP_MISSING'));
});

test('every step is hermetic, and no step is not "every step"', () => {
  expect(() => checkHermetic(evidence(compile, image))).not.toThrow();
  const open = { ...image, sandbox: { ...image.sandbox, hermetic: false } };
  expect(() => checkHermetic(evidence(compile, open))).toThrow(coded('CHAIN_STEP_NOT_HERMETIC'));
  expect(() => checkHermetic([])).toThrow(coded('CHAIN_STEP_MISSING'));
});

test('a statement of another kind, or another version of a kind, is no evidence', () => {
  const { statement } = signed(buildStepProvenance(compile));
  const of = (predicateType: string) => ({ statement: { ...statement, predicateType } }) as VerifiedBundle;
  expect(() => checkKinds([of(PROVENANCE_TYPE), of(REFERENCE_TYPE)])).not.toThrow();
  for (const type of [
    'https://slsa.dev/provenance/v2',
    VSA_TYPE,
    'https://in-toto.io/attestation/scai/v0.3',
  ]) {
    expect(() => checkKinds([of(PROVENANCE_TYPE), of(type)])).toThrow(
      expect.objectContaining({ code: 'INTOTO_PREDICATE_UNKNOWN' }),
    );
  }
});

test('one SBOM is bound to the image by a trusted builder', () => {
  const reference = {
    subjects: [{ name: 'fw.bin', sha256: IMAGE }],
    attesterId: BUILDER,
    sbomSha256: SBOM,
    downloadLocation: 'sbom.cdx.json',
  };
  const check =
    (...references: [typeof reference, VerifiedSigner?][]) =>
    () =>
      checkSbomReference(
        sbomReferencesOf(references.map(([r, signer]) => signed(buildSbomReference(r), signer))),
        expectations,
        IMAGE,
      );
  expect(check([reference])()).toBe(SBOM);
  expect(check([reference], [reference])()).toBe(SBOM);
  expect(check()).toThrow(coded('SBOM_REFERENCE_MISSING'));
  expect(check([{ ...reference, subjects: [{ name: 'fw.bin', sha256: ELF }] }])).toThrow(
    coded('SBOM_REFERENCE_MISSING'),
  );
  expect(check([reference], [{ ...reference, sbomSha256: ELF }])).toThrow(
    coded('SBOM_REFERENCE_CONTRADICTED'),
  );
  expect(check([reference, { kind: 'key', publicKey: new Uint8Array(91) }])).toThrow(
    coded('CHAIN_BUILDER_NOT_TRUSTED'),
  );
});

test('the SBOM is the referenced one and describes the image', () => {
  const bom = (sha256: string) =>
    utf8(
      JSON.stringify({
        bomFormat: 'CycloneDX',
        specVersion: '1.6',
        metadata: { component: { name: 'fw', hashes: [{ alg: 'SHA-256', content: sha256 }] } },
        components: [{ name: 'x' }],
      }),
    );
  const referenced = { sbomSha256: SBOM, imageSha256: IMAGE };
  expect(checkSbomBinding({ bytes: bom(IMAGE), sha256: SBOM }, referenced)).toBe(1);
  expect(() => checkSbomBinding({ bytes: bom(IMAGE), sha256: ELF }, referenced)).toThrow(
    coded('SBOM_DIGEST_MISMATCH'),
  );
  expect(() => checkSbomBinding({ bytes: bom(ELF), sha256: SBOM }, referenced)).toThrow(
    coded('SBOM_NOT_BOUND'),
  );
});
