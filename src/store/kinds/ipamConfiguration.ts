import { boolean, integer, type Of, object } from '../schema.ts';
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
  columns: [
    ['STRICTAFFINITY', ({ spec }) => spec.strictAffinity ?? false, '.spec.strictAffinity'],
    ['MAXBLOCKSPERHOST', ({ spec }) => spec.maxBlocksPerHost ?? 20, '.spec.maxBlocksPerHost'],
  ],
});

export type IPAMConfiguration = StoredObject & Of<typeof body>;
