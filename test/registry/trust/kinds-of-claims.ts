// SPDX-License-Identifier: Apache-2.0
// Claims of a token of each kind of issuer, and the entries that accept them. Claims of the CIs are those of Fulcio's own tests
// (v1.8.8, pkg/server/grpc_server_test.go: TestAPIWithCiProvider, TestAPIWithGitLab); Buildkite's are the example of its
// documentation, since Fulcio tests nothing but its name.

import type { Json } from '../../../core/encoding/strict-json.ts';

const common = { audience: 'waybill', allowLoopbackHttp: true };

/** All kinds from one issuer, told apart by what they require. */
export const ENTRIES = (url: string): { [name: string]: Json }[] => [
  { ...common, url, kind: 'github-actions', require: { repository_id: '12345' } },
  { ...common, url, kind: 'gitlab-ci', require: { project_id: '42831435' } },
  {
    ...common,
    url,
    kind: 'buildkite',
    require: { organization_id: '0183d4ab-d8d4-47ca-88b6-a7e5b4a5d3dd' },
  },
  { ...common, url, kind: 'oidc', identity: 'email', require: { email: 'foo@example.com' } },
  {
    ...common,
    url,
    kind: 'oidc',
    identity: 'uri',
    subjectDomain: 'spiffe://foo.com',
    require: { sub: 'spiffe://foo.com/bar' },
  },
  { ...common, url, kind: 'oidc', identity: 'uri', subjectDomain: url, require: { team: 'firmware' } },
];

export const GITHUB = {
  aud: 'waybill',
  sub: 'repo:sigstore/fulcio:ref:refs/heads/main',
  job_workflow_ref: 'sigstore/fulcio/.github/workflows/foo.yaml@refs/heads/main',
  sha: 'sha',
  event_name: 'trigger',
  repository: 'sigstore/fulcio',
  workflow: 'workflow',
  ref: 'refs/heads/main',
  job_workflow_sha: 'example-sha',
  runner_environment: 'cloud-hosted',
  repository_id: '12345',
  repository_owner: 'username',
  repository_owner_id: '345',
  repository_visibility: 'public',
  workflow_ref: 'sigstore/other/.github/workflows/foo.yaml@refs/heads/main',
  workflow_sha: 'example-sha-other',
  run_id: '42',
  run_attempt: '1',
  environment: 'production',
};
export const GITLAB = {
  aud: 'waybill',
  sub: 'project_path:cpanato/testing-cosign:ref_type:branch:ref:main',
  project_path: 'cpanato/testing-cosign',
  project_id: '42831435',
  pipeline_source: 'push',
  pipeline_id: '757451528',
  ci_config_ref_uri: 'gitlab.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main',
  ci_config_sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  namespace_path: 'cpanato',
  namespace_id: '1730270',
  job_id: '3659681386',
  ref: 'main',
  ref_type: 'branch',
  sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  runner_id: 1,
  runner_environment: 'gitlab-hosted',
  project_visibility: 'public',
};
export const BUILDKITE = {
  aud: 'waybill',
  sub: 'organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:9f3182061f1e2cca4702c368cbc039b7dc9d4485:step:build',
  organization_slug: 'acme-inc',
  organization_id: '0183d4ab-d8d4-47ca-88b6-a7e5b4a5d3dd',
  pipeline_slug: 'super-duper-app',
  build_number: 1,
  build_branch: 'main',
  build_tag: null,
  build_commit: '9f3182061f1e2cca4702c368cbc039b7dc9d4485',
  step_key: 'build',
  job_id: '0184990a-477b-4fa8-9968-496074483cee',
  agent_id: '0184990a-4782-42b5-afc1-16715b10b8ff',
  build_source: 'ui',
  runner_environment: 'buildkite-hosted',
};
