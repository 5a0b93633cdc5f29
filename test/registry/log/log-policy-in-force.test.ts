// SPDX-License-Identifier: Apache-2.0
// The log asks the witnesses of the policy that TUF publishes, from the moment it is published [docs/spec/log.md §Witnesses].

import { expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../../core/tlog/proof.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { RunningRegistry, refusal } from '../running-registry.ts';
import { runWitness, witnessFolder } from '../witness/running-witness.ts';

test('a published policy is followed at once, over a restart too; one that cannot be read is not published', {
  timeout: 120_000,
}, async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const { verifierKey } = registry.registry.services.log().log;
  const made = await witnessFolder([verifierKey]);
  const { url } = await runWitness(made);
  const publish = async (text: string) => {
    const policy = utf8(text);
    return registry.publish('targets', await registry.nextTargets({ 'tlog-policy': policy }), [policy]);
  };
  const checkpoint = async () =>
    Buffer.from((await registry.send('GET', '/log/checkpoint')).bytes).toString();

  expect(refusal(await publish('quorum w1\n'))).toEqual({ status: 400, code: 'TLOG_POLICY_MALFORMED' });
  expect(parseNote(await checkpoint()).signatures).toHaveLength(1);

  const text = `log ${verifierKey}\nwitness w1 ${made.vkey} ${url}\nquorum w1\n`;
  expect((await publish(text)).status).toBe(201);
  const policy = parseLogPolicy(utf8(text), nodeCrypto);
  const cosigned = async () => {
    await expect.poll(async () => (await registry.send('GET', '/log/checkpoint')).status).toBe(200);
    return verifyWitnessedCheckpoint(await checkpoint(), policy, nodeCrypto).witnesses;
  };
  expect(await cosigned()).toMatchObject([{ name: 'w1' }]);
  await registry.restart();
  expect(await cosigned()).toMatchObject([{ name: 'w1' }]);
});
