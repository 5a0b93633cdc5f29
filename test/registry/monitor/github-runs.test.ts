// SPDX-License-Identifier: Apache-2.0
// Runs as GitHub knows them, asked of a server on loopback that speaks its API: `GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{n}`.

import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Claims } from '../../../core/x509/identity.ts';
import { GitHubRuns } from '../../../registry/monitor/started-builds.ts';
import { runOf } from './watching.ts';

const SHA = '89abcdef0123456789abcdef0123456789abcdef';
/** The members that GitHub answers with and that are looked at, and some more. */
const RUN = {
  id: 77,
  name: 'Build and release',
  head_branch: 'main',
  head_sha: SHA,
  path: '.github/workflows/ci.yml',
  event: 'push',
  status: 'completed',
  run_attempt: 1,
  repository: { id: 1001, full_name: 'example/firmware', owner: { id: 2002, login: 'example' } },
};
const CLAIMED: Claims = {
  runInvocationUri: runOf('77'),
  sourceRepositoryDigest: SHA,
  sourceRepositoryIdentifier: '1001',
  buildConfigUri: 'https://github.com/example/firmware/.github/workflows/ci.yml@refs/heads/main',
  buildTrigger: 'push',
};

/** Answers with the run at its address, and as told elsewhere. */
async function startGitHub(change: Record<string, unknown> = {}, status = 200) {
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    response.setHeader('content-type', 'application/json; charset=utf-8');
    if (request.url === '/repos/example/old-name/actions/runs/77/attempts/1') {
      response.writeHead(301, { location: '/repos/example/firmware/actions/runs/77/attempts/1' }).end();
    } else if (request.url === '/repos/example/firmware/actions/runs/77/attempts/1') {
      response.writeHead(status).end(JSON.stringify({ ...RUN, ...change }));
    } else response.writeHead(404).end(JSON.stringify({ message: 'Not Found' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { asked, runs: new GitHubRuns(`http://127.0.0.1:${port}`, 'a-token') };
}

test('a run that GitHub knows is asked for once, in its own protocol', async () => {
  const { asked, runs } = await startGitHub();
  expect(await runs.whyNot(CLAIMED)).toBeUndefined();
  expect(await runs.whyNot(CLAIMED)).toBeUndefined();
  expect(asked).toHaveLength(1);
  expect(asked[0]?.headers).toMatchObject({
    accept: 'application/vnd.github+json',
    'x-github-api-version': '2022-11-28',
    authorization: 'Bearer a-token',
  });
  expect(asked[0]?.headers['user-agent']).toBeTruthy();
});

test('a renamed repository is the same repository', async () => {
  const { runs } = await startGitHub();
  const run = runOf('77').replace('/firmware/', '/old-name/');
  expect(await runs.whyNot({ ...CLAIMED, runInvocationUri: run })).toBeUndefined();
});

test.each<[string, Claims, string]>([
  ['that does not exist', { runInvocationUri: runOf('78') }, 'GitHub knows no run'],
  ['of another attempt', { runInvocationUri: runOf('77', '2') }, 'GitHub knows no run'],
  ['at another commit', { sourceRepositoryDigest: 'f'.repeat(40) }, 'commit'],
  [
    'of another workflow',
    { buildConfigUri: CLAIMED.buildConfigUri?.replace('ci.yml', 'x.yml') ?? '' },
    'workflow',
  ],
  ['of another repository', { sourceRepositoryIdentifier: '1002' }, 'repository id'],
  ['of another event', { buildTrigger: 'workflow_dispatch' }, 'event'],
  ['that is none', { runInvocationUri: 'https://github.com/example/firmware' }, 'is not the address'],
  ['with a path trick', { runInvocationUri: runOf('77/../78') }, 'is not the address'],
])('a run %s is none that was started', async (_, change, why) => {
  const { runs } = await startGitHub();
  expect(await runs.whyNot({ ...CLAIMED, ...change })).toContain(why);
});

test('a certificate without a run has none', async () => {
  const { runs } = await startGitHub();
  const { runInvocationUri: _, ...rest } = CLAIMED;
  expect(await runs.whyNot(rest)).toContain('names no run');
});

test('GitHub answers of another run than it was asked for', async () => {
  const { runs } = await startGitHub({ id: 78 });
  expect(await runs.whyNot(CLAIMED)).toContain('run "77" in the certificate, "78" at GitHub');
  const other = await startGitHub({ run_attempt: 2 });
  expect(await other.runs.whyNot(CLAIMED)).toContain('attempt');
});

test('a run of a pull request builds a merge, whose commit GitHub does not name', async () => {
  const { runs } = await startGitHub({ event: 'pull_request', head_sha: 'e'.repeat(40) });
  expect(await runs.whyNot({ ...CLAIMED, buildTrigger: 'pull_request' })).toBeUndefined();
});

test.each([
  ['is over its limit', {}, 429],
  ['fails', {}, 500],
  ['answers something else', { head_sha: 5 }, 200],
  ['refuses the token', {}, 401],
])('nothing is said when GitHub %s', { timeout: 20_000 }, async (_, change, status) => {
  const { runs } = await startGitHub(change, status);
  await expect(runs.whyNot(CLAIMED)).rejects.toMatchObject({ code: 'MONITOR_LOG_UNREACHABLE' });
});
