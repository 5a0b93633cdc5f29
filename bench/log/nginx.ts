// SPDX-License-Identifier: Apache-2.0
// nginx serving the same tiles as files, one worker as ours is one process.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { freePort } from '../../examples/demo/processes.ts';

const NGINX = '/usr/sbin/nginx';

export const hasNginx = (): boolean => existsSync(NGINX);

/** Copies the files below `paths` of a server and serves them; returns the base address and what ends it. */
export async function serveByNginx(
  home: string,
  from: string,
  paths: readonly string[],
): Promise<{ readonly url: string; end(): void }> {
  const root = join(home, 'files');
  for (const path of paths) {
    const response = await fetch(`${from}${path}`);
    if (response.status !== 200) throw new Error(`expected the file ${path}, got ${response.status}`);
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), new Uint8Array(await response.arrayBuffer()));
  }
  const port = await freePort();
  const config = join(home, 'nginx.conf');
  await writeFile(
    config,
    `daemon off; master_process off; worker_processes 1; pid ${home}/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=4096;
  default_type application/octet-stream; client_body_temp_path ${home}; proxy_temp_path ${home};
  fastcgi_temp_path ${home}; uwsgi_temp_path ${home}; scgi_temp_path ${home};
  server { listen 127.0.0.1:${port}; root ${root}; } }
`,
  );
  const child = spawn(NGINX, ['-c', config], { stdio: ['ignore', 'ignore', 'inherit'] });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 100; tries++) {
    const answers = await fetch(`${url}${paths[0]}`).then(
      () => true,
      () => false,
    );
    if (answers) return { url, end: () => child.kill('SIGTERM') };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGTERM');
  throw new Error('expected nginx to serve, it does not');
}
