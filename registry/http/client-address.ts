// SPDX-License-Identifier: Apache-2.0
// Whom limits count as one client [docs/spec/registry-api.md §Limits]: an address; of IPv6 a /64, which is the least that anybody is given.

import { isIPv6 } from 'node:net';

/** The client behind an address, as a key to count by. An IPv4 address that is mapped into IPv6 is itself. */
export function clientOf(address: string): string {
  if (!address.includes(':')) return address;
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [bare = ''] = address.split('%');
  if (!isIPv6(bare)) return address;
  const [front = '', back] = bare.split('::');
  const groups = front === '' ? [] : front.split(':');
  const behind = back === undefined || back === '' ? [] : back.split(':');
  const zeros =
    back === undefined ? [] : Array<string>(Math.max(0, 8 - groups.length - behind.length)).fill('0');
  const network = [...groups, ...zeros, ...behind].slice(0, 4);
  return `${network.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
