// SPDX-License-Identifier: Apache-2.0
// docs/stock-clients.md, as a job of the CI would type it: the clients find the token by themselves.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { STOCK_CLIENTS, type StockClientName, whyAbsent } from '../../scripts/stock-clients.ts';
import { planBuild, removeBuild, writeBuild } from '../attest/build-folder.ts';
import { type RegistryProcess, startRegistry } from '../attest/registry-process.ts';

const run = promisify(execFile);
const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
const PROVENANCE = 'https://slsa.dev/provenance/v1';

let folder: string;
let registry: RegistryProcess;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-page-'));
  registry = await startRegistry([], true);
  // As the page advises: ours is the first entry of the log.
  const build = await writeBuild(planBuild());
  const args = ['attest', build, '--registry', registry.url, '--root', registry.root];
  await registry.cli.must(args, { env: { WAYBILL_ID_TOKEN: await registry.issuer.token() } });
  await removeBuild(build);

  await symlink(join(CHECKOUT, 'node_modules'), join(folder, 'node_modules'));
  await copyFile(registry.root, join(folder, 'root.json'));
  const image = 'the image of a device\n';
  const sha256 = createHash('sha256').update(image).digest('hex');
  const buildDefinition = { buildType: 'https://example.com/build', externalParameters: {} };
  const predicate = { buildDefinition, runDetails: { builder: { id: 'https://example.com/builder' } } };
  const subject = [{ name: 'image.bin', digest: { sha256 } }];
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject,
    predicateType: PROVENANCE,
    predicate,
  };
  await writeFile(join(folder, 'image.bin'), image);
  await writeFile(join(folder, 'predicate.json'), JSON.stringify(predicate));
  await writeFile(join(folder, 'statement.json'), JSON.stringify(statement));
}, 120_000);
afterAll(async () => {
  await registry?.close();
  await rm(folder, { recursive: true, force: true });
});

test('the page is true, command by command', async (context) => {
  for (const name of Object.keys(STOCK_CLIENTS) as StockClientName[]) {
    const reason = whyAbsent(name);
    if (reason !== undefined) return context.skip(reason);
  }
  const programs = Object.values(STOCK_CLIENTS).map(({ path }) => dirname(path));
  const env = {
    PATH: [join(CHECKOUT, 'node_modules/.bin'), ...new Set(programs), process.env.PATH].join(':'),
    HOME: folder,
    GITHUB_ACTIONS: 'true',
    ACTIONS_ID_TOKEN_REQUEST_URL: registry.issuer.requestUrl,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: registry.issuer.requestToken,
  };
  const page = (await readFile(join(CHECKOUT, 'docs/stock-clients.md'), 'utf8'))
    .replaceAll('http://127.0.0.1:8410', registry.url)
    .replaceAll('http://127.0.0.1:7070', registry.issuer.url);
  const blocks = [...page.matchAll(/^```(sh|js)\n(.*?)^```$/gms)];
  const [, , words = ''] = blocks.shift() ?? [];
  expect(blocks.map(([, language]) => language)).toEqual(['sh', 'sh', 'sh', 'js', 'sh']);
  for (const [, language, block = ''] of blocks) {
    const typed = language === 'sh' ? block : `node --input-type=module <<'END'\n${block}END\n`;
    await run('bash', ['-euc', `${words}${typed}`], { cwd: folder, env });
  }
}, 300_000);
