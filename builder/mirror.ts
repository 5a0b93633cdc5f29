// SPDX-License-Identifier: Apache-2.0
// Where packages come from: what the user says, else what the host's own apt sources name. Never part of any document.

import { quote } from '../core/faults.ts';
import type { DebianInput } from './definition.ts';
import { BUILDER } from './faults.ts';
import { runTool } from './host-tool.ts';

export interface MirrorChoice {
  /** `--mirror` or WAYBILL_MIRROR. */
  readonly mirror?: string | undefined;
  /** `--snapshot` or WAYBILL_SNAPSHOT: an archive base that keeps versions which the mirror has no more. */
  readonly snapshot?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The base URL of the mirror for an input, ending in a slash. @throws LOCK_MIRROR_UNKNOWN, SANDBOX_TOOL_MISSING */
export async function findMirror(input: DebianInput, choice: MirrorChoice): Promise<string> {
  if (choice.mirror !== undefined) return checkMirror(choice.mirror);
  const format = '$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT) $(ARCHITECTURE) $(ORIGIN)';
  const listed = await runTool('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    signal: choice.signal,
  });
  const components = new Map<string, Set<string>>();
  for (const line of listed.stdout.toString('utf8').split('\n')) {
    const [uri, release, codename, component, architecture, origin] = line.split(' ');
    if (uri === undefined || component === undefined || !/^(?:https?|file):/.test(uri)) continue;
    const sameSuite = release === input.suite || codename === input.suite;
    // apt leaves the variable as it stands while it has not fetched the source's InRelease yet.
    const sameOrigin = origin?.startsWith('$(') === true || origin?.toLowerCase() === input.distribution;
    if (!sameSuite || !sameOrigin || architecture !== input.architecture) continue;
    components.set(uri, (components.get(uri) ?? new Set()).add(component));
  }
  for (const [uri, served] of components) {
    if (input.components.every((component) => served.has(component))) return checkMirror(uri);
  }
  throw BUILDER.reject(
    'LOCK_MIRROR_UNKNOWN',
    `expected a mirror of ${input.distribution} ${input.suite} (${input.components.join(', ')}) for ${input.architecture}, which input ` +
      `${input.name} names, got none`,
  );
}

/** A base URL, ending in a slash. @throws LOCK_MIRROR_UNKNOWN */
export function checkMirror(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Reported below with what was expected.
  }
  // The text becomes a line of apt's sources: nothing that apt would read as an option or another field.
  if (
    url === undefined ||
    !['http:', 'https:', 'file:'].includes(url.protocol) ||
    url.search !== '' ||
    url.hash !== '' ||
    /[\s[\]#]/.test(url.href)
  ) {
    throw BUILDER.reject(
      'LOCK_MIRROR_UNKNOWN',
      `expected a mirror such as https://host/debian, got ${quote(text)}`,
    );
  }
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}
