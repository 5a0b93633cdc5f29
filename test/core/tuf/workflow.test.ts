// SPDX-License-Identifier: Apache-2.0
// The workflow of a TUF client on a sound repository: what is asked for, kept, found, and forgotten.

import { describe, expect, test } from 'vitest';
import { codeOf } from '../tlog/refusal.ts';
import { bytesOf, Client, Simulator } from './simulator.ts';

const TOP = { root: 1, snapshot: 2, targets: 2, timestamp: 2 };

test('a refresh asks for each role once, in order, and keeps the very bytes', () => {
  const simulator = new Simulator();
  const client = new Client(simulator);
  client.refresh();
  expect(client.asked).toEqual(['2.root.json', 'timestamp.json', '2.snapshot.json', '2.targets.json']);
  expect(client.versions()).toEqual(TOP);
  for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
    expect(client.kept.get(role)).toEqual(simulator.current(role));
  }
});

test('what is known and unchanged is not asked for again', () => {
  const client = new Client(new Simulator());
  client.refresh();
  client.asked.length = 0;
  client.refresh();
  expect(client.asked).toEqual(['2.root.json', 'timestamp.json']);
});

test('a target is found with its size, digests and place', () => {
  const simulator = new Simulator();
  simulator.add('targets', 'a folder/ä.bin', bytesOf('image'), ['sha256', 'sha512']);
  simulator.publish('targets');
  const client = new Client(simulator);
  const target = client.find('a folder/ä.bin');
  expect(target).toMatchObject({ role: 'targets', sizeBytes: 5 });
  expect(target.path).toBe(`a%20folder/${target.hashes.sha256}.%C3%A4.bin`);
  expect(codeOf(() => client.find('b'))).toBe('TUF_TARGET_MISSING');
});

describe('without consistent snapshots', () => {
  test('files have their plain names', () => {
    const simulator = new Simulator();
    simulator.roles.get('root').consistent_snapshot = false;
    simulator.publishRoot();
    simulator.add('targets', 'a', bytesOf('a'));
    simulator.publish('targets');
    const client = new Client(simulator);
    expect(client.find('a').path).toBe('a');
    expect(client.asked.slice(2)).toEqual(['timestamp.json', 'snapshot.json', 'targets.json']);
  });
});

describe('one workflow that is refreshed again', () => {
  test('sees what is new, and believes no role of the snapshot before', () => {
    const simulator = new Simulator();
    simulator.delegate('targets', 'A');
    simulator.add('A', 'x', bytesOf('x'));
    simulator.publish('A', 'targets');
    const client = new Client(simulator);
    const workflow = client.refresh();
    expect(client.run(workflow.findTarget('x')).sizeBytes).toBe(1);
    simulator.add('A', 'x', bytesOf('longer'));
    simulator.publish('A');
    expect(client.run(workflow.findTarget('x')).sizeBytes).toBe(1);
    client.run(workflow.refresh());
    expect(client.run(workflow.findTarget('x')).sizeBytes).toBe(6);
  });

  test('forgets timestamp and snapshot when their keys are exchanged', () => {
    const simulator = new Simulator();
    const client = new Client(simulator);
    const workflow = client.refresh();
    for (const role of ['timestamp', 'snapshot']) {
      simulator.rotate(role);
      simulator.roles.get(role).version = 0;
    }
    simulator.publishRoot();
    simulator.publish('targets');
    client.run(workflow.refresh());
    expect(client.versions()).toEqual({ root: 2, timestamp: 1, snapshot: 1, targets: 3 });
  });
});
