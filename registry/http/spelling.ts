// SPDX-License-Identifier: Apache-2.0
// One address for one thing, where readers keep what they read for ever.

import type { onRequestHookHandler } from 'fastify';
import { atOnce } from './hooks.ts';

/** For `preValidation`, after the limits of the routes, which count it: no path of a log needs percent-encoding or a fragment. `refuse` makes what is thrown. */
export function refuseEncoded(refuse: (path: string) => Error): onRequestHookHandler {
  return atOnce(({ raw }) => {
    const [path = ''] = raw.url?.split('?', 1) ?? [];
    if (/[%#]/.test(path)) throw refuse(path);
  });
}
