// SPDX-License-Identifier: Apache-2.0
// `node examples/demo/ci.ts [port]`: the demo's CI alone, for docs/first-product.md. Runs until Ctrl-C. Standard output is for a
// shell to read: the two variables that a job of GitHub Actions finds its token by.

import { once } from 'node:events';
import { DEMO_CLAIMS, startIssuer } from './oidc-issuer.ts';

const port = Number(process.argv[2] ?? 7070);
if (!Number.isInteger(port) || port < 0 || port > 65535) {
  console.error(`expected a port from 0 to 65535, got ${JSON.stringify(process.argv[2])}`);
  process.exit(2);
}
const issuer = await startIssuer({ port }).catch((failure: NodeJS.ErrnoException) => {
  console.error(
    `expected port ${port} of 127.0.0.1 to be free, got ${failure.code}; give another: ci.ts PORT`,
  );
  process.exit(75);
});
console.log(`export ACTIONS_ID_TOKEN_REQUEST_URL='${issuer.requestUrl}'`);
console.log(`export ACTIONS_ID_TOKEN_REQUEST_TOKEN='${issuer.requestToken}'`);
console.error(
  `issuer ${issuer.url}, job ${DEMO_CLAIMS.job_workflow_ref}: runs until Ctrl-C.\n` +
    'Whoever reaches this port gets a token of that job. It proves nothing; it is for trying things out.',
);
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
await issuer.close();
