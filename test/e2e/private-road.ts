// SPDX-License-Identifier: Apache-2.0
// `node private-road.ts FOLDER`: the demo's road, with the inputs that the cache holds. Says which network devices and routes it had.

import { readFileSync } from 'node:fs';
import { Road } from '../../examples/demo/road.ts';

const [, , folder = ''] = process.argv;
const devices = [...readFileSync('/proc/net/dev', 'utf8').matchAll(/^ *(\S+):/gm)].map(([, name]) => name);
const routes = readFileSync('/proc/net/route', 'utf8').trim().split('\n').length - 1;
const road = await Road.travel(folder, { stage: () => {}, command: () => {}, show: () => {} }, true);
await road.close();
console.log(JSON.stringify({ devices, routes, releases: road.releases.map(({ version }) => version) }));
