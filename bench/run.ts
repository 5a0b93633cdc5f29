// SPDX-License-Identifier: Apache-2.0
// `npm run bench [area…]`: runs one file for each area, prints its figures and writes bench/results/<area>.json.

import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { basename } from 'node:path';
import type { Figure } from './figure.ts';

const HERE = new URL('./', import.meta.url);
const NOT_AREAS = ['run.ts', 'figure.ts'];

const areas = globSync('*.ts', { cwd: HERE })
  .filter((name) => !NOT_AREAS.includes(name))
  .map((name) => basename(name, '.ts'))
  .sort();

function table(figures: readonly Figure[]): string {
  const header = ['figure', 'value', 'unit', 'rival', 'rival value', 'ratio', 'target', ''];
  const rows = figures.map((f) => [
    f.name,
    format(f.value),
    f.unit,
    f.rival,
    format(f.rivalValue),
    format(f.ratio),
    `${f.better === 'larger' ? '≥' : '≤'} ${format(f.target)}`,
    f.met ? 'met' : 'NOT MET',
  ]);
  const widths = header.map((title, i) =>
    Math.max(...[header, ...rows].map((row) => (row[i] ?? title).length)),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Three significant digits, without an exponent. */
function format(value: number): string {
  return value >= 100 ? Math.round(value).toString() : value.toPrecision(3);
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((area) => !areas.includes(area));
if (unknown.length > 0) {
  process.stderr.write(`expected areas among ${areas.join(', ')}, got ${unknown.join(', ')}\n`);
  process.exit(2);
}
const results = new URL('results/', HERE);
mkdirSync(results, { recursive: true });
const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: availableParallelism() };
process.stdout.write(`Node ${machine.node}, ${machine.cores} × ${machine.cpu}\n`);
for (const area of wanted.length > 0 ? wanted : areas) {
  process.stderr.write(`  measuring ${area} …\n`);
  const { bench } = (await import(new URL(`${area}.ts`, HERE).href)) as { bench: () => Promise<Figure[]> };
  const figures = await bench();
  process.stdout.write(`\n${area}\n${table(figures)}\n`);
  const file = new URL(`${area}.json`, results);
  writeFileSync(file, `${JSON.stringify({ area, machine, figures }, null, 2)}\n`);
}
