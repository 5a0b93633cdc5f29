// SPDX-License-Identifier: Apache-2.0
// A figure that a benchmark gives: our value beside that of a rival or limit, measured in the same run.

export interface Figure {
  readonly name: string;
  readonly value: number;
  /** Unit of both values, e.g. `MiB/s`, `ms`. */
  readonly unit: string;
  /** Whether a larger or a smaller value is better. */
  readonly better: 'larger' | 'smaller';
  /** What we compare with, named with its version where it has one. */
  readonly rival: string;
  readonly rivalValue: number;
  /** Our value divided by the rival's. */
  readonly ratio: number;
  /** The ratio that we aim at. */
  readonly target: number;
  readonly met: boolean;
}

/** Makes a figure; ratio and verdict follow from the values. */
export function figure(given: Omit<Figure, 'ratio' | 'met'>): Figure {
  const ratio = given.value / given.rivalValue;
  return { ...given, ratio, met: given.better === 'larger' ? ratio >= given.target : ratio <= given.target };
}

/**
 * Makes a figure of runs that took turns with the rival's: the values are medians, and the ratio is the median of each run's ratio to
 * the rival's beside it, so that a machine that is slower at one time than at another moves it little.
 */
export function pairedFigure(
  given: Omit<Figure, 'ratio' | 'met' | 'value' | 'rivalValue'>,
  values: readonly number[],
  rivalValues: readonly number[],
): Figure {
  const ratio = median(values.map((value, i) => value / (rivalValues[i] ?? Number.NaN)));
  const met = given.better === 'larger' ? ratio >= given.target : ratio <= given.target;
  return { ...given, value: median(values), rivalValue: median(rivalValues), ratio, met };
}

/**
 * Runs per second of each function, the median of `rounds`. The functions take turns, so that a machine that slows down
 * slows both. Each round lasts at least `roundMs`.
 */
export function runsPerSecond(
  functions: readonly (() => unknown)[],
  options: { readonly rounds: number; readonly roundMs: number },
): number[] {
  const rates: number[][] = functions.map(() => []);
  // The first round warms the engine up and does not count.
  for (let round = 0; round <= options.rounds; round++) {
    functions.forEach((run, i) => {
      const rate = rateOf(run, options.roundMs);
      if (round > 0) rates[i]?.push(rate);
    });
  }
  return rates.map(median);
}

function rateOf(run: () => unknown, roundMs: number): number {
  const start = performance.now();
  let count = 0;
  let elapsed = 0;
  while (elapsed < roundMs) {
    run();
    count++;
    elapsed = performance.now() - start;
  }
  return (count / elapsed) * 1000;
}

/** The middle value; the mean of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  const lower = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}
