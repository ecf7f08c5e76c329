import { familyOf, parseIP } from '../../address/ip.ts';
import { integer, listOf, type Of, object, oneOf, openObject, type Problem, text } from '../schema.ts';
import { conditions, defineKind, ip, type StoredObject, TOMBOLO_V1ALPHA1 } from './kind.ts';

const body = object(
  {
    spec: object(
      /** Who keeps it: what `Immutable` asks about. */
      { owner: object({ kind: text(), name: text() }, { uid: text() }) },
      {
        /** Draw from this pool; where absent, from those that any other pod in its place would draw from. */
        pool: text(),
        /** These addresses; where absent, those of the first pod, chosen by its node. */
        addresses: listOf(ip, { max: 2 }),
        /** As galaxy's users know it: released with the pod, with its owner, or never. */
        releasePolicy: oneOf('Pod', 'Immutable', 'Never'),
        /** So long addresses that nobody holds are kept at most. */
        ttlSeconds: integer(0, 0x7fffffff),
        /** A single address of another node's block, for one container on a node that can have no further block. */
        loan: object({ family: oneOf(4, 6), from: text(), to: text(), container: text() }, {}),
      },
    ),
  },
  {
    status: openObject(
      {},
      {
        /** Set aside for the claim by the nodes whose segments they are of, or by the operator: nobody else gets them. */
        addresses: listOf(ip),
        /** Who holds them: whoever writes this, with compare-and-swap, has won. */
        node: text(),
        container: text(),
        podUID: text(),
        since: text(),
        /** When the last holder let go. */
        releasedAt: text(),
        /** The container to which the node whose block this is lets packets through, where it is another node's. */
        passedTo: text(),
        /** The container whose node is gone: where it lives all the same, its agent takes this out again. */
        doubted: text(),
        conditions,
      },
    ),
  },
);

/** Addresses that outlive a pod: named like the pod, they are given to whichever pod of this name comes. */
export const ipClaim = defineKind({
  kind: 'IPClaim',
  apiVersion: TOMBOLO_V1ALPHA1,
  description: 'Addresses that outlive a pod: whichever pod of the same name comes is given them.',
  plural: 'ipclaims',
  shortNames: ['ipc'],
  namespaced: true,
  body,
  rules: ({ spec }) => familyProblems(spec.addresses ?? []),
  columns: [
    ['OWNER', ({ spec }) => `${spec.owner.kind}/${spec.owner.name}`, '.spec.owner.name'],
    [
      'ADDRESSES',
      ({ spec, status }) => (status?.addresses ?? spec.addresses ?? []).join(','),
      '.status.addresses',
    ],
    ['NODE', ({ status }) => status?.node, '.status.node'],
    ['POLICY', ({ spec }) => spec.releasePolicy ?? 'Pod', '.spec.releasePolicy'],
  ],
});

/** While a container holds a claim, its addresses are nobody else's: it is not deleted before that has let go. */
export const CLAIM_PROTECTION = 'network.tombolo.dev/claim-protection';

export type IPClaim = StoredObject & Of<typeof body>;

/** A pod has one address of each family: it would be given the first alone. */
function familyProblems(addresses: readonly string[]): Problem[] {
  const [first, second] = addresses.map(parseIP);
  if (first === undefined || second === undefined || familyOf(first) !== familyOf(second)) return [];
  return [{ path: 'spec.addresses[1]', reason: 'expected one of each family', value: addresses[1] }];
}
