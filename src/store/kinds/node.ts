import { boolean, listOf, type Of, openObject, text } from '../schema.ts';
import { conditions, defineKind, ip, prefix, type StoredObject } from './kind.ts';

const body = openObject(
  {},
  {
    spec: openObject(
      {},
      {
        podCIDR: prefix,
        podCIDRs: listOf(prefix),
        providerID: text(),
        unschedulable: boolean(),
        taints: listOf(openObject({ key: text(), effect: text() }, { value: text() })),
      },
    ),
    status: openObject(
      {},
      { addresses: listOf(openObject({ type: text(), address: text() }, {})), conditions },
    ),
  },
);

export const node = defineKind({
  kind: 'Node',
  apiVersion: 'v1',
  plural: 'nodes',
  shortNames: ['no'],
  namespaced: false,
  body,
  rules: ({ status }) =>
    (status?.addresses ?? []).flatMap(({ type, address }, index) =>
      type === 'InternalIP' || type === 'ExternalIP' ? addressProblem(index, address) : [],
    ),
  columns: [
    ['INTERNAL-IP', (object) => internalIPs(object).join(',')],
    ['POD-CIDR', ({ spec }) => (spec?.podCIDRs ?? [spec?.podCIDR ?? '']).join(',')],
  ],
});

export type Node = StoredObject & Of<typeof body>;

/** The node's own addresses, as kubelet reports them: at most one of each family. */
export function internalIPs({ status }: Pick<Node, 'status'>): string[] {
  return (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}

function addressProblem(index: number, address: string) {
  const problems: { path: string; reason: string; value?: unknown }[] = [];
  ip.check(address, `status.addresses[${index}].address`, problems);
  return problems;
}
