// SPDX-License-Identifier: Apache-2.0
// QuickJS in WebAssembly as a device would embed it: the verifier's file is evaluated, octets are handed over, and one function is called.

import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { newQuickJSWASMModule, type QuickJSContext, type QuickJSWASMModule } from 'quickjs-emscripten';
import { bundleVerifier } from '../../scripts/bundle-device.ts';
import type { Recorded } from './recorded.ts';

/** How one verification went. */
export interface Run {
  /** Evaluating the verifier's file; milliseconds of processor time of this thread. */
  readonly loadCpuMs: number;
  readonly wallMs: number;
  readonly cpuMs: number;
  /** What was verified, in words. */
  readonly said: string;
}

export interface RunOptions {
  /** Whether the host gives SHA-256. */
  readonly hostHashes: boolean;
}

/** An engine with its scripts, and one release. */
export class ReleaseInQuickJs {
  private readonly quickJs: QuickJSWASMModule;
  private readonly scripts: readonly string[];
  private readonly recorded: Recorded;

  private constructor(quickJs: QuickJSWASMModule, scripts: readonly string[], recorded: Recorded) {
    this.quickJs = quickJs;
    this.scripts = scripts;
    this.recorded = recorded;
  }

  static async prepare(recorded: Recorded): Promise<ReleaseInQuickJs> {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL('verify-release.ts', import.meta.url))],
      bundle: true,
      platform: 'neutral',
      target: 'es2022',
      format: 'iife',
      globalName: 'device',
      minify: true,
      write: false,
      logLevel: 'silent',
    });
    const verifier = Buffer.from((await bundleVerifier()).bytes).toString();
    const quickJs = await newQuickJSWASMModule();
    return new ReleaseInQuickJs(quickJs, [verifier, outputFiles[0]?.text ?? ''], recorded);
  }

  /** Verifies the release in a new engine. @throws if it is refused */
  verify({ hostHashes }: RunOptions): Run {
    using runtime = this.quickJs.newRuntime();
    using context = runtime.newContext();
    return this.verifyIn(context, hostHashes);
  }

  /**
   * How much more memory of its WebAssembly instance an engine has written to at the end than when it was idle, in bytes: the verifier's file,
   * what was handed over, and everything in between.
   */
  async memoryBytes(): Promise<number> {
    // Memory of an instance of its own is zero until it is written to, and is used from its start.
    const quickJs = await newQuickJSWASMModule();
    using runtime = quickJs.newRuntime();
    using context = runtime.newContext();
    const idle = highestWritten(quickJs.getWasmMemory());
    this.verifyIn(context, false);
    return highestWritten(quickJs.getWasmMemory()) - idle;
  }

  private verifyIn(context: QuickJSContext, hostHashes: boolean): Run {
    if (hostHashes) giveSha256(context);
    const loadStarted = cpuMs();
    for (const script of this.scripts) context.unwrapResult(context.evalCode(script)).dispose();
    const loadCpuMs = cpuMs() - loadStarted;
    handOver(context, this.recorded);
    const [wallStarted, cpuStarted] = [performance.now(), cpuMs()];
    const result = context.evalCode('device.verifyRelease(release)');
    const [wallMs, spentMs] = [performance.now() - wallStarted, cpuMs() - cpuStarted];
    const said = context.unwrapResult(result).consume((text) => context.getString(text));
    return { loadCpuMs, wallMs, cpuMs: spentMs, said };
  }
}

/** The end of what was ever written to. */
function highestWritten({ buffer }: { readonly buffer: ArrayBuffer }): number {
  const words = new Uint32Array(buffer);
  let end = words.length;
  while (end > 0 && words[end - 1] === 0) end--;
  return 4 * end;
}

function giveSha256(context: QuickJSContext): void {
  using sha256 = context.newFunction('hostSha256', (data) => {
    using octets = context.getArrayBuffer(data);
    const digest = createHash('sha256').update(octets.value).digest();
    return context.newArrayBuffer(new Uint8Array(digest).buffer);
  });
  context.setProp(context.global, 'hostSha256', sha256);
}

function handOver(context: QuickJSContext, { product, root, files, nowMs }: Recorded): void {
  using release = context.newObject();
  using list = context.newObject();
  const octets = (bytes: Uint8Array) => context.newArrayBuffer(new Uint8Array(bytes).buffer);
  for (const [path, bytes] of files) octets(bytes).consume((file) => context.setProp(list, path, file));
  octets(root).consume((file) => context.setProp(release, 'root', file));
  context.newString(product).consume((text) => context.setProp(release, 'product', text));
  context.newNumber(nowMs).consume((time) => context.setProp(release, 'nowMs', time));
  context.setProp(release, 'files', list);
  context.setProp(context.global, 'release', release);
}

/** Milliseconds of processor time of this thread: others on the machine count for little. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
