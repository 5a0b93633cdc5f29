// SPDX-License-Identifier: Apache-2.0
// A whole process that verifies one bundle with core, once: `core-once.mjs BUNDLE TRUSTED_ROOT ARTIFACT`.

import { readFileSync } from 'node:fs';
import { STRICT_POLICY } from '../../core/verify/evidence.ts';
import { signatureVerifier } from '../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';

const [bundle, trustedRoot, bytes] = process.argv.slice(2).map((path) => new Uint8Array(readFileSync(path)));
if (bundle === undefined || trustedRoot === undefined || bytes === undefined) throw new Error('three files');
signatureVerifier({ trustedRoot, keys: [], policy: STRICT_POLICY }, nodeCrypto).verify(bundle, { bytes });
