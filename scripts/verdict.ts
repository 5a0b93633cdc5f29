// SPDX-License-Identifier: Apache-2.0
// Runs types, lint and tests, and says what came of it; `npm test` and `npm run check` differ in the tests they name.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { relative } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import { startVitest, type TestModule } from 'vitest/node';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** What one stage found. */
interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** Tests that did not run, each with its reason. */
  readonly skipped: readonly string[];
}

/** Runs all stages, prints the verdict, and returns the exit code. The last line is `N passed, N failed`. */
export async function verdict(projects: readonly string[]): Promise<number> {
  assertPinnedNode();
  const tools = [
    runTool('types', 'tsc', ['-b']),
    runTool('lint', 'biome', ['check', '--error-on-warnings', '.']),
  ];
  const outcomes = [...(await Promise.all(tools)), await runTests(projects)];
  const sum = (count: (outcome: Outcome) => number) => outcomes.reduce((n, o) => n + count(o), 0);
  const [passed, failed] = [sum((o) => o.passed), sum((o) => o.failed)];
  const skipped = outcomes.flatMap((o) => o.skipped);
  say('');
  say(skipped.length === 0 ? 'Nothing was skipped.' : `Skipped, with the reason:\n  ${skipped.join('\n  ')}`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/**
 * The tests must run on the Node of the lock file, not on whatever the machine has: a missing link would go unnoticed
 * until some feature of the newer one is used. Machines that no pinned package fits run their own supported Node.
 */
function assertPinnedNode(): void {
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'));
  const pinned: string | undefined =
    lock.packages[`node_modules/node-${process.platform}-${process.arch}`]?.version;
  if (pinned !== undefined && process.version !== `v${pinned}`) {
    say(
      `expected Node v${pinned}, which package-lock.json pins, got ${process.version} (${process.execPath})`,
    );
    say('Run `node scripts/link-node.cjs`, or `npm ci`, and then the command again.');
    process.exit(1);
  }
}

/** Runs a tool of node_modules/.bin; it counts as one test. */
async function runTool(label: string, tool: string, argv: readonly string[]): Promise<Outcome> {
  const started = performance.now();
  const code = await new Promise<number>((resolve) => {
    const path = `${ROOT}node_modules/.bin${delimiter}${process.env.PATH ?? ''}`;
    // Output only matters where something is wrong, and then all of it.
    const child = spawn(tool, argv, { cwd: ROOT, env: { ...process.env, PATH: path } });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    child.on('error', (error) => {
      say(error.message);
      resolve(1);
    });
    child.on('close', (status) => {
      if (status !== 0) process.stdout.write(Buffer.concat(output));
      resolve(status ?? 1);
    });
  });
  say(` ${code === 0 ? '✓' : '✗'} ${label} (${Math.round(performance.now() - started)} ms)`);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: [] };
}

async function runTests(projects: readonly string[]): Promise<Outcome> {
  const options = { watch: false, run: true, root: ROOT, project: [...projects] };
  const vitest = await startVitest([], options);
  const modules = vitest.state.getTestModules();
  const outcome = countTests(modules, vitest.state.getUnhandledErrors().length);
  await vitest.close();
  return outcome;
}

/** Counts tests; a file that could not be loaded and an error outside any test count as failures. */
export function countTests(modules: readonly TestModule[], unhandledCount: number): Outcome {
  let passed = 0;
  let failed = unhandledCount;
  const skipped: string[] = [];
  for (const module of modules) {
    let failedHere = 0;
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (result.state === 'passed') passed++;
      else if (result.state === 'failed') failedHere++;
      else {
        const note = result.state === 'skipped' ? result.note : undefined;
        // Where the file itself failed, that failure is the reason.
        if (note === undefined && !module.ok()) continue;
        skipped.push(`${relative(ROOT, module.moduleId)} > ${test.fullName}: ${note ?? 'no reason given'}`);
      }
    }
    failed += failedHere === 0 && !module.ok() ? 1 : failedHere;
  }
  return { passed, failed, skipped };
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
