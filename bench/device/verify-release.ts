// SPDX-License-Identifier: Apache-2.0
// What runs inside QuickJS: a release verified from the factory's root to every link of its pack, as a device with nothing but the verifier's file
// does it. The host gives octets, and hashes if it can.

import type * as Verifier from '../../core/portable.ts';
import type { TufRequest, TufSteps } from '../../core/tuf/workflow.ts';

declare const waybillVerifier: typeof Verifier;
/** SHA-256 of the host, if it gives one. */
declare const hostSha256: ((data: ArrayBuffer) => ArrayBuffer) | undefined;

const v = waybillVerifier;

export interface Release {
  readonly product: string;
  readonly root: ArrayBuffer;
  readonly files: Readonly<Record<string, ArrayBuffer>>;
  readonly nowMs: number;
}

/** Verifies it; returns a line about what was verified. @throws Rejection */
export function verifyRelease({ product, root, files, nowMs }: Release): string {
  const counts = { p256: 0, ed25519: 0 };
  const crypto = counting(counts);
  const kept = new Map<string, Uint8Array>();
  const file = (path: string) => (files[path] === undefined ? undefined : new Uint8Array(files[path]));
  const answer = (request: TufRequest): Uint8Array | undefined => {
    if (request.kind === 'fetch') return file(request.path);
    const place = `${request.role} ${request.copy}`;
    if (request.kind === 'read') return kept.get(place);
    if (request.kind === 'write') kept.set(place, request.bytes);
    else kept.delete(place);
    return undefined;
  };
  const run = <T>(steps: TufSteps<T>): T => {
    let step = steps.next();
    while (step.done !== true) step = steps.next(answer(step.value));
    return step.value;
  };
  const workflow = run(v.Workflow.open(new Uint8Array(root), { nowMs, crypto }));
  run(workflow.refresh());
  const targets = workflow.role('targets');
  const own = run(workflow.load(`releases-${product}`, targets.signed));
  const target = (role: typeof targets, name: string): Uint8Array => {
    const found = v.verifiedTarget(role, name, workflow.root.signed);
    const bytes = file(`targets/${decodeURIComponent(found.path)}`);
    if (bytes === undefined) throw new Error(`no file ${found.path}`);
    v.checkTargetBytes(found, bytes, crypto);
    return bytes;
  };
  const logs = v.parseLogPolicy(target(targets, 'tlog-policy'), crypto);
  const policy = v.parseDevicePolicy(target(targets, `device-policy/${product}.json`));
  const trustedRoot = target(targets, 'trusted_root.json');
  const index = v.parseReleaseIndex(target(own, `packs/${product}/releases.json`));
  const release = index.releases.at(-1);
  if (release === undefined) throw new Error('no release');
  const verifier = v.attestationVerifier({ trustedRoot, keys: [policy.gate.publicKey] }, crypto);
  const { version, image } = release;
  const question = {
    trust: { policy, logPolicy: logs, verifier },
    release: { version, imageSha256: image.sha256, imageSizeBytes: image.sizeBytes },
    nowMs,
  };
  const { bundles } = v.verifyPack(target(own, release.pack.name), question, crypto);
  return JSON.stringify({ bundles: bundles.length, ...counts });
}

/** The crypto of this engine, counting its signature checks. */
function counting(counts: { p256: number; ed25519: number }): typeof v.portableCrypto {
  const hashed = typeof hostSha256 === 'function' ? { sha256: hashedByHost(hostSha256) } : {};
  const own = v.cryptoOver({ ...v.portableHashes, ...hashed });
  const counted =
    <A extends unknown[]>(kind: 'p256' | 'ed25519', check: (...args: A) => boolean) =>
    (...args: A): boolean => {
      counts[kind]++;
      return check(...args);
    };
  return {
    ...own,
    verifyP256: counted('p256', own.verifyP256),
    verifyP256Digest: counted('p256', own.verifyP256Digest ?? own.verifyP256),
    verifyEcdsa: counted('p256', own.verifyEcdsa),
    verifyEd25519: counted('ed25519', own.verifyEd25519),
  };
}

function hashedByHost(hash: (data: ArrayBuffer) => ArrayBuffer) {
  return (data: Uint8Array) => new Uint8Array(hash(data.slice().buffer as ArrayBuffer));
}
