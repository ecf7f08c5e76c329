import { integer, listOf, type Of, object, oneOf, openObject, text } from '../schema.ts';
import { conditions, defineKind, ip, type StoredObject, TOMBOLO_V1ALPHA1 } from './kind.ts';

const body = object(
  {
    spec: object(
      { owner: object({ kind: text(), name: text() }, { uid: text() }) },
      {
        pool: text(),
        addresses: listOf(ip, { max: 2 }),
        /** As galaxy's users know it: released with the pod, with its owner, or never. */
        releasePolicy: oneOf('Pod', 'Immutable', 'Never'),
        ttlSeconds: integer(0, 0x7fffffff),
      },
    ),
  },
  {
    status: openObject(
      {},
      { addresses: listOf(ip), node: text(), pod: text(), releasedAt: text(), conditions },
    ),
  },
);

/** Addresses that outlive a pod: whoever fits the owner gets them again. */
export const ipClaim = defineKind({
  kind: 'IPClaim',
  apiVersion: TOMBOLO_V1ALPHA1,
  plural: 'ipclaims',
  namespaced: true,
  body,
  columns: [
    ['OWNER', ({ spec }) => `${spec.owner.kind}/${spec.owner.name}`],
    ['ADDRESSES', ({ spec, status }) => (status?.addresses ?? spec.addresses ?? []).join(',')],
    ['POLICY', ({ spec }) => spec.releasePolicy ?? 'Pod'],
  ],
});

export type IPClaim = StoredObject & Of<typeof body>;
