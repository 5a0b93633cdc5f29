// SPDX-License-Identifier: Apache-2.0
// Requests for builds over the test archive, each into an output folder of its own; a set of inputs is locked once.

import { join } from 'node:path';
import type { BuildRequest } from '../../builder/build.ts';
import { inputsSha256 } from '../../builder/definition.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import type { Archive } from './archive.ts';
import { readYaml, type YamlOptions, yamlOver } from './definitions.ts';

export interface Place {
  /** Made before the tests, hence asked for late. */
  readonly archive: () => Archive;
  /** Output folders are made in `<base>/outs`. */
  readonly base: string;
  readonly cache: string;
}

/** Makes what makes requests: from steps as YAML text, and what else the definition says. */
export function buildRequests({ archive, base, cache }: Place) {
  const locks = new Map<string, Lock>();
  let outs = 0;
  return async (
    steps: string,
    options: Partial<YamlOptions> = {},
  ): Promise<BuildRequest & { readonly out: string }> => {
    const text = yamlOver(archive(), steps, options);
    const definition = readYaml(text);
    // Locking is tested elsewhere.
    const key = inputsSha256(definition);
    const lock = locks.get(key) ?? (await lockInputs(definition, { folder: '/', mirror: archive().url }));
    locks.set(key, lock);
    return {
      definition,
      lock,
      definitionBytes: Buffer.from(text),
      lockBytes: formatLock(lock),
      out: join(base, 'outs', `out-${++outs}`),
      replace: false,
      cache,
      builderId: 'https://waybill.example/builders/test',
      toolVersion: '0.0.0',
      mirror: archive().url,
    };
  };
}
