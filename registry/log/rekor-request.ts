// SPDX-License-Identifier: Apache-2.0
// What clients post to the log [Rekor-v2 §rekor.v2.CreateEntryRequest], and what is answered. Both request forms become the
// one leaf form [docs/spec/log.md §Leaf].

import { hash, verify } from 'node:crypto';
import { DocumentNode } from '../../core/encoding/document.ts';
import { parseStrictJsonText } from '../../core/encoding/strict-json.ts';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { HASHED_REKORD, hashedRekordText } from '../../core/tlog/hashed-rekord.ts';
import { verifyP256Digest } from '../../peers/p256-digest.ts';
import { isCrowded } from '../document-shape.ts';
import { LOG } from '../log-faults.ts';
import type { LoggedSignature } from './signature-log.ts';
import type { Writer, Writers } from './writers.ts';

/** Largest request: an envelope with a statement of the size that a bundle may hold. */
export const REQUEST_SIZE_BYTES_MAX = 1024 * 1024;

/** Commas, colons and brackets of a request; ours have fewer than thirty. */
const STRUCTURE_MAX = 256;

/** A value as it came, canonical base64, and its bytes. */
interface Encoded {
  readonly text: string;
  readonly bytes: Uint8Array;
}

interface SignedRequest {
  /** The signed bytes, where the request has them; their digest where it does not. */
  readonly signed: { readonly message: Uint8Array } | { readonly digest: Uint8Array };
  readonly signature: Encoded;
  /** Of a certificate or of a public key, as the request calls it. */
  readonly verifier: Encoded & { readonly form: Writer['form'] };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a request, admits its writer and verifies its signature. Where only a digest came, which costs several times as much, a leaf that is
 * logged is not verified again: nothing else ever made it one. Nothing is waited for: a crowd of wrong signatures is counted one by one.
 * @returns the leaf that it becomes @throws LOG_REQUEST_MALFORMED, LOG_KEY_UNSUPPORTED, LOG_SIGNATURE_WRONG, and what `Writers.admit` throws
 */
export function verifyRequest(
  body: Uint8Array,
  writers: Writers,
  isLogged: (leaf: Uint8Array) => boolean,
): Uint8Array {
  const request = parseRequest(body);
  const { signed, signature, verifier } = request;
  const { key, form } = writers.admit(verifier.bytes, verifier.form);
  if ('message' in signed) {
    if (!verify('sha256', signed.message, key, signature.bytes)) throw wrongSignature();
    return leafOf(request, form, hash('sha256', signed.message, 'base64'));
  }
  const leaf = leafOf(request, form, Buffer.from(signed.digest).toString('base64'));
  if (isLogged(leaf)) return leaf;
  const spki = key.export({ type: 'spki', format: 'der' });
  if (!verifyP256Digest(spki, signed.digest, signature.bytes)) throw wrongSignature();
  return leaf;
}

const wrongSignature = () =>
  LOG.reject('LOG_SIGNATURE_WRONG', 'expected a signature by the key that came with it, got another');

/** `form` is how the leaf names the writer, `digest` base64. */
function leafOf({ signature, verifier }: SignedRequest, form: Writer['form'], digest: string): Uint8Array {
  const text = hashedRekordText({
    digest,
    signature: signature.text,
    verifier: form === 'certificate' ? { certificate: verifier.text } : { publicKey: verifier.text },
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
  // Of its own memory: out of Node's common pool, a leaf that waits would hold all that was decoded beside it.
  const leaf = Buffer.allocUnsafeSlow(text.length);
  leaf.write(text, 'latin1');
  return leaf;
}

function parseRequest(body: Uint8Array): SignedRequest {
  const refuse = (message: string, at: string) => LOG.reject('LOG_REQUEST_MALFORMED', message, { at });
  if (isCrowded(body, STRUCTURE_MAX)) {
    throw refuse(`expected at most ${STRUCTURE_MAX} commas, colons and brackets, got more`, '');
  }
  const root = parseBody(body, refuse);
  root.only('hashedRekordRequestV002', 'dsseRequestV002');
  const hashed = root.optional('hashedRekordRequestV002');
  const dsse = root.optional('dsseRequestV002');
  if ((hashed === undefined) === (dsse === undefined)) {
    throw root.wrong('expected either hashedRekordRequestV002 or dsseRequestV002');
  }
  return hashed === undefined ? parseDsse(dsse as DocumentNode) : parseHashed(hashed);
}

/** Natively decoded, since requests come by the thousand; otherwise as `parseDocument` reads. */
function parseBody(body: Uint8Array, refuse: DocumentNode['context']['refuse']): DocumentNode {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw refuse('expected strict JSON, got not UTF-8', 'offset 0');
  }
  const parsed = parseStrictJsonText(text);
  if ('problem' in parsed) {
    throw refuse(`expected strict JSON, got ${parsed.problem}`, `offset ${parsed.offset}`);
  }
  return new DocumentNode(parsed.value, { refuse });
}

function parseHashed(node: DocumentNode): SignedRequest {
  node.only('digest', 'signature');
  const signature = node.field('signature').only('content', 'verifier');
  const { bytes: digest } = base64(node.field('digest'));
  if (digest.length !== 32)
    throw node.field('digest').wrong('expected 32 bytes, the SHA-256 of what was signed');
  return {
    signed: { digest },
    signature: base64(signature.field('content')),
    verifier: parseVerifier(signature.field('verifier')),
  };
}

function parseDsse(node: DocumentNode): SignedRequest {
  node.only('envelope', 'verifiers');
  const envelope = node.field('envelope').only('payload', 'payloadType', 'signatures');
  const signature = single(envelope.field('signatures')).only('sig', 'keyid');
  const { bytes: payload } = base64(envelope.field('payload'));
  return {
    signed: { message: preAuthEncoding(envelope.field('payloadType').string(), payload) },
    signature: base64(signature.field('sig')),
    verifier: parseVerifier(single(node.field('verifiers'))),
  };
}

function parseVerifier(node: DocumentNode): SignedRequest['verifier'] {
  node.only('x509Certificate', 'publicKey', 'keyDetails');
  const { value: keyDetails } = node.field('keyDetails');
  // Protobuf JSON allows the number of an enumeration in place of its name.
  if (keyDetails !== 'PKIX_ECDSA_P256_SHA_256' && keyDetails !== 5) {
    throw LOG.reject('LOG_KEY_UNSUPPORTED', 'expected keyDetails PKIX_ECDSA_P256_SHA_256, got others', {
      at: `${node.pointer}/keyDetails`,
    });
  }
  const certificate = node.optional('x509Certificate')?.only('rawBytes').field('rawBytes');
  const publicKey = node.optional('publicKey')?.only('rawBytes').field('rawBytes');
  if ((certificate === undefined) === (publicKey === undefined)) {
    throw node.wrong('expected either x509Certificate or publicKey');
  }
  return certificate === undefined
    ? { form: 'publicKey', ...base64(publicKey as DocumentNode) }
    : { form: 'certificate', ...base64(certificate) };
}

function single(node: DocumentNode): DocumentNode {
  const [first, ...more] = node.someElements();
  if (first === undefined || more.length > 0)
    throw node.wrong(`expected one element, got ${more.length + 1}`);
  return first;
}

/** Standard base64 with padding; native, since requests come by the thousand. */
function base64(node: DocumentNode): Encoded {
  const text = node.string();
  const bytes = Buffer.from(text, 'base64');
  // What was skipped (foreign characters, bits behind the last byte, missing padding) does not come back.
  if (bytes.toString('base64') !== text) throw node.wrong('expected canonical base64');
  return { text, bytes };
}

/**
 * The reply to a write, in protobuf JSON. Zeros are spelled out, which readers of protobuf JSON take as they take their
 * absence. `integratedTime` is always 0 in Rekor v2: the time comes from a timestamp authority.
 */
export function formatEntry(logged: LoggedSignature, logId: Uint8Array): object {
  const encode = (data: Uint8Array): string =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
  const { index, checkpoint, proof, leaf } = logged;
  return {
    logIndex: String(index),
    logId: { keyId: encode(logId) },
    kindVersion: { kind: HASHED_REKORD.kind, version: HASHED_REKORD.apiVersion },
    integratedTime: '0',
    inclusionProof: {
      logIndex: String(index),
      rootHash: encode(checkpoint.rootHash),
      treeSize: String(checkpoint.size),
      hashes: proof.map(encode),
      checkpoint: { envelope: checkpoint.note },
    },
    canonicalizedBody: encode(leaf),
  };
}
