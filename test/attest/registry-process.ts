// SPDX-License-Identifier: Apache-2.0
// A real registry for tests of signing: `waybill init`, the demo's issuer trusted, `waybill serve` on a real port.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandLine } from '../../examples/demo/command-line.ts';
import { type DemoIssuer, startIssuer } from '../../examples/demo/oidc-issuer.ts';
import { freePort, serve, stop } from '../../examples/demo/processes.ts';

export interface RegistryProcess {
  readonly url: string;
  /** TUF root.json. */
  readonly root: string;
  readonly dataFolder: string;
  readonly issuer: DemoIssuer;
  readonly cli: CommandLine;
  /** Private state of clients; removed with the rest. */
  readonly folder: string;
  close(): Promise<void>;
}

/** Starts it. `keys`: DER public keys that may sign without a certificate; `stockClients`: whether tokens for them count too. */
export async function startRegistry(
  keys: readonly Uint8Array[] = [],
  stockClients = false,
): Promise<RegistryProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-registry-'));
  const { PATH = '', NODE_COMPILE_CACHE = '' } = process.env;
  const cli = new CommandLine({ PATH, NODE_COMPILE_CACHE, XDG_STATE_HOME: join(folder, 'state') });
  const url = `http://127.0.0.1:${await freePort()}`;
  const dataFolder = join(folder, 'data');
  const offline = join(folder, 'offline');
  await cli.must(['init', dataFolder, '--offline', offline, '--url', url, '--org', 'example']);
  const issuer = await startIssuer();
  await configure(join(dataFolder, 'config.yaml'), issuer.url, keys, stockClients);
  const server = await serve(cli, dataFolder, url);
  return {
    url,
    root: join(dataFolder, 'root.json'),
    dataFolder,
    issuer,
    cli,
    folder,
    async close() {
      await stop(server);
      await issuer.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function configure(
  path: string,
  issuerUrl: string,
  keys: readonly Uint8Array[],
  stockClients: boolean,
): Promise<void> {
  const entry = {
    url: issuerUrl,
    kind: 'github-actions',
    audience: 'waybill',
    stockClients,
    allowLoopbackHttp: true,
    require: {
      repository: 'example/firmware',
      repository_id: '1001',
      repository_owner_id: '2002',
      job_workflow_ref: 'example/firmware/.github/workflows/build.yml@refs/heads/main',
    },
  };
  const listed = keys.map((key, i) => ({
    name: `key-${i}`,
    publicKey: Buffer.from(key).toString('base64'),
  }));
  const made = (await readFile(path, 'utf8')).replace(/^(issuers|keys):.*\n/gm, '');
  const added = `issuers: ${JSON.stringify([entry])}\nkeys: ${JSON.stringify(listed)}\n`;
  await writeFile(path, `${made}${added}`);
}
