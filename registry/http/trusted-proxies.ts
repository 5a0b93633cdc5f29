// SPDX-License-Identifier: Apache-2.0
// Proxies in front of the registry that are believed about who their client is [docs/spec/registry-api.md §Clients behind a proxy].

import { BlockList, isIP } from 'node:net';
import type { DocumentNode } from '../../core/encoding/document.ts';

/** Addresses of the proxies that `limits.trustedProxies` names. */
export class TrustedProxies {
  static readonly none = new TrustedProxies([]);
  /** As they were named. */
  readonly named: readonly string[];
  readonly #list = new BlockList();

  private constructor(networks: readonly Network[]) {
    this.named = networks.map(({ name }) => name);
    for (const { address, bits, family } of networks) this.#list.addSubnet(address, bits, family);
  }

  /** Reads addresses and networks (`192.0.2.7`, `2001:db8::/64`). @throws the document's fault */
  static read(node: DocumentNode): TrustedProxies {
    return new TrustedProxies(node.someElements().map(readNetwork));
  }

  /** True if the other end of a connection is one of them. */
  includes(address: string | undefined): boolean {
    const bare = address?.replace(/^::ffff:(?=\d+\.)/i, '') ?? '';
    const family = isIP(bare);
    return family !== 0 && this.#list.check(bare, family === 4 ? 'ipv4' : 'ipv6');
  }
}

interface Network {
  readonly name: string;
  readonly address: string;
  readonly bits: number;
  readonly family: 'ipv4' | 'ipv6';
}

function readNetwork(node: DocumentNode): Network {
  const name = node.string();
  const [, address = '', length] = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(name) ?? [];
  const most = isIP(address) === 4 ? 32 : 128;
  const bits = length === undefined ? most : Number(length);
  if (isIP(address) === 0 || bits > most || bits === 0) {
    throw node.wrong('expected an IP address or a network such as 192.0.2.0/24, not of every address');
  }
  return { name, address, bits, family: most === 32 ? 'ipv4' : 'ipv6' };
}
