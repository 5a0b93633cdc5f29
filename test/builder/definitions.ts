// SPDX-License-Identifier: Apache-2.0
// Definitions as tests need them, read from YAML text as the command line reads them.

import { type BuildDefinition, parseDefinition, refuseDefinition } from '../../builder/definition.ts';
import { openYaml } from '../../cli/files.ts';
import { ARCHITECTURE, type Archive } from './archive.ts';

/** Reads YAML text as `waybill.yaml`. */
export function readYaml(text: string): BuildDefinition {
  return parseDefinition(openYaml('waybill.yaml', new TextEncoder().encode(text), refuseDefinition));
}

/** A definition over the test archive: `steps` and `products` as YAML text. */
export function yamlOver(
  archive: Pick<Archive, 'keyring'>,
  steps: string,
  options: Partial<YamlOptions> = {},
): string {
  const { packages = ['toolbox'], image = 'make/image.bin', evidence = '', more = '' } = options;
  return `waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: 1700000000
inputs:
  tools:
    kind: debian
    role: ${options.role ?? 'toolchain'}
    distribution: waybill-test
    suite: test
    components: [main]
    architecture: ${ARCHITECTURE}
    keyring: ${archive.keyring}
    packages: [${packages.join(', ')}]
steps:
${steps}
products:
  - image: ${image}
${evidence}${more}`;
}

export interface YamlOptions {
  readonly packages: readonly string[];
  readonly role: string;
  readonly image: string;
  readonly evidence: string;
  /** Further products. */
  readonly more: string;
}

/** One step named `make` that writes `image.bin` and runs a shell command first. */
export function stepYaml(command: string, more = ''): string {
  const lines = command.split('\n').map((line) => `      ${line}`);
  return `  - name: make
    inputs: [tools]
    command: |
${lines.join('\n')}
    outputs:
      - path: image.bin
${more}`;
}
