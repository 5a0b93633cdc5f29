// SPDX-License-Identifier: Apache-2.0
// Keys in tokens, named by PKCS#11 URIs [RFC7512 §2], used through `pkcs11-tool` of OpenSC: ECDSA P-256, the one kind that tokens
// and that tool have in common for documents of any length (docs/adr/0009-token-keys-are-p256.md).

import { spawn } from 'node:child_process';
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { quote } from '../core/faults.ts';
import { RELEASE } from './faults.ts';
import { algorithmOf } from './key-file.ts';
import { type Passphrases, readPassphraseFile } from './passphrase.ts';
import type { SigningKey } from './signing-key.ts';

/** What we read of a PKCS#11 URI. */
interface TokenKeyPlace {
  /** Label of the token. */
  readonly token: string;
  /** Label of the key; one of the two at least. */
  readonly object: string | undefined;
  /** Hex. */
  readonly id: string | undefined;
  /** Path of the token's PKCS#11 module. */
  readonly modulePath: string;
  /** Path of a file with the PIN; asked for if absent. */
  readonly pinSource: string | undefined;
}

/** True for the name of a key in a token; anything else is a path. Schemes have no case [RFC3986 §3.1]: a path would be shown, PIN and all. */
export function isTokenKey(place: string): boolean {
  return /^pkcs11:/i.test(place);
}

/** @throws CEREMONY_TOKEN_URI_MALFORMED */
function parseTokenUri(uri: string): TokenKeyPlace {
  const refuse = (problem: string) =>
    // Not the URI itself: someone may have written a PIN into it.
    RELEASE.reject('CEREMONY_TOKEN_URI_MALFORMED', `expected a PKCS#11 URI ${problem}`);
  // Wherever it stands: behind a wrong separator it would be part of a value, and shown.
  if (/pin-value/i.test(uri)) {
    throw refuse('without pin-value: others can read command lines; use pin-source');
  }
  const [path = '', query = '', ...rest] = uri.slice('pkcs11:'.length).split('?');
  if (rest.length > 0) throw refuse('with one "?", got more');
  // Not in a query [RFC7512 §2.3].
  if (query.includes(';')) throw refuse('with "&" between the attributes after "?", got ";"');
  const attributes = new Map<string, string>();
  for (const part of [...path.split(';'), ...query.split('&')].filter((text) => text !== '')) {
    const [, name, value] = /^([a-z-]+)=(.*)$/s.exec(part) ?? [];
    if (name === undefined || value === undefined) throw refuse('of attributes name=value');
    if (!['token', 'object', 'id', 'type', 'module-path', 'pin-source'].includes(name))
      throw refuse(`of token, object, id, type, module-path and pin-source, got ${quote(name)}`);
    if (attributes.has(name)) throw refuse(`that names ${name} once, got it twice`);
    attributes.set(name, name === 'id' ? idHex(value, refuse) : decoded(value, refuse));
  }
  const [token, modulePath] = [attributes.get('token'), attributes.get('module-path')];
  const [object, id] = [attributes.get('object'), attributes.get('id')];
  if (!token || !modulePath) throw refuse('that names token and module-path');
  if (!object && !id) throw refuse('that names object or id');
  if (!['private', undefined].includes(attributes.get('type'))) throw refuse('of a private key');
  const pinSource = attributes.get('pin-source')?.replace(/^file:(?:\/\/(?=\/))?/, '');
  if (pinSource?.startsWith('|')) throw refuse('whose pin-source is a file');
  return { token, object, id, modulePath, pinSource };
}

function decoded(value: string, refuse: (problem: string) => Error): string {
  try {
    const text = decodeURIComponent(value);
    if (!text.includes('\0')) return text;
  } catch {
    // Said below.
  }
  throw refuse('with percent-encoded text');
}

/** `%01%a2` to `01a2`; bytes that need no encoding may stand for themselves [RFC7512 §2.3]. */
function idHex(value: string, refuse: (problem: string) => Error): string {
  const bytes = value.match(/%[0-9A-Fa-f]{2}|[A-Za-z0-9._~-]/g) ?? [];
  if (bytes.join('') !== value) throw refuse('with percent-encoded bytes as id');
  return bytes
    .map((byte) => (byte.startsWith('%') ? byte.slice(1).toLowerCase() : byte.charCodeAt(0).toString(16)))
    .join('');
}

/** The public half of a token's key; asks for no PIN. @throws CEREMONY_TOKEN_* */
export async function readTokenPublicKey(uri: string): Promise<KeyObject> {
  return (await findKey(uri)).publicKey;
}

/**
 * Opens a key in a token. The PIN is asked for once, at the first signature.
 * @throws CEREMONY_TOKEN_*, CEREMONY_PASSPHRASE_* when it signs
 */
export async function openTokenKey(uri: string, passphrases?: Passphrases): Promise<SigningKey> {
  const { place, publicKey, id } = await findKey(uri);
  let pin: string | undefined;
  return {
    publicKey,
    async sign(data) {
      pin ??= await askPin(place, passphrases);
      const digest = createHash('sha256').update(data).digest();
      const words = ['--login', '--pin', `env:${PIN_VARIABLE}`, '--sign', '--mechanism', 'ECDSA'];
      const form = ['--signature-format', 'openssl', '--id', id];
      const signature = await runTool(place, [...words, ...form], digest, pin);
      if (verify('sha256', data, publicKey, signature)) return new Uint8Array(signature);
      throw failed(place, 'answered something that is no signature by its key');
    },
  };
}

async function askPin(place: TokenKeyPlace, passphrases: Passphrases | undefined): Promise<string> {
  const what = `token ${quote(place.token)} (its PIN)`;
  if (place.pinSource !== undefined) return readPassphraseFile(place.pinSource);
  if (passphrases !== undefined) return passphrases.ask(what);
  throw RELEASE.reject('CEREMONY_PASSPHRASE_MISSING', `expected a PIN for ${what}, got none`);
}

interface FoundKey {
  readonly place: TokenKeyPlace;
  readonly publicKey: KeyObject;
  /** Hex. */
  readonly id: string;
}

async function findKey(uri: string): Promise<FoundKey> {
  const place = parseTokenUri(uri);
  const id = await findId(place);
  const read = ['--read-object', '--type', 'pubkey', '--id', id];
  const key = parsePublicKey(await runTool(place, read));
  if (key === undefined || algorithmOf(key) !== 'p256') {
    throw RELEASE.reject(
      'CEREMONY_KEY_UNSUITABLE',
      `expected an ECDSA P-256 key in token ${quote(place.token)}, got ${key?.asymmetricKeyType ?? 'something else'}`,
    );
  }
  return { place, publicKey: key, id };
}

/** pkcs11-tool gives P-256 keys in DER, others in PEM. */
function parsePublicKey(bytes: Buffer): KeyObject | undefined {
  try {
    return createPublicKey(
      bytes.subarray(0, 5).toString('latin1') === '-----'
        ? bytes
        : { key: bytes, format: 'der', type: 'spki' },
    );
  } catch {
    return undefined;
  }
}

/** The id of the one public key that a URI names: pkcs11-tool signs with whatever key comes first unless it is told an id. */
async function findId(place: TokenKeyPlace): Promise<string> {
  const listed = (await runTool(place, ['--list-objects', '--type', 'pubkey'])).toString();
  const keys = listed.split(/^Public Key Object/m).slice(1);
  const attribute = (key: string, name: string) =>
    new RegExp(`^  ${name}: +(.*)$`, 'm').exec(key)?.[1]?.trim();
  const ids = keys
    .filter((key) => place.object === undefined || attribute(key, 'label') === place.object)
    .map((key) => attribute(key, 'ID') ?? '')
    .filter((id) => /^[0-9a-f]+$/.test(id) && (place.id === undefined || id === place.id));
  const [id] = ids;
  if (id !== undefined && ids.length === 1) return id;
  throw RELEASE.reject(
    'CEREMONY_TOKEN_KEY_UNKNOWN',
    `expected one key ${quote(place.object ?? place.id ?? '')} in token ${quote(place.token)}, found ${ids.length}`,
  );
}

const PIN_VARIABLE = 'WAYBILL_TOKEN_PIN';
/** A token may wait for its owner's finger. */
const TIMEOUT_MS = 120_000;
const OUTPUT_SIZE_BYTES_MAX = 1024 * 1024;

/**
 * Runs pkcs11-tool on a token. The PIN goes through the environment of that process, which its owner alone can read; the
 * command line everybody can.
 * @throws CEREMONY_TOKEN_*, CEREMONY_PASSPHRASE_WRONG
 */
async function runTool(
  place: TokenKeyPlace,
  words: readonly string[],
  input = Buffer.alloc(0),
  pin?: string,
): Promise<Buffer> {
  const { token, modulePath } = place;
  const child = spawn('pkcs11-tool', ['--module', modulePath, '--token-label', token, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C', ...(pin === undefined ? {} : { [PIN_VARIABLE]: pin }) },
  });
  // Whoever ends before it has read its input says why on its standard error.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  try {
    const [output, said, code] = await Promise.all([collect(child.stdout), collect(child.stderr), ended]);
    if (code === 0) return output;
    throw refusalOf(place, `${output}${said}`);
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code !== 'ENOENT') throw failure;
    throw RELEASE.reject('CEREMONY_TOKEN_TOOL_MISSING', 'expected the program pkcs11-tool, found none');
  }
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of stream) {
    sizeBytes += piece.length;
    if (sizeBytes <= OUTPUT_SIZE_BYTES_MAX) pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** What the tool said, by the names of PKCS#11 alone: nothing else of it is repeated. */
function refusalOf(place: TokenKeyPlace, said: string): Error {
  const reason = /CKR_[A-Z_]+/.exec(said)?.[0];
  if (reason !== undefined && /^CKR_PIN_(?:INCORRECT|INVALID|LEN_RANGE)$/.test(reason)) {
    return RELEASE.reject(
      'CEREMONY_PASSPHRASE_WRONG',
      `expected the PIN of token ${quote(place.token)}, got another: ${reason}`,
    );
  }
  if (said.includes('No slot with token named')) return failed(place, 'is not plugged in');
  if (said.includes('Failed to load pkcs11 module'))
    return failed(place, `cannot be reached through the module ${quote(place.modulePath)}`);
  return failed(place, `refused: ${reason ?? 'no reason given'}`);
}

function failed({ token }: TokenKeyPlace, problem: string): Error {
  return RELEASE.unavailable('CEREMONY_TOKEN_FAILED', `token ${quote(token)} ${problem}`);
}
