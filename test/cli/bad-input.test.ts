// SPDX-License-Identifier: Apache-2.0
// What a tired person gives a command by mistake: each gets a message that says what to do, the right exit code, and no
// file half-written.

import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stepYaml, yamlOver } from '../builder/definitions.ts';
import { say, waybill } from './command-line.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Nothing listens on port 1 of this machine. */
const DOWN = 'http://127.0.0.1:1';

let folder: string;
const home = process.cwd();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-bad-'));
  process.chdir(folder);
  process.env.XDG_STATE_HOME = join(folder, '.state');
  process.env.XDG_CACHE_HOME = join(folder, '.cache');
  cpSync(join(ROOT, 'examples', 'optiboot'), join(folder, 'optiboot'), { recursive: true });
  writeFileSync(join(folder, 'unclosed.yaml'), 'product: optiboot\nsteps: [a, b\n');
  writeFileSync(join(folder, 'unknown.yaml'), 'product: optiboot\nnonsense: 1\n');
  writeFileSync(join(folder, 'twice.yaml'), 'product: optiboot\nproduct: optiboot\n');
  writeFileSync(join(folder, 'sound.yaml'), yamlOver({ keyring: 'keys.gpg' }, stepYaml('true')));
  writeFileSync(join(folder, 'root.json'), '{ "signed": ');
  writeFileSync(join(folder, 'token'), 'x');
  writeFileSync(join(folder, 'key.pem'), 'no key\n');
  const { publicKey } = generateKeyPairSync('ed25519');
  writeFileSync(join(folder, 'key.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
});
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

/** Names in the folder, to see that a command added none. */
function names(): string[] {
  return readdirSync(folder).filter((name) => !name.startsWith('.'));
}

interface BadLine {
  readonly argv: readonly string[];
  readonly code: string;
  readonly exit: 2 | 75;
  /** What the message must say besides. */
  readonly says: RegExp;
}

const registry = ['--registry', DOWN, '--root', 'root.json'];
const gate = ['gate', '--product-version', '1.0.0', '--image', 'root.json', '--key', 'key.pem'];
const add = ['product', 'add', 'optiboot', '--releases-key', 'key.pem', '--offline', 'offline', ...registry];
const device = ['--product', 'optiboot', '--hardware-id', 'a', '--version-floor', '1.0.0'];

const LINES: readonly BadLine[] = [
  // A file that is not there.
  { argv: ['lock', 'gone.yaml'], code: 'CLI_FILE_UNREADABLE', exit: 2, says: /"gone\.yaml", got ENOENT/ },
  { argv: ['build', 'gone.yaml', '--out', 'o'], code: 'CLI_FILE_UNREADABLE', exit: 2, says: /"gone\.yaml"/ },
  {
    argv: ['build', 'sound.yaml', '--out', 'o'],
    code: 'CLI_LOCK_MISSING',
    exit: 2,
    says: /"waybill\.lock" beside "sound\.yaml", got no such file\n.*Run `waybill lock`/,
  },
  { argv: ['serve', 'gone'], code: 'REGISTRY_DATA_MISSING', exit: 2, says: /`waybill init`/ },
  {
    argv: ['attest', 'gone', '--token-file', 'token', ...registry],
    code: 'ATTEST_FOLDER_INCOMPLETE',
    exit: 2,
    says: /`waybill build --out`/,
  },
  {
    argv: [...gate, '--policy', 'gone.yaml', ...registry],
    code: 'CLI_FILE_UNREADABLE',
    exit: 2,
    says: /gone\.yaml/,
  },
  {
    argv: [...add, '--device-policy', 'gone.yaml'],
    code: 'CLI_FILE_UNREADABLE',
    exit: 2,
    says: /gone\.yaml/,
  },
  {
    argv: ['release', '--list', '--product', 'optiboot', '--registry', DOWN, '--root', 'gone.json'],
    code: 'CLI_FILE_UNREADABLE',
    exit: 2,
    says: /"gone\.json"/,
  },
  {
    argv: ['device', 'init', 'd', '--root', 'gone.json', '--registry', DOWN, ...device],
    code: 'CLI_FILE_UNREADABLE',
    exit: 2,
    says: /"gone\.json"/,
  },
  {
    argv: ['device', 'update', 'gone'],
    code: 'DEVICE_NOT_INITIALISED',
    exit: 2,
    says: /`waybill device init`/,
  },
  { argv: ['key', 'show', 'gone.pem'], code: 'CEREMONY_KEY_UNREADABLE', exit: 2, says: /"gone\.pem"/ },
  // A document with a mistake: file, line, column, and the text there.
  { argv: ['lock', 'unclosed.yaml'], code: 'DEFINITION_MALFORMED', exit: 2, says: /at: unclosed\.yaml:3:1/ },
  {
    argv: ['lock', 'unknown.yaml'],
    code: 'DEFINITION_MALFORMED',
    exit: 2,
    says: /at: unknown\.yaml:2:1: "nonsense: 1"/,
  },
  {
    argv: ['lock', 'twice.yaml'],
    code: 'DEFINITION_MALFORMED',
    exit: 2,
    says: /at: twice\.yaml:2:1: "product: optiboot"/,
  },
  {
    argv: ['build', 'unclosed.yaml', '--out', 'o'],
    code: 'DEFINITION_MALFORMED',
    exit: 2,
    says: /unclosed\.yaml:3:1/,
  },
  {
    argv: [...gate, '--policy', 'unknown.yaml', ...registry],
    code: 'POLICY_MALFORMED',
    exit: 2,
    says: /unknown\.yaml:2:1:/,
  },
  {
    argv: [...add, '--device-policy', 'twice.yaml'],
    code: 'DEVICE_POLICY_MALFORMED',
    exit: 2,
    says: /twice\.yaml:2:1/,
  },
  { argv: ['key', 'show', 'key.pem'], code: 'CEREMONY_KEY_UNSUITABLE', exit: 2, says: /"key\.pem"/ },
  // A value that cannot be.
  {
    argv: ['trace', 'pkg:deb/debian/x', '--registry', 'nonsense'],
    code: 'CLI_USAGE',
    exit: 2,
    says: /expected the address of the registry as a URL .* got "nonsense"/,
  },
  {
    argv: ['trace', 'pkg:deb/debian/x', '--registry', `${DOWN}/?a=b`],
    code: 'CLI_USAGE',
    exit: 2,
    says: /without user, query and fragment, got "http:.*\?a=b"/,
  },
  {
    argv: ['tuf', 'status', `${DOWN}/waybill/tuf/`, '--root', 'root.json'],
    code: 'CLI_USAGE',
    exit: 2,
    says: /expected the base address of a registry, here "http:[^"]*\/waybill", got "http:[^"]*\/tuf\/": commands add the rest/,
  },
  {
    argv: ['init', 'r', '--offline', 'o', '--url', 'nonsense'],
    code: 'CLI_USAGE',
    exit: 2,
    says: /got "nonsense"/,
  },
  {
    argv: ['init', 'r', '--offline', 'r/o', '--url', DOWN],
    code: 'REGISTRY_FOLDERS_NESTED',
    exit: 2,
    says: /apart/,
  },
  {
    argv: ['key', 'new', '--for', 'gate', 'key.pem'],
    code: 'CEREMONY_KEY_EXISTS',
    exit: 2,
    says: /"key\.pem"/,
  },
  {
    argv: [
      'release',
      '--withdraw',
      'sha256:DIGEST',
      '--reason',
      'x',
      '--key',
      'key.pem',
      '--product',
      'p',
      ...registry,
    ],
    code: 'CLI_USAGE',
    exit: 2,
    says: /expected the image to --withdraw, which `waybill release --list` shows, as sha256: .*got "sha256:DIGEST"/,
  },
  {
    argv: ['device', 'enrol', 'd', '--token-file', 'key.pub'],
    code: 'CLI_USAGE',
    exit: 2,
    says: /expected an enrolment token, .* in "key\.pub"; the registry's is keys\/enrolment\.token/,
  },
  {
    argv: ['release', '--renew', '--product', 'p', '--key', 'key.pub', ...registry],
    code: 'CEREMONY_KEY_UNSUITABLE',
    exit: 2,
    says: /expected a private key in "key\.pub", got a public one/,
  },
  // A registry that is down.
  {
    argv: ['trace', 'pkg:deb/debian/x', '--registry', DOWN],
    code: 'REGISTRY_UNREACHABLE',
    exit: 75,
    says: /127\.0\.0\.1:1/,
  },
];

describe.each(LINES.map((line) => ({ ...line, line: line.argv.join(' ') })))('waybill $line', (line) => {
  test(`${line.code}, exit ${line.exit}, nothing written`, async () => {
    const before = names();
    const { code, out, err } = await say(line.argv);
    expect(err).toContain(`waybill: ${line.code}: `);
    expect(err).toMatch(line.says);
    expect(err).toMatch(/^ {2}what to do: \S.*\.$/m);
    expect({ code, out }).toEqual({ code: line.exit, out: '' });
    expect(names()).toEqual(before);
  });
});

test('with --json a refusal is one JSON document', async () => {
  const { code, out } = await say(['lock', 'unknown.yaml', '--json']);
  expect(code).toBe(2);
  expect(JSON.parse(out).error).toMatchObject({
    code: 'DEFINITION_MALFORMED',
    at: expect.stringMatching(/^unknown\.yaml:2:/),
    remedy: expect.stringContaining('Correct'),
  });
});

describe('a missing tool', () => {
  test.each([
    ['lock', 'apt-get', 'apt', ['lock', 'optiboot/waybill.yaml']],
    ['build', 'bwrap', 'bubblewrap', ['build', 'optiboot/waybill.yaml', '--out', 'out']],
  ])('%s names %s and its package', (_verb, tool, name, argv) => {
    const bin = join(folder, `bin-${name}`);
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    const command = join(ROOT, 'cli', 'waybill.js');
    const env = { PATH: bin, XDG_CACHE_HOME: join(folder, '.cache') };
    const run = spawnSync(process.execPath, [command, ...argv], { cwd: folder, env, encoding: 'utf8' });
    expect(run.stderr).toContain('SANDBOX_TOOL_MISSING');
    expect(run.stderr).toContain(`expected the program ${tool} of the Debian package ${name}`);
    expect(run.status).toBe(75);
    expect(names()).not.toContain('out');
  });
});

describe('a registry on this machine', () => {
  let taken: Server;
  let url: string;
  beforeAll(async () => {
    taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(taken.address() as { port: number }).port}`;
    const made = await waybill(['init', 'registry', '--offline', 'offline', '--url', url], folder);
    expect(made.code).toBe(0);
  });
  afterAll(() => new Promise((resolve) => taken.close(resolve)));

  test('a port in use is named, and is worth another try', async () => {
    const { code, err } = await waybill(['serve', 'registry'], folder);
    expect(err).toContain('REGISTRY_ADDRESS_UNAVAILABLE');
    expect(err).toContain(new URL(url).port);
    expect(code).toBe(75);
  });

  test('init never overwrites keys', async () => {
    const { code, err } = await say(['init', 'registry', '--offline', 'offline-2', '--url', url]);
    expect(err).toContain('REGISTRY_FOLDER_NOT_EMPTY');
    expect(code).toBe(2);
    expect(names()).not.toContain('offline-2');
  });

  test('a mistake in config.yaml is refused at its place', async () => {
    cpSync(join(folder, 'registry'), join(folder, 'registry-2'), { recursive: true });
    writeFileSync(join(folder, 'registry-2', 'config.yaml'), 'nonsense: 1\n');
    const { code, err } = await say(['serve', 'registry-2']);
    expect(err).toContain('REGISTRY_CONFIG_MALFORMED');
    expect(err).toMatch(/config\.yaml:1:\d+/);
    expect(code).toBe(2);
  });
});

describe('a full disk', () => {
  /** Runs a command where `full/` is a file system without a free byte; answers what lies there afterwards, too. */
  function onFullDisk(argv: readonly string[]) {
    const full = join(folder, 'full');
    mkdirSync(full, { recursive: true });
    const script = 'head -c 4096 /dev/zero > full/fill; "$@"; code=$?; echo; ls -A full; exit $code';
    const command = [process.execPath, join(ROOT, 'cli', 'waybill.js'), ...argv];
    const sandbox = ['--dev-bind', '/', '/', '--size', '4096', '--tmpfs', full, '--chdir', folder];
    const run = spawnSync('bwrap', [...sandbox, '--', 'sh', '-c', script, 'sh', ...command], {
      encoding: 'utf8',
    });
    const left = run.stdout.trim().split('\n');
    return { code: run.status, err: run.stderr, left: left.filter((name) => name !== 'fill') };
  }

  test('a new key leaves nothing behind', () => {
    const { code, err, left } = onFullDisk(['key', 'new', '--for', 'gate', 'full/gate.pem']);
    expect(err).toMatch(/CEREMONY_KEY_UNWRITABLE: .*ENOSPC/);
    expect({ code, left }).toEqual({ code: 75, left: [] });
  });

  test('a new registry leaves neither folder behind', () => {
    const { code, err, left } = onFullDisk(['init', 'full/registry', '--offline', 'away', '--url', DOWN]);
    expect(err).toMatch(/CA_FILES_UNWRITABLE: .*ENOSPC/);
    expect({ code, left }).toEqual({ code: 75, left: [] });
    expect(names()).not.toContain('away');
  });

  test('a new device says so', () => {
    writeFileSync(join(folder, 'any-root.json'), '{}');
    const from = ['--root', 'registry/root.json', '--registry', DOWN];
    const { code, err } = onFullDisk(['device', 'init', 'full/device', ...from, ...device]);
    expect(err).toMatch(/DEVICE_STATE_UNWRITABLE: .*ENOSPC/);
    expect(code).toBe(75);
  });
});
