import { boolean, integer, type Of, object, type Problem } from '../schema.ts';
import { CALICO_VERSIONS, defineKind, type StoredObject, TOMBOLO_V1ALPHA1 } from './kind.ts';

const body = object(
  {
    spec: object(
      {},
      {
        strictAffinity: boolean(),
        autoAllocateBlocks: boolean(),
        /** 0 is no limit. */
        maxBlocksPerHost: integer(0, 65536),
      },
    ),
  },
  {},
);

/** Cluster-wide rules of address assignment; the object named `default` counts. */
export const ipamConfiguration = defineKind({
  kind: 'IPAMConfiguration',
  apiVersion: TOMBOLO_V1ALPHA1,
  otherVersions: CALICO_VERSIONS,
  description: 'Cluster-wide rules of address assignment; the object named default counts.',
  plural: 'ipamconfigurations',
  shortNames: ['ipamconfig'],
  namespaced: false,
  body,
  rules: ({ metadata, spec }) => problemsIn(metadata.name, spec),
  columns: [
    ['STRICTAFFINITY', ({ spec }) => spec.strictAffinity ?? false, '.spec.strictAffinity'],
    ['MAXBLOCKSPERHOST', ({ spec }) => spec.maxBlocksPerHost ?? 20, '.spec.maxBlocksPerHost'],
  ],
});

export type IPAMConfiguration = StoredObject & Of<typeof body>;

function problemsIn(name: string, spec: IPAMConfiguration['spec']): Problem[] {
  const problems: Problem[] = [];
  if (name !== 'default') {
    problems.push({ path: 'metadata.name', reason: 'expected default, no other counts', value: name });
  }
  if (spec.autoAllocateBlocks === false) {
    problems.push({
      path: 'spec.autoAllocateBlocks',
      reason: 'expected true: nodes are given blocks by the operator alone, maxBlocksPerHost limits how many',
      value: false,
    });
  }
  return problems;
}
