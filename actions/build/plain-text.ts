// SPDX-License-Identifier: Apache-2.0
// The job's log is also a command channel: GitHub's runner takes a line that begins with `::`, and one with `##[` anywhere, for a
// command (actions/runner 079cdb1, ActionCommand.cs). The log of a step, which is foreign text, goes there too.

/** Text that the runner prints as it is, each line. */
export function plainText(text: string): string {
  return text.replace(/^(\s*):(?=:)/gm, '$1: ').replace(/##(?=\[)/g, '# #');
}
