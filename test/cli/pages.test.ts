// SPDX-License-Identifier: Apache-2.0
// Every `waybill …` that a page, a remedy or an example tells people to type is one that the command line knows.

import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { commandLine } from '../../cli/main.ts';
import { shellLinesOf, withoutCode } from '../tidy/markdown.ts';
import { readTree } from '../tidy/tree.ts';
import { leaves, say } from './command-line.ts';

const program = await commandLine('0.0.0');

/** Splits a line as a shell would, as far as our pages need: quotes, and nothing after a pipe, `&` or comment. */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)) {
    if (/^([|&;><]|[12]?>|#)/.test(word)) break;
    words.push(word.replace(/["']/g, '').replace(/;$/, ''));
  }
  return words;
}

/** What is wrong with a command line; `whole` asks for everything that is required, too. */
function lineFault(line: string, whole: boolean): string | undefined {
  let command: Command = program;
  let words = wordsOf(line).slice(1);
  for (;;) {
    const next = command.commands.find((child) => child.name() === words[0]);
    if (next === undefined) break;
    command = next;
    words = words.slice(1);
  }
  if (command === program && words[0] !== undefined && !words[0].startsWith('-'))
    return `no verb ${words[0]}`;
  if (words.includes('--help') || words.includes('--version')) return undefined;
  const given = new Set<string>();
  let values = 0;
  for (let i = 0; i < words.length; i++) {
    const [name = ''] = (words[i] ?? '').split('=');
    if (!/^--?[a-z]/.test(name)) {
      values++;
      continue;
    }
    const option = command.options.find((known) => known.long === name || known.short === name);
    if (option === undefined) return `${command.name()} has no option ${name}`;
    given.add(option.long ?? name);
    if (!option.isBoolean() && !words[i]?.includes('=')) {
      i++;
      while (option.variadic && words[i + 1] !== undefined && !words[i + 1]?.startsWith('-')) i++;
    }
  }
  if (command.commands.length > 0 && values > 0) return `${command.name()} has no command ${words[0]}`;
  if (values > command.registeredArguments.length) return `${command.name()} takes fewer arguments`;
  if (!whole) return undefined;
  const missing = command.options.find((option) => option.mandatory && !given.has(option.long ?? ''));
  if (missing !== undefined) return `${command.name()} needs ${missing.flags}`;
  const required = command.registeredArguments.filter((argument) => argument.required).length;
  if (command.commands.length > 0 || values < required) return `${command.name()} needs more arguments`;
  return undefined;
}

/** Command lines in fenced shell code: people copy them whole. */
function wholeLines(page: string): string[] {
  return shellLinesOf(page)
    .map((line) => line.replace(/^npx /, ''))
    .filter((line) => /^waybill(\s|$)/.test(line));
}

/** Mentions in inline code, often without all options. */
function mentions(text: string): string[] {
  return [...text.matchAll(/`(?:npx )?(waybill [^`\n]+)`/g)].map((match) => match[1] ?? '');
}

test('the rule bites', () => {
  expect(lineFault('waybill --help', true)).toBeUndefined();
  expect(lineFault('waybill nonsense', false)).toBe('no verb nonsense');
  expect(lineFault('waybill gate --nonsense', false)).toBe('gate has no option --nonsense');
  expect(lineFault('waybill gate', false)).toBeUndefined();
  expect(lineFault('waybill gate', true)).toMatch(/^gate needs --/);
  expect(lineFault('waybill device nonsense', false)).toBe('device has no command nonsense');
  expect(lineFault('waybill attest a b', false)).toBe('attest takes fewer arguments');
  expect(lineFault("waybill attest 'a b' --json | cat x y", false)).toBeUndefined();
  expect(wholeLines('```sh\nnpx waybill gate \\\n  --json\n```\n')).toEqual(['waybill gate --json']);
  expect(mentions('run `waybill gate` or `npx waybill key`')).toEqual(['waybill gate', 'waybill key']);
});

const tree = readTree();

test('command lines in fenced code of pages are whole', () => {
  const faults = tree
    .filter((file) => file.path.endsWith('.md'))
    .flatMap((file) => wholeLines(file.text).map((line) => [file.path, line, lineFault(line, true)] as const))
    .filter(([, , fault]) => fault !== undefined);
  expect(faults.map((parts) => parts.join(': '))).toEqual([]);
});

test('commands mentioned in pages and remedies exist', () => {
  const faults = tree
    .filter((file) => file.path.endsWith('.md') || /faults\.ts$/.test(file.path))
    .flatMap((file) =>
      mentions(withoutCode(file.text)).map((line) => [file.path, line, lineFault(line, false)] as const),
    )
    .filter(([, , fault]) => fault !== undefined);
  expect(faults.map((parts) => parts.join(': '))).toEqual([]);
});

test('the examples that --help shows are whole', async () => {
  const groups = program.commands.filter((command) => command.commands.length > 0).map((c) => [c.name()]);
  const verbs = [...groups, ...leaves(program).map(({ words }) => [...words])];
  const examples: string[] = [];
  for (const words of verbs) {
    const [, shown = ''] = (await say([...words, '--help'])).out.split(/^Examples?:$/m);
    const joined = shown.replace(/\s*\\\n\s*/g, ' ').split('\n');
    examples.push(
      ...joined.map((line) => line.trim().replace(/^\$ /, '')).filter((line) => line.startsWith('waybill ')),
    );
  }
  expect(examples.length).toBeGreaterThanOrEqual(program.commands.length);
  expect(
    examples.map((line) => [line, lineFault(line, true)]).filter(([, fault]) => fault !== undefined),
  ).toEqual([]);
});
