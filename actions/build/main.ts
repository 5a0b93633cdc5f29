// SPDX-License-Identifier: Apache-2.0
// What dist/index.js runs: the action, with what GitHub put into the environment.

import { runAction } from './action.ts';

/** Set by scripts/bundle-action.ts: the version of Waybill that was bundled. */
declare const WAYBILL_VERSION: string;

process.exitCode = await runAction(process.env, WAYBILL_VERSION);
