// SPDX-License-Identifier: Apache-2.0
// `npm run check`: types, lint, house rules and quick tests, in under a minute.

import { verdict } from './verdict.ts';

process.exitCode = await verdict(['fast']);
