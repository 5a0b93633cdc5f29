// SPDX-License-Identifier: Apache-2.0
// Which runs of the build system were started [docs/spec/monitor.md §Builds]: by a list that the operator's own system writes, or by GitHub itself.

import { type FileHandle, open, stat } from 'node:fs/promises';
import { parseDocument } from '../../core/encoding/document.ts';
import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import type { Claims } from '../../core/x509/identity.ts';
import { MONITOR } from '../monitor-faults.ts';
import { get } from './log-reader.ts';

/** Says why a certificate's run is none that was started; undefined if it is one. @throws MONITOR_LOG_UNREACHABLE, MONITOR_BUILDS_MALFORMED */
export interface StartedBuilds {
  whyNot(claims: Claims, signal?: AbortSignal): Promise<string | undefined>;
  /** Called before each round: what is kept may have grown. @throws MONITOR_EVIDENCE_MISSING, MONITOR_BUILDS_MALFORMED */
  refresh(): Promise<void>;
}

const LINE_CHARACTERS_MAX = 4096;

/**
 * A file of JSON lines, `{"run":"https://…/actions/runs/77/attempts/2","sha":"…"}`, `sha` optional. It is read on as it grows; a last line without
 * its newline is not there yet.
 */
export class BuildsFile implements StartedBuilds {
  readonly #path: string;
  readonly #runs = new Map<string, string | undefined>();
  #readBytes = 0;
  #line = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async refresh(): Promise<void> {
    const file = await this.#open();
    const { size: sizeBytes } = await file.stat();
    if (sizeBytes < this.#readBytes) {
      this.#runs.clear();
      this.#readBytes = 0;
      this.#line = 0;
    }
    let rest = '';
    for await (const chunk of file.createReadStream({ start: this.#readBytes, encoding: 'utf8' })) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
      if (rest.length > LINE_CHARACTERS_MAX)
        throw this.#malformed(`expected lines of at most ${LINE_CHARACTERS_MAX}`);
    }
  }

  async #open(): Promise<FileHandle> {
    const missing = (got: string, cause?: unknown) =>
      MONITOR.reject(
        'MONITOR_EVIDENCE_MISSING',
        `expected a file of builds at ${quote(this.#path)}, got ${got}`,
        {
          cause,
        },
      );
    try {
      const found = await stat(this.#path);
      // A pipe would be waited for; /dev/null is how one says that there are none.
      if (found.isFile() || found.isCharacterDevice()) return await open(this.#path);
    } catch (cause) {
      throw missing((cause as NodeJS.ErrnoException).code ?? 'unknown', cause);
    }
    throw missing('something else than a file');
  }

  #take(line: string): void {
    if (line.trim() !== '') {
      const refuse = (message: string) => this.#malformed(message);
      const root = parseDocument(utf8(line), { refuse }).only('run', 'sha');
      this.#runs.set(root.field('run').string(), root.optional('sha')?.string());
    }
    this.#readBytes += Buffer.byteLength(line) + 1;
    this.#line++;
  }

  #malformed(message: string) {
    return MONITOR.reject('MONITOR_BUILDS_MALFORMED', message, { at: `${this.#path}:${this.#line + 1}` });
  }

  async whyNot({ runInvocationUri: run, sourceRepositoryDigest: sha }: Claims): Promise<string | undefined> {
    if (run === undefined) return 'the certificate names no run';
    if (!this.#runs.has(run)) return `the run ${quote(run)} is not in the list of builds`;
    const started = this.#runs.get(run);
    if (started === undefined || started === sha) return undefined;
    return `the run ${quote(run)} was started at ${quote(started)}, the certificate says ${quote(sha ?? 'nothing')}`;
  }
}

const RUN =
  /^https:\/\/[^/]+\/([\w.-]+)\/([\w.-]+)\/actions\/runs\/([1-9][0-9]{0,18})\/attempts\/([1-9][0-9]{0,5})$/;
const ANSWER_SIZE_BYTES_MAX = 4 * 1024 * 1024;
const KNOWN_COUNT_MAX = 10_000;

/** What GitHub says of an attempt of a run. */
interface Attempt {
  readonly id: number;
  readonly run_attempt: number;
  readonly head_sha: string;
  readonly path: string;
  readonly event: string;
  readonly repository: { readonly id: number };
}

/** GitHub's API: `GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}`, version 2022-11-28. */
export class GitHubRuns implements StartedBuilds {
  readonly #api: string;
  readonly #token: string | undefined;
  /** Runs do not un-happen: what GitHub once said is kept. */
  readonly #known = new Map<string, Attempt>();

  /** `api` has no slash at its end; the token must be allowed to read actions of the repositories. */
  constructor(api: string, token: string | undefined) {
    this.#api = api;
    this.#token = token;
  }

  async refresh(): Promise<void> {}

  async whyNot(claims: Claims, signal?: AbortSignal): Promise<string | undefined> {
    const run = claims.runInvocationUri;
    if (run === undefined) return 'the certificate names no run';
    const [, owner = '', repository = '', id = '', number = ''] = RUN.exec(run) ?? [];
    if (id === '') return `${quote(run)} is not the address of an attempt of a run`;
    const attempt = this.#known.get(run) ?? (await this.#ask(`${owner}/${repository}`, id, number, signal));
    if (attempt === undefined) {
      return `GitHub knows no run ${quote(run)}, or the token may not see it`;
    }
    if (this.#known.size >= KNOWN_COUNT_MAX) this.#known.clear();
    this.#known.set(run, attempt);
    const differing = differences(claims, attempt, id, number);
    return differing.length === 0 ? undefined : `the run ${quote(run)} is another: ${differing.join('; ')}`;
  }

  async #ask(
    repository: string,
    id: string,
    number: string,
    signal?: AbortSignal,
  ): Promise<Attempt | undefined> {
    const url = `${this.#api}/repos/${repository}/actions/runs/${id}/attempts/${number}`;
    const headers = {
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
      'user-agent': 'waybill-monitor',
      ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
    };
    // Renamed repositories are led on; `fetch` leaves the token behind where another host is named.
    const bytes = await get(url, {
      sizeBytesMax: ANSWER_SIZE_BYTES_MAX,
      signal,
      headers,
      redirect: 'follow',
    });
    return bytes === undefined ? undefined : readAttempt(bytes, url);
  }
}

function readAttempt(bytes: Uint8Array, url: string): Attempt {
  const parsed = parseStrictJson(bytes);
  const found = 'value' in parsed ? (parsed.value as Partial<Attempt> | null) : null;
  const isAttempt =
    typeof found?.id === 'number' &&
    typeof found.run_attempt === 'number' &&
    [found.head_sha, found.path, found.event].every((text) => typeof text === 'string') &&
    typeof found.repository?.id === 'number';
  if (isAttempt) return found as Attempt;
  throw MONITOR.unavailable('MONITOR_LOG_UNREACHABLE', `expected a run at ${quote(url)}, got another answer`);
}

/** What the certificate says of the run and GitHub does not. */
function differences(claims: Claims, attempt: Attempt, id: string, number: string): readonly string[] {
  const { repository, path, event } = attempt;
  const workflow = claims.buildConfigUri?.replace(/@.*$/, '').replace(/^https:\/\/[^/]+\//, '');
  const compared: [what: string, certificate: string | undefined, github: string][] = [
    ['run', id, String(attempt.id)],
    ['attempt', number, String(attempt.run_attempt)],
    ['repository id', claims.sourceRepositoryIdentifier, String(repository.id)],
    ['event', claims.buildTrigger, event],
  ];
  // The name of the repository may have changed since; its id has not.
  const owned = `/${path.replace(/@.*$/, '')}`;
  if (workflow === undefined || !workflow.endsWith(owned)) compared.push(['workflow', workflow, path]);
  // Runs of pull requests build a merge that GitHub makes, and name the head of the request.
  if (!event.startsWith('pull_request'))
    compared.push(['commit', claims.sourceRepositoryDigest, attempt.head_sha]);
  return compared
    .filter(([, certificate, github]) => certificate !== github)
    .map(
      ([what, certificate, github]) =>
        `${what} ${quote(certificate ?? 'none')} in the certificate, ${quote(github)} at GitHub`,
    );
}
