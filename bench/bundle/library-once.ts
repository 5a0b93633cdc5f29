// SPDX-License-Identifier: Apache-2.0
// A whole process that verifies one bundle with @sigstore/verify, once: `library-once.mjs BUNDLE TRUSTED_ROOT`.

import { readFileSync } from 'node:fs';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

const [bundle, trustedRoot] = process.argv.slice(2, 4).map((path) => JSON.parse(readFileSync(path, 'utf8')));
new Verifier(toTrustMaterial(TrustedRoot.fromJSON(trustedRoot))).verify(
  toSignedEntity(bundleFromJSON(bundle)),
);
