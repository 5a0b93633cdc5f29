// SPDX-License-Identifier: Apache-2.0
// Reading a build output: every disagreement between statements and files is refused with its own code.

import { readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import type { StepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, type ResourceDescriptor } from '../../core/intoto/statement.ts';
import { BUILDER_ID, type BuildPlan, planBuild, removeBuild, sha256, writeBuild } from './build-folder.ts';

const folders: string[] = [];
afterEach(async () => {
  await Promise.all(folders.splice(0).map(removeBuild));
});

async function folderOf(disturb: (plan: BuildPlan) => void = () => {}): Promise<string> {
  const plan = planBuild();
  disturb(plan);
  const folder = await writeBuild(plan);
  folders.push(folder);
  return folder;
}

const COMPILE = 'statements/01-compile.provenance.json';
const IMAGE = 'statements/02-image.provenance.json';
const GCC = 'pkg:deb/debian/gcc-avr@1%3A5.4.0%2BAtmel3.6.2-3?arch=amd64';
const SBOM = 'statements/03-optiboot.bin.sbom.json';
const SBOM_FILE = 'sboms/optiboot.bin.cdx.json';
const step = (plan: BuildPlan, i: number): StepProvenance => plan.steps[i] as StepProvenance;
const code = (code: string) => expect.objectContaining({ code });

async function edit(folder: string, name: string, from: string | RegExp, to: string): Promise<void> {
  const text = await readFile(join(folder, name), 'utf8');
  expect(text).toMatch(from);
  await writeFile(join(folder, name), text.replace(from, to));
}

test('a sound build output is read whole', async () => {
  const output = await readBuildOutput(await folderOf());
  expect(output).toMatchObject({ product: 'optiboot', version: '8.1.0', builderId: BUILDER_ID });
  expect(output.statements.map(({ name }) => `statements/${name}`)).toEqual([COMPILE, IMAGE, SBOM]);
  expect([...output.products.keys()]).toEqual(['optiboot.bin']);
  expect([...output.sboms.keys()]).toEqual([SBOM_FILE]);
});

test('outputs in folders below a step are found by their path', async () => {
  const folder = await folderOf((plan) => {
    plan.files.set('outputs/compile/maps/optiboot.map', 'map');
    const first = step(plan, 0);
    const map = { name: 'maps/optiboot.map', sha256: sha256('map') };
    plan.steps[0] = { ...first, products: [...first.products, map] };
  });
  await expect(readBuildOutput(folder)).resolves.toMatchObject({ product: 'optiboot' });
});

for (const part of ['waybill.lock', 'waybill.yaml', 'sboms', 'statements', 'outputs', 'products']) {
  test(`a folder without ${part} is no build output`, async () => {
    const folder = await folderOf();
    await rm(join(folder, part), { recursive: true });
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_FOLDER_INCOMPLETE'));
  });
}

for (const name of [
  'outputs/image/optiboot.bin',
  'waybill.lock',
  'waybill.yaml',
  SBOM_FILE,
  COMPILE,
  'statements',
  'products',
]) {
  test(`a link in place of ${name} is refused`, async () => {
    const folder = await folderOf();
    await rename(join(folder, name), `${folder}-target`);
    folders.push(`${folder}-target`);
    await symlink(`${folder}-target`, join(folder, name));
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_FILE_IRREGULAR'));
  });
}

for (const name of ['waybill.lock', COMPILE]) {
  test(`${name} of gigabytes is not read`, async () => {
    const folder = await folderOf();
    await truncate(join(folder, name), 3 * 2 ** 30);
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_FILE_TOO_LARGE'));
  });
}

test('a file in place of a folder is refused', async () => {
  const folder = await folderOf();
  await rm(join(folder, 'outputs'), { recursive: true });
  await writeFile(join(folder, 'outputs'), '');
  await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_FILE_IRREGULAR'));
});

for (const name of ['README', '04-notes.txt', '04-sbom.json', '4-late.provenance.json']) {
  test(`an unknown file statements/${name} is refused`, async () => {
    const folder = await folderOf();
    await writeFile(join(folder, 'statements', name), await readFile(join(folder, SBOM)));
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_STATEMENT_FILE_UNKNOWN'));
  });
}

for (const name of [COMPILE, IMAGE, SBOM]) {
  test(`${name} withheld is noticed`, async () => {
    const folder = await folderOf();
    await rm(join(folder, name));
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_STATEMENT_MISSING'));
  });
}

test('no provenance at all is noticed', async () => {
  const folder = await folderOf((plan) => {
    plan.steps = [];
  });
  await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_STATEMENT_MISSING'));
});

test('a statement edited between build and attest is refused, whatever the edit', async () => {
  const spaced = await folderOf();
  await edit(spaced, COMPILE, '{"_type"', '{ "_type"');
  await expect(readBuildOutput(spaced)).rejects.toEqual(code('ATTEST_STATEMENT_NOT_CANONICAL'));

  const added = await folderOf();
  await edit(added, IMAGE, '"metadata":{', '"metadata":{"aaa":"x",');
  await expect(readBuildOutput(added)).rejects.toEqual(code('ATTEST_STATEMENT_NOT_CANONICAL'));

  const reference = await folderOf();
  await edit(reference, SBOM, '"attester":{', '"attester":{"aaa":"x",');
  await expect(readBuildOutput(reference)).rejects.toEqual(code('ATTEST_STATEMENT_NOT_CANONICAL'));

  const digest = await folderOf();
  await edit(digest, IMAGE, /("subject":\[\{"digest":\{"sha256":")[0-9a-f]{64}/, `$1${sha256('other')}`);
  await expect(readBuildOutput(digest)).rejects.toEqual(code('ATTEST_OUTPUT_CHANGED'));

  const version = await folderOf();
  await edit(version, IMAGE, '"version":"8.1.0"', '"version":"9.0.0"');
  await expect(readBuildOutput(version)).rejects.toEqual(code('ATTEST_STATEMENTS_DISAGREE'));

  const broken = await folderOf();
  await edit(broken, IMAGE, '{"_type"', '{"_type');
  await expect(readBuildOutput(broken)).rejects.toEqual(code('INTOTO_STATEMENT_MALFORMED'));

  const foreign = await folderOf();
  await edit(foreign, IMAGE, 'https://slsa.dev/provenance/v1', 'https://slsa.dev/provenance/v2');
  await expect(readBuildOutput(foreign)).rejects.toEqual(code('SLSA_PROVENANCE_MALFORMED'));
});

test('a statement under another name, and a step told twice, are refused', async () => {
  const swapped = await folderOf();
  await rename(join(swapped, COMPILE), join(swapped, 'statements/01-link.provenance.json'));
  await expect(readBuildOutput(swapped)).rejects.toEqual(code('ATTEST_STATEMENT_MISNAMED'));

  const twice = await folderOf((plan) => {
    plan.steps = [step(plan, 0), step(plan, 0)];
  });
  await expect(readBuildOutput(twice)).rejects.toEqual(code('ATTEST_STATEMENT_MISNAMED'));
});

for (const member of ['builderId', 'product', 'version', 'invocationId'] as const) {
  test(`statements that disagree on ${member} are refused`, async () => {
    const folder = await folderOf((plan) => {
      plan.steps[1] = { ...step(plan, 1), [member]: 'other' };
    });
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_STATEMENTS_DISAGREE'));
  });
}

test('an SBOM reference by another attester is refused', async () => {
  const folder = await folderOf((plan) => {
    plan.reference = { ...plan.reference, attesterId: 'https://waybill.example/builders/other' };
  });
  await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_STATEMENTS_DISAGREE'));
});

test('a subject without file, a file changed and a file unnamed are told apart', async () => {
  const gone = await folderOf();
  await rm(join(gone, 'outputs/compile/optiboot.elf'));
  await expect(readBuildOutput(gone)).rejects.toEqual(code('ATTEST_SUBJECT_WITHOUT_FILE'));

  const outside = await folderOf((plan) => {
    const subject = { name: '../../waybill.lock', sha256: sha256(plan.files.get('waybill.lock') ?? '') };
    plan.steps[0] = { ...step(plan, 0), products: [subject] };
  });
  await expect(readBuildOutput(outside)).rejects.toEqual(code('ATTEST_SUBJECT_WITHOUT_FILE'));

  for (const name of [
    'outputs/compile/optiboot.elf',
    'outputs/image/optiboot.bin',
    'products/optiboot.bin',
  ]) {
    const changed = await folderOf();
    await edit(changed, name, 'boot', 'Boot');
    await expect(readBuildOutput(changed)).rejects.toEqual(code('ATTEST_OUTPUT_CHANGED'));
  }

  const goneProduct = await folderOf();
  await rm(join(goneProduct, 'products/optiboot.bin'));
  await expect(readBuildOutput(goneProduct)).rejects.toEqual(code('ATTEST_SUBJECT_WITHOUT_FILE'));

  for (const name of ['outputs/image/extra.bin', 'outputs/other', 'products/extra.bin']) {
    const extra = await folderOf((plan) => void plan.files.set(name, 'extra'));
    await expect(readBuildOutput(extra)).rejects.toEqual(code('ATTEST_OUTPUT_UNNAMED'));
  }
});

test('a product that no step made is refused', async () => {
  const folder = await folderOf((plan) => {
    plan.files.set('products/optiboot.bin', 'planted');
    plan.reference = { ...plan.reference, subjects: [{ name: 'optiboot.bin', sha256: sha256('planted') }] };
  });
  await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_PRODUCT_UNBUILT'));
});

/** Replaces one input of the second step. */
function input(plan: BuildPlan, find: string, change: Partial<ResourceDescriptor> | undefined): void {
  const second = step(plan, 1);
  const resolvedDependencies = second.resolvedDependencies.flatMap((one) => {
    if (one.name !== find && one.uri !== find) return [one];
    return change === undefined ? [] : [{ ...one, ...change }];
  });
  plan.steps[1] = { ...second, resolvedDependencies };
}

test('a material must be an output of the earlier step it names', async () => {
  const material = 'waybill:step/compile/optiboot.elf';
  const changes: Partial<ResourceDescriptor>[] = [
    { sha256: sha256('other') },
    { name: 'other.elf' },
    { uri: 'waybill:step/compile/other.elf' },
    { annotations: { role: 'material', step: 'link' } },
    // Its own output is not an earlier one.
    {
      name: 'optiboot.bin',
      uri: 'waybill:step/image/optiboot.bin',
      sha256: sha256('bytes of the boot loader'),
      annotations: { role: 'material', step: 'image' },
    },
  ];
  for (const change of changes) {
    const folder = await folderOf((plan) => input(plan, material, change));
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_MATERIAL_BROKEN'));
  }
});

test('lock and definition are those of the build', async () => {
  const lock = await folderOf();
  await edit(lock, 'waybill.lock', /$/, '\n');
  await expect(readBuildOutput(lock)).rejects.toEqual(code('ATTEST_LOCK_CHANGED'));

  const definition = await folderOf();
  await edit(definition, 'waybill.yaml', /$/, '# changed\n');
  await expect(readBuildOutput(definition)).rejects.toEqual(code('ATTEST_DEFINITION_CHANGED'));
});

test('each step names lock and definition once, and only known roles', async () => {
  const cases: ((plan: BuildPlan) => void)[] = [
    (plan) => input(plan, 'waybill.lock', undefined),
    (plan) => input(plan, 'waybill.yaml', undefined),
    (plan) => input(plan, 'waybill.yaml', { name: 'other.yaml' }),
    (plan) => input(plan, 'waybill.lock', { name: 'other.lock' }),
    (plan) => {
      const second = step(plan, 1);
      const lock = second.resolvedDependencies.find(({ name }) => name === 'waybill.lock');
      const twice = [...second.resolvedDependencies, ...(lock === undefined ? [] : [lock])];
      plan.steps[1] = { ...second, resolvedDependencies: twice };
    },
  ];
  for (const disturb of cases) {
    await expect(readBuildOutput(await folderOf(disturb))).rejects.toEqual(code('ATTEST_INPUT_UNBOUND'));
  }
  const strange: ((plan: BuildPlan) => void)[] = [
    (plan) => input(plan, GCC, { annotations: { role: 'decoration' } }),
    (plan) => input(plan, GCC, { annotations: {} }),
    (plan) => input(plan, 'waybill.lock', { annotations: { role: 'decoration' } }),
  ];
  for (const disturb of strange) {
    const folder = await folderOf(disturb);
    await expect(readBuildOutput(folder)).rejects.toEqual(code('INTOTO_STATEMENT_MALFORMED'));
  }
});

test('a package that the lock does not pin is refused, under whatever digest or name', async () => {
  for (const change of [
    { sha256: sha256('another compiler') },
    { uri: GCC.replace('5.4.0', '5.4.1') },
    { uri: GCC.replace('gcc-avr', 'arduino-core-avr') },
    { uri: GCC.replace('amd64', 'arm64') },
    { uri: `${GCC}%` },
  ]) {
    const folder = await folderOf((plan) => input(plan, GCC, change));
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_INPUT_NOT_LOCKED'));
  }
});

test('a lock that is none is refused', async () => {
  for (const text of [
    '',
    '[]',
    '{"lockVersion":2,"inputs":[]}',
    '{"lockVersion":1,"inputs":[{"packages":[{}]}]}',
  ]) {
    const folder = await folderOf();
    await writeFile(join(folder, 'waybill.lock'), text);
    await expect(readBuildOutput(folder)).rejects.toEqual(code('ATTEST_LOCK_MALFORMED'));
  }
});

test('the SBOM is the one that the reference names', async () => {
  const exchanged = await folderOf();
  await edit(exchanged, SBOM_FILE, '1.6', '1.5');
  await expect(readBuildOutput(exchanged)).rejects.toEqual(code('ATTEST_SBOM_CHANGED'));

  const elsewhere = await folderOf((plan) => {
    plan.reference = { ...plan.reference, downloadLocation: 'other.cdx.json' };
  });
  await expect(readBuildOutput(elsewhere)).rejects.toEqual(code('ATTEST_SBOM_CHANGED'));
});

test('each image has one SBOM and one reference to it, and no SBOM is there besides', async () => {
  const extra = await folderOf((plan) => void plan.files.set('sboms/other.cdx.json', '{}'));
  await expect(readBuildOutput(extra)).rejects.toEqual(code('ATTEST_OUTPUT_UNNAMED'));

  const misnamed = await folderOf();
  await rename(join(misnamed, SBOM), join(misnamed, 'statements/03-other.bin.sbom.json'));
  await expect(readBuildOutput(misnamed)).rejects.toEqual(code('ATTEST_STATEMENT_MISNAMED'));

  const ofTwo = await folderOf((plan) => {
    const [image] = plan.reference.subjects;
    const other = { name: 'optiboot.elf', sha256: sha256('ELF of the boot loader') };
    plan.reference = { ...plan.reference, subjects: [...(image === undefined ? [] : [image]), other] };
  });
  await expect(readBuildOutput(ofTwo)).rejects.toEqual(code('ATTEST_STATEMENT_MISNAMED'));

  const twice = await folderOf();
  const again = (await readFile(join(twice, SBOM), 'utf8')).replace(
    'sboms/optiboot.bin',
    'sboms/optiboot.elf',
  );
  await writeFile(join(twice, 'statements/04-optiboot.bin.sbom.json'), again);
  await expect(readBuildOutput(twice)).rejects.toEqual(code('ATTEST_STATEMENT_MISNAMED'));
});

test('several images are attested together', async () => {
  const folder = await folderOf((plan) => {
    plan.files.set('products/optiboot.elf', 'ELF of the boot loader');
    plan.files.set('sboms/optiboot.elf.cdx.json', '{}');
    const reference = buildSbomReference({
      subjects: [{ name: 'optiboot.elf', sha256: sha256('ELF of the boot loader') }],
      attesterId: BUILDER_ID,
      sbomSha256: sha256('{}'),
      downloadLocation: 'sboms/optiboot.elf.cdx.json',
    });
    plan.files.set('statements/04-optiboot.elf.sbom.json', formatStatement(reference));
  });
  const output = await readBuildOutput(folder);
  expect([...output.products.keys()]).toEqual(['optiboot.bin', 'optiboot.elf']);
  expect([...output.sboms.keys()]).toEqual([SBOM_FILE, 'sboms/optiboot.elf.cdx.json']);
});
