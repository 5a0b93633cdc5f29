// SPDX-License-Identifier: Apache-2.0
// The OpenAPI document is sound, complete and true: every operation is called, and each answer held against what the document says of it.

import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EVERYWHERE, OPERATIONS } from '../../../registry/api/operations.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { type Answer, RunningRegistry } from '../running-registry.ts';
import { type Call, type Caller, ELSEWHERE } from './api-call.ts';
import { EVIDENCE_CALLS } from './evidence-calls.ts';
import { SERVICE_CALLS } from './service-calls.ts';

interface Response {
  readonly content: Readonly<Record<string, { readonly schema?: object }>>;
}
interface Operation {
  readonly summary: string;
  readonly responses: Readonly<Record<string, Response>>;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly responses: { readonly Refused: Response } };
}

let caller: Caller;
let document: Document;
beforeAll(async () => {
  const { signer } = newSigner();
  const keys = [{ name: 'test', publicKey: Buffer.from(signer.spki).toString('base64') }];
  const running = await RunningRegistry.start({ keys, limits: { blobSizeBytes: 1_000_000 } });
  caller = { running, signer };
  document = (await running.send('GET', '/openapi.json')).json as unknown as Document;
});
afterAll(() => caller.running.close());

const operations = (): readonly (readonly [string, Operation])[] =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
  );

/** Codes that a response of the document lists. */
function codesOf(response: Response): readonly string[] {
  const text = JSON.stringify(response.content);
  const [, list = '[]'] = /"code":\{"type":"string","enum":(\[[^\]]*\])/.exec(text) ?? [];
  return JSON.parse(list) as string[];
}

const ajv = new Ajv2020({ strict: false });

/** What is wrong with an answer to an operation; nothing if the document foresees it as it is. */
function faultsOf(name: string, answer: Answer): string | undefined {
  const [, operation] = operations().find(([each]) => each === name) ?? [];
  if (operation === undefined) return `${name} is not in the document`;
  const listed = operation.responses[answer.status];
  const response = listed ?? document.components.responses.Refused;
  if (listed === undefined && answer.status < 400) return `${name}: ${answer.status} is not in the document`;
  const type = answer.headers.get('content-type') ?? '';
  const media = response.content[type];
  if (media === undefined) return `${name}: expected ${Object.keys(response.content)}, got ${type}`;
  if (media.schema === undefined) return undefined;
  const validate = ajv.compile(media.schema);
  return validate(answer.json) ? undefined : `${name}: ${ajv.errorsText(validate.errors)}`;
}

test('it is OpenAPI 3.1', async () => {
  const verdict = await new Validator().validate(structuredClone(document) as never);
  expect(verdict.errors).toBeUndefined();
  expect(verdict.valid).toBe(true);
  const broken = { ...structuredClone(document), info: {} };
  expect((await new Validator().validate(broken as never)).valid).toBe(false);
});

test('it has every route of the server, and the server every operation', () => {
  expect(operations().filter(([, { summary }]) => summary === '')).toEqual([]);
  const names = Object.keys(OPERATIONS).map((key) => {
    const [method = '', route = ''] = key.split(' ');
    return `${method.toLowerCase()} ${route.replace(/:(\w+)/g, '{$1}').replace('*', '{path}')}`;
  });
  expect(
    operations()
      .map(([name]) => name)
      .sort(),
  ).toEqual(names.sort());
});

test('it says what each endpoint takes at most', () => {
  const put = document.paths['/api/v1/tuf/{role}']?.put as unknown as {
    requestBody: { description: string };
  };
  expect(put.requestBody.description).toBe('At most 5000000 bytes.');
});

test('every operation answers as it says, with every status and every refusal that it lists', async () => {
  const wrong: (string | [])[] = [];
  const seen = new Map<string, Set<number | string>>();
  const run = async ({ operation, expected, send }: Call): Promise<void> => {
    const answer = await send(caller);
    const { code } = (answer.json as { error?: { code?: string } } | undefined)?.error ?? {};
    const got = code ?? answer.status;
    if (got !== expected) wrong.push(`${operation}: expected ${expected}, got ${got}`);
    wrong.push(faultsOf(operation, answer) ?? []);
    seen.set(operation, (seen.get(operation) ?? new Set()).add(expected));
  };
  for (const call of [...SERVICE_CALLS, ...EVIDENCE_CALLS]) await run(call);
  expect(wrong.flat()).toEqual([]);
  const untried = operations().flatMap(([name, { responses }]) =>
    Object.entries(responses).flatMap(([status, response]) => {
      if (status === 'default') return [];
      const codes = codesOf(response).filter((code) => !EVERYWHERE.includes(code));
      const promised = codes.length > 0 ? codes : [Number(status)];
      return promised
        .filter((each) => !seen.get(name)?.has(each) && ELSEWHERE[each] === undefined)
        .map((each) => `${name}: ${each}`);
    }),
  );
  expect(untried).toEqual([]);
}, 120_000);

test('an answer that the document does not foresee is noticed', async () => {
  const health = await caller.running.send('GET', '/healthz');
  expect(faultsOf('get /healthz', health)).toBeUndefined();
  expect(faultsOf('get /readyz', health)).toMatch(/get \/readyz/);
  expect(faultsOf('get /ct/checkpoint', health)).toMatch(/text\/plain/);
  expect(faultsOf('get /nowhere', health)).toMatch(/not in the document/);
});
