// SPDX-License-Identifier: Apache-2.0
// `npm run test:long`: what takes longer than a change can wait for.

import { verdict } from './verdict.ts';

process.exitCode = await verdict(['long']);
