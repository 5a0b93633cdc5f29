// SPDX-License-Identifier: Apache-2.0
// `waybill sbom score`: how complete an SBOM is, item by item.

import type { Command } from 'commander';
import { type ScoredItem, scoreSbom } from '../builder/completeness.ts';
import { readInput } from './files.ts';
import { printJson, printLine } from './terminal.ts';

/** Names of components that are shown in the table; --json has all. */
const NAMES_SHOWN = 4;

/** Registers the command. */
export function sbomVerb(program: Command): void {
  program
    .command('sbom')
    .summary('look at an SBOM')
    .description(
      'Looks at a CycloneDX 1.6 document, of Waybill or of anybody else. Nothing is fetched or verified.',
    )
    .command('score')
    .description(
      "Compares an SBOM item by item with NTIA's minimum elements, BSI TR-03183-2 and the Cyber Resilience Act's wording. Says what is " +
        'there and who lacks it; whether it is true is for the evidence to show. Exit code 0 whatever the score.',
    )
    .argument('<file>', 'a CycloneDX 1.6 document in JSON')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill sbom score out/sboms/firmware.bin.cdx.json')
    .action(async (file: string, options: { readonly json?: true }) => {
      const standards = scoreSbom(await readInput(file));
      if (options.json === true) {
        printJson({ standards });
        return;
      }
      for (const { standard, items, met, of } of standards) {
        printLine(`${standard}: ${met} of ${of}`);
        for (const item of items) printLine(`  ${item.status.padEnd(8)} ${item.item}${detail(item)}`);
      }
    });
}

/** How many have it, and who does not. */
function detail({ status, have, of, lacking }: ScoredItem): string {
  if (status === 'beyond') return ' (no document can show it; not counted)';
  if (status === 'met' || of === 1) return '';
  const names = lacking.slice(0, NAMES_SHOWN).join(', ');
  const more = lacking.length > NAMES_SHOWN ? ` and ${lacking.length - NAMES_SHOWN} more` : '';
  return `: ${have} of ${of}, without ${names}${more}`;
}
