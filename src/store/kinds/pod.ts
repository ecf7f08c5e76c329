import { boolean, listOf, type Of, oneOf, openObject, text } from '../schema.ts';
import { conditions, defineKind, ip, port, type StoredObject } from './kind.ts';

const container = openObject(
  {},
  {
    name: text(),
    ports: listOf(
      openObject(
        { containerPort: port },
        { name: text(), protocol: oneOf('TCP', 'UDP', 'SCTP'), hostIP: text() },
      ),
    ),
  },
);

const body = openObject(
  {},
  {
    spec: openObject(
      {},
      {
        nodeName: text(),
        hostNetwork: boolean(),
        containers: listOf(container),
        initContainers: listOf(container),
      },
    ),
    status: openObject(
      {},
      {
        phase: text(),
        podIP: ip,
        podIPs: listOf(openObject({ ip }, {})),
        hostIP: ip,
        conditions,
      },
    ),
  },
);

export const pod = defineKind({
  kind: 'Pod',
  apiVersion: 'v1',
  plural: 'pods',
  shortNames: ['po'],
  namespaced: true,
  selectable: ['spec.nodeName', 'status.phase'],
  body,
  columns: [
    ['STATUS', ({ status }) => status?.phase],
    ['IP', (object) => podIPs(object).join(',')],
    ['NODE', ({ spec }) => spec?.nodeName],
  ],
});

export type Pod = StoredObject & Of<typeof body>;

/** Every address of a pod, the primary one first; none while it has none. */
function podIPs({ status }: Pick<Pod, 'status'>): string[] {
  return status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP === undefined ? [] : [status.podIP]);
}
