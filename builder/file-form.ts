// SPDX-License-Identifier: Apache-2.0
// What a deployed file is: a container that tells its parts apart, a program, or neither [BSI-TR-03183-2 §5.2.2].

/** What is known of a file; what is not known is absent. */
export interface FileForm {
  readonly executable?: boolean;
  /** A combination of components. */
  readonly archive?: boolean;
  /** Says itself what is in it. */
  readonly structured?: boolean;
}

/** Magic numbers by offset: ar, zip, tar, cpio (new ASCII), flattened image tree, squashfs. */
const CONTAINERS: readonly (readonly [offset: number, magic: string])[] = [
  [0, '!<arch>\n'],
  [0, 'PK\x03\x04'],
  [257, 'ustar'],
  [0, '070701'],
  [0, '\xd0\x0d\xfe\xed'],
  [0, 'hsqs'],
];
const ELF = '\x7fELF';

/** Reads the form from the file's first bytes. */
export function formOf(bytes: Uint8Array): FileForm {
  const head = Buffer.from(bytes.subarray(0, 512)).toString('latin1');
  if (CONTAINERS.some(([offset, magic]) => head.startsWith(magic, offset)))
    return { archive: true, structured: true };
  return head.startsWith(ELF) ? { executable: true } : {};
}
