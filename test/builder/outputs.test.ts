// SPDX-License-Identifier: Apache-2.0
// Outputs as later steps and attest see them: whatever umask the builder has, and however many images there are.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import { build } from '../../builder/build.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { stepYaml, type YamlOptions } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-outputs-'));
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([TOOLBOX]);
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const request = buildRequests({ archive: () => archive, base, cache: join(base, 'cache') });
const make = async (steps: string, options?: Partial<YamlOptions>) => build(await request(steps, options));

test('outputs have the same modes in a later step whatever the umask of the builder', async () => {
  const modes =
    "stat -c '%n %a' /build /materials /materials/first /materials/first/x /proc/cpuinfo >image.bin";
  const steps = `  - name: first
    inputs: [tools]
    command: touch x
    outputs: [{ path: x }]
${stepYaml(modes).replace('inputs: [tools]', 'inputs: [tools]\n    materials: [first/x]')}`;
  const before = process.umask(0o077);
  try {
    const { out } = await make(steps);
    const seen = readFileSync(join(out, 'products/image.bin'), 'utf8').match(/ \d+$/gm);
    expect(seen).toEqual([' 755', ' 755', ' 755', ' 644', ' 444']);
  } finally {
    process.umask(before);
  }
});

test('outputs may be more than ninety-nine images, and can be attested', async () => {
  const numbers = Array.from({ length: 100 }, (_, i) => i + 1);
  const steps = `  - name: make
    inputs: [tools]
    command: for i in ${numbers.join(' ')}; do echo $i >$i.bin; done
    outputs: [${numbers.map((i) => `{ path: ${i}.bin }`).join(', ')}]
`;
  const more = numbers.slice(1).map((i) => `  - image: make/${i}.bin\n`);
  const { out } = await make(steps, { image: 'make/1.bin', more: more.join('') });
  const { statements } = await readBuildOutput(out);
  const names = statements.map(({ name }) => name);
  expect([names[0], names[1], names[100]]).toEqual([
    ...['001-make.provenance.json', '002-1.bin.sbom.json', '101-100.bin.sbom.json'],
  ]);
});
