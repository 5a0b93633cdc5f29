// SPDX-License-Identifier: Apache-2.0
// The order of the action: build (which holds the lock against the definition first), attest, tell GitHub.

import { endGroup, info, setOutput, startGroup, summary } from '@actions/core';
import { findIdentity } from '../../attest/identity/token.ts';
import { type AttestReport, attest, reportOf } from '../../cli/attest.ts';
import { buildFile } from '../../cli/build.ts';
import { readInput } from '../../cli/files.ts';
import { interruptible } from '../../cli/interrupt.ts';
import { Rejection, Unavailable } from '../../core/faults.ts';
import { Annotations } from './annotations.ts';
import { type CheckRun, createCheckRun, placeOf } from './check-run.ts';
import { type ActionInputs, readInputs } from './inputs.ts';
import { failureMarkdown, successMarkdown } from './markdown.ts';
import { plainText } from './plain-text.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs the action and returns the exit code of the step: 0 or 1. Anything that is no fault of ours is thrown. */
export async function runAction(env: Environment, toolVersion: string): Promise<number> {
  const annotations = new Annotations();
  let inputs: ActionInputs | undefined;
  try {
    inputs = readInputs();
    const report = await buildAndAttest(inputs, env, toolVersion);
    for (const [name, value] of Object.entries(outputsOf(report))) setOutput(name, value);
    for (const image of report.images) annotations.notice(`${image.name} sha256:${image.sha256}`);
    const title = `${report.product} ${report.version}: ${report.statements.length} statements attested`;
    const markdown = successMarkdown(report, inputs.registry);
    await tell(inputs, env, annotations, { conclusion: 'success', title, summary: markdown });
    return 0;
  } catch (failure) {
    if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
    annotations.fault(failure, 'error');
    const markdown = failureMarkdown(failure);
    await tell(inputs, env, annotations, { conclusion: 'failure', title: failure.code, summary: markdown });
    return 1;
  }
}

/** The same functions as `waybill build` and `waybill attest`. */
async function buildAndAttest(
  inputs: ActionInputs,
  env: Environment,
  toolVersion: string,
): Promise<AttestReport> {
  const { definition, out, builderId, mirror, registry, root, audience, archiveInputs } = inputs;
  // Asked before the build: a job that may not sign should not build for nothing.
  findIdentity({ env, audience });
  return interruptible(async (signal) => {
    await grouped(`Build ${definition}`, () =>
      buildFile({
        file: definition,
        out,
        force: false,
        builderId,
        mirror,
        registry: archiveInputs ? registry : undefined,
        toolVersion,
        progress: say,
        signal,
      }),
    );
    const attested = await grouped('Attest', () =>
      attest({ folder: out, registry, root, audience, archiveInputs, env, progress: say, signal }),
    );
    return reportOf(attested);
  });
}

/** Progress, which quotes the log of a step that fails. */
function say(text: string): void {
  info(plainText(text));
}

async function grouped<T>(title: string, work: () => Promise<T>): Promise<T> {
  startGroup(title);
  try {
    return await work();
  } finally {
    endGroup();
  }
}

function outputsOf(report: AttestReport): Readonly<Record<string, string>> {
  return {
    image: report.images.map(({ path }) => path).join('\n'),
    'image-digest': report.images.map(({ sha256 }) => `sha256:${sha256}`).join('\n'),
    bundles: report.bundleFolder,
    'log-indexes': JSON.stringify(report.statements.map(({ logIndex }) => logIndex)),
  };
}

/** Job summary, and the check run if there is a token for it. A check run that fails is a warning: the build stands. */
async function tell(
  inputs: ActionInputs | undefined,
  env: Environment,
  annotations: Annotations,
  run: CheckRun,
): Promise<void> {
  if (env.GITHUB_STEP_SUMMARY) await summary.addRaw(run.summary, true).write();
  const token = inputs?.githubToken;
  if (token === undefined) return;
  try {
    const event = env.GITHUB_EVENT_PATH ? await readInput(env.GITHUB_EVENT_PATH) : undefined;
    info(`check run: ${await createCheckRun(placeOf(env, event), token, run)}`);
  } catch (failure) {
    if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
    annotations.fault(failure, 'warning');
  }
}
