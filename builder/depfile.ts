// SPDX-License-Identifier: Apache-2.0
// Depfiles, as compilers write them for make [GNU-make-4.4 §4.14]: what was read to make an object, the source first.

export interface DependencyRule {
  readonly target: string;
  /** In the file's order: the source that was compiled comes first. */
  readonly prerequisites: readonly string[];
}

/** The rules of one or of several concatenated depfiles, those without prerequisites left out. Any text has some meaning. */
export function parseDepfile(text: string): DependencyRule[] {
  const rules: DependencyRule[] = [];
  for (const line of text.replace(/\\\r?\n/g, ' ').split('\n')) {
    const words = wordsOf(line);
    // `target:`, or `target :`; a colon inside a word belongs to it.
    const colon = words.findIndex((word) => word === ':' || word.endsWith(':'));
    if (colon < 0) continue;
    const targets = words.slice(0, colon + 1).map((word) => word.replace(/:$/, ''));
    const prerequisites = words.slice(colon + 1);
    if (prerequisites.length === 0) continue;
    for (const target of targets) if (target !== '') rules.push({ target, prerequisites });
  }
  return rules;
}

/** Words of a line; a backslash takes a blank or a `#` into the word, `$$` is a dollar. */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:\\[ \t#]|[^\s])+/g) ?? [];
  return words.map((word) => word.replace(/\\([ \t#])/g, '$1').replaceAll('$$', '$'));
}
