// SPDX-License-Identifier: Apache-2.0
// SPDX licence expressions [SPDX-3.0.1 §Annex B]: read, so that a mistake is found where it is written, and joined.

import { isSupportedSpdxId } from '@cyclonedx/cyclonedx-library/SPDX';

const TOKEN = /\s*(\(|\)|[A-Za-z0-9.:+-]+)/y;
const REFERENCE = /^(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+$/;

/** True for an expression of listed identifiers and LicenseRefs, with AND, OR, WITH and parentheses. */
export function isLicenceExpression(text: string): boolean {
  const tokens = tokensOf(text);
  if (tokens === undefined || tokens.length > 200) return false;
  let at = 0;
  const simple = (): boolean => {
    const token = tokens[at++] ?? '';
    if (token === '(') return expression() && tokens[at++] === ')';
    if (!REFERENCE.test(token) && !isSupportedSpdxId(token.replace(/\+$/, ''))) return false;
    if (tokens[at] !== 'WITH') return true;
    at += 2;
    return /^[A-Za-z][A-Za-z0-9.-]+$/.test(tokens[at - 1] ?? '');
  };
  const expression = (): boolean => {
    if (!simple()) return false;
    while (tokens[at] === 'AND' || tokens[at] === 'OR') {
      at++;
      if (!simple()) return false;
    }
    return true;
  };
  return expression() && at === tokens.length;
}

function tokensOf(text: string): string[] | undefined {
  const tokens: string[] = [];
  const token = new RegExp(TOKEN);
  const trimmed = text.trimEnd();
  while (token.lastIndex < trimmed.length) {
    const found = token.exec(trimmed);
    if (found === null) return undefined;
    tokens.push(found[1] as string);
  }
  return tokens;
}

/** Files under each of these licences are in one component: all hold. Sorted, each once; undefined for none. */
export function joinLicences(expressions: Iterable<string>): string | undefined {
  const each = [...new Set(expressions)].sort();
  if (each.length < 2) return each[0];
  return each.map((one) => (/ OR /.test(one) ? `(${one})` : one)).join(' AND ');
}
