// SPDX-License-Identifier: Apache-2.0
// What gate policy and device policy both ask of a release's evidence [docs/spec/device-policy.md §Expectations].

import type { DocumentNode } from '../encoding/document.ts';
import { isProductName } from './version.ts';

/** A builder is believed only as a pair: the id it claims and the certificate identity that may claim it. */
export interface TrustedBuilder {
  readonly builderId: string;
  /** Subject alternative name of the certificate, compared as a string. */
  readonly identity: string;
  /** OIDC issuer in the certificate, compared as a string. */
  readonly issuer: string;
}

export interface Expectations {
  readonly product: string;
  readonly builders: readonly TrustedBuilder[];
  /** Names of the steps from source to image, in order; the last makes the image. */
  readonly steps: readonly string[];
  /** Package URL without version of the input that must be there with role `source`. */
  readonly source: string;
}

export const EXPECTATION_MEMBERS = ['product', 'builders', 'steps', 'source'] as const;

/** Reads the members that both documents share. @throws the document's fault */
export function parseExpectations(node: DocumentNode): Expectations {
  const product = node.field('product');
  if (!isProductName(product.string())) {
    throw product.wrong('expected a product name: lower-case letters, digits and hyphens');
  }
  const steps = node
    .field('steps')
    .someElements()
    .map((step) => step.string());
  if (new Set(steps).size !== steps.length) throw node.field('steps').wrong('expected each step once');
  return {
    product: product.string(),
    builders: node.field('builders').someElements().map(parseBuilder),
    steps,
    source: node.field('source').matching(/^pkg:[a-z0-9.+-]+\/[^@?#]+$/, 'a package URL without version'),
  };
}

function parseBuilder(node: DocumentNode): TrustedBuilder {
  node.only('builderId', 'identity', 'issuer');
  return {
    builderId: node.field('builderId').string(),
    identity: node.field('identity').string(),
    issuer: node.field('issuer').string(),
  };
}
