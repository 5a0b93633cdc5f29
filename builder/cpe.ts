// SPDX-License-Identifier: Apache-2.0
// CPE names, which vulnerability databases use, as formatted strings [NISTIR-7695 §6.2].

/** One of eleven attributes: letters, digits and a few marks as they are, others behind a backslash, `*` and `-` alone. */
const ATTRIBUTE = String.raw`(?:[*-]|[*?]*(?:[A-Za-z0-9._-]|\\[!-/:-@\[-\x60{-~])+[*?]*)`;
const CPE = new RegExp(String.raw`^cpe:2\.3:[aho](?::${ATTRIBUTE}){10}$`);

/** True for a well-formed CPE 2.3 formatted string. */
export function isCpe(text: string): boolean {
  return text.length <= 500 && CPE.test(text);
}
