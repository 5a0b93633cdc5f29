// SPDX-License-Identifier: Apache-2.0
// Takes every piece of a secret out of foreign text [docs/spec/attest.md §Secrets]: a server may echo a token whole or cut.

/** Shorter runs than this occur by chance and tell nothing. */
const RUN_MIN = 8;

/** The text with each run of 8 or more characters that also stands in the secret replaced by `[token]`. */
export function redact(text: string, secret: string): string {
  let out = '';
  let at = 0;
  while (at < text.length) {
    let end = at + RUN_MIN;
    if (end <= text.length && secret.includes(text.slice(at, end))) {
      while (end < text.length && secret.includes(text.slice(at, end + 1))) end++;
      out += '[token]';
      at = end;
    } else out += text.charAt(at++);
  }
  return out;
}
