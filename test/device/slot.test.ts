// SPDX-License-Identifier: Apache-2.0
// Images on their way into a slot: limits, digests, silence, and storage that lies.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { link, mkdir, readFile, rm, symlink } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { downloadImage } from '../../device/download.ts';
import { nodeFiles, nodeHost } from '../../device/node-host.ts';
import { checkDownload, checkReadBack, digestSlot, emptySlot, writeSlot } from '../../device/slot.ts';
import { hostWith, temporaryFolder } from './folder.ts';

const coded = (code: string) => expect.objectContaining({ code });
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const image = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 0xff));
let slot: string;
let dispose: () => Promise<void>;

beforeEach(async () => {
  const folder = await temporaryFolder();
  slot = `${folder.path}/slots/b`;
  dispose = folder.dispose;
});
afterEach(() => dispose());

/** Where a link leads; nothing if it is gone by now. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

async function* inPieces(bytes: Uint8Array, size = 70_000) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('a slot', () => {
  test('holds what was streamed, and loses what it held before', async () => {
    await writeSlot(nodeFiles, slot, inPieces(Buffer.concat([image, image])), 2 * image.length);
    const written = await writeSlot(nodeFiles, slot, inPieces(image), image.length);
    expect(written).toEqual({ sha256: sha256(image), sizeBytes: image.length });
    expect(await digestSlot(nodeFiles, slot)).toEqual(written);
    expect(image.equals(await readFile(slot))).toBe(true);
  });

  test('of several reads is read whole, in order, and can be left early', async () => {
    const large = Buffer.from(Uint32Array.from({ length: 700_000 }, (_, i) => i * 2654435761).buffer);
    await writeSlot(nodeFiles, slot, inPieces(large), large.length);
    expect(await digestSlot(nodeFiles, slot)).toEqual({ sha256: sha256(large), sizeBytes: large.length });
    const pieces: Buffer[] = [];
    // A piece holds until the next one is asked for, not longer.
    for await (const piece of nodeFiles.readSlot(slot)) pieces.push(Buffer.from(piece));
    expect(pieces.length).toBeGreaterThan(2);
    expect(Buffer.concat(pieces).equals(large)).toBe(true);
    const open = () => readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`));
    for await (const piece of nodeFiles.readSlot(slot)) {
      expect(large.subarray(0, piece.length).equals(piece)).toBe(true);
      expect(open()).toContain(slot);
      break;
    }
    expect(open()).not.toContain(slot);
  });

  test('that was never written or was emptied holds nothing', async () => {
    expect(await digestSlot(nodeFiles, slot)).toEqual({ sha256: sha256(Buffer.alloc(0)), sizeBytes: 0 });
    await writeSlot(nodeFiles, slot, inPieces(image), image.length);
    await emptySlot(nodeFiles, slot);
    expect(await digestSlot(nodeFiles, slot)).toEqual({ sha256: sha256(Buffer.alloc(0)), sizeBytes: 0 });
  });

  test('takes no byte more than announced', async () => {
    await expect(writeSlot(nodeFiles, slot, inPieces(image), image.length - 1)).rejects.toEqual(
      coded('UPDATE_IMAGE_TOO_LONG'),
    );
    expect((await digestSlot(nodeFiles, slot)).sizeBytes).toBeLessThan(image.length);
  });

  test('refuses another image than the evidence is about', async () => {
    const short = await writeSlot(nodeFiles, slot, inPieces(image.subarray(1)), image.length);
    expect(() => checkDownload(short, sha256(image))).toThrow(coded('UPDATE_IMAGE_MISMATCH'));
  });

  test('is a file of its own: no link is followed, and what it leads to stays whole', async () => {
    const active = slot.replace(/b$/, 'a');
    await writeSlot(nodeFiles, active, inPieces(image), image.length);
    for (const lay of [() => symlink(active, slot), () => link(active, slot), () => mkdir(slot)]) {
      await lay();
      await expect(writeSlot(nodeFiles, slot, inPieces(image), 1)).rejects.toEqual(coded('SLOT_UNWRITABLE'));
      await emptySlot(nodeFiles, slot);
      expect(image.equals(await readFile(active))).toBe(true);
      await rm(slot, { recursive: true });
    }
    execFileSync('mkfifo', [slot]);
    await expect(nodeFiles.openSlot(slot)).rejects.toEqual(coded('SLOT_UNWRITABLE'));
  });

  test('that does not hold what was written is found out', async () => {
    let writes = 0;
    const { files } = hostWith({
      openSlot: async (path) => {
        const real = await nodeFiles.openSlot(path);
        const write = async (chunk: Uint8Array) => {
          const copy = Uint8Array.from(chunk);
          if (++writes === 3) copy[17] = (copy[17] ?? 0) ^ 1;
          await real.write(copy);
        };
        return { ...real, write };
      },
    });
    const written = await writeSlot(files, slot, inPieces(image), image.length);
    checkDownload(written, sha256(image));
    const held = await digestSlot(files, slot);
    expect(() => checkReadBack(held, sha256(image))).toThrow(coded('SLOT_READBACK_MISMATCH'));
  });

  test('that cannot be written says so, and is closed', async () => {
    let closed = 0;
    const { files } = hostWith({
      openSlot: async (path) => {
        const real = await nodeFiles.openSlot(path);
        const abandon = async () => {
          closed++;
          await real.abandon();
        };
        await real.abandon();
        return { ...real, abandon };
      },
    });
    await expect(writeSlot(files, slot, inPieces(image), image.length)).rejects.toEqual(
      coded('SLOT_UNWRITABLE'),
    );
    expect(closed).toBe(1);
    const gone = await nodeFiles.openSlot(slot);
    await gone.abandon();
    await expect(gone.finish()).rejects.toEqual(coded('SLOT_UNWRITABLE'));
  });
});

describe('a download', () => {
  let server: Server;
  const never = new AbortController().signal;

  async function serve(answer: RequestListener): Promise<string> {
    server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/image`;
  }
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const take = (url: string, cancel = never, idleTimeoutMs = 5000) =>
    writeSlot(
      nodeFiles,
      slot,
      downloadImage(nodeHost(), url, cancel, { idleTimeoutMs, sizeBytes: image.length }),
      image.length,
    );

  test('arrives whole', async () => {
    const url = await serve((_, response) => response.end(image));
    expect(await take(url)).toEqual({ sha256: sha256(image), sizeBytes: image.length });
  });

  test('that never ends is stopped at the announced size', async () => {
    const url = await serve((_, response) => {
      const more = () => {
        while (!response.destroyed && response.write(image));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    await expect(take(url)).rejects.toEqual(coded('UPDATE_IMAGE_TOO_LONG'));
  });

  const dead: Record<string, RequestListener> = {
    'is not there': (_, response) => response.writeHead(404).end(),
    'leads elsewhere': (_, response) => response.writeHead(302, { location: '/other' }).end(),
    'breaks off': (_, response) => {
      response.write(image.subarray(0, 1000));
      setTimeout(() => response.destroy(), 20);
    },
  };
  test.each(Object.keys(dead))('that %s gives no verdict', async (how) => {
    const url = await serve(dead[how] as RequestListener);
    await expect(take(url)).rejects.toEqual(coded('UPDATE_DOWNLOAD_INTERRUPTED'));
  });

  test('may take its time as long as something comes', async () => {
    const url = await serve(async (_, response) => {
      for await (const piece of inPieces(image, 50_000)) {
        response.write(piece);
        await pause(300);
      }
      response.end();
    });
    expect(await take(url, never, 1200)).toEqual({ sha256: sha256(image), sizeBytes: image.length });
  });

  test('that falls silent is given up', async () => {
    const url = await serve((_, response) => void response.write(image.subarray(0, 1000)));
    await expect(take(url, never, 60)).rejects.toEqual(coded('UPDATE_DOWNLOAD_INTERRUPTED'));
  });

  test('that drips is given up', async () => {
    const url = await serve(async (_, response) => {
      while (!response.destroyed) {
        response.write('x');
        await pause(20);
      }
    });
    const drip = downloadImage(nodeHost(), url, never, { idleTimeoutMs: 500, sizeBytes: 100 });
    await expect(writeSlot(nodeFiles, slot, drip, image.length)).rejects.toMatchObject({
      code: 'UPDATE_DOWNLOAD_INTERRUPTED',
      message: expect.stringContaining('less than 1000 bytes a second'),
    });
  });

  test('is cancelled in the middle', async () => {
    const cancel = new AbortController();
    const url = await serve((_, response) => {
      response.write(image.subarray(0, 1000));
      setTimeout(() => cancel.abort(), 20);
    });
    await expect(take(url, cancel.signal)).rejects.toEqual(coded('UPDATE_CANCELLED'));
  });
});
