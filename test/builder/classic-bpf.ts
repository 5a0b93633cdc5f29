// SPDX-License-Identifier: Apache-2.0
// Classic BPF as the kernel checks and runs it over struct seccomp_data [Linux Documentation/userspace-api/seccomp_filter.rst]: the
// instructions that a filter of ours may be made of, and no others.

/** One call as a filter sees it. */
export interface SeccompData {
  /** 32 bits, signed for the kernel, which reads it as it stands. */
  readonly number: number;
  /** AUDIT_ARCH_… */
  readonly architecture: number;
  /** Up to six, 64 bits each; what is missing is 0. */
  readonly parameters: readonly bigint[];
}

/** struct sock_filter: 16 bits of code, two jumps of 8, a constant of 32. */
const INSTRUCTION_SIZE_BYTES = 8;
const INSTRUCTIONS_MAX = 4096;
const DATA_SIZE_BYTES = 64;

const LOAD_WORD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_GREATER = 0x25;
const JUMP_IF_AT_LEAST = 0x35;
const JUMP_IF_ANY_BIT = 0x45;
const RETURN = 0x06;
const JUMPS = [JUMP_IF_EQUAL, JUMP_IF_GREATER, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT];

function instructionsOf(program: Buffer) {
  return Array.from({ length: program.length / INSTRUCTION_SIZE_BYTES }, (_, i) => ({
    code: program.readUInt16LE(8 * i),
    ifTrue: program.readUInt8(8 * i + 2),
    ifFalse: program.readUInt8(8 * i + 3),
    value: program.readUInt32LE(8 * i + 4),
  }));
}

/** What the kernel looks at before it takes a filter: every path ends in a return, every load is of a word of the data. */
export function checkProgram(program: Buffer): void {
  if (program.length % INSTRUCTION_SIZE_BYTES !== 0)
    throw new Error(`${program.length} bytes are no program`);
  const instructions = instructionsOf(program);
  if (instructions.length < 1 || instructions.length > INSTRUCTIONS_MAX)
    throw new Error(`${instructions.length} instructions`);
  if (instructions.at(-1)?.code !== RETURN) throw new Error('the last instruction does not return');
  for (const [at, { code, ifTrue, ifFalse, value }] of instructions.entries()) {
    const fault = (what: string) => new Error(`instruction ${at}: ${what}`);
    if (code === LOAD_WORD) {
      if (value % 4 !== 0 || value >= DATA_SIZE_BYTES) throw fault(`a load at ${value}`);
    } else if (JUMPS.includes(code)) {
      if (at + 1 + Math.max(ifTrue, ifFalse) >= instructions.length) throw fault('a jump over the end');
    } else if (code !== RETURN) throw fault(`code 0x${code.toString(16)}`);
  }
}

/** What a program that was checked returns for a call. */
export function runProgram(program: Buffer, { number, architecture, parameters }: SeccompData): number {
  const data = Buffer.alloc(DATA_SIZE_BYTES);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(architecture, 4);
  // At 8 is the address of the call, which no filter of ours looks at.
  for (const [i, value] of parameters.entries()) data.writeBigUInt64LE(BigInt.asUintN(64, value), 16 + 8 * i);
  const instructions = instructionsOf(program);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const instruction = instructions[at];
    if (instruction === undefined) throw new Error(`ran to ${at}, over the end`);
    const { code, ifTrue, ifFalse, value } = instruction;
    if (code === RETURN) return value;
    if (code === LOAD_WORD) accumulator = data.readUInt32LE(value);
    else at += holds(code, accumulator, value) ? ifTrue : ifFalse;
  }
}

/** Comparisons are of 32 bits without a sign. */
function holds(code: number, accumulator: number, value: number): boolean {
  if (code === JUMP_IF_EQUAL) return accumulator === value;
  if (code === JUMP_IF_GREATER) return accumulator > value;
  if (code === JUMP_IF_AT_LEAST) return accumulator >= value;
  if (code === JUMP_IF_ANY_BIT) return (accumulator & value) !== 0;
  throw new Error(`code 0x${code.toString(16)}`);
}
