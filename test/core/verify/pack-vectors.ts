// SPDX-License-Identifier: Apache-2.0
// Makes test/vectors/packs/ anew, under new keys: `node test/core/verify/pack-vectors.ts`. Each pack is wrong in one place, and whoever made
// it holds every key that comes before the link that must refuse.

import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatInstant } from '../../../core/encoding/document.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import {
  buildStepProvenance,
  HERMETIC_STEP_BUILD_TYPE,
  PROVENANCE_TYPE,
  type StepProvenance,
} from '../../../core/intoto/provenance.ts';
import { formatStatement, type UnsignedStatement } from '../../../core/intoto/statement.ts';
import { VSA_TYPE } from '../../../core/intoto/vsa.ts';
import { type EvidencePack, formatPack, type PackedBundle } from '../../../core/release/pack.ts';
import { formatCheckpoint, parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { formatNote, type NoteSignature, parseNote } from '../../../core/tlog/note.ts';
import { type Casting, Foundry, referenceOf, stepsOf } from '../../device/foundry.ts';
import { sbomOf } from '../../policy/evidence.ts';
import { seededKey, witnessSigner } from '../tlog/note-signers.ts';

const FOLDER = fileURLToPath(new URL('../../vectors/packs/', import.meta.url));
const SEVENS = '7'.repeat(64);
const image = utf8('the image of 8.1.0');
const foundry = await Foundry.build();
const sound = await foundry.cast('8.1.0', image);
const pack = await foundry.gated(sound);
const [compile, link] = stepsOf('8.1.0', image);
const [compiled = image, linked = image, referred = image] = sound.evidence;
const [first, ...rest] = pack.bundles as [PackedBundle];

/** What a case has besides its pack; what it has not is that of the folder. */
interface Case {
  readonly pack: EvidencePack | Uint8Array;
  /** Absent where the pack is sound. */
  readonly link?: string;
  readonly code?: string;
  readonly question?: Record<string, unknown>;
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

/** The pack with other evidence, and the gate deceived, or its key stolen. */
const evidenced = (...evidence: Uint8Array[]): Promise<EvidencePack> => foundry.gated({ ...sound, evidence });
const step = (provenance: StepProvenance, change: Partial<StepProvenance>) =>
  foundry.asCi(buildStepProvenance({ ...provenance, ...change }));
const material = (change: object) => ({
  resolvedDependencies: link.resolvedDependencies.map((input) =>
    input.annotations?.role === 'material' ? { ...input, ...change } : input,
  ),
});
const summarized = async (change: Parameters<Foundry['gated']>[1]) => foundry.gated(sound, change);
const policyWith = (change: object) => ({
  'device-policy.json': foundry.trustMaterial(change)['device-policy/optiboot.json'] as Uint8Array,
});

function checkpointWith(change: (text: string) => string): string {
  const { text, signatures } = parseNote(pack.checkpoint);
  return formatNote({ text: change(text), signatures });
}

const bodyBent = (bytes: Uint8Array, from: string, to: string) =>
  utf8(Buffer.from(bytes).toString().replace(from, to));

async function formCases(): Promise<Record<string, Case>> {
  const release = { version: '8.1.0', imageSha256: pack.imageSha256, imageSizeBytes: pack.imageSizeBytes };
  const bytes = formatPack(pack);
  const malformed = (bent: Uint8Array): Case => ({ pack: bent, link: 'pack', code: 'PACK_MALFORMED' });
  const mismatch = (change: object): Case => ({
    pack,
    link: 'pack',
    code: 'PACK_RELEASE_MISMATCH',
    question: { release: { ...release, ...change } },
  });
  return {
    // No form of the JSON is asked for: the digest in update metadata holds the octets.
    'sound-with-white-space': {
      pack: utf8(JSON.stringify(JSON.parse(Buffer.from(bytes).toString()), null, 1)),
    },
    'pack-with-unknown-member': malformed(bodyBent(bytes, '{', '{"extra":1,')),
    'pack-with-name-twice': malformed(bodyBent(bytes, '{', '{"product":"other",')),
    'pack-with-bundle-twice': malformed(formatPack({ ...pack, bundles: [first, first, ...rest] })),
    'pack-without-bundles': malformed(formatPack({ ...pack, bundles: [] })),
    'pack-of-other-product': {
      pack: { ...pack, product: 'other' },
      link: 'pack',
      code: 'PACK_RELEASE_MISMATCH',
    },
    'pack-of-other-version': mismatch({ version: '8.2.0' }),
    'pack-of-other-image': mismatch({ imageSha256: SEVENS }),
    'pack-of-other-size': mismatch({ imageSizeBytes: 19 }),
  };
}

async function logCases(): Promise<Record<string, Case>> {
  const bent = (change: Partial<PackedBundle>, code: string): Case => ({
    pack: { ...pack, bundles: [{ ...first, ...change }, ...rest] },
    link: 'log',
    code,
  });
  const noted = (checkpoint: string, code: string): Case => ({
    pack: { ...pack, checkpoint },
    link: 'log',
    code,
  });
  const root = parseCheckpoint(parseNote(pack.checkpoint).text);
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const byStranger = await foundry.asGate(foundry.summaryOf(sound), stranger);
  const signature = JSON.parse(Buffer.from(first.bundle).toString()).dsseEnvelope.signatures[0].sig as string;
  return {
    'log-other-index': bent({ leafIndex: first.leafIndex + 1n }, 'TLOG_INCLUSION_MISMATCH'),
    'log-index-outside-tree': bent({ leafIndex: 1_000_000n }, 'TLOG_INDEX_OUTSIDE_TREE'),
    'log-short-proof': bent({ proof: first.proof.slice(1) }, 'TLOG_INCLUSION_MISMATCH'),
    'log-entry-of-other-signature': bent(
      {
        bundle: bodyBent(
          first.bundle,
          signature,
          'MEUCIQ'.padEnd(signature.length - 4, 'A').concat(signature.slice(-4)),
        ),
      },
      'TLOG_INCLUSION_MISMATCH',
    ),
    'log-other-root': noted(
      checkpointWith(() => formatCheckpoint({ ...root, rootHash: new Uint8Array(32) })),
      'TLOG_NOTE_SIGNATURE',
    ),
    'log-other-signer': noted(
      formatNote({
        text: parseNote(pack.checkpoint).text,
        signatures: parseNote(pack.checkpoint).signatures.map((one) => ({ ...one, keyId: '00000000' })),
      }),
      'TLOG_NOTE_UNSIGNED',
    ),
    'log-key-of-nobody': {
      pack: await foundry.pack(sound, [...sound.evidence, byStranger]),
      link: 'log',
      code: 'PACK_SUMMARY_KEY',
    },
  };
}

async function summaryCases(): Promise<Record<string, Case>> {
  const summary = async (change: Parameters<Foundry['gated']>[1], code: string): Promise<Case> => ({
    pack: await summarized(change),
    link: 'summary',
    code,
  });
  const strange: UnsignedStatement = {
    subjects: [{ name: 'optiboot.bin', sha256: pack.imageSha256 }],
    predicateType: 'https://example.com/unknown/v1',
    predicate: {},
  };
  const twice = [
    ...sound.evidence,
    await foundry.asGate(foundry.summaryOf(sound)),
    (pack.bundles.at(-1) as PackedBundle).bundle,
  ];
  const policy = { sha256: SEVENS, uri: 'https://waybill.example/policies/release' };
  return {
    'summary-missing': {
      pack: await foundry.pack(sound, sound.evidence),
      link: 'summary',
      code: 'PACK_SUMMARY_MISSING',
    },
    'summary-twice': {
      pack: await foundry.pack(sound, twice),
      link: 'summary',
      code: 'PACK_SUMMARY_AMBIGUOUS',
    },
    'summary-by-certificate': {
      pack: await foundry.pack(sound, [...sound.evidence, await foundry.asCi(foundry.summaryOf(sound))]),
      link: 'summary',
      code: 'PACK_SUMMARY_KEY',
    },
    'summary-malformed': {
      pack: await foundry.pack(sound, [
        ...sound.evidence,
        await foundry.asGate({ ...strange, predicateType: VSA_TYPE }),
      ]),
      link: 'summary',
      code: 'INTOTO_STATEMENT_MALFORMED',
    },
    'summary-of-other-verifier': await summary(
      { verifierId: 'https://waybill.example/gates/other' },
      'PACK_SUMMARY_VERIFIER',
    ),
    'summary-of-other-image': await summary(
      { subjects: [{ name: 'x', sha256: SEVENS }] },
      'PACK_SUMMARY_SUBJECT',
    ),
    'summary-that-failed': await summary({ result: 'FAILED' }, 'PACK_SUMMARY_FAILED'),
    'summary-by-other-policy': await summary({ policySha256: policy.sha256 }, 'PACK_SUMMARY_POLICY'),
    'summary-of-other-version': await summary(
      { resourceUri: 'pkg:generic/optiboot@8.0.0' },
      'PACK_SUMMARY_RESOURCE',
    ),
    'summary-with-input-withheld': await summary({ inputAttestations: [SEVENS] }, 'PACK_SUMMARY_INPUTS'),
    'summary-without-input': {
      pack: { ...pack, bundles: rest },
      link: 'summary',
      code: 'PACK_SUMMARY_INPUTS',
    },
    'evidence-of-unknown-kind': {
      pack: await evidenced(...sound.evidence, await foundry.asCi(strange)),
      link: 'summary',
      code: 'INTOTO_PREDICATE_UNKNOWN',
    },
  };
}

async function chainCases(): Promise<Record<string, Case>> {
  const chain = async (code: string, ...evidence: Uint8Array[]): Promise<Case> => ({
    pack: await evidenced(...evidence),
    link: 'chain',
    code,
  });
  const subjects = [{ name: 'optiboot.bin', sha256: pack.imageSha256 }];
  const malformedProvenance: UnsignedStatement = { subjects, predicateType: PROVENANCE_TYPE, predicate: {} };
  const otherBuildType = bodyBent(
    formatStatement(buildStepProvenance(compile)),
    HERMETIC_STEP_BUILD_TYPE,
    'https://example.com/other/v1',
  );
  const foreign = { name: 'other.elf', sha256: SEVENS, annotations: { role: 'material', step: 'nobody' } };
  const hermetic = { sandbox: { ...compile.sandbox, hermetic: false } };
  const withoutSource = compile.resolvedDependencies.filter(
    ({ annotations }) => annotations?.role !== 'source',
  );
  const otherLock = link.resolvedDependencies.map((input) =>
    input.name === 'waybill.lock' ? { ...input, sha256: SEVENS } : input,
  );
  return {
    'builder-provenance-malformed': {
      pack: await evidenced(compiled, linked, await foundry.asCi(malformedProvenance), referred),
      link: 'builder',
      code: 'INTOTO_STATEMENT_MALFORMED',
    },
    'builder-of-other-build-type': {
      pack: await evidenced(compiled, linked, await foundry.asCi(otherBuildType), referred),
      link: 'builder',
      code: 'INTOTO_STATEMENT_MALFORMED',
    },
    'chain-first-step-with-material': await chain(
      'CHAIN_MATERIAL_MISMATCH',
      await step(compile, { resolvedDependencies: [...compile.resolvedDependencies, foreign] }),
      linked,
      referred,
    ),
    'builder-not-hermetic': {
      pack: await evidenced(await step(compile, hermetic), linked, referred),
      link: 'builder',
      code: 'CHAIN_STEP_NOT_HERMETIC',
    },
    'builder-of-other-id': {
      pack: await evidenced(
        await step(compile, { builderId: 'https://waybill.example/other' }),
        linked,
        referred,
      ),
      link: 'builder',
      code: 'CHAIN_BUILDER_NOT_TRUSTED',
    },
    'builder-without-provenance': {
      pack: await evidenced(referred),
      link: 'builder',
      code: 'CHAIN_STEP_MISSING',
    },
    'chain-step-missing': await chain('CHAIN_STEP_MISSING', linked, referred),
    'chain-step-unexpected': await chain(
      'CHAIN_STEP_UNEXPECTED',
      compiled,
      linked,
      await step(link, { step: 'sign' }),
      referred,
    ),
    'chain-step-contradicted': await chain(
      'CHAIN_STEP_CONTRADICTED',
      compiled,
      linked,
      await step(compile, { products: [{ name: 'optiboot.elf', sha256: SEVENS }] }),
      referred,
    ),
    'chain-of-other-version': await chain(
      'CHAIN_PRODUCT_MISMATCH',
      await step(compile, { version: '8.0.0' }),
      linked,
      referred,
    ),
    'chain-without-source': await chain(
      'CHAIN_SOURCE_MISSING',
      await step(compile, { resolvedDependencies: withoutSource }),
      linked,
      referred,
    ),
    'chain-of-other-material': await chain(
      'CHAIN_MATERIAL_MISMATCH',
      compiled,
      await step(link, material({ sha256: SEVENS })),
      referred,
    ),
    'chain-of-other-lock': await chain(
      'CHAIN_LOCK_DIFFERS',
      compiled,
      await step(link, { resolvedDependencies: otherLock }),
      referred,
    ),
    'chain-makes-other-image': await chain(
      'CHAIN_IMAGE_NOT_PRODUCED',
      compiled,
      await step(link, { products: [{ name: 'optiboot.bin', sha256: SEVENS }] }),
      referred,
    ),
    'chain-of-other-source': {
      pack,
      link: 'chain',
      code: 'CHAIN_SOURCE_MISSING',
      files: policyWith({ source: 'pkg:deb/debian/other' }),
    },
  };
}

async function sbomCases(): Promise<Record<string, Case>> {
  const other = sbomOf(SEVENS);
  const second = await foundry.asCi(referenceOf(image, other));
  return {
    'sbom-reference-missing': {
      pack: await evidenced(compiled, linked),
      link: 'sbom',
      code: 'SBOM_REFERENCE_MISSING',
    },
    'sbom-reference-contradicted': {
      pack: await evidenced(compiled, linked, referred, second),
      link: 'sbom',
      code: 'SBOM_REFERENCE_CONTRADICTED',
    },
    'sbom-not-in-pack': { pack: { ...pack, bodies: [] }, link: 'sbom', code: 'PACK_SBOM_MISSING' },
    'sbom-other-bytes': {
      pack,
      link: 'sbom file',
      code: 'SBOM_DIGEST_MISMATCH',
      files: { 'sbom.cdx.json': other },
    },
    'sbom-malformed': {
      pack: await evidencedWithSbom(utf8('{}')),
      link: 'sbom file',
      code: 'SBOM_MALFORMED',
      files: { 'sbom.cdx.json': utf8('{}') },
    },
    'sbom-of-other-image': {
      pack: await evidencedWithSbom(other),
      link: 'sbom file',
      code: 'SBOM_NOT_BOUND',
      files: { 'sbom.cdx.json': other },
    },
    // The size is signed by nobody but the index of releases.
    'image-of-other-size': {
      pack: { ...pack, imageSizeBytes: pack.imageSizeBytes + 1 },
      link: 'image',
      code: 'PACK_IMAGE_MISMATCH',
    },
    'image-other-bytes': {
      pack,
      link: 'image',
      code: 'PACK_IMAGE_MISMATCH',
      files: { 'image.bin': utf8('the image of 8.1.1') },
    },
  };
}

async function evidencedWithSbom(sbom: Uint8Array): Promise<EvidencePack> {
  const evidence = [compiled, linked, await foundry.asCi(referenceOf(image, sbom))];
  const casting: Casting = { ...sound, sbom, evidence };
  return foundry.gated(casting);
}

/** The trusted root with one kind of authority exchanged for a stranger's. */
function otherTrust(stranger: Record<string, unknown>): Record<string, Case> {
  const own = JSON.parse(Buffer.from(foundry.trustMaterial()['trusted_root.json'] as Uint8Array).toString());
  const exchanged = (kind: string, code: string): Case => ({
    pack,
    link: 'signature',
    code,
    files: { 'trusted_root.json': utf8(JSON.stringify({ ...own, [kind]: stranger[kind] })) },
  });
  return {
    'signature-of-other-authority': exchanged('certificateAuthorities', 'X509_ISSUER_UNKNOWN'),
    'signature-of-other-certificate-log': exchanged('ctlogs', 'X509_SCT_LOG_UNKNOWN'),
    'signature-of-other-log': exchanged('tlogs', 'SIGSTORE_LOG_UNKNOWN'),
  };
}

/** The log policy asks for one of two witnesses. */
function witnessCases(): Record<string, Case> {
  const w1 = witnessSigner('w1.example', seededKey('w1.example'));
  const w2 = witnessSigner('w2.example', seededKey('w2.example'));
  const own = Buffer.from(foundry.trustMaterial()['tlog-policy'] as Uint8Array).toString();
  const lines = `witness w1 ${w1.vkey}\nwitness w2 ${w2.vkey}\ngroup either any w1 w2\nquorum either`;
  const files = { 'tlog-policy': utf8(own.replace('quorum none', lines)) };
  const note = parseNote(pack.checkpoint);
  const at = Math.floor(Date.now() / 1000);
  const cosigned = (line: NoteSignature) =>
    ({
      ...pack,
      checkpoint: formatNote({ ...note, signatures: [...note.signatures, line] }),
    }) as EvidencePack;
  const bent = {
    ...w2.cosign(note.text, at),
    signature: w2.cosign(note.text, at).signature.map((octet, i) => (i === 20 ? octet ^ 1 : octet)),
  };
  return {
    'sound-with-witness': { pack: cosigned(w1.cosign(note.text, at)), files },
    'log-without-witness': { pack, link: 'log', code: 'TLOG_QUORUM_UNMET', files },
    'log-with-false-witness': { pack: cosigned(bent), link: 'log', code: 'TLOG_NOTE_SIGNATURE', files },
  };
}

async function signatureCases(): Promise<Record<string, Case>> {
  const other = await Foundry.build();
  try {
    return {
      ...otherTrust(
        JSON.parse(Buffer.from(other.trustMaterial()['trusted_root.json'] as Uint8Array).toString()),
      ),
      'signature-after-now': {
        pack,
        link: 'signature',
        code: 'PACK_EVIDENCE_FROM_FUTURE',
        question: { now: '2020-01-01T00:00:00Z' },
      },
      'signature-of-other-authorities': {
        pack,
        link: 'signature',
        code: 'TIMESTAMP_AUTHORITY_UNKNOWN',
        files: { 'trusted_root.json': other.trustMaterial()['trusted_root.json'] as Uint8Array },
      },
    };
  } finally {
    await other.raze();
  }
}

const cases: Record<string, Case> = {
  ...(await formCases()),
  ...(await logCases()),
  ...witnessCases(),
  ...(await signatureCases()),
  ...(await summaryCases()),
  ...(await chainCases()),
  ...(await sbomCases()),
};

rmSync(FOLDER, { recursive: true, force: true });
function lay(folder: string, files: Readonly<Record<string, Uint8Array | string>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(`${folder}/${name}`, bytes);
}
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
const trust = foundry.trustMaterial();
lay(FOLDER, {
  'README.md': `# Evidence packs

Ours: packs as [docs/spec/evidence-pack.md](../../../docs/spec/evidence-pack.md) §Verifying has it, for whoever writes a verifier. Each case is a folder with
\`pack.waybill\` and \`expected.json\`: \`{"verdict": "verified"}\`, or the \`link\` that refuses it and the \`code\` of
[docs/errors.md](../../../docs/errors.md). What a case does not bring is that of this folder: \`trusted_root.json\`, \`tlog-policy\`, \`device-policy.json\`,
\`sbom.cdx.json\` (verified after the pack, link \`sbom file\`), \`image.bin\` (after that, link \`image\`) and \`question.json\`: \`now\`, and the \`release\` that was
asked for, where one was. Every pack is signed with true keys throughout, as if their holders were the attacker: the check that is
named is the first that can refuse it. \`node test/core/verify/pack-vectors.ts\` makes all of them anew, under new keys.
`,
  'trusted_root.json': trust['trusted_root.json'] as Uint8Array,
  'tlog-policy': trust['tlog-policy'] as Uint8Array,
  'device-policy.json': trust['device-policy/optiboot.json'] as Uint8Array,
  'sbom.cdx.json': sound.sbom,
  'image.bin': image,
  'question.json': json({ now: formatInstant(Date.now() + 86_400_000) }),
});
lay(`${FOLDER}/sound`, { 'pack.waybill': formatPack(pack), 'expected.json': json({ verdict: 'verified' }) });
for (const [name, { pack: bent, link: at, code, question, files }] of Object.entries(cases)) {
  lay(`${FOLDER}/${name}`, {
    'pack.waybill': bent instanceof Uint8Array ? bent : formatPack(bent),
    'expected.json': json(code === undefined ? { verdict: 'verified' } : { link: at, code }),
    ...(question === undefined
      ? {}
      : { 'question.json': json({ now: '2100-01-01T00:00:00Z', ...question }) }),
    ...files,
  });
}
await foundry.raze();
