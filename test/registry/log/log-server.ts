// SPDX-License-Identifier: Apache-2.0
// The signature log on a real port, with an authority and a listed key of the test's own.

import { join } from 'node:path';
import Fastify from 'fastify';
import { Level } from 'level';
import { onTestFinished } from 'vitest';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { Turns } from '../../../registry/http/turns.ts';
import { Cosigning, type CosigningOptions } from '../../../registry/log/cosigning.ts';
import { createLogKey, openLogKey } from '../../../registry/log/log-key.ts';
import { rekorRoutes } from '../../../registry/log/rekor-routes.ts';
import { SignatureLog } from '../../../registry/log/signature-log.ts';
import { Writers } from '../../../registry/log/writers.ts';
import {
  authorityConstraints,
  authorityKeyIdentifier,
  buildName,
  buildTbs,
  type CertificateContent,
  EMPTY_NAME,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  OID,
  randomSerial,
  signTbs,
  subjectKeyIdentifier,
} from '../../../registry/trust/certificate.ts';
import { type LocalSigner, newSigner } from '../../../registry/trust/signer.ts';
import { newFolder } from './log-folder.ts';
import { ORIGIN } from './numbered-entry.ts';

export const HOUR_MS = 3_600_000;

/** An authority of root and intermediate, that issues what it is asked to. */
export class TestAuthority {
  readonly #name: Uint8Array;
  readonly #signer: LocalSigner;
  /** DER, [intermediate, root]. */
  readonly chain: readonly Uint8Array[];

  private constructor(name: Uint8Array, signer: LocalSigner, chain: readonly Uint8Array[]) {
    this.#name = name;
    this.#signer = signer;
    this.chain = chain;
  }

  static async make(cn: string, notAfterMs = Date.now() + HOUR_MS): Promise<TestAuthority> {
    const [root, own] = [newSigner().signer, newSigner().signer];
    const [rootName, name] = [buildName('Test', `${cn} root`), buildName('Test', cn)];
    const times = { notBeforeMs: Date.now() - 2 * HOUR_MS, notAfterMs };
    const ca = (pathLength: number) => [keyUsage('certificates'), authorityConstraints(pathLength)];
    const rootDer = await signTbs(
      buildTbs({
        ...times,
        issuer: rootName,
        subject: rootName,
        spki: root.spki,
        serial: randomSerial(),
        extensions: [...ca(1), subjectKeyIdentifier(root.spki)],
      }),
      root,
    );
    const rootKey = authorityKeyIdentifier(keyIdentifier(root.spki));
    const ownDer = await signTbs(
      buildTbs({
        ...times,
        issuer: rootName,
        subject: name,
        spki: own.spki,
        serial: randomSerial(),
        extensions: [...ca(0), subjectKeyIdentifier(own.spki), rootKey],
      }),
      root,
    );
    return new TestAuthority(name, own, [ownDer, rootDer]);
  }

  /** A code-signing certificate for a key, unless told otherwise. */
  issue(spki: Uint8Array, change: Partial<CertificateContent> = {}): Promise<Uint8Array> {
    const content: CertificateContent = {
      issuer: this.#name,
      subject: EMPTY_NAME,
      spki,
      serial: randomSerial(),
      notBeforeMs: Date.now() - 60_000,
      notAfterMs: Date.now() + 600_000,
      extensions: [
        keyUsage('digitalSignature'),
        extendedKeyUsage(OID.codeSigning),
        authorityKeyIdentifier(keyIdentifier(this.#signer.spki)),
      ],
      ...change,
    };
    return signTbs(buildTbs(content), this.#signer);
  }
}

export const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
export const TYPE = 'application/vnd.in-toto+json';

/** The two request forms, for a signature over an envelope with this payload. */
export function dsseRequest(payload: string, signer: LocalSigner, verifier: object) {
  const signature = signer.sign(preAuthEncoding(TYPE, Buffer.from(payload)));
  const envelope = {
    payload: Buffer.from(payload).toString('base64'),
    payloadType: TYPE,
    signatures: [{ sig: base64(signature), keyid: '' }],
  };
  const verifiers = [{ ...verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' as string | number }];
  return { request: { dsseRequestV002: { envelope, verifiers } }, signature };
}

export function hashedRequest(digest: Uint8Array, signature: Uint8Array, verifier: object) {
  const held = { ...verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' as string | number };
  const signed = { content: base64(signature), verifier: held };
  return { hashedRekordRequestV002: { digest: base64(digest), signature: signed } };
}

export const certified = (der: Uint8Array) => ({ x509Certificate: { rawBytes: base64(der) } });
export const keyed = (spki: Uint8Array) => ({ publicKey: { rawBytes: base64(spki) } });

export interface LogServer {
  readonly url: string;
  readonly log: SignatureLog;
  readonly cosigning: Cosigning;
  readonly authority: TestAuthority;
  readonly listed: LocalSigner;
  /** `skewMs`: milliseconds that the server's clock is ahead. */
  readonly time: { skewMs: number };
  post(body: unknown, contentType?: string): Promise<{ status: number; body: Reply }>;
  /** Ends the server before the test does. */
  stop(): Promise<void>;
}

/** The reply's members that tests look at, whichever it is. */
export interface Reply {
  readonly error?: { readonly code: string; readonly message: string };
  readonly message?: string;
  readonly logIndex?: string;
  readonly canonicalizedBody?: string;
  readonly inclusionProof?: {
    readonly treeSize: string;
    readonly hashes: string[];
    readonly checkpoint: { readonly envelope: string };
  };
}

/** Starts a log at `<url>/log`; all of it goes with the test. */
export async function startLogServer(
  authorities: readonly (readonly Uint8Array[])[] = [],
  witnessing: Omit<CosigningOptions, 'tiles'> = { policy: () => undefined },
  turns: Turns = new Turns(),
): Promise<LogServer> {
  const folder = await newFolder();
  await createLogKey({ folder });
  const db = new Level(join(folder, 'state'));
  const time = { skewMs: 0 };
  const clock = () => Date.now() + time.skewMs;
  const log = await SignatureLog.open({ db, origin: ORIGIN, key: await openLogKey({ folder }), clock });
  const authority = await TestAuthority.make('ours');
  const listed = newSigner().signer;
  const cosigning = await Cosigning.open({ tiles: log.tiles, ...witnessing });
  const app = Fastify({ logger: false });
  await app.register(rekorRoutes, {
    prefix: '/log',
    log,
    cosigning,
    turns,
    writers: new Writers({
      authorities: [authority.chain, ...authorities],
      isListedKey: (spki) => Buffer.compare(spki, listed.spki) === 0,
      clock,
    }),
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    await cosigning.close();
    await app.close();
    await log.close();
    await db.close();
  });
  const post = async (body: unknown, contentType = 'application/json') => {
    const reply = await fetch(`${url}/log/api/v2/log/entries`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: reply.status, body: (await reply.json()) as Reply };
  };
  return { url, log, cosigning, authority, listed, time, post, stop: () => app.close() };
}
