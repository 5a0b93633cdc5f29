// SPDX-License-Identifier: Apache-2.0
// `npm run test:peers`: Sigstore's own clients in Go and Python against our services and our bundles.

import { install, STOCK_CLIENTS } from './stock-clients.ts';
import { verdict } from './verdict.ts';

install(STOCK_CLIENTS, (text) => process.stdout.write(`${text}\n`));
process.exitCode = await verdict(['stock']);
