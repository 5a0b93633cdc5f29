// SPDX-License-Identifier: Apache-2.0
// config.yaml of a new data folder [docs/spec/registry-api.md §Configuration].

import { stringify } from 'yaml';
import type { DocumentNode } from '../core/encoding/document.ts';
import { isLoopback, readIssuers } from '../registry/ca/issuers.ts';
import { openYaml, readInput } from './files.ts';

/** Behind TLS of another server, ours listens on loopback; without, nobody else is let in before the operator says so. */
export const BEHIND_TLS = { host: '127.0.0.1', port: 8410 };

/** What init was told, and what most people change next. @throws CLI_FILE_UNREADABLE, CLI_DOCUMENT_MALFORMED, OIDC_CONFIG_* */
export async function formatConfig(inputs: {
  readonly url: string;
  readonly org: string;
  readonly issuers?: string | undefined;
}): Promise<string> {
  const url = new URL(inputs.url);
  const plain = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 80) };
  const listen = isForThisMachine(url) ? plain : BEHIND_TLS;
  const issuers = inputs.issuers === undefined ? undefined : await openIssuers(inputs.issuers);
  return [
    '# `waybill serve` reads this file when it starts; docs/spec/registry-api.md says what each member means.',
    stringify({ listen, url: inputs.url, org: inputs.org }).trimEnd(),
    issuers === undefined ? ISSUERS_EXAMPLE : stringify({ issuers: issuers.value }).trimEnd(),
    '',
  ].join('\n');
}

/** Plain HTTP that nobody can read on its way, since it never leaves the machine. */
export function isForThisMachine(url: URL): boolean {
  return url.protocol === 'http:' && isLoopback(url);
}

const ISSUERS_EXAMPLE = [
  '# Whose identity tokens the certificate authority accepts; nobody gets a certificate until an issuer is listed.',
  '# GitLab, Buildkite and any other OpenID Connect issuer: docs/spec/trust-services.md, Issuers.',
  '# issuers:',
  '#   - url: https://token.actions.githubusercontent.com',
  '#     kind: github-actions',
  '#     audience: waybill',
  '#     require:',
  '#       repository_owner_id: "<id of your organisation>"',
  '#       repository_id: "<id of the repository>"',
].join('\n');

async function openIssuers(path: string): Promise<DocumentNode> {
  const list = openYaml(path, await readInput(path));
  readIssuers(list);
  return list;
}
