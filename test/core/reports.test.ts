// SPDX-License-Identifier: Apache-2.0
// Reports whose parts do not bear each other out.

import { expect, test } from 'vitest';
import {
  buildRebuildReport,
  DIFFERENCE_COUNT_MAX,
  parseRebuildReport,
  type RebuildReport,
} from '../../core/intoto/rebuild.ts';
import { buildAttributeReport, parseAttributeReport } from '../../core/intoto/scai.ts';
import { formatStatement, parseStatement } from '../../core/intoto/statement.ts';
import { IMAGE, image, rebuilt, sha256 } from '../policy/evidence.ts';

const OTHER = sha256('other');
const [output] = rebuilt.outputs as [RebuildReport['outputs'][number]];
const read = (changes: Partial<RebuildReport>) => () =>
  parseRebuildReport(parseStatement(formatStatement(buildRebuildReport({ ...rebuilt, ...changes }))));
const malformed = expect.objectContaining({ code: 'REBUILD_STATEMENT_MALFORMED' });

test('a rebuild agrees if every output that is the image came out the same, whatever became of others', () => {
  const intermediate = { step: 'compile', name: 'a.elf', claimedSha256: OTHER, rebuiltSha256: IMAGE };
  expect(read({ outputs: [intermediate, output] })).not.toThrow();
  const twice = [output, { ...output, name: 'copy.bin', rebuiltSha256: OTHER }];
  expect(read({ outputs: twice })).toThrow(malformed);
  expect(read({ outputs: twice, verdict: 'differs' })).not.toThrow();
  expect(read({ outputs: [intermediate] })).toThrow(malformed);
});

test('a rebuild lists so many differences and no more, and none where it agrees', () => {
  const difference = { output: 'image/a', offset: 0, sizeBytes: 1, cause: 'date' as const, detail: 'a date' };
  const outputs = [{ ...output, rebuiltSha256: OTHER }];
  const differing = (count: number) => ({
    verdict: 'differs' as const,
    outputs,
    differences: Array(count).fill(difference),
  });
  expect(read(differing(DIFFERENCE_COUNT_MAX))).not.toThrow();
  expect(read(differing(DIFFERENCE_COUNT_MAX + 1))).toThrow(malformed);
  expect(read({ differences: [difference] })).toThrow(malformed);
});

test('an attribute report is about one attribute', () => {
  const statement = buildAttributeReport({
    subjects: image.products,
    attribute: 'BINARY_AUDITED',
    conditions: {},
    evidence: { uri: 'https://a.example', sha256: OTHER },
    producerId: 'https://b.example',
  });
  const predicate = statement.predicate as unknown as { attributes: unknown[] };
  predicate.attributes.push(predicate.attributes[0]);
  expect(() => parseAttributeReport(parseStatement(formatStatement(statement)))).toThrow(
    expect.objectContaining({ code: 'INTOTO_SCAI_MALFORMED' }),
  );
});
