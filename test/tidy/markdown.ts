// SPDX-License-Identifier: Apache-2.0
// The parts of Markdown pages that rules look at.

/** The page without what stands in fenced code. */
export function withoutCode(page: string): string {
  return page.replace(/^(```+)[^\n]*\n[\s\S]*?^\1[ \t]*$/gm, '');
}

/** Texts of the headings. */
export function headingsOf(page: string): string[] {
  return [...withoutCode(page).matchAll(/^#{1,6} +(.+?) *$/gm)].map((match) => match[1] ?? '');
}

/** The anchor that a code forge makes of a heading. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

/** Targets of links and pictures, code left out. */
export function linksOf(page: string): string[] {
  const prose = withoutCode(page).replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g)].map((match) => match[1] ?? '');
}

/** Lines of fenced shell code that a reader would type: comments and output left out, continued lines joined. */
export function shellLinesOf(page: string): string[] {
  const blocks = [...page.matchAll(/^```(?:sh|bash|console)[^\n]*\n([\s\S]*?)^```[ \t]*$/gm)];
  return blocks.flatMap((block) =>
    (block[1] ?? '')
      .replace(/\s*\\\n\s*/g, ' ')
      .split('\n')
      .map((line) => line.replace(/^\$ /, '').trim())
      .filter((line) => line !== '' && !line.startsWith('#')),
  );
}
