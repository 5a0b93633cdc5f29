// SPDX-License-Identifier: Apache-2.0
// Programs that were run by a relative name, `./tool` [docs/spec/audit.md §Trace]. strace says with other calls which folder a process is in,
// with execve it does not; and it knows children by other numbers than their parents do, so nobody's folder can be told by that of a parent.

/** A call in which the kernel says where the process is. */
const IS_IN = /^[a-z0-9_]+\(AT_FDCWD<((?:[^>\\]|\\.)*)>/;
/** A process goes elsewhere: `chdir("name")` or `fchdir(3<path>)`. */
const MOVED = /^f?chdir\((?:"((?:[^"\\]|\\.)*)"|\d+<((?:[^>\\]|\\.)*)>(?:\(deleted\))?)\) += 0$/;

/** A step may run and enter what it likes; nobody's tools are so many. */
const UNTOLD_MAX = 10_000;

/** Where a process is, if that is known, and what it ran there before that was. */
interface Process {
  folder: string | undefined;
  waiting: string[];
}

/**
 * Finds the folder that each name starts in: that in which the process was told to be before, or is next. One that ended untold may have been in any
 * in which others were: programs that open nothing, and are linked statically.
 */
export class RelativeRuns {
  readonly #processes = new Map<string, Process>();
  readonly #folders = new Set<string>();
  readonly #paths = new Set<string>();
  readonly #untold = new Set<string>();

  /** A call, in the order of the log; `name` if it ran a program by that relative name. Both as strace writes them. */
  add(pid: string, text: string, name?: string): void {
    const process = this.#processes.get(pid) ?? { folder: undefined, waiting: [] };
    this.#processes.set(pid, process);
    const folder = IS_IN.exec(text)?.[1];
    if (folder !== undefined) this.#isIn(process, folder);
    if (name !== undefined) {
      if (process.folder === undefined) process.waiting.push(name);
      else this.#paths.add(`${process.folder}/${name}`);
    }
    const moved = MOVED.exec(text);
    if (moved !== null) {
      this.#giveUp(process);
      const to = moved[1] ?? moved[2] ?? '';
      // A relative one may go through links: the next call will tell.
      process.folder = to.startsWith('/') ? to : undefined;
      if (process.folder !== undefined) this.#folders.add(process.folder);
    } else if (text.startsWith('+++ ')) {
      this.#giveUp(process);
      this.#processes.delete(pid);
    }
  }

  /** Paths, not normalised: `..` in them is that of where a link leads. */
  result(): string[] {
    for (const process of this.#processes.values()) this.#giveUp(process);
    const paths = new Set(this.#paths);
    for (const name of this.#untold) {
      for (const folder of this.#folders) {
        if (paths.size >= this.#paths.size + UNTOLD_MAX) return [...paths];
        paths.add(`${folder}/${name}`);
      }
    }
    return [...paths];
  }

  #isIn(process: Process, folder: string): void {
    process.folder = folder;
    this.#folders.add(folder);
    for (const name of process.waiting.splice(0)) this.#paths.add(`${folder}/${name}`);
  }

  #giveUp({ waiting }: Process): void {
    for (const name of waiting.splice(0)) this.#untold.add(name);
  }
}
