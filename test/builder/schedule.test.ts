// SPDX-License-Identifier: Apache-2.0
// Steps at one time: as the graph and the CPUs allow; the first failure stops the rest.

import { expect, test } from 'vitest';
import type { StepDefinition } from '../../builder/definition.ts';
import { runSteps } from '../../builder/schedule.ts';

const step = (name: string, needs: readonly string[] = [], cpus = 1): StepDefinition => ({
  ...{ name, inputs: [], command: [], environment: [], outputs: [], timeoutMs: 1, outputSizeBytesMax: 1 },
  materials: needs.map((from) => ({ step: from, file: 'x' })),
  limits: { memorySizeBytesMax: 1, workSizeBytesMax: 1, processesMax: 1, cpus },
});

/** Runs steps that end when they are told to, and writes down what happens. */
function stage(
  steps: readonly StepDefinition[],
  capacity: { cpus: number; jobs?: number; signal?: AbortSignal },
) {
  const events: string[] = [];
  const ends = new Map<string, { done: () => void; fail: (failure: unknown) => void }>();
  const all = runSteps(steps, { jobs: 99, ...capacity }, async ({ name }, signal) => {
    events.push(`+${name}`);
    await new Promise<void>((done, fail) => {
      ends.set(name, { done, fail });
      signal.addEventListener('abort', () => fail(signal.reason));
    }).finally(() => events.push(`-${name}`));
  });
  const settle = () => new Promise((resolve) => setTimeout(resolve, 1));
  return {
    events,
    all,
    settle,
    end: async (name: string) => {
      ends.get(name)?.done();
      await settle();
    },
    fail: async (name: string, failure: unknown) => {
      ends.get(name)?.fail(failure);
      await settle();
    },
  };
}

test('those that need nothing of each other run at one time, others after what they need', async () => {
  const { events, all, end, settle } = stage(
    [step('a'), step('b'), step('c', ['a']), step('d', ['b', 'c'])],
    {
      cpus: 2,
    },
  );
  await settle();
  expect(events).toEqual(['+a', '+b']);
  await end('a');
  expect(events.splice(0)).toEqual(['+a', '+b', '-a', '+c']);
  await end('b');
  await end('c');
  await end('d');
  await all;
  expect(events).toEqual(['-b', '-c', '+d', '-d']);
});

test.each([
  ['CPUs', { cpus: 2 }, ['+wide', '-wide', '+a', '+b', '-a', '+c']],
  ['jobs', { cpus: 9, jobs: 1 }, ['+wide', '-wide', '+a', '-a', '+b']],
])('no more than there are %s for', async (_, capacity, expected) => {
  const { events, all, end, settle } = stage(
    [step('wide', [], 9), step('a'), step('b'), step('c')],
    capacity,
  );
  await settle();
  await end('wide');
  await end('a');
  expect(events.slice(0, expected.length)).toEqual(expected);
  for (const name of ['b', 'c']) await end(name);
  await all;
});

test('the first failure stops the others, begins no more, and is the one reported', async () => {
  const { events, all, fail, settle } = stage([step('a'), step('b'), step('c', ['a'])], { cpus: 2 });
  const refused = expect(all).rejects.toThrow('first');
  await settle();
  await fail('a', new Error('first'));
  await refused;
  expect(events).toEqual(['+a', '+b', '-a', '-b']);
});

test('whoever cancels is obeyed, and what runs ends before it is said', async () => {
  const cancel = new AbortController();
  const { events, all, settle } = stage([step('a'), step('b')], { cpus: 1, signal: cancel.signal });
  const refused = expect(all).rejects.toThrow('enough');
  await settle();
  cancel.abort(new Error('enough'));
  await refused;
  expect(events).toEqual(['+a', '-a']);
});
