// SPDX-License-Identifier: Apache-2.0
// in-toto test result v0.1 [in-toto-attestation-v1 §Test Result]: which named tests an image passed and failed, in which configuration.
// Stricter than [in-toto-attestation-v1 §Test Result]: no warnings, both lists written out, and a result that follows from them.

import { CORE } from '../faults.ts';
import {
  formatResourceDescriptor,
  parseResourceDescriptor,
  type ResourceDescriptor,
  type Statement,
  type Subject,
  type UnsignedStatement,
} from './statement.ts';

export const TEST_RESULT_TYPE = 'https://in-toto.io/attestation/test-result/v0.1';

export interface TestResult {
  readonly subjects: readonly Subject[];
  readonly result: 'PASSED' | 'FAILED';
  readonly configuration: readonly ResourceDescriptor[];
  readonly passedTests: readonly string[];
  readonly failedTests: readonly string[];
}

/** Reads a statement as a test result. @throws INTOTO_TEST_RESULT_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseTestResult(statement: Statement): TestResult {
  const bad = (message: string) => CORE.reject('INTOTO_TEST_RESULT_MALFORMED', message);
  if (statement.predicateType !== TEST_RESULT_TYPE) {
    throw bad(`expected predicate type ${TEST_RESULT_TYPE}, got another`);
  }
  const predicate = statement.predicate.only('result', 'configuration', 'passedTests', 'failedTests');
  const names = (member: string) =>
    predicate
      .field(member)
      .elements()
      .map((name) => name.string());
  const [passedTests, failedTests] = [names('passedTests'), names('failedTests')];
  const result = predicate.field('result').word('PASSED', 'FAILED');
  const follows = failedTests.length > 0 ? 'FAILED' : 'PASSED';
  if (passedTests.length + failedTests.length === 0 || result !== follows) {
    throw bad(`expected at least one test and the result that follows, got ${result}`);
  }
  const configuration = predicate.field('configuration').someElements().map(parseResourceDescriptor);
  return { subjects: statement.subjects, result, configuration, passedTests, failedTests };
}

/** Builds the unsigned statement; `parseTestResult` is the inverse. */
export function buildTestResult(given: TestResult): UnsignedStatement {
  const { subjects, result, configuration, passedTests, failedTests } = given;
  return {
    subjects,
    predicateType: TEST_RESULT_TYPE,
    predicate: {
      result,
      configuration: configuration.map(formatResourceDescriptor),
      passedTests: [...passedTests],
      failedTests: [...failedTests],
    },
  };
}
