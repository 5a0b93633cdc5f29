// SPDX-License-Identifier: Apache-2.0
// What a witness remembers [docs/spec/witness.md §Folder]: over restarts and kills, and that it does not start without it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { formatNote } from '../../../core/tlog/note.ts';
import { diskFiles } from '../../../registry/store/durable-files.ts';
import { Witness } from '../../../registry/witness/witness.ts';
import { createWitness, originHash, WitnessFolder } from '../../../registry/witness/witness-folder.ts';
import { noteSigner, seededKey, witnessSigner } from '../../core/tlog/note-signers.ts';
import { codeOf, runWitness, temporaryFolder, witnessFolder } from './running-witness.ts';
import { body, ORIGIN, witnessedLog } from './witnessed-log.ts';

const log = witnessedLog();
const fork = witnessedLog(ORIGIN, 'fork');
const code = (expected: string) => expect.objectContaining({ code: expected });
const open = async (folder: string) => {
  const witness = await Witness.open({ folder, clock: Date.now });
  await witness.close();
};
const logFile = (folder: string) => join(folder, 'logs', originHash(ORIGIN));

/** A witness that cosigned size 7 and stands still. */
async function stopped() {
  const made = await witnessFolder([log.vkey]);
  const witness = await runWitness(made);
  expect((await witness.add(log.request(0n, 7n))).status).toBe(200);
  await witness.stop();
  return made;
}

describe('restart', () => {
  test('it goes on where it was: no smaller tree, no fork, and the log itself', async () => {
    const witness = await runWitness(await stopped());
    expect(await witness.add(log.request(0n, 5n))).toMatchObject({ status: 409, text: '7\n' });
    expect((await witness.add(body(7n, [], fork.checkpoint(7n)))).status).toBe(422);
    expect((await witness.add(log.request(7n, 9n))).status).toBe(200);
  });

  test('a key that others may read is not used', async () => {
    const { folder } = await stopped();
    await chmod(join(folder, 'key.pem'), 0o644);
    await expect(open(folder)).rejects.toEqual(code('CA_KEY_EXPOSED'));
    await chmod(join(folder, 'key.pem'), 0o600);
    await open(folder);
  });

  test('a file half-written beside is removed', async () => {
    const { folder } = await stopped();
    await writeFile(`${logFile(folder)}.0123456789ab.new`, 'torn');
    await open(folder);
    expect(await readdir(join(folder, 'logs'))).toEqual([originHash(ORIGIN)]);
  });

  test('the file is replaced before the answer, and not touched where the tree is the same', async () => {
    const written: string[] = [];
    const files = {
      ...diskFiles,
      write: async (path: string, bytes: Uint8Array | string) => {
        written.push(String(bytes));
        await diskFiles.write(path, bytes);
      },
    };
    const made = await witnessFolder([log.vkey]);
    const witness = await runWitness(made, files);
    await witness.add(log.request(0n, 7n));
    expect(written).toEqual([`${log.vkey}\n\n${log.checkpoint(7n)}`]);
    await witness.add(log.request(7n, 7n));
    await witness.add(body(7n, [], log.checkpoint(5n)));
    await witness.add(body(7n, [], fork.checkpoint(9n)));
    expect(written).toHaveLength(1);
    expect(await readFile(logFile(made.folder), 'utf8')).toBe(written[0]);
  });
});

describe('kill -9', () => {
  test.each([
    ['before the checkpoint is durable', 'before', '0\n'],
    ['between the durable checkpoint and the answer', 'after', '7\n'],
  ])('%s', async (_, when, size) => {
    const made = await witnessFolder([log.vkey]);
    const script = join(import.meta.dirname, 'cosign-until-killed.ts');
    const child = spawn(process.execPath, [script, made.folder, when], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    const [address] = (await once(child.stdout, 'data')) as [Buffer];
    const url = `${String(address).trim()}/add-checkpoint`;
    await expect(fetch(url, { method: 'POST', body: log.request(0n, 7n) })).rejects.toThrow();
    expect((await ended)[1]).toBe('SIGKILL');
    const witness = await runWitness(made);
    expect(await witness.add(log.request(5n, 9n))).toMatchObject({ status: 409, text: size });
    if (when === 'after') {
      expect((await witness.add(body(7n, [], fork.checkpoint(7n)))).status).toBe(422);
    }
    expect((await witness.add(log.request(BigInt(size), 9n))).status).toBe(200);
  });
});

describe('damage', () => {
  const otherOrigin = (() => {
    const text = witnessedLog('other.example').text(7n);
    return formatNote({ text, signatures: [log.signer.sign(text)] });
  })();
  test.each([
    ['an empty file', () => ''],
    ['half a key', () => log.vkey.slice(0, 20)],
    ['a key without its newline', () => log.vkey],
    ['half a checkpoint', (text: string) => text.slice(0, text.length / 2)],
    ['a checkpoint without its last byte', (text: string) => text.slice(0, -1)],
    ['the empty line alone', () => `${log.vkey}\n\n`],
    ['no empty line', (text: string) => text.replace('\n\n', '\n')],
    ['another size', (text: string) => text.replace('\n7\n', '\n5\n')],
    ["a checkpoint that another log's key signed", () => `${log.vkey}\n\n${signedByAnother()}`],
    ['a checkpoint of another origin', () => `${log.vkey}\n\n${otherOrigin}`],
    ['the key of another log', () => `${noteSigner('other.example').vkey}\n`],
    ['the key of a witness', () => `${witnessSigner(ORIGIN).vkey}\n`],
    ['bytes that are not UTF-8', () => Buffer.from([0xff, 0x0a])],
  ])('%s', async (_, damage) => {
    const { folder } = await stopped();
    const path = logFile(folder);
    await writeFile(path, damage(await readFile(path, 'utf8')));
    await expect(open(folder)).rejects.toEqual(
      expect.objectContaining({ code: 'WITNESS_DATA_DAMAGED', at: path }),
    );
    // It stays refused: nothing was begun anew.
    await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_DAMAGED'));
  });

  function signedByAnother(): string {
    const text = log.text(7n);
    return formatNote({ text, signatures: [noteSigner(ORIGIN, seededKey('x')).sign(text)] });
  }

  test('every byte changed by one bit is noticed', async () => {
    const { folder } = await stopped();
    const path = logFile(folder);
    const bytes = await readFile(path);
    const unnoticed: number[] = [];
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes);
      changed[i] = (changed[i] as number) ^ 1;
      await writeFile(path, changed);
      await open(folder).then(
        () => unnoticed.push(i),
        (failure) => expect(failure).toEqual(code('WITNESS_DATA_DAMAGED')),
      );
    }
    expect(unnoticed).toEqual([]);
  });

  test('a file of another name, and a folder among the files', async () => {
    const { folder } = await stopped();
    await copyFile(logFile(folder), join(folder, 'logs', 'copy'));
    await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_DAMAGED'));
    await rm(join(folder, 'logs', 'copy'));
    await mkdir(join(folder, 'logs', 'sub'));
    await expect(open(folder)).rejects.toEqual(code('REGISTRY_STORE_FAILED'));
  });

  test('a log whose file is gone is unknown, not new', async () => {
    const made = await stopped();
    await rm(logFile(made.folder));
    const witness = await runWitness(made);
    const answer = await witness.add(log.request(0n, 5n));
    expect([answer.status, codeOf(answer)]).toEqual([404, 'WITNESS_LOG_UNKNOWN']);
  });

  test('a key that is missing, or not that of the folder', async () => {
    const { folder } = await stopped();
    const [key, vkey] = [join(folder, 'key.pem'), join(folder, 'vkey')];
    const other = join(await temporaryFolder(), 'other');
    await createWitness(other, 'witness.example/w1');
    const pem = await readFile(key);
    await copyFile(join(other, 'key.pem'), key);
    await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_DAMAGED'));
    await writeFile(key, 'torn');
    await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_DAMAGED'));
    await writeFile(key, pem);
    const line = await readFile(vkey, 'utf8');
    for (const wrong of ['', line.trimEnd(), `${line}${line}`, `${log.vkey}\n`, line.replace('w1', 'w2')]) {
      await writeFile(vkey, wrong);
      await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_DAMAGED'));
    }
    await writeFile(vkey, line);
    await open(folder);
    await rename(key, `${key}.away`);
    await expect(open(folder)).rejects.toEqual(code('WITNESS_DATA_MISSING'));
    await rm(vkey);
    await expect(open(join(folder, 'nowhere'))).rejects.toEqual(code('WITNESS_DATA_MISSING'));
    expect(await readdir(folder)).not.toContain('nowhere');
  });
});

describe('one witness, one folder', () => {
  test('a second one is kept out until the first is closed', async () => {
    const made = await witnessFolder([log.vkey]);
    const witness = await runWitness(made);
    await expect(open(made.folder)).rejects.toEqual(code('WITNESS_DATA_LOCKED'));
    await expect(WitnessFolder.open(made.folder)).rejects.toEqual(code('WITNESS_DATA_LOCKED'));
    await witness.stop();
    await open(made.folder);
  });

  test('keys and logs are made once', async () => {
    const { folder } = await witnessFolder([log.vkey]);
    expect((await stat(join(folder, 'key.pem'))).mode & 0o777).toBe(0o600);
    await expect(createWitness(folder, 'w')).rejects.toEqual(code('WITNESS_FOLDER_NOT_EMPTY'));
    await expect(createWitness(join(folder, 'vkey'), 'w')).rejects.toEqual(code('WITNESS_FOLDER_NOT_EMPTY'));
    const held = await WitnessFolder.open(folder);
    onTestFinished(() => held.close());
    const again = noteSigner(ORIGIN, seededKey('another')).vkey;
    for (const vkey of [log.vkey, again]) {
      await expect(held.addLog(vkey)).rejects.toEqual(code('WITNESS_LOG_KNOWN'));
    }
    for (const vkey of ['x', witnessSigner('w').vkey, log.vkey.slice(0, -1)]) {
      await expect(held.addLog(vkey)).rejects.toEqual(code('WITNESS_LOG_KEY_UNSUITABLE'));
    }
  });

  test('names that no key may carry; nothing is left behind', async () => {
    const home = await temporaryFolder();
    for (const name of ['', 'a b', 'a+b', 'a\nb', 'a\u0000b', 'a\u202eb', 'x'.repeat(256), '\ud800']) {
      await expect(createWitness(join(home, 'w'), name)).rejects.toEqual(code('WITNESS_NAME_MALFORMED'));
    }
    expect(await readdir(home)).toEqual([]);
    await createWitness(join(home, 'w'), 'witness.example/w1');
    expect(await readdir(home)).toEqual(['w']);
  });
});
