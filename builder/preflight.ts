// SPDX-License-Identifier: Apache-2.0
// Whether a sandbox can be made on this machine, and if not, why, in one message; tried before anything is fetched.

import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { quote } from '../core/faults.ts';
import type { StepSandbox } from '../core/intoto/provenance.ts';
import { probeLimits } from './control-group.ts';
import { BUILDER } from './faults.ts';
import { findTool, runTool, type ToolResult, toolMissing } from './host-tool.ts';
import { DEFAULT_LIMITS, limitingCommand } from './resource-limits.ts';
import { NAMESPACES } from './sandbox.ts';
import { requireFilter } from './seccomp.ts';
import { stageFolders } from './step-user.ts';

/** 0.8.0 is the first that can keep a step from making user namespaces of its own. */
const BUBBLEWRAP_MIN = [0, 8] as const;

/** What is the same for all steps of a build. */
export type BuildSandbox = Pick<StepSandbox, 'hermetic' | 'mechanism' | 'kernel' | 'seccomp' | 'limits'>;

/**
 * Whether a sandbox can be made here; returns what provenance says of it.
 * @throws SANDBOX_TOOL_MISSING, SANDBOX_FILTER_MISSING, SANDBOX_NAMESPACES_DENIED
 */
export async function probeSandbox(signal?: AbortSignal): Promise<BuildSandbox> {
  requireFilter();
  const [version, bounds] = await Promise.allSettled([checkBubblewrap(signal), probeLimits(signal)]);
  if (version.status === 'rejected') throw version.reason;
  if (bounds.status === 'rejected') throw bounds.reason;
  const [mechanism, limits] = [version.value, bounds.value];
  const probe = await makeSandbox(limits, signal);
  if (probe.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_NAMESPACES_DENIED',
      `expected bubblewrap to make a sandbox, got ${quote(probe.stderr.trim())}; ${await explainDenial(probe.stderr)}`,
    );
  }
  return { hermetic: true, mechanism, kernel: release(), seccomp: true, limits };
}

/** Runs nothing, in the namespaces of a step. */
async function makeSandbox(limits: BuildSandbox['limits'], signal?: AbortSignal): Promise<ToolResult> {
  const [bwrap, limiting, stage] = await Promise.all([
    findTool('bwrap'),
    limitingCommand(DEFAULT_LIMITS, limits),
    stageFolders([]),
  ]);
  const sandbox = [bwrap, ...NAMESPACES, '--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', 'true'];
  const words = [...stage.words, ...limiting, ...sandbox];
  return runTool('sh', ['-c', 'exec "$@"', 'sh', ...words], { signal });
}

async function checkBubblewrap(signal?: AbortSignal): Promise<string> {
  const version = (await runTool('bwrap', ['--version'], { signal })).stdout.toString('utf8').trim();
  const [major, minor] = (/(\d+)\.(\d+)/.exec(version)?.slice(1) ?? ['0', '0']).map(Number) as [
    number,
    number,
  ];
  const [wantMajor, wantMinor] = BUBBLEWRAP_MIN;
  if (major < wantMajor || (major === wantMajor && minor < wantMinor)) {
    throw toolMissing('bwrap', `${quote(version)}, older than 0.8.0`);
  }
  return version;
}

/** What on this machine most likely says no, and what to do about it. */
async function explainDenial(complaint: string): Promise<string> {
  const setting = async (path: string) =>
    (await readFile(`/proc/sys/${path}`, 'utf8').catch(() => '')).trim();
  // What bubblewrap says on Ubuntu, even where the setting cannot be read, as in a container.
  const asUbuntu = /setting up uid map: Permission denied|loopback: Failed RTM_NEWADDR/.test(complaint);
  if (asUbuntu || (await setting('kernel/apparmor_restrict_unprivileged_userns')) === '1') {
    return (
      'AppArmor restricts user namespaces here (Ubuntu 23.10 and later): run ' +
      '`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give bwrap an AppArmor profile with `userns,`'
    );
  }
  if ((await setting('kernel/unprivileged_userns_clone')) === '0') {
    return 'this kernel keeps user namespaces from ordinary users: run `sudo sysctl -w kernel.unprivileged_userns_clone=1`';
  }
  if ((await setting('user/max_user_namespaces')) === '0') {
    return 'no user namespace is allowed here: raise it with `sudo sysctl -w user.max_user_namespaces=10000`';
  }
  return (
    'inside a container, start that with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined ' +
    '--security-opt systempaths=unconfined`, as an ordinary user or with `--cap-add SYS_ADMIN`; or build outside it'
  );
}
