// SPDX-License-Identifier: Apache-2.0
// The map file of GNU ld [binutils-2.26 ld §-Map]: which input sections of which objects were placed where.

import { BUILDER } from './faults.ts';

/** What one object (or archive member) put into the image. */
export interface Contribution {
  readonly outputSection: string;
  readonly inputSection: string;
  readonly address: number;
  readonly sizeBytes: number;
  /** As the linker named it: `main.o`, `/usr/lib/…/libgcc.a(_mulsi3.o)`. */
  readonly object: string;
}

const START = 'Linker script and memory map';
const OUTPUT_SECTION = /^(\.[^\s]+|[A-Za-z_][^\s]*)(?:\s+0x[0-9a-f]+\s+0x[0-9a-f]+.*)?$/;
const INPUT_SECTION = /^ ([^\s*][^\s]*)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (.+)$/;
const LONG_NAME = /^ ([^\s*(][^\s]*)$/;

/** The contributions that remain in the link, those of size zero left out. @throws SBOM_EVIDENCE_MALFORMED */
export function parseLinkerMap(text: string): Contribution[] {
  const start = text.indexOf(START);
  if (start < 0) {
    throw BUILDER.reject('SBOM_EVIDENCE_MALFORMED', `expected a map with "${START}", got another file`);
  }
  const contributions: Contribution[] = [];
  let outputSection = '';
  let longName = '';
  // What stands before the start are discarded sections and archive members: nothing of those is in the image.
  for (const raw of text.slice(start + START.length).split('\n')) {
    // A long section name has a line of its own; what belongs to it follows, indented.
    const line = longName === '' ? raw : ` ${longName}${raw}`;
    longName = LONG_NAME.exec(raw)?.[1] ?? '';
    if (longName !== '') continue;
    const input = INPUT_SECTION.exec(line);
    if (input !== null) {
      const sizeBytes = Number.parseInt(input[3] as string, 16);
      if (sizeBytes === 0) continue;
      contributions.push({
        outputSection,
        inputSection: input[1] as string,
        address: Number.parseInt(input[2] as string, 16),
        sizeBytes,
        object: (input[4] as string).trim(),
      });
    } else if (!raw.startsWith(' ')) {
      outputSection = OUTPUT_SECTION.exec(raw)?.[1] ?? outputSection;
    }
  }
  return contributions;
}

/** Objects of which the linker left something out (--gc-sections): their debug information still speaks of it. */
export function objectsWithDiscards(text: string): Set<string> {
  const objects = new Set<string>();
  const start = text.indexOf('Discarded input sections');
  if (start < 0) return objects;
  const end = text.indexOf('Memory Configuration', start);
  const part = text.slice(start, end < 0 ? text.indexOf(START, start) : end);
  // The name of a section may have a line of its own.
  for (const line of part.split('\n')) {
    const match = /\s0x[0-9a-f]+\s+0x([0-9a-f]+) (.+)$/.exec(line);
    if (match !== null && !/^0+$/.test(match[1] as string)) objects.add((match[2] as string).trim());
  }
  return objects;
}
