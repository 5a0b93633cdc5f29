// SPDX-License-Identifier: Apache-2.0
// A build output folder made by core's builders as `waybill build --out` writes it, for tests that then disturb it.

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buildStepProvenance, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference, type SbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, type ResourceDescriptor, statementNumber } from '../../core/intoto/statement.ts';

export const sha256 = (bytes: string | Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex');

/** Everything that goes into the folder; a test may change any of it before it is written. */
export interface BuildPlan {
  /** Path below the folder → content. Statements are added from the members below. */
  readonly files: Map<string, string | Uint8Array>;
  steps: StepProvenance[];
  reference: SbomReference;
}

const ELF = 'ELF of the boot loader';
const IMAGE = 'bytes of the boot loader';
const COMPILER = sha256('gcc-avr');
const SOURCE = sha256('arduino-core-avr');
const pinned = (name: string, version: string, architecture: string) => ({
  name,
  version,
  architecture,
  sha256: sha256(name),
  sizeBytes: 1,
  path: `pool/${name}.deb`,
});
const LOCK = `${JSON.stringify({
  lockVersion: 1,
  inputsSha256: sha256('inputs'),
  inputs: [
    {
      name: 'toolchain',
      kind: 'debian',
      suite: 'bookworm',
      inReleaseSha256: sha256('InRelease'),
      signers: ['4CB50190207B4758A3F73A796ED0E7B82643E131'],
      packages: [
        pinned('arduino-core-avr', '1.8.6', 'all'),
        pinned('gcc-avr', '1:5.4.0+Atmel3.6.2-3', 'amd64'),
      ],
    },
  ],
})}\n`;
const DEFINITION = 'product: optiboot\n';
const SBOM = '{"bomFormat":"CycloneDX","specVersion":"1.6"}\n';
export const BUILDER_ID = 'https://waybill.example/builders/test';

const packages: ResourceDescriptor[] = [
  {
    uri: 'pkg:deb/debian/gcc-avr@1%3A5.4.0%2BAtmel3.6.2-3?arch=amd64',
    sha256: COMPILER,
    annotations: { role: 'toolchain' },
  },
  {
    uri: 'pkg:deb/debian/arduino-core-avr@1.8.6?arch=all',
    sha256: SOURCE,
    annotations: { role: 'source' },
  },
  { name: 'waybill.yaml', sha256: sha256(DEFINITION), annotations: { role: 'config' } },
  { name: 'waybill.lock', sha256: sha256(LOCK), annotations: { role: 'config' } },
];

/** The plan of a sound build: two steps, one product. */
export function planBuild(): BuildPlan {
  const elf = { name: 'optiboot.elf', sha256: sha256(ELF) };
  const image = { name: 'optiboot.bin', sha256: sha256(IMAGE) };
  const provenance = (step: string, more: Pick<StepProvenance, 'products' | 'resolvedDependencies'>) => ({
    builderId: BUILDER_ID,
    product: 'optiboot',
    version: '8.1.0',
    step,
    sandbox: {
      hermetic: true,
      mechanism: 'bubblewrap 0.8.0',
      kernel: '6.1.0',
      sourceDateEpoch: 1700000000,
      seccomp: true,
      limits: 'rlimits' as const,
      clock: 'host' as const,
      cpus: 1,
    },
    invocationId: 'invocation-1',
    ...more,
  });
  const material: ResourceDescriptor = {
    name: 'optiboot.elf',
    uri: 'waybill:step/compile/optiboot.elf',
    sha256: elf.sha256,
    annotations: { role: 'material', step: 'compile' },
  };
  return {
    files: new Map([
      ['waybill.lock', LOCK],
      ['waybill.yaml', DEFINITION],
      ['sboms/optiboot.bin.cdx.json', SBOM],
      ['outputs/compile/optiboot.elf', ELF],
      ['outputs/image/optiboot.bin', IMAGE],
      ['products/optiboot.bin', IMAGE],
    ]),
    steps: [
      provenance('compile', { products: [elf], resolvedDependencies: packages }),
      provenance('image', { products: [image], resolvedDependencies: [...packages, material] }),
    ],
    reference: {
      subjects: [image],
      attesterId: BUILDER_ID,
      sbomSha256: sha256(SBOM),
      downloadLocation: 'sboms/optiboot.bin.cdx.json',
    },
  };
}

/** Writes a plan into a new folder and returns its path. */
export async function writeBuild(plan: BuildPlan): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-attest-'));
  const files = new Map(plan.files);
  const pad = (n: number) => statementNumber(n, plan.steps.length + 1);
  for (const [i, step] of plan.steps.entries()) {
    const name = `statements/${pad(i + 1)}-${step.step}.provenance.json`;
    if (!files.has(name)) files.set(name, formatStatement(buildStepProvenance(step)));
  }
  const last = `statements/${pad(plan.steps.length + 1)}-${plan.reference.subjects[0]?.name}.sbom.json`;
  if (!files.has(last)) files.set(last, formatStatement(buildSbomReference(plan.reference)));
  for (const [name, content] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

/** Removes a folder made here. */
export const removeBuild = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true });
