// SPDX-License-Identifier: Apache-2.0
// Signs a statement into a Sigstore bundle v0.3 [sigstore-bundle-v0.3 §Bundle]: DSSE signature, one RFC 3161 timestamp,
// one log entry of Rekor v2, and either a certificate for an OIDC identity or the hint of a managed key.

import { bundleToJSON } from '@sigstore/bundle';
import { type Bundle, DSSEBundleBuilder, type Signer, type Witness } from '@sigstore/sign';
import { utf8 } from '../core/encoding/utf8.ts';
import { quote } from '../core/faults.ts';
import { PAYLOAD_TYPE, parseStatement } from '../core/intoto/statement.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import { certificateSigner, keyForToken } from './certificate-signer.ts';
import { ATTEST } from './faults.ts';
import { keyHint, openManagedKey, type StatementKey } from './identity/key.ts';
import { redact } from './identity/redact.ts';
import type { IdentitySource } from './identity/token.ts';
import { parseSigningServices, type SigningServices } from './signing-config.ts';
import { inOrder, logWitness, logWitnessForKey, timestampWitness } from './witnesses.ts';

export interface SignOptions {
  /** signing_config.v0.2.json; every address that is called stands in it. */
  readonly signingConfig: Uint8Array;
  readonly identity: IdentitySource;
}

/**
 * Signs with an ephemeral key and a certificate for the identity. Returns the bundle's JSON bytes, not yet verified:
 * the caller does that before it believes the services.
 * @throws SIGN_*, IDENTITY_*, INTOTO_STATEMENT_MALFORMED
 */
export async function signStatement(statement: Uint8Array, options: SignOptions): Promise<Uint8Array> {
  parseStatement(statement);
  const services = parseSigningServices(options.signingConfig, Date.now());
  const token = await options.identity.token();
  const signer = certificateSigner(services.authorityUrl, token, keyForToken(options.identity, token));
  const log = logWitness(services.logUrl, token);
  return create(statement, { signer, log, services, secret: token });
}

export type KeySignOptions = {
  readonly signingConfig: Uint8Array;
  /** Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo; computed if absent, compared if given. */
  readonly keyHint?: string;
} & (
  | {
      /** ECDSA P-256, PKCS#8 PEM. */
      readonly privateKeyPem: string | Uint8Array;
    }
  | {
      /** ECDSA P-256, wherever it is. */
      readonly key: StatementKey;
    }
);

/**
 * Signs with a managed key: no certificate, `publicKey.hint` names the key, the log's leaf holds the public key.
 * @throws SIGN_*, IDENTITY_KEY_UNSUITABLE, INTOTO_STATEMENT_MALFORMED
 */
export async function signStatementWithKey(
  statement: Uint8Array,
  options: KeySignOptions,
): Promise<Uint8Array> {
  parseStatement(statement);
  const services = parseSigningServices(options.signingConfig, Date.now());
  const key = 'key' in options ? options.key : openManagedKey(options.privateKeyPem);
  if (options.keyHint !== undefined && options.keyHint !== keyHint(key.publicKey)) {
    const message = `expected the key with the hint ${quote(options.keyHint)}, got ${key.hint}`;
    throw ATTEST.reject('IDENTITY_KEY_UNSUITABLE', message);
  }
  const signer: Signer = {
    sign: async (data) => ({
      signature: Buffer.from(await key.sign(data)),
      key: { $case: 'publicKey', publicKey: '', hint: key.hint },
    }),
  };
  const log = logWitnessForKey(services.logUrl, key.publicKey);
  return create(statement, { signer, log, services, secret: '' });
}

interface Parts {
  readonly signer: Signer;
  readonly log: Witness;
  readonly services: SigningServices;
  /** What must not appear in any message. */
  readonly secret: string;
}

async function create(statement: Uint8Array, parts: Parts): Promise<Uint8Array> {
  const timestamps = timestampWitness(parts.services.timestampUrl, parts.secret);
  const builder = new DSSEBundleBuilder({
    signer: parts.signer,
    witnesses: [inOrder([timestamps, parts.log])],
  });
  return formatBundle(
    await builder.create({ data: Buffer.from(statement), type: PAYLOAD_TYPE }),
    parts.secret,
  );
}

/** A service may answer 200 with anything; what gives no bundle of our profile goes no further. */
function formatBundle(bundle: Bundle, secret: string): Uint8Array {
  try {
    const bytes = utf8(JSON.stringify(bundleToJSON(bundle)));
    parseBundle(bytes);
    return bytes;
  } catch (failure) {
    const reason = redact(failure instanceof Error ? failure.message : 'unknown', secret);
    const message = `expected the parts of a Sigstore bundle v0.3, got ${quote(reason)}`;
    throw ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
  }
}
