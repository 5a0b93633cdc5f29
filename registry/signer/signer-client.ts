// SPDX-License-Identifier: Apache-2.0
// A key that another process holds [docs/spec/signer.md §Protocol], reached over a Unix socket.

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { Agent, request } from 'node:http';
import { quote, Unavailable } from '../../core/faults.ts';
import { sameBytes } from '../../core/tlog/merkle.ts';
import { checkOwnerWrites, readTrustFile } from '../trust/files.ts';
import { isThere, keyPath, type Service, signerPath } from '../trust/instances.ts';
import { TRUST } from '../trust-faults.ts';

/** A key elsewhere: P-256 for certificates, timestamps and certificate logs, Ed25519 for signature logs. */
export interface DistantSigner {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** DER ECDSA with SHA-256, or 64 octets of Ed25519. @throws SIGNER_UNREACHABLE, SIGNER_ANSWER_WRONG */
  readonly sign: (data: Uint8Array) => Promise<Uint8Array>;
  /** Asks for the key anew, once a second at most. @throws SIGNER_UNREACHABLE, SIGNER_ANSWER_WRONG */
  readonly checkReachable: () => Promise<void>;
}

/** How long a signature may take. Clients of the services give up after five seconds. */
const TIMEOUT_MS = 4000;
/** Who asks whether the server is ready waits for a second or so. */
const CHECK_TIMEOUT_MS = 1000;
const CHECK_AGE_MS = 1000;
const ANSWER_BYTES_MAX = 4096;

/**
 * Opens the signer of an instance, if the data folder names one in place of a key.
 * @throws CA_FILES_UNREADABLE, CA_KEY_EXPOSED, SIGNER_UNREACHABLE, SIGNER_ANSWER_WRONG
 */
export async function openSigner(
  folder: string,
  service: Service,
  instance: number,
): Promise<DistantSigner | undefined> {
  const path = signerPath(folder, service, instance);
  if (!(await isThere(path))) return undefined;
  if (await isThere(keyPath(folder, service, instance))) {
    const at = keyPath(folder, service, instance);
    throw TRUST.reject(
      'CA_FILES_UNREADABLE',
      `expected a key or a signer, found ${quote(path)} beside it: move one of the two away`,
      { at },
    );
  }
  await checkOwnerWrites(path, 'the name of a signer');
  const socket = (await readTrustFile(path)).trim();
  if (!/^\/[^\0\n]{1,100}$/.test(socket)) {
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected the path of a socket in ${quote(path)}`, {
      at: path,
    });
  }
  return connectSigner(socket, service).catch((cause: unknown) => {
    if (!(cause instanceof Unavailable)) throw cause;
    throw new Unavailable(cause.code, cause.row, cause.message, { at: path, cause });
  });
}

/** Learns the key of the signer at a socket. @throws SIGNER_UNREACHABLE, SIGNER_ANSWER_WRONG */
export async function connectSigner(socket: string, service: Service): Promise<DistantSigner> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const whom = { socket, service };
  const ask = (method: string, path: string, body?: Uint8Array, timeoutMs = TIMEOUT_MS) =>
    exchange({ agent, whom, method, path, body, timeoutMs });
  const spki = await ask('GET', `/${service}/key`);
  const key = readKey(spki, whom);
  const check = async () => {
    const now = await ask('GET', `/${service}/key`, undefined, CHECK_TIMEOUT_MS);
    if (!sameBytes(now, spki)) throw wrong(whom, 'another key');
  };
  let checked: { readonly sinceMs: number; readonly result: Promise<void> } | undefined;
  return {
    spki,
    checkReachable() {
      // Whoever asks for readiness, and however often, asks the signer once.
      if (checked === undefined || performance.now() - checked.sinceMs > CHECK_AGE_MS) {
        checked = { sinceMs: performance.now(), result: check() };
      }
      return checked.result;
    },
    async sign(data) {
      const signature = await ask('POST', `/${service}/sign`, data);
      // A signer that was started anew with another key would make evidence that nobody accepts.
      if (verify(service === 'log' ? null : 'sha256', data, key, signature)) return signature;
      throw wrong(whom, 'a signature by another key');
    },
  };
}

function readKey(spki: Uint8Array, whom: Whom): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    // No key.
  }
  const isFit =
    whom.service === 'log'
      ? key?.asymmetricKeyType === 'ed25519'
      : key?.asymmetricKeyDetails?.namedCurve === 'prime256v1';
  if (key === undefined || !isFit) throw wrong(whom, 'no key of the kind that the service signs with');
  return key;
}

/** Who is asked. */
interface Whom {
  readonly socket: string;
  readonly service: Service;
}

interface Exchange {
  readonly agent: Agent;
  readonly whom: Whom;
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array | undefined;
  readonly timeoutMs: number;
}

function exchange({ agent, whom, method, path, body, timeoutMs }: Exchange): Promise<Uint8Array> {
  const headers =
    body === undefined ? {} : { 'content-type': 'application/octet-stream', 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(cause instanceof Unavailable ? cause : unreachable(whom, (cause as NodeJS.ErrnoException).code));
    const signal = AbortSignal.timeout(timeoutMs);
    const asked = request({ agent, socketPath: whom.socket, method, path, headers, signal }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('error', fail);
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > ANSWER_BYTES_MAX) response.destroy(wrong(whom, 'a longer answer than any signature'));
        else parts.push(part);
      });
      response.on('end', () => {
        const bytes = Buffer.concat(parts);
        if (response.statusCode === 200) resolve(new Uint8Array(bytes));
        else reject(wrong(whom, `status ${response.statusCode}, code ${codeIn(bytes)}`));
      });
    });
    asked.on('error', fail);
    asked.end(body);
  });
}

/** The code of a fault, if the answer has one. */
function codeIn(body: Buffer): string {
  return /"code":"([A-Z_]{1,64})"/.exec(body.toString('latin1'))?.[1] ?? 'unknown';
}

function unreachable(whom: Whom, reason = 'no answer in time'): Unavailable {
  const why = reason === 'EACCES' ? `${reason}, the user of this process may not use its socket` : reason;
  const message = `expected the signer of ${whom.service} to answer: ${why}`;
  return TRUST.unavailable('SIGNER_UNREACHABLE', message, { cause: placeOf(whom) });
}

function wrong(whom: Whom, got: string): Unavailable {
  const message = `expected a signature from the signer of ${whom.service}, got ${got}`;
  return TRUST.unavailable('SIGNER_ANSWER_WRONG', message, { cause: placeOf(whom) });
}

/** For the server's log alone: clients are told the message, and paths of this machine are not for them. */
function placeOf({ socket }: Whom): Error {
  return new Error(`the socket of the signer is ${quote(socket)}`);
}
