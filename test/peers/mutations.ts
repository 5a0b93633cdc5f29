// SPDX-License-Identifier: Apache-2.0
// Changes of valid bundles, by a seed: octets of the text, members of the JSON, octets inside base64, lines of checkpoints, JSON inside
// log entries, and parts taken from another valid bundle.

import { utf8 } from '../../core/encoding/utf8.ts';

// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;

/** Numbers that look random and are the same for one seed (mulberry32). */
export class Dice {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** From 0 up to, not including, `below`. */
  roll(below: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.roll(list.length)] as T;
  }
}

/** Every place in a document with what stands there, the whole left out. */
function places(value: Bent, path: (string | number)[] = []): { path: (string | number)[]; value: Bent }[] {
  const here = path.length === 0 ? [] : [{ path, value }];
  if (value === null || typeof value !== 'object') return here;
  return [...here, ...Object.keys(value).flatMap((name) => places(value[name], [...path, name]))];
}

function at(document: Bent, path: readonly (string | number)[]): Bent {
  return path.reduce((node, name) => node?.[name], document);
}

function put(document: Bent, path: readonly (string | number)[], value: unknown): void {
  const holder = at(document, path.slice(0, -1));
  const last = path.at(-1) as string;
  if (value === undefined && Array.isArray(holder)) holder.splice(Number(last), 1);
  else if (value === undefined) delete holder[last];
  // A copy: what is put in may hold the place where it goes.
  else holder[last] = structuredClone(value);
}

const STRANGERS: readonly unknown[] = [null, '', 0, 1, -1, '0', '1', '-1', true, [], {}, 'AAAA', 'x', 1e300];

/** One change of octets: a bit, an octet, a piece cut out, a piece doubled, an octet put in. */
function bendOctets(octets: Uint8Array, dice: Dice): Uint8Array {
  if (octets.length === 0) return Uint8Array.of(dice.roll(256));
  const i = dice.roll(octets.length);
  const length = 1 + dice.roll(Math.min(8, octets.length - i));
  switch (dice.roll(5)) {
    case 0:
      return octets.with(i, (octets[i] as number) ^ (1 << dice.roll(8)));
    case 1:
      return octets.with(i, dice.roll(256));
    case 2:
      return Uint8Array.of(...octets.slice(0, i), ...octets.slice(i + length));
    case 3:
      return Uint8Array.of(...octets.slice(0, i + length), ...octets.slice(i));
    default:
      return Uint8Array.of(...octets.slice(0, i), dice.roll(256), ...octets.slice(i));
  }
}

const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const isBase64 = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 8 && /^[A-Za-z0-9+/]+=*$/.test(value);

function bendMember(document: Bent, dice: Dice): void {
  const { path, value } = dice.pick(places(document));
  const how = dice.roll(4);
  if (how === 0) put(document, path, undefined);
  else if (how === 1) put(document, path, dice.pick(STRANGERS));
  else if (how === 2 && Array.isArray(value) && value.length > 0)
    put(document, path, [...value, dice.pick(value)]);
  else put(document, path, dice.pick(places(document)).value);
}

function bendBase64(document: Bent, dice: Dice): void {
  const { path, value } = dice.pick(places(document).filter((place) => isBase64(place.value)));
  if (dice.roll(8) > 0) put(document, path, b64(bendOctets(Buffer.from(value, 'base64'), dice)));
  // Other spellings of the same octets.
  else
    put(
      document,
      path,
      dice.pick([`${value}=`, value.replace(/=+$/, ''), `${value}\n`, value.replaceAll('+', '-')]),
    );
}

function bendCheckpoint(document: Bent, dice: Dice): void {
  const found = places(document).filter(({ path }) => path.at(-1) === 'envelope');
  if (found.length === 0) {
    bendMember(document, dice);
    return;
  }
  const { path, value } = dice.pick(found);
  const lines = String(value).split('\n');
  const i = dice.roll(lines.length);
  const line = dice.pick(['', 'x', '0', lines[dice.roll(lines.length)] ?? '', `${lines[i]} `, `${lines[i]}`]);
  const how = dice.roll(3);
  put(
    document,
    path,
    (how === 0 ? lines.toSpliced(i, 1) : how === 1 ? lines.with(i, line) : lines.toSpliced(i, 0, line)).join(
      '\n',
    ),
  );
}

function bendBody(document: Bent, dice: Dice): void {
  const found = places(document).filter(({ path }) => path.at(-1) === 'canonicalizedBody');
  if (found.length === 0) {
    bendMember(document, dice);
    return;
  }
  const { path, value } = dice.pick(found);
  try {
    const body = JSON.parse(Buffer.from(value, 'base64').toString());
    (dice.roll(2) === 0 ? bendMember : bendBase64)(body, dice);
    put(document, path, b64(utf8(JSON.stringify(body))));
  } catch {
    bendMember(document, dice);
  }
}

function swapPart(document: Bent, other: Bent, dice: Dice): void {
  const { path } = dice.pick(places(document));
  const theirs = at(other, path);
  put(document, path, theirs === undefined ? dice.pick(places(other)).value : structuredClone(theirs));
}

function addMember(document: Bent, dice: Dice): void {
  const holders = places(document).filter(
    ({ value }) => value !== null && typeof value === 'object' && !Array.isArray(value),
  );
  const holder = holders.length === 0 ? document : dice.pick(holders).value;
  const { path, value } = dice.pick(places(document));
  holder[dice.pick(['stranger', String(path.at(-1))])] = structuredClone(value);
}

/** A changed bundle. `other` is a valid one under the same trust. */
export function mutate(bundle: Uint8Array, other: Uint8Array, dice: Dice): Uint8Array {
  const how = dice.roll(10);
  if (how === 0) return bendOctets(bundle, dice);
  const document = JSON.parse(Buffer.from(bundle).toString());
  const times = 1 + (dice.roll(4) === 0 ? dice.roll(3) : 0);
  for (let i = 0; i < times; i++) {
    if (how < 3) bendMember(document, dice);
    else if (how < 6) bendBase64(document, dice);
    else if (how === 6) bendCheckpoint(document, dice);
    else if (how === 7) bendBody(document, dice);
    else if (how === 8) swapPart(document, JSON.parse(Buffer.from(other).toString()), dice);
    else addMember(document, dice);
    if (places(document).length === 0) break;
  }
  return utf8(JSON.stringify(document));
}
