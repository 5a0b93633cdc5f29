// SPDX-License-Identifier: Apache-2.0
// Compares the statements of one build with its files and with each other [docs/spec/attest.md §Agreement].

import { quote } from '../core/faults.ts';
import type { ResourceDescriptor, Subject } from '../core/intoto/statement.ts';
import type { FolderContent, StepStatement } from './build-output.ts';
import { ATTEST } from './faults.ts';
import type { HashedFile } from './folder.ts';
import { isLocked, type LockedBlobs } from './locked.ts';

/** Checks everything. @throws ATTEST_* for the first disagreement */
export function checkAgreement(content: FolderContent): void {
  checkOneBuild(content);
  const named = new Set<string>();
  const earlier = new Map<string, Subject>();
  for (const step of content.steps) {
    checkInputs(step, content, earlier);
    for (const subject of step.provenance.products) {
      const key = `${step.provenance.step}/${subject.name}`;
      checkFile(content.outputs.get(key), subject, `outputs/${key}`);
      named.add(key);
      earlier.set(key, subject);
    }
  }
  checkUnnamed(content.outputs, named, 'outputs');
  checkProducts(content, [...earlier.values()]);
  checkSboms(content);
  checkAudit(content);
}

function checkOneBuild({ steps, sbomStatements }: FolderContent): void {
  const [first, ...others] = steps as readonly [StepStatement, ...StepStatement[]];
  const seen = new Set([first.provenance.step]);
  for (const { name, provenance } of others) {
    for (const member of ['builderId', 'product', 'version', 'invocationId'] as const) {
      if (provenance[member] !== first.provenance[member]) {
        throw disagree(name, `${member} ${quote(first.provenance[member])}`, provenance[member]);
      }
    }
    if (seen.has(provenance.step)) {
      const message = `expected each step once, got ${quote(provenance.step)} again`;
      throw ATTEST.reject('ATTEST_STATEMENT_MISNAMED', message, { at: `statements/${name}` });
    }
    seen.add(provenance.step);
  }
  for (const { name, reference } of sbomStatements) {
    if (reference.attesterId !== first.provenance.builderId) {
      throw disagree(name, `attester ${quote(first.provenance.builderId)}`, reference.attesterId);
    }
  }
}

function disagree(name: string, expected: string, got: string) {
  const message = `expected ${expected} as in the first statement, got ${quote(got)}`;
  return ATTEST.reject('ATTEST_STATEMENTS_DISAGREE', message, { at: `statements/${name}` });
}

function checkFile(file: HashedFile | undefined, subject: Subject, at: string): void {
  if (file === undefined) {
    const message = `expected a file for the subject ${quote(subject.name)}, found none`;
    throw ATTEST.reject('ATTEST_SUBJECT_WITHOUT_FILE', message, { at });
  }
  if (file.sha256 !== subject.sha256) {
    const message = `expected sha256 ${subject.sha256} as the statement says, got ${file.sha256} on disk`;
    throw ATTEST.reject('ATTEST_OUTPUT_CHANGED', message, { at });
  }
}

function checkUnnamed(
  files: ReadonlyMap<string, HashedFile>,
  named: ReadonlySet<string>,
  folder: string,
): void {
  for (const key of files.keys()) {
    if (named.has(key)) continue;
    const message = `expected only files that a statement names, got ${quote(key)}`;
    throw ATTEST.reject('ATTEST_OUTPUT_UNNAMED', message, { at: `${folder}/` });
  }
}

/** Every product is the subject of one SBOM reference and the output of a step, by name and digest. */
function checkProducts({ products, sbomStatements }: FolderContent, built: readonly Subject[]): void {
  const named = new Set<string>();
  for (const { name: file, reference } of sbomStatements) {
    for (const subject of reference.subjects) {
      const at = `products/${subject.name}`;
      checkFile(products.get(subject.name), subject, at);
      if (!built.some(({ name, sha256 }) => name === subject.name && sha256 === subject.sha256)) {
        const message = `expected an output of a step, got ${quote(subject.name)} that no step made`;
        throw ATTEST.reject('ATTEST_PRODUCT_UNBUILT', message, { at });
      }
      if (named.has(subject.name)) {
        const message = `expected one SBOM of each image, got another of ${quote(subject.name)}`;
        throw ATTEST.reject('ATTEST_STATEMENT_MISNAMED', message, { at: `statements/${file}` });
      }
      named.add(subject.name);
    }
  }
  checkUnnamed(products, named, 'products');
}

/** Every SBOM is the one that the reference of its image names. */
function checkSboms({ sboms, sbomStatements }: FolderContent): void {
  const named = new Set<string>();
  for (const { name, reference } of sbomStatements) {
    const { subjects, sbomSha256, downloadLocation } = reference;
    const place = `sboms/${subjects[0]?.name}.cdx.json`;
    named.add(place);
    const found = sboms.get(place);
    if (found !== undefined && sbomSha256 === found.sha256 && downloadLocation === place) continue;
    const got = `${quote(downloadLocation)} with sha256 ${sbomSha256}`;
    const here = found === undefined ? 'which is not there' : `sha256 ${found.sha256}`;
    const message = `expected the reference to name ${quote(place)}, ${here}, got ${got}`;
    throw ATTEST.reject('ATTEST_SBOM_CHANGED', message, { at: `statements/${name}` });
  }
  const rest = new Map([...sboms].map(([path, file]) => [path.slice('sboms/'.length), file]));
  checkUnnamed(rest, new Set([...named].map((path) => path.slice('sboms/'.length))), 'sboms');
}

/** What the audit says is about these images, by this builder, and its evidence and configuration are the files that are here. */
function checkAudit({ audits, tests, audit, products, steps, ...files }: FolderContent): void {
  const images = [...products].map(([name, { sha256 }]) => JSON.stringify({ name, sha256 }));
  const known = new Map(
    Object.entries({
      'audit.json': audit,
      ...Object.fromEntries(files.sboms),
      'waybill.lock': files.lock,
      'waybill.yaml': files.definition,
    }),
  );
  const check = (name: string, subjects: readonly Subject[], inputs: readonly ResourceDescriptor[]) => {
    const at = `statements/${name}`;
    const other = subjects.find(
      ({ name: of, sha256 }) => !images.includes(JSON.stringify({ name: of, sha256 })),
    );
    const changed = inputs.find((input) => known.get(input.name ?? '')?.sha256 !== input.sha256);
    if (other === undefined && changed === undefined) return;
    const got = other === undefined ? label(changed as ResourceDescriptor) : quote(other.name);
    throw ATTEST.reject('ATTEST_AUDIT_CHANGED', `expected images and files of this build, got ${got}`, {
      at,
    });
  };
  for (const { name, report } of audits) {
    check(name, report.subjects, [report.evidence]);
    const builderId = steps[0]?.provenance.builderId ?? '';
    if (report.producerId !== builderId)
      throw disagree(name, `producer ${quote(builderId)}`, report.producerId);
  }
  for (const { name, test } of tests) check(name, test.subjects, test.configuration);
}

function checkInputs(
  { name, provenance }: StepStatement,
  content: FolderContent,
  earlier: ReadonlyMap<string, Subject>,
): void {
  const at = `statements/${name}`;
  const config: string[] = [];
  for (const input of provenance.resolvedDependencies) {
    switch (input.annotations?.role) {
      case 'config':
        // An input of that role is named by a package URL, the two files by name alone.
        if (input.uri !== undefined) checkLocked(input, content.locked, at);
        else {
          checkConfig(input, content, at);
          config.push(input.name ?? '');
        }
        break;
      case 'material':
        checkMaterial(input, earlier, at);
        break;
      default:
        checkLocked(input, content.locked, at);
    }
  }
  if (config.length !== 2 || !config.includes('waybill.lock') || !config.includes('waybill.yaml')) {
    throw unbound(`waybill.lock and waybill.yaml once each, got ${quote(config.join(', '))}`, at);
  }
}

function unbound(expected: string, at: string) {
  return ATTEST.reject('ATTEST_INPUT_UNBOUND', `expected ${expected}`, { at });
}

const label = (input: ResourceDescriptor): string => quote(input.uri ?? input.name ?? input.sha256);

/** Names besides the two are counted by the caller. */
function checkConfig(input: ResourceDescriptor, content: FolderContent, at: string): void {
  const compare = (file: HashedFile): string | undefined =>
    file.sha256 === input.sha256
      ? undefined
      : `expected sha256 ${input.sha256} as the statement says, got ${file.sha256} on disk`;
  if (input.name === 'waybill.lock') {
    const message = compare(content.lock);
    if (message !== undefined) throw ATTEST.reject('ATTEST_LOCK_CHANGED', message, { at });
  } else if (input.name === 'waybill.yaml') {
    const message = compare(content.definition);
    if (message !== undefined) throw ATTEST.reject('ATTEST_DEFINITION_CHANGED', message, { at });
  }
}

/** A material is an output of an earlier step: same step, name and digest, and the URI that says the same. */
function checkMaterial(input: ResourceDescriptor, earlier: ReadonlyMap<string, Subject>, at: string): void {
  const key = `${input.annotations?.step ?? ''}/${input.name ?? ''}`;
  const made = earlier.get(key);
  if (made?.sha256 === input.sha256 && input.uri === `waybill:step/${key}`) return;
  const got = made === undefined ? 'no such output' : `sha256 ${made.sha256} from that step`;
  const message = `expected material ${label(input)}, sha256 ${input.sha256}, from an earlier step, got ${got}`;
  throw ATTEST.reject('ATTEST_MATERIAL_BROKEN', message, { at });
}

function checkLocked(input: ResourceDescriptor, locked: LockedBlobs, at: string): void {
  if (isLocked(input, locked)) return;
  const message = `expected ${label(input)} with sha256 ${input.sha256} in waybill.lock, found no such pair`;
  throw ATTEST.reject('ATTEST_INPUT_NOT_LOCKED', message, { at });
}
