// SPDX-License-Identifier: Apache-2.0
// What every server of the command line does once it listens: runs until it is told to stop, then finishes what is under way.

import type { Server } from 'node:http';
import { told } from '../registry/http-errors.ts';
import { EXIT, printProgress } from './terminal.ts';

/** How long requests under way may still take after a signal, unless told otherwise. */
const GRACE_MS = 10_000;

interface Renewable {
  readonly log: { info(text: string): void; error(of: object, text: string): void };
}

/**
 * At SIGHUP certificate and key are read again; a renewed certificate that cannot be used is no reason to stop serving with the old one.
 * Without TLS (`renew` undefined) the signal ends nothing, and is said to have done nothing.
 */
export function renewAtHangup({ log }: Renewable, renew: (() => Promise<void>) | undefined): void {
  process.on('SIGHUP', async () => {
    if (renew === undefined)
      return log.info('SIGHUP changes nothing: there is no TLS certificate to read again');
    try {
      await renew();
      log.info('certificate and key read again');
    } catch (failure) {
      log.error(told(failure), 'certificate and key could not be read again; the old ones are used further');
    }
  });
}

interface Closable {
  readonly server: Server;
  close(): Promise<void>;
}

/**
 * Runs `start`, which listens and says so, then waits for SIGINT or SIGTERM; the server is closed however it ends. Closing takes no more
 * connections and lets requests under way finish, within `graceMs`.
 */
export async function serveUntilStopped(
  app: Closable,
  start: () => Promise<void>,
  graceMs = GRACE_MS,
): Promise<void> {
  try {
    await start();
    await stopped();
    printProgress('stopping: finishing requests under way');
  } finally {
    // Whoever holds a connection open longer than that is not waited for.
    const cut = setTimeout(() => app.server.closeAllConnections(), graceMs);
    await app.close();
    clearTimeout(cut);
  }
}

/** Resolves with the first SIGINT or SIGTERM; the second one ends the process at once. */
function stopped(): Promise<void> {
  return new Promise((resolve) => {
    let asked = 0;
    const stop = (): void => {
      if (asked++ === 0) resolve();
      else process.exit(EXIT.retry);
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}
