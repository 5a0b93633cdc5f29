// SPDX-License-Identifier: Apache-2.0
// Signs a statement into a Sigstore bundle v0.3 [sigstore-bundle-v0.3 §Bundle]: DSSE signature, one log entry of Rekor v2,
// one RFC 3161 timestamp, and either a certificate for an OIDC identity or the hint of a managed key.

import { bundleToJSON } from '@sigstore/bundle';
import {
  type Bundle,
  DSSEBundleBuilder,
  FulcioSigner,
  RekorWitness,
  type Signer,
  TSAWitness,
  type Witness,
} from '@sigstore/sign';
import { utf8 } from '../core/encoding/utf8.ts';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import { PAYLOAD_TYPE, parseStatement } from '../core/intoto/statement.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import { ATTEST } from './faults.ts';
import { keyHint, openManagedKey } from './identity/key.ts';
import { redact } from './identity/redact.ts';
import type { IdentitySource } from './identity/token.ts';
import { logWitnessForKey } from './key-witness.ts';
import { parseSigningServices, type SigningServices } from './signing-config.ts';

/** Time for one try of a service, and how often and how fast it is tried again. */
export const SIGNING = {
  timeoutMs: 20_000,
  retry: { retries: 2, minTimeout: 250, maxTimeout: 1000 },
} as const;

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
  const signer = new FulcioSigner({
    fulcioBaseURL: services.authorityUrl,
    identityProvider: { getToken: async () => token },
    ...tries(),
  });
  const log = new RekorWitness({ rekorBaseURL: services.logUrl, majorApiVersion: 2, ...tries() });
  return create(statement, { signer, log, services, secret: token });
}

export interface KeySignOptions {
  readonly signingConfig: Uint8Array;
  /** ECDSA P-256, PKCS#8 PEM. */
  readonly privateKeyPem: string | Uint8Array;
  /** Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo; computed if absent, compared if given. */
  readonly keyHint?: string;
}

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
  const key = openManagedKey(options.privateKeyPem);
  if (options.keyHint !== undefined && options.keyHint !== keyHint(key.publicKey)) {
    const message = `expected the key with the hint ${quote(options.keyHint)}, got ${key.hint}`;
    throw ATTEST.reject('IDENTITY_KEY_UNSUITABLE', message);
  }
  const signer: Signer = {
    sign: async (data) => ({
      signature: Buffer.from(key.sign(data)),
      key: { $case: 'publicKey', publicKey: '', hint: key.hint },
    }),
  };
  const log = logWitnessForKey(services.logUrl, key.publicKey, SIGNING.timeoutMs);
  return create(statement, { signer, log, services, secret: '' });
}

const tries = () => ({ timeout: SIGNING.timeoutMs, retry: { ...SIGNING.retry } });

interface Parts {
  readonly signer: Signer;
  readonly log: Witness;
  readonly services: SigningServices;
  /** What must not appear in any message. */
  readonly secret: string;
}

async function create(statement: Uint8Array, parts: Parts): Promise<Uint8Array> {
  const timestamps = new TSAWitness({ tsaBaseURL: parts.services.timestampUrl, ...tries() });
  const builder = new DSSEBundleBuilder({ signer: parts.signer, witnesses: [parts.log, timestamps] });
  let bundle: Bundle;
  try {
    bundle = await builder.create({ data: Buffer.from(statement), type: PAYLOAD_TYPE });
  } catch (failure) {
    throw asFault(failure, parts);
  }
  return formatBundle(bundle, parts.secret);
}

/** A service may answer 200 with anything; what gives no bundle of our profile goes no further. */
function formatBundle(bundle: Bundle, secret: string): Uint8Array {
  try {
    const bytes = utf8(JSON.stringify(bundleToJSON(bundle)));
    parseBundle(bytes);
    const stamps = bundle.verificationMaterial.timestampVerificationData?.rfc3161Timestamps ?? [];
    if (stamps.length !== 1 || stamps[0]?.signedTimestamp.length === 0) throw new Error('no timestamp');
    return bytes;
  } catch (failure) {
    const reason = redact(failure instanceof Error ? failure.message : 'unknown', secret);
    const message = `expected the parts of a Sigstore bundle v0.3, got ${quote(reason)}`;
    throw ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
  }
}

/** The library's codes [@sigstore/sign 5.1 §InternalError], and whose fault they are. */
const SERVICE_OF: Readonly<Record<string, readonly [name: string, url: keyof SigningServices]>> = {
  CA_CREATE_SIGNING_CERTIFICATE_ERROR: ['certificate authority', 'authorityUrl'],
  TLOG_CREATE_ENTRY_ERROR: ['signature log', 'logUrl'],
  TSA_CREATE_TIMESTAMP_ERROR: ['timestamp service', 'timestampUrl'],
};

/**
 * Turns a failure of the library into ours. Its text is redacted and its object is dropped: FulcioSigner puts the whole
 * token into a message, and a server may echo it.
 */
function asFault(failure: unknown, { services, secret }: Parts): Error {
  if (failure instanceof Rejection || failure instanceof Unavailable) return failure;
  if (!(failure instanceof Error)) return new Error('a signing service failed without saying why');
  const code = (failure as { code?: unknown }).code;
  const service = typeof code === 'string' ? SERVICE_OF[code] : undefined;
  const [name, url] = service ?? ['signing service', 'authorityUrl'];
  const inner = failure.cause instanceof Error ? failure.cause : failure;
  const status = (inner as { statusCode?: unknown }).statusCode;
  const said = quote(redact(inner.message, secret));
  const message = `expected the ${name} at ${quote(services[url])} to take part, got ${said}`;
  if (typeof status === 'number' && status < 500 && status !== 429 && status !== 408) {
    return ATTEST.reject('SIGN_SERVICE_REFUSED', message);
  }
  if (typeof status !== 'number' && (service === undefined || isNonsense(inner))) {
    return ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
  }
  return ATTEST.unavailable('SIGN_SERVICE_UNAVAILABLE', message);
}

/** True if there was an answer and it was not of the protocol: no JSON, members missing, a redirect without end. */
function isNonsense(failure: Error): boolean {
  const { type } = failure as { type?: unknown };
  const foreign = type === 'invalid-json' || (typeof type === 'string' && type.includes('redirect'));
  return foreign || failure instanceof SyntaxError || failure instanceof TypeError;
}
