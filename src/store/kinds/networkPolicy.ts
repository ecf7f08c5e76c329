import { covers, parsePrefix } from '../../address/prefix.ts';
import { integer, listOf, type Of, oneOf, openObject, type Problem, textOr } from '../schema.ts';
import { defineKind, labelSelector, port, prefix, type StoredObject } from './kind.ts';

const peer = openObject(
  {},
  {
    podSelector: labelSelector,
    namespaceSelector: labelSelector,
    ipBlock: openObject({ cidr: prefix }, { except: listOf(prefix) }),
  },
);

const policyPort = openObject(
  {},
  { protocol: oneOf('TCP', 'UDP', 'SCTP'), port: textOr(port), endPort: integer(1, 65535) },
);

const body = openObject(
  {
    spec: openObject(
      {},
      {
        podSelector: labelSelector,
        policyTypes: listOf(oneOf('Ingress', 'Egress')),
        ingress: listOf(openObject({}, { from: listOf(peer), ports: listOf(policyPort) })),
        egress: listOf(openObject({}, { to: listOf(peer), ports: listOf(policyPort) })),
      },
    ),
  },
  {},
);

export const networkPolicy = defineKind({
  kind: 'NetworkPolicy',
  apiVersion: 'networking.k8s.io/v1',
  plural: 'networkpolicies',
  shortNames: ['netpol'],
  namespaced: true,
  body,
  rules: ({ spec }) => [
    ...(spec.ingress ?? []).flatMap(({ from, ports }, index) => [
      ...blockProblems(from, `spec.ingress[${index}].from`),
      ...rangeProblems(ports, `spec.ingress[${index}].ports`),
    ]),
    ...(spec.egress ?? []).flatMap(({ to, ports }, index) => [
      ...blockProblems(to, `spec.egress[${index}].to`),
      ...rangeProblems(ports, `spec.egress[${index}].ports`),
    ]),
  ],
  columns: [['POLICY-TYPES', ({ spec }) => (spec.policyTypes ?? ['Ingress']).join(',')]],
});

export type NetworkPolicy = StoredObject & Of<typeof body>;

function blockProblems(peers: readonly Of<typeof peer>[] | undefined, path: string): Problem[] {
  return (peers ?? []).flatMap(({ ipBlock }, index) =>
    (ipBlock?.except ?? [])
      .map((value, at) => ({ value, path: `${path}[${index}].ipBlock.except[${at}]` }))
      .filter(({ value }) => !covers(parsePrefix(ipBlock?.cidr ?? ''), parsePrefix(value)))
      .map((problem) => ({ ...problem, reason: `expected a part of ${ipBlock?.cidr}` })),
  );
}

function rangeProblems(ports: readonly Of<typeof policyPort>[] | undefined, path: string): Problem[] {
  return (ports ?? []).flatMap(({ port, endPort }, index) =>
    endPort !== undefined && !(typeof port === 'number' && port <= endPort)
      ? [
          {
            path: `${path}[${index}].endPort`,
            reason: `expected port to be a number up to it`,
            value: endPort,
          },
        ]
      : [],
  );
}
