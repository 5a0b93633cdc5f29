// SPDX-License-Identifier: Apache-2.0
// `npm test`: everything that a change must not break.

import { verdict } from './verdict.ts';

process.exitCode = await verdict(['fast', 'parts', 'e2e']);
