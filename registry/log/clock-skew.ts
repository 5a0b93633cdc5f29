// SPDX-License-Identifier: Apache-2.0
// How far a witness's clock is off [docs/spec/witness.md §Time], in words.

const MINUTE_MS = 60_000;

/** "3 h 5 min ahead", "2 days behind": at most two units. @param skewMs its time less ours */
export function describeSkew(skewMs: number): string {
  const minutes = Math.round(Math.abs(skewMs) / MINUTE_MS);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60)];
  const parts = [
    days === 0 ? '' : `${days} ${days === 1 ? 'day' : 'days'}`,
    hours === 0 ? '' : `${hours} h`,
    minutes % 60 === 0 ? '' : `${minutes % 60} min`,
  ].filter((part) => part !== '');
  return `${parts.slice(0, 2).join(' ') || 'less than a minute'} ${skewMs < 0 ? 'behind' : 'ahead'}`;
}
