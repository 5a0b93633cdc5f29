// SPDX-License-Identifier: Apache-2.0
// What goes into a log and what comes out of it: entries and checkpoints.

/** A checkpoint as it was published. */
export interface PublishedCheckpoint {
  readonly size: bigint;
  readonly rootHash: Uint8Array;
  /** The signed note, verbatim. */
  readonly note: string;
}

/** What a signer of checkpoints is given. */
export interface CheckpointBody {
  readonly origin: string;
  readonly size: bigint;
  readonly rootHash: Uint8Array;
  /** Milliseconds since 1970; never runs backwards, whatever the clock does. */
  readonly timeMs: number;
  /** The note text to sign, as `formatCheckpoint` writes it. */
  readonly text: string;
}

/** What goes into the log at one index. */
export interface LogEntry {
  /** Bytes in the entry bundle. */
  readonly entry: Uint8Array;
  /** Bytes hashed as the leaf; the entry itself in most logs. */
  readonly leaf: Uint8Array;
}

/** An entry, or what makes one once the index is known; and the 32 bytes by which it is known again. */
export type AppendRequest = (LogEntry | { readonly make: (index: bigint) => LogEntry }) & {
  readonly identity: Uint8Array;
  /** The time that the entry says, milliseconds since 1970, if it says one: no checkpoint that covers it is older [RFC6962 §3.5]. */
  readonly timeMs?: number;
};

/** What the log did; durable by the time it is told. */
export interface Appended {
  readonly index: bigint;
  /** True if the identity was there before: `index` is then the first one. */
  readonly duplicate: boolean;
  /** Covers the entry. */
  readonly checkpoint: PublishedCheckpoint;
  /** From the entry to the root of `checkpoint`, checked. */
  readonly proof: readonly Uint8Array[];
}

/** A request that waits for a batch. */
export interface Pending {
  readonly request: AppendRequest;
  /** Of the request, in hex. */
  readonly identity: string;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (failure: unknown) => void;
}

/** A request of a batch, with its place in the tree. */
export interface Placed {
  readonly pending: Pending;
  readonly index: bigint;
  readonly duplicate: boolean;
  readonly leafHash: Uint8Array;
}
