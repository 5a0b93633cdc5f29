// SPDX-License-Identifier: Apache-2.0
// `npm run bench:rivals`: installs what `npm run bench log` measures beside ours, where Go is at hand.

import { install, RIVALS, type RivalName, whyAbsent } from './stock-clients.ts';

install(RIVALS, (text) => process.stdout.write(`${text}\n`));
for (const name of Object.keys(RIVALS) as RivalName[]) {
  const why = whyAbsent(name);
  process.stdout.write(`${why ?? `${name} ${RIVALS[name].version} is in ${RIVALS[name].path}`}\n`);
  if (why !== undefined) process.exitCode = 1;
}
