// SPDX-License-Identifier: Apache-2.0
// `npm run test:peers`: Sigstore's own clients in Go and Python against our services and our bundles.

import { installStockClients } from './stock-clients.ts';
import { verdict } from './verdict.ts';

installStockClients((text) => process.stdout.write(`${text}\n`));
process.exitCode = await verdict(['stock']);
