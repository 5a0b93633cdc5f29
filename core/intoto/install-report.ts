// SPDX-License-Identifier: Apache-2.0
// What a device says after an update attempt [docs/spec/install-report.md]: an in-toto Statement v1 signed with the device key.

import { CORE } from '../faults.ts';
import type { Statement, UnsignedStatement } from './statement.ts';

export const INSTALL_REPORT_TYPE = 'https://waybill.example/predicates/install-report/v1';

export interface InstallReport {
  readonly deviceId: string;
  readonly product: string;
  /** Grows by one with each report; the registry refuses one that it has seen. */
  readonly counter: number;
  /** `installed`: the new image runs. `refused`: nothing was changed. `withdrawn`: a denial names the installed image. */
  readonly outcome: 'installed' | 'refused' | 'withdrawn';
  /** Digest of the image in the active slot now. */
  readonly imageSha256: string;
  /** Digest of the image that was active before; absent on the first report. */
  readonly previousSha256?: string;
  readonly version: string;
  /** Code of the first broken link, for `refused` and `withdrawn`. */
  readonly code?: string;
  /** Milliseconds since 1970 by the device's clock. */
  readonly reportedAtMs: number;
}

/** Reads a statement as a report. @throws INSTALL_REPORT_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseInstallReport(statement: Statement): InstallReport {
  const bad = (message: string) => CORE.reject('INSTALL_REPORT_MALFORMED', message);
  if (statement.predicateType !== INSTALL_REPORT_TYPE) {
    throw bad(`expected predicate type ${INSTALL_REPORT_TYPE}, got another`);
  }
  const [subject, ...more] = statement.subjects;
  if (subject === undefined || more.length > 0) throw bad('expected exactly one subject, the active image');
  const predicate = statement.predicate;
  predicate.only(
    'deviceId',
    'product',
    'counter',
    'outcome',
    'previousSha256',
    'version',
    'code',
    'reportedAt',
  );
  const previous = predicate.optional('previousSha256');
  const code = predicate.optional('code');
  return {
    deviceId: predicate.field('deviceId').string(),
    product: predicate.field('product').string(),
    counter: predicate.field('counter').integer(1),
    outcome: predicate.field('outcome').word('installed', 'refused', 'withdrawn'),
    imageSha256: subject.sha256,
    ...(previous === undefined ? {} : { previousSha256: previous.sha256() }),
    version: predicate.field('version').string(),
    ...(code === undefined ? {} : { code: code.matching(/^[A-Z][A-Z0-9_]{2,63}$/, 'a code') }),
    reportedAtMs: predicate.field('reportedAt').instantMs(),
  };
}

/** Builds the unsigned report; `reportedAt` is the RFC 3339 form of `reportedAtMs`. */
export function buildInstallReport(report: InstallReport, reportedAt: string): UnsignedStatement {
  const { imageSha256, reportedAtMs: _, ...rest } = report;
  return {
    subjects: [{ name: report.product, sha256: imageSha256 }],
    predicateType: INSTALL_REPORT_TYPE,
    predicate: { ...rest, reportedAt },
  };
}
