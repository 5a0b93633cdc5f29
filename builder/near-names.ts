// SPDX-License-Identifier: Apache-2.0
// Names that somebody may have meant who wrote another.

const TOLD_MAX = 3;

/** The nearest first, three at most: those that two slips of the pen or fewer lead to, and one in a short name. */
export function nearNames(name: string, known: Iterable<string>): string[] {
  const most = name.length < 5 ? 1 : 2;
  const near: { readonly other: string; readonly slips: number }[] = [];
  for (const other of new Set(known)) {
    const slips = Math.abs(other.length - name.length) > most ? most + 1 : countSlips(name, other);
    if (slips > 0 && slips <= most) near.push({ other, slips });
  }
  near.sort((a, b) => a.slips - b.slips || (a.other < b.other ? -1 : 1));
  return near.slice(0, TOLD_MAX).map(({ other }) => other);
}

/** Letters left out, put in, taken for another, or swapped with the next, that make one of the other: optimal string alignment. */
function countSlips(a: string, b: string): number {
  let [before, last]: number[][] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const ways = [at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (same ? 0 : 1)];
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) ways.push(at(before, j - 2) + 1);
      row.push(Math.min(...ways));
    }
    [before, last] = [last, row];
  }
  return at(last, b.length);
}

const at = (row: readonly number[] | undefined, i: number): number => row?.[i] as number;
