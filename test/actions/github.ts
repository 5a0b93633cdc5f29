// SPDX-License-Identifier: Apache-2.0
// A fake of something outside: GitHub's REST API on loopback, as far as a check run needs it, and a job's files.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: Record<string, unknown>;
}

export interface GithubApi {
  readonly url: string;
  readonly requests: ApiRequest[];
  /** Status for the next requests; 201 unless set. */
  answer: { status: number };
  close(): Promise<void>;
}

export async function startGithubApi(): Promise<GithubApi> {
  const requests: ApiRequest[] = [];
  const answer = { status: 201 };
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      requests.push({ method, path, authorization: headers.authorization, body: JSON.parse(text || '{}') });
      const page = { id: 4, html_url: 'https://github.example/example/firmware/runs/4' };
      const refusal = { message: `Resource not accessible with ${headers.authorization}` };
      response.writeHead(answer.status, { 'content-type': 'application/json; charset=utf-8' });
      response.end(JSON.stringify(answer.status === 201 ? page : refusal));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answer,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The files by which a step and the runner talk; they exist before the step starts. */
export interface JobFiles {
  readonly env: Record<string, string>;
  /** Reads GITHUB_OUTPUT: `name<<delimiter`, lines, `delimiter`. */
  outputs(): Promise<Record<string, string>>;
  summary(): Promise<string>;
}

export async function makeJobFiles(folder: string, event: unknown): Promise<JobFiles> {
  await mkdir(folder, { recursive: true });
  const path = (name: string) => join(folder, name);
  for (const name of ['output', 'env', 'state', 'path', 'summary']) await writeFile(path(name), '');
  await writeFile(path('event.json'), JSON.stringify(event));
  return {
    env: {
      GITHUB_OUTPUT: path('output'),
      GITHUB_ENV: path('env'),
      GITHUB_STATE: path('state'),
      GITHUB_PATH: path('path'),
      GITHUB_STEP_SUMMARY: path('summary'),
      GITHUB_EVENT_PATH: path('event.json'),
    },
    async outputs() {
      const text = await readFile(path('output'), 'utf8');
      const blocks = text.matchAll(/^([\w-]+)<<(ghadelimiter_\S+)\n([\s\S]*?)\n\2$/gm);
      return Object.fromEntries([...blocks].map(([, name = '', , value = '']) => [name, value]));
    },
    summary: () => readFile(path('summary'), 'utf8'),
  };
}
