// SPDX-License-Identifier: Apache-2.0
// The check run on the commit (GitHub REST API, version 2022-11-28), by which the result is seen beside the commit.

import { Octokit } from 'octokit';
import { memberOf } from '../../attest/exchange.ts';
import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { quote } from '../../core/faults.ts';
import { ACTION } from '../faults.ts';

export interface CheckRun {
  readonly conclusion: 'success' | 'failure';
  readonly title: string;
  /** Markdown. */
  readonly summary: string;
}

/** Where the job runs, from GitHub's environment. */
export interface JobPlace {
  /** `owner/name`. */
  readonly repository: string;
  readonly commit: string;
  readonly apiUrl: string;
}

/** Reads the place from GITHUB_*; `event` is the content of GITHUB_EVENT_PATH. */
export function placeOf(
  env: Readonly<Record<string, string | undefined>>,
  event: Uint8Array | undefined,
): JobPlace {
  return {
    repository: env.GITHUB_REPOSITORY ?? '',
    // In a pull request GITHUB_SHA is a merge that nobody sees; checks belong to the head.
    commit: (event === undefined ? undefined : pullRequestHead(event)) ?? env.GITHUB_SHA ?? '',
    apiUrl: env.GITHUB_API_URL ?? 'https://api.github.com',
  };
}

function pullRequestHead(event: Uint8Array): string | undefined {
  const parsed = parseStrictJson(event);
  let value: unknown = 'value' in parsed ? parsed.value : undefined;
  for (const name of ['pull_request', 'head', 'sha']) value = memberOf(value, name);
  return typeof value === 'string' ? value : undefined;
}

/** Creates a completed check run and returns its page. @throws ACTION_CHECK_RUN_FAILED */
export async function createCheckRun(place: JobPlace, token: string, run: CheckRun): Promise<string> {
  const [owner = '', repo = ''] = place.repository.split('/');
  const silent = () => {};
  const octokit = new Octokit({
    auth: token,
    baseUrl: place.apiUrl,
    userAgent: 'waybill',
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  try {
    const { data } = await octokit.rest.checks.create({
      owner,
      repo,
      name: 'Waybill build',
      head_sha: place.commit,
      status: 'completed',
      conclusion: run.conclusion,
      output: { title: run.title, summary: run.summary },
    });
    return data.html_url ?? '';
  } catch (failure) {
    // The request in the error holds the token: its status and message go on, nothing else.
    const { status, message } = failure as { status?: unknown; message?: unknown };
    const said = quote(String(message).replaceAll(token, '[token]'));
    throw ACTION.unavailable(
      'ACTION_CHECK_RUN_FAILED',
      `expected GitHub at ${quote(place.apiUrl)} to create a check run, got ${String(status)} ${said}`,
    );
  }
}
