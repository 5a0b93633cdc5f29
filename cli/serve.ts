// SPDX-License-Identifier: Apache-2.0
// `waybill serve`: runs a registry until it is told to stop.

import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { Command } from 'commander';
import { quote } from '../core/faults.ts';
import { type RegistryConfig, readConfig } from '../registry/config.ts';
import { listen } from '../registry/listen.ts';
import { buildServer, openRegistry, reloadTls } from '../registry/server.ts';
import { STORE } from '../registry/store-faults.ts';
import { openYaml, readInput } from './files.ts';
import { renewAtHangup, serveUntilStopped } from './serving.ts';
import { printJson, printLine } from './terminal.ts';

/** Reads config.yaml of a data folder. @throws REGISTRY_DATA_MISSING, REGISTRY_CONFIG_MALFORMED, OIDC_CONFIG_*, REGISTRY_KEY_UNSUITABLE */
export async function readConfigFile(dataFolder: string): Promise<RegistryConfig> {
  const path = join(dataFolder, 'config.yaml');
  const bytes = await readInput(path).catch((cause) => {
    throw STORE.reject(
      'REGISTRY_DATA_MISSING',
      `expected a data folder with ${quote(path)}: ${cause.message}`,
      { cause },
    );
  });
  return readConfig(
    openYaml(path, bytes, (message, at) => STORE.reject('REGISTRY_CONFIG_MALFORMED', message, { at })),
  );
}

export function serveVerb(program: Command): void {
  program
    .command('serve')
    .summary('run a registry')
    .description(
      'Runs certificate authority, transparency log, signature log, timestamp authority, TUF repository, attestation ' +
        'store and device API on one port, until SIGINT or SIGTERM; SIGHUP reads the TLS certificate again. Needs the data folder alone, no offline key. ' +
        'Prints its address when it is ready; the log goes to standard error.',
    )
    .argument('<folder>', 'data folder that `waybill init` made')
    .option('--json', 'print the address as one JSON document')
    .addHelpText('after', '\nExample:\n  waybill serve registry')
    .action(async (folder: string, options: { readonly json?: true }) => {
      // V8 lets garbage pile up to several times of what is in use. With thousands of requests in flight that was half of all memory; to
      // look for it sooner costs nothing that can be measured below that.
      setFlagsFromString('--heap-growing-percent=40');
      const config = await readConfigFile(folder);
      const registry = await openRegistry({ dataFolder: folder, config, clock: Date.now });
      const app = await buildServer(registry);
      renewAtHangup(app, config.listen.tls && (() => reloadTls(app, registry)));
      const start = async () => {
        const address = await listen(app, config.listen);
        if (options.json === true) printJson({ address, url: config.url, pid: process.pid });
        else {
          const same = address === config.url;
          printLine(`waybill serve: ready at ${address}${same ? '' : ` (clients use ${config.url})`}`);
        }
      };
      await serveUntilStopped(app, start, config.limits.shutdownMs);
    });
}
