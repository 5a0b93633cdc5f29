// SPDX-License-Identifier: Apache-2.0
// What people see on GitHub: job summary and check run, as GitHub Flavored Markdown. Foreign text stands in code spans.

import type { AttestReport } from '../../cli/attest.ts';
import type { Rejection, Unavailable } from '../../core/faults.ts';

/** GitHub refuses a job summary of 1 MiB and a check run's text of 65,535 characters. */
const TEXT_LENGTH_MAX = 60_000;

/** The result of a build that is signed and stored. */
export function successMarkdown(report: AttestReport, registry: string): string {
  const [signer] = report.statements;
  const images = report.images.map(
    ({ name, sha256, sizeBytes }) => `| ${foreign(name)} | \`${sha256}\` | ${sizeBytes} |`,
  );
  const statements = report.statements.map(
    ({ name, bundleSha256, logIndex }) => `| ${foreign(name)} | \`${bundleSha256}\` | ${logIndex} |`,
  );
  const inputs =
    report.inputs === undefined
      ? []
      : [`${report.inputs.count} inputs are kept there, ${report.inputs.uploadedCount} of them new.`, ''];
  return cut(
    [
      `## ${foreign(report.product)} ${foreign(report.version)}: built and attested`,
      '',
      '| image | sha256 | bytes |',
      '|---|---|--:|',
      ...images,
      '',
      `Signed by ${foreign(signer?.identity ?? '')} (issuer ${foreign(signer?.issuer ?? '')}), ` +
        `builder ${foreign(report.builderId)}, stored at ${foreign(registry)}.`,
      '',
      ...inputs,
      '| statement | bundle sha256 | log index |',
      '|---|---|--:|',
      ...statements,
      '',
    ].join('\n'),
  );
}

/** A build that was refused or could not be done, with what to do. */
export function failureMarkdown(fault: Rejection | Unavailable): string {
  const place = fault.at === undefined ? [] : [`At: ${foreign(fault.at)}`, ''];
  return cut(
    [
      `## Waybill: \`${fault.code}\``,
      '',
      foreign(fault.message),
      '',
      ...place,
      `**What to do:** ${foreign(fault.row.remedy)}`,
      '',
    ].join('\n'),
  );
}

/** Foreign text as a code span: no markup, HTML, link or mention works in one; one line, also inside a table. */
function foreign(text: string): string {
  const plain = text.replace(/\s+/g, ' ').replace(/`/g, "'").replace(/\|/g, '\\|').trim();
  return plain === '' ? '(empty)' : `\`${plain}\``;
}

function cut(markdown: string): string {
  return markdown.length <= TEXT_LENGTH_MAX ? markdown : `${markdown.slice(0, TEXT_LENGTH_MAX)}\n\n(cut)\n`;
}
