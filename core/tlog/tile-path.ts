// SPDX-License-Identifier: Apache-2.0
// Paths of tiles and entry bundles [C2SP-tlog-tiles-v0.1.0 §Merkle Tree, §Log entries] [C2SP-static-ct-api-v1.0.0 §Log entries].

import { quote } from '../faults.ts';
import { TLOG } from './faults.ts';

/** Hashes or entries in a full tile. */
export const FULL_WIDTH = 256;

/** What a path names. Whether the log has it is another question. */
export interface TilePath {
  /** A tile of hashes by its level (0 to 63), or a bundle of entries: `entries`, or `data` in static-ct-api. */
  readonly level: number | 'entries' | 'data';
  /** Index within the level. */
  readonly index: bigint;
  /** 1 to 256; 256 is the full tile. */
  readonly width: number;
}

const PATH =
  /^tile\/(entries|data|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/){0,6})([0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** Parses a path below a log's prefix, without leading slash; each tile has one spelling. @throws TLOG_PATH_MALFORMED */
export function parseTilePath(path: string): TilePath {
  const bad = () =>
    TLOG.reject('TLOG_PATH_MALFORMED', `expected a path such as tile/0/x001/067.p/8, got ${quote(path)}`);
  const match = path.length > 64 ? null : PATH.exec(path);
  if (match === null) throw bad();
  const [, level = '', groups = '', last = '', width] = match;
  // A leading group of zeros would be a second spelling.
  if (groups.startsWith('x000/')) throw bad();
  const parsed: TilePath = {
    level: level === 'entries' || level === 'data' ? level : Number(level),
    index: BigInt(groups.replace(/[x/]/g, '') + last),
    width: width === undefined ? FULL_WIDTH : Number(width),
  };
  if (Number(parsed.level) > 63 || (width !== undefined && parsed.width >= FULL_WIDTH)) throw bad();
  return parsed;
}

/** The path of a tile or bundle; `parseTilePath` is the inverse. */
export function formatTilePath(path: TilePath): string {
  const digits = path.index.toString();
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/.{3}/g) ?? [];
  const elements = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group));
  const partial = path.width === FULL_WIDTH ? '' : `.p/${path.width}`;
  return `tile/${path.level}/${elements.join('/')}${partial}`;
}
