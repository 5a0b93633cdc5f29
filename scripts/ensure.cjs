// SPDX-License-Identifier: Apache-2.0
// `node scripts/ensure.cjs <command>`: runs before `npm test`, `npm run demo` and the like, and installs what they need,
// so that each works as the first command typed in a fresh clone. npm packages come from package-lock.json alone; Debian
// packages are installed by root or a passwordless sudo, else the command to type is printed and the run ends.
// Plain CommonJS and old syntax: it runs under whatever Node the machine has.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { linkNode, pinnedPackage } = require('./link-node.cjs');

const ROOT = path.join(__dirname, '..');

function main(command) {
  const table = JSON.parse(fs.readFileSync(path.join(__dirname, 'debian-packages.json'), 'utf8'));
  const needed = table.commands[command];
  if (needed === undefined) {
    stop(`ensure.cjs: expected one of ${Object.keys(table.commands).join(', ')}, got ${String(command)}`);
  }
  ensureNpmPackages();
  linkNode(ROOT);
  ensureDebianPackages(needed.filter((name) => isMissing(table.packages[name], process.arch)));
}

function ensureNpmPackages() {
  const stale = staleness(ROOT, pinnedPackage());
  if (stale === undefined) return;
  say(`Installing npm packages from package-lock.json (${stale}) …`);
  const started = Date.now();
  // The npm and the Node that run this script from outside: the linked Node is about to be deleted.
  const { npm_execpath: npmCli, npm_node_execpath: outerNode } = process.env;
  const byPath = npmCli !== undefined && path.basename(npmCli) === 'npm-cli.js' && fs.existsSync(npmCli);
  const run = byPath
    ? spawnSync(outerNode || process.execPath, [npmCli, 'ci'], options(ROOT))
    : spawnSync('npm', ['ci'], options(ROOT));
  if (run.error !== undefined || run.status !== 0) {
    const reason = run.error === undefined ? `${run.stdout}${run.stderr}`.trim() : run.error.message;
    stop(
      `${reason}\nnpm packages could not be installed; npm says why above. Mend that, then type the command again.`,
    );
  }
  say(`Installed in ${Math.round((Date.now() - started) / 1000)} s.`);
}

function options(cwd) {
  return { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 };
}

/**
 * Why node_modules is not what package-lock.json says; undefined if it is. Optional packages may be absent (they are for
 * other platforms), except `required`.
 */
function staleness(root, required) {
  const lock = readJson(path.join(root, 'package-lock.json'));
  const manifest = readJson(path.join(root, 'package.json'));
  // npm writes this file last, so an interrupted installation has none.
  const installed = readJson(path.join(root, 'node_modules', '.package-lock.json'));
  if (lock === undefined || manifest === undefined) return 'package-lock.json cannot be read';
  if (installed === undefined) return 'none are there';
  for (const [place, entry] of Object.entries(lock.packages)) {
    if (place === '') continue;
    const found = installed.packages[place];
    if (found === undefined) {
      const foreign = entry.optional === true && place !== `node_modules/${required}`;
      if (foreign || entry.peer === true) continue;
      return `${place} is missing`;
    }
    if (found.version !== entry.version || found.integrity !== entry.integrity) return `${place} has changed`;
  }
  const extra = Object.keys(installed.packages).find((place) => lock.packages[place] === undefined);
  return extra === undefined ? undefined : `${extra} is not in the lock file`;
}

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (_absentOrDamaged) {
    return undefined;
  }
}

/** Whether a package is to be installed on such a processor. Debian has some for one processor alone. */
function isMissing(row, processor) {
  return (row.processor === undefined || row.processor === processor) && !isPresent(row);
}

function isPresent(row) {
  if (row.file !== undefined) return fs.existsSync(row.file);
  // /usr/sbin and /sbin are missing from the search path of plain users.
  const folders = (process.env.PATH || '').split(path.delimiter).concat('/usr/sbin', '/sbin');
  return folders.some((folder) => folder !== '' && fs.existsSync(path.join(folder, row.executable)));
}

function ensureDebianPackages(missing) {
  if (missing.length === 0) return;
  const asRoot = process.getuid !== undefined && process.getuid() === 0;
  const plan = debianPlan(missing, { asRoot, hasSudo: !asRoot && runs(['sudo', '-n', 'true']) });
  if (plan.steps === undefined) stop(plan.message);
  say(`Installing Debian packages: ${missing.join(', ')} …`);
  // A machine that never asked has no package lists: the first try then fails at once.
  const [update, install] = plan.steps;
  if (!runs(install) && !(runs(update) && runs(install))) stop(plan.message);
}

/** What installs the packages: two commands where that is allowed here, and the message for who has to do it. */
function debianPlan(missing, rights) {
  const update = ['apt-get', 'update'];
  const install = ['apt-get', 'install', '-y', '--no-install-recommends'].concat(missing);
  const sudo = rights.asRoot ? '' : 'sudo ';
  const message =
    'Debian packages are missing and could not be installed from here. Type this, then the command again:\n\n' +
    `  ${sudo}${update.join(' ')} && ${sudo}${install.join(' ')}\n`;
  if (rights.asRoot) return { message, steps: [update, install] };
  if (!rights.hasSudo) return { message };
  return { message, steps: [update, install].map((argv) => ['sudo', '-n'].concat(argv)) };
}

function runs(argv) {
  const env = Object.assign({}, process.env, { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' });
  const run = spawnSync(argv[0], argv.slice(1), { env, stdio: 'ignore' });
  return run.error === undefined && run.status === 0;
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

function stop(text) {
  say(text);
  process.exit(1);
}

module.exports = { debianPlan, isMissing, staleness };
if (require.main === module) main(process.argv[2]);
