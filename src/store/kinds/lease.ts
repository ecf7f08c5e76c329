import { integer, type Of, openObject, text } from '../schema.ts';
import { defineKind, type StoredObject } from './kind.ts';

const body = openObject(
  {},
  {
    spec: openObject(
      {},
      {
        holderIdentity: text(),
        leaseDurationSeconds: integer(1, 86400),
        /** RFC 3339 with microseconds. */
        acquireTime: text(),
        renewTime: text(),
        leaseTransitions: integer(0, 2 ** 31 - 1),
      },
    ),
  },
);

/** Who leads, and until when: `coordination.k8s.io/v1`. */
export const lease = defineKind({
  kind: 'Lease',
  apiVersion: 'coordination.k8s.io/v1',
  plural: 'leases',
  namespaced: true,
  body,
  columns: [['HOLDER', ({ spec }) => spec?.holderIdentity]],
});

export type Lease = StoredObject & Of<typeof body>;
