// SPDX-License-Identifier: Apache-2.0
// `node bill-alone.ts BASE PACKAGE KEPT`: makes the SBOM of a step that ran before, once, in a new process, as every build does it, and
// prints how many milliseconds it took. Loading what makes SBOMs counts, opening the step's root does not: that is the build's.

import { join } from 'node:path';
import { type DoneStep, type FinishedRun, readOutput } from '../../builder/finished-run.ts';
import { openProject } from './project.ts';
import { BILL_FOLDER } from './published.ts';
import { openBench } from './ways.ts';

const [base = '', folder = '', kept = ''] = process.argv.slice(2);
const silent = () => {};
const project = await openProject(base, silent);
const { root, mounted, step, facts } = await openBench(project, silent);

const load = async <M>(path: string) => (await import(join(folder, BILL_FOLDER, path))) as M;
const startedMs = performance.now();
const { listWorkFiles } = await load<typeof import('../../builder/outputs.ts')>('outputs.js');
const { makeBill } = await load<typeof import('../../builder/bill.ts')>('bill.js');
const workFiles = await listWorkFiles(step, join(kept, 'work/build'));
const outputs = step.outputs.map(({ file }) => ({ file, sha256: '', sizeBytes: 0 }));
const done: Pick<DoneStep, 'facts' | 'root' | 'mounted' | 'result' | 'comparisons'> = {
  facts,
  root,
  mounted: [mounted],
  result: { outputs, workFiles, log: '' },
  comparisons: [],
};
const finished = {
  request: { ...project, toolVersion: '0.0.0' },
  beside: kept,
  done: new Map([[step.name, done]]),
} as unknown as FinishedRun;
const product = project.definition.products[0] as (typeof project.definition.products)[number];
const { shipped } = await makeBill(finished, product, await readOutput(finished, product.image));
const wallMs = performance.now() - startedMs;
// Evidence that nothing came of would be quick.
const proved = shipped?.used.filter(({ path }) => /^src\/unit\d+\.c$/.test(path)).length;
process.stdout.write(JSON.stringify({ wallMs, proved }));
