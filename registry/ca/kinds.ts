// SPDX-License-Identifier: Apache-2.0
// The kinds of issuers: what a certificate says for each claim of their tokens, one row a kind [Fulcio-issuers §ci-issuer-metadata].
// A template is the text of the certificate with claims in braces; `{server}` is the address of the CI itself.

/** One kind of issuer. */
export interface Kind {
  readonly name: string;
  /** The issuer that all customers of the service share, and the server that its certificates speak of. */
  readonly shared?: { readonly issuer: string; readonly server: string };
  /** Claims of which an entry must require one: those that never pass to somebody else. Empty: any claim will do. */
  readonly ids: readonly string[];
  /** Other claims that an entry may require a value of; undefined: any claim. */
  readonly claims?: readonly string[];
  /** Subject alternative name. */
  readonly san: string;
  /** Fulcio's extensions by their number, besides issuer (1, 8) and subject (24), which all kinds have. */
  readonly extensions: Readonly<Record<number, string>>;
  /** Claims that a token may lack; their extensions are then left out. All others in the templates must be there. */
  readonly mayLack: readonly string[];
  /** The forms of claims within an address; a single segment where nothing is said. */
  readonly forms: Readonly<Record<string, (text: string) => boolean>>;
  /** Claims of which the certificate has another word than the token; no other value is accepted. */
  readonly words: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The claim whose value is signed as proof of possession [Fulcio-API-v2 §OIDCIssuer]. */
  readonly challenge: 'sub' | 'email';
  /** `issuerType` of the configuration endpoint. */
  readonly type: 'ci-provider' | 'email' | 'uri';
}

/** What may stand in a URI as it is: no escapes, no spaces, nothing that two readers could write differently. */
const URI_TEXT = /^[\w.~/@!$&'()*+,;=:-]+$/;
/** Empty and dot segments, which some readers of URIs take away [RFC3986 §5.2.4]. */
const URI_DOTS = /(^|\/)\.{0,2}(\/|$)/;

/** One segment of a path: a name or a number. */
export const isSegment = (text: string): boolean => /^[\w.-]+$/.test(text) && !URI_DOTS.test(text);
/** Several segments. */
export const isPath = (text: string): boolean => URI_TEXT.test(text) && !URI_DOTS.test(text);
const matches =
  (pattern: RegExp) =>
  (text: string): boolean =>
    isPath(text) && pattern.test(text);

const WORKFLOW = matches(/^[\w.-]+\/[\w.-]+\/.+@.+$/);

const GITHUB_ACTIONS: Kind = {
  name: 'github-actions',
  shared: { issuer: 'https://token.actions.githubusercontent.com', server: 'https://github.com' },
  ids: ['repository_id', 'repository_owner_id'],
  claims: [
    'repository',
    'repository_owner',
    'repository_visibility',
    'job_workflow_ref',
    'workflow_ref',
    'ref',
    'ref_type',
    'environment',
    'event_name',
    'runner_environment',
    'sub',
  ],
  san: '{server}/{job_workflow_ref}',
  extensions: {
    2: '{event_name}',
    3: '{sha}',
    4: '{workflow}',
    5: '{repository}',
    6: '{ref}',
    9: '{server}/{job_workflow_ref}',
    10: '{job_workflow_sha}',
    11: '{runner_environment}',
    12: '{server}/{repository}',
    13: '{sha}',
    14: '{ref}',
    15: '{repository_id}',
    16: '{server}/{repository_owner}',
    17: '{repository_owner_id}',
    18: '{server}/{workflow_ref}',
    19: '{workflow_sha}',
    20: '{event_name}',
    21: '{server}/{repository}/actions/runs/{run_id}/attempts/{run_attempt}',
    22: '{repository_visibility}',
    23: '{environment}',
  },
  mayLack: ['environment'],
  forms: {
    job_workflow_ref: WORKFLOW,
    workflow_ref: WORKFLOW,
    repository: matches(/^[\w.-]+\/[\w.-]+$/),
  },
  words: {},
  challenge: 'sub',
  type: 'ci-provider',
};

const GITLAB_CI: Kind = {
  name: 'gitlab-ci',
  shared: { issuer: 'https://gitlab.com', server: 'https://gitlab.com' },
  ids: ['project_id', 'namespace_id'],
  claims: [
    'project_path',
    'namespace_path',
    'project_visibility',
    'ci_config_ref_uri',
    'ref',
    'ref_type',
    'ref_protected',
    'environment',
    'environment_protected',
    'deployment_tier',
    'pipeline_source',
    'runner_environment',
    'sub',
  ],
  san: 'https://{ci_config_ref_uri}',
  extensions: {
    9: 'https://{ci_config_ref_uri}',
    10: '{ci_config_sha}',
    11: '{runner_environment}',
    12: '{server}/{project_path}',
    13: '{sha}',
    14: 'refs/{ref_type}/{ref}',
    15: '{project_id}',
    16: '{server}/{namespace_path}',
    17: '{namespace_id}',
    18: 'https://{ci_config_ref_uri}',
    19: '{ci_config_sha}',
    20: '{pipeline_source}',
    21: '{server}/{project_path}/-/jobs/{job_id}',
    22: '{project_visibility}',
    23: '{environment}',
  },
  mayLack: ['environment'],
  forms: {
    // `<host>/<project>//<file>@<ref>`: the two slashes part project and file.
    ci_config_ref_uri: (text) => {
      const halves = text.split('//');
      return halves.length === 2 && halves.every(isPath) && /.@./.test(halves[1] as string);
    },
    project_path: isPath,
    namespace_path: isPath,
  },
  words: { ref_type: { branch: 'heads', tag: 'tags' } },
  challenge: 'sub',
  type: 'ci-provider',
};

const BUILDKITE: Kind = {
  name: 'buildkite',
  shared: { issuer: 'https://agent.buildkite.com', server: 'https://buildkite.com' },
  ids: ['organization_id', 'pipeline_id'],
  claims: [
    'organization_slug',
    'pipeline_slug',
    'build_branch',
    'build_tag',
    'build_source',
    'step_key',
    'runner_environment',
    'cluster_id',
    'queue_id',
    'sub',
  ],
  san: '{server}/{organization_slug}/{pipeline_slug}',
  extensions: {
    11: '{runner_environment}',
    13: '{build_commit}',
    20: '{build_source}',
    21: '{server}/{organization_slug}/{pipeline_slug}/builds/{build_number}#{job_id}',
  },
  mayLack: [],
  forms: {},
  words: {},
  challenge: 'sub',
  type: 'ci-provider',
};

const PERSON_OR_WORKLOAD = { name: 'oidc', ids: [], extensions: {}, mayLack: [], forms: {}, words: {} };
/** Any issuer whose tokens hold a verified address. */
export const OIDC_EMAIL: Kind = { ...PERSON_OR_WORKLOAD, san: '{email}', challenge: 'email', type: 'email' };
/** Any issuer whose subjects are URIs. */
export const OIDC_URI: Kind = { ...PERSON_OR_WORKLOAD, san: '{sub}', challenge: 'sub', type: 'uri' };

/** Kinds whose tokens name a build. */
export const CI_KINDS: readonly Kind[] = [GITHUB_ACTIONS, GITLAB_CI, BUILDKITE];
