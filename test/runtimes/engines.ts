// SPDX-License-Identifier: Apache-2.0
// Three engines, each bare: Node without anything of Node, QuickJS, headless Chromium. Each evaluates scripts in order and calls a function.

import { createContext, runInContext } from 'node:vm';
import { chromium } from 'playwright-core';
import { getQuickJS } from 'quickjs-emscripten';

/** Where Debian has the browser; `chromium` of scripts/debian-packages.json. */
export const CHROMIUM = '/usr/bin/chromium';

/** Scripts that an engine evaluates in order, then the text that `replay.replay` gets. */
export interface Task {
  readonly scripts: readonly string[];
  readonly questions: string;
}

/** An engine: runs a task and returns what `replay.replay` returned. */
export type Engine = (task: Task) => Promise<string>;

/** V8 in a context that has the language and nothing of Node. */
export const inNode: Engine = async ({ scripts, questions }) => {
  const context = createContext({ questions });
  for (const script of scripts) runInContext(script, context);
  return runInContext('replay.replay(questions)', context);
};

/** QuickJS in WebAssembly; on its own it has no clock but Date, no console, no text encoder. */
export const inQuickJs: Engine = async ({ scripts, questions }) => {
  const quickJs = await getQuickJS();
  using runtime = quickJs.newRuntime();
  runtime.setMemoryLimit(64 * 1024 * 1024);
  using context = runtime.newContext();
  for (const script of scripts) context.unwrapResult(context.evalCode(script)).dispose();
  context.newString(questions).consume((text) => context.setProp(context.global, 'questions', text));
  using answers = context.unwrapResult(context.evalCode('replay.replay(questions)'));
  return context.getString(answers);
};

/** A page of its own without an address, in Debian's Chromium. */
export const inChromium: Engine = async ({ scripts, questions }) => {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Root has no sandbox of Chromium's; nothing but these scripts is loaded.
    chromiumSandbox: process.getuid?.() !== 0,
    args: ['--disable-gpu'],
  });
  try {
    const page = await browser.newPage();
    for (const content of scripts) await page.addScriptTag({ content });
    return await page.evaluate(`replay.replay(${JSON.stringify(questions)})`);
  } finally {
    await browser.close();
  }
};
