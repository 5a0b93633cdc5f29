// SPDX-License-Identifier: Apache-2.0
// Bodies of the HTTP API as schemas [docs/spec/registry-api.md §OpenAPI document]. They describe what is sent; requests that a route
// checks by schema are described by that schema, and all others are read by strict readers of their own.

import { type TSchema, Type } from 'typebox';

const strict = { additionalProperties: false };

export const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 in lower-case hex' });
const Base64 = Type.String({ contentEncoding: 'base64' });
const Instant = Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z$', description: 'RFC 3339, UTC' });
const Product = Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' });
const Whole = Type.Integer({ minimum: 0 });
/** A whole number as protobuf JSON writes 64 bits. */
const WholeText = Type.String({ pattern: '^(0|[1-9][0-9]*)$' });
const Chain = Type.Object(
  { certificates: Type.Array(Type.String({ pattern: '^-----BEGIN CERTIFICATE-----' })) },
  strict,
);

/** A refusal; `codes` are those that can stand in it. */
export function faultSchema(codes: readonly string[]): TSchema {
  return Type.Object(
    {
      error: Type.Object(
        {
          code: Type.Unsafe<string>({ type: 'string', enum: [...codes] }),
          message: Type.String(),
          remedy: Type.String(),
          at: Type.Optional(Type.String()),
        },
        strict,
      ),
      message: Type.Optional(Type.String({ description: 'for stock clients; on /ca, /ct, /tsa and /log' })),
      missing: Type.Optional(
        Type.Array(Type.Object({ name: Type.String(), sha256: Digest, sizeBytes: Whole }, strict)),
      ),
    },
    strict,
  );
}

export const Alive = Type.Object({ status: Type.Literal('ok') }, strict);
export const Ready = Type.Object({ status: Type.Literal('ready') }, strict);
export const NotReady = Type.Object(
  {
    status: Type.Literal('unready'),
    reasons: Type.Array(Type.Object({ code: Type.String(), message: Type.String() }, strict), {
      minItems: 1,
    }),
  },
  strict,
);

export const Certified = Type.Object(
  { signedCertificateEmbeddedSct: Type.Object({ chain: Chain }, strict) },
  strict,
);
export const TrustBundle = Type.Object({ chains: Type.Array(Chain) }, strict);
export const CaConfiguration = Type.Object(
  {
    issuers: Type.Array(
      Type.Object({
        issuerUrl: Type.String(),
        audience: Type.String(),
        challengeClaim: Type.String(),
        issuerType: Type.String(),
      }),
    ),
  },
  strict,
);

const LogId = Type.Object({ keyId: Base64 }, strict);
export const LogRequest = Type.Object({
  hashedRekordRequestV002: Type.Optional(Type.Object({})),
  dsseRequestV002: Type.Optional(Type.Object({})),
});
export const LogEntry = Type.Object(
  {
    logIndex: WholeText,
    logId: LogId,
    kindVersion: Type.Object({ kind: Type.Literal('hashedrekord'), version: Type.Literal('0.0.2') }, strict),
    integratedTime: Type.Literal('0'),
    inclusionProof: Type.Object(
      {
        logIndex: WholeText,
        rootHash: Base64,
        treeSize: WholeText,
        hashes: Type.Array(Base64),
        checkpoint: Type.Object({ envelope: Type.String() }, strict),
      },
      strict,
    ),
    canonicalizedBody: Base64,
  },
  strict,
);
export const LogProof = Type.Object(
  { index: Whole, size: Whole, hashes: Type.Array(Base64), checkpoint: Type.String() },
  strict,
);

export const Bundle = Type.Object({ mediaType: Type.String(), dsseEnvelope: Type.Object({}) });
export const Stored = Type.Object({ sha256: Digest, leafIndex: Whole }, strict);
export const Attestations = Type.Object(
  { attestations: Type.Array(Type.Object({ sha256: Digest, bundle: Type.String() }, strict)) },
  strict,
);
export const Kept = Type.Object({ sha256: Digest }, strict);

export const Metadata = Type.Object({ signed: Type.Object({}), signatures: Type.Array(Type.Object({})) });
export const Published = Type.Object({ role: Type.String(), version: Type.Integer({ minimum: 1 }) }, strict);

const claim = { deviceId: Type.String(), product: Product, hardwareId: Type.String(), publicKey: Base64 };
export const Enrolment = Type.Object({ ...claim, proof: Base64 }, strict);
export const Enrolled = Type.Object({ enrolled: Type.Literal(true) }, strict);
export const Report = Type.Object({
  payloadType: Type.Literal('application/vnd.in-toto+json'),
  payload: Base64,
  signatures: Type.Array(Type.Object({ sig: Base64 }), { minItems: 1, maxItems: 1 }),
});
export const Reported = Type.Object({ sha256: Digest, counter: Type.Integer({ minimum: 1 }) }, strict);
export const Device = Type.Object(
  {
    ...claim,
    enrolledAt: Instant,
    lastReport: Type.Optional(
      Type.Object({
        counter: Type.Integer({ minimum: 1 }),
        outcome: Type.String(),
        imageSha256: Digest,
        version: Type.String(),
        reportedAt: Instant,
        receivedAt: Instant,
        sha256: Digest,
      }),
    ),
  },
  strict,
);
export const Devices = Type.Object({ devices: Type.Array(Device) }, strict);

const Image = Type.Object({
  imageSha256: Digest,
  product: Type.String(),
  version: Type.String(),
  component: Type.String(),
  releases: Type.Array(Type.Object({ product: Type.String(), version: Type.String(), releasedAt: Instant })),
  devices: Type.Array(
    Type.Object({
      deviceId: Type.String(),
      reportedAt: Instant,
      outcome: Type.String(),
      current: Type.Boolean(),
    }),
  ),
});
export const Traced = Type.Object(
  { purl: Type.String(), shipsIn: Type.Array(Image), builtWith: Type.Array(Image) },
  strict,
);
