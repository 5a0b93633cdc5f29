// SPDX-License-Identifier: Apache-2.0
// Types of a package that brings none.

declare module 'ajv-formats-draft2019' {
  import type { Ajv } from 'ajv';
  export default function addFormats(ajv: Ajv, options?: { readonly formats?: readonly string[] }): Ajv;
}
