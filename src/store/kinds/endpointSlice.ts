import {
  boolean,
  integer,
  listOf,
  mapOf,
  type Of,
  oneOf,
  openObject,
  type Problem,
  text,
} from '../schema.ts';
import { defineKind, ipv4, ipv6, type StoredObject } from './kind.ts';

const endpoint = openObject(
  { addresses: listOf(text(), { min: 1, max: 100 }) },
  {
    /** Absent means ready; see the API's own words on each condition. */
    conditions: openObject({}, { ready: boolean(), serving: boolean(), terminating: boolean() }),
    nodeName: text(),
    zone: text(),
    hostname: text(),
    targetRef: openObject({}, { kind: text(), namespace: text(), name: text(), uid: text() }),
    hints: openObject({}, { forZones: listOf(openObject({ name: text() }, {})) }),
    deprecatedTopology: mapOf(text()),
  },
);

const body = openObject(
  { addressType: oneOf('IPv4', 'IPv6', 'FQDN') },
  {
    /** The API server stores an empty list and none alike, and says `null` of both. */
    endpoints: listOf(endpoint, { max: 1000 }),
    ports: listOf(
      openObject({}, { name: text(), port: integer(1, 65535), protocol: oneOf('TCP', 'UDP', 'SCTP') }),
      { max: 100 },
    ),
  },
);

export const endpointSlice = defineKind({
  kind: 'EndpointSlice',
  apiVersion: 'discovery.k8s.io/v1',
  plural: 'endpointslices',
  namespaced: true,
  body,
  rules: addressProblems,
  columns: [
    ['SERVICE', (object) => serviceOf(object)],
    ['ADDRESSTYPE', ({ addressType }) => addressType],
    ['PORTS', ({ ports }) => (ports ?? []).map(({ port }) => port ?? '*').join(',')],
    ['ENDPOINTS', ({ endpoints }) => (endpoints ?? []).flatMap(({ addresses }) => addresses).join(',')],
  ],
});

export type EndpointSlice = StoredObject & Of<typeof body>;
export type Endpoint = Of<typeof endpoint>;

/** The name of the service that a slice belongs to, in its own namespace; `undefined` for one that is free. */
export function serviceOf({ metadata }: Pick<EndpointSlice, 'metadata'>): string | undefined {
  return metadata.labels?.['kubernetes.io/service-name'];
}

function addressProblems({ addressType, endpoints = [] }: Of<typeof body>): Problem[] {
  if (addressType === 'FQDN') return [];
  const problems: Problem[] = [];
  const schema = addressType === 'IPv4' ? ipv4 : ipv6;
  for (const [index, { addresses }] of endpoints.entries()) {
    for (const [at, address] of addresses.entries()) {
      schema.check(address, `endpoints[${index}].addresses[${at}]`, problems);
    }
  }
  return problems;
}
