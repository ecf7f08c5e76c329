import { nobodysIn } from '../../address/nobodys.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { boolean, integer, listOf, type Of, object, oneOf, type Problem, text } from '../schema.ts';
import { bmpServers, communityText, restartTime, secretKeyRef } from './bgpValues.ts';
import {
  asNumber,
  CALICO_VERSIONS,
  defineKind,
  port,
  prefix,
  type StoredObject,
  TOMBOLO_V1ALPHA1,
  written,
} from './kind.ts';

const cidrs = listOf(object({ cidr: prefix }, {}));

const body = object(
  {
    spec: object(
      {},
      {
        logSeverityScreen: text(),
        asNumber,
        nodeToNodeMeshEnabled: boolean(),
        nodeMeshPassword: secretKeyRef,
        nodeMeshMaxRestartTime: restartTime,
        serviceClusterIPs: cidrs,
        serviceExternalIPs: cidrs,
        serviceLoadBalancerIPs: cidrs,
        serviceLoadBalancerAggregation: oneOf('Enabled', 'Disabled'),
        communities: listOf(object({ name: text(), value: communityText }, {})),
        prefixAdvertisements: listOf(object({ cidr: prefix }, { communities: listOf(text()) })),
        listenPort: port,
        bindMode: oneOf('None', 'NodeIP'),
        /** Ours: BMP stations, and what they are told; everything where nothing is named. */
        bmpServers,
        ignoredInterfaces: listOf(text()),
        localWorkloadPeeringIPV4: text(),
        localWorkloadPeeringIPV6: text(),
        programClusterRoutes: oneOf('Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly'),
        ipv4NormalRoutePriority: integer(1, 0x7fffffff),
        ipv6NormalRoutePriority: integer(1, 0x7fffffff),
      },
    ),
  },
  {},
);

/** Speaker-wide settings: `default` for the cluster, `node.<name>` for one node. */
export const bgpConfiguration = defineKind({
  kind: 'BGPConfiguration',
  apiVersion: TOMBOLO_V1ALPHA1,
  otherVersions: CALICO_VERSIONS,
  description: 'What holds for every BGP speaker: default for the cluster, node.NAME for one node.',
  plural: 'bgpconfigurations',
  shortNames: ['bgpconfig'],
  namespaced: false,
  body,
  rules: ({ metadata, spec }) => [
    ...nameProblems(metadata.name),
    ...rangeProblems(spec),
    ...communityProblems(spec),
  ],
  unheeded: ({ spec: { logSeverityScreen = 'Info', ...spec } }) => ({
    ...(logSeverityScreen !== 'Info' && {
      logSeverityScreen: 'logLevel in the configuration of a node counts',
    }),
    ...written(spec, {
      ignoredInterfaces: 'nothing is announced because of a device, only segments and services',
      localWorkloadPeeringIPV4: 'there are no sessions with pods',
      localWorkloadPeeringIPV6: 'there are no sessions with pods',
      programClusterRoutes: 'routes to pods of other nodes are always programmed',
      ipv4NormalRoutePriority: 'setPriority of a BGPFilter gives routes their metric',
      ipv6NormalRoutePriority: 'setPriority of a BGPFilter gives routes their metric',
    }),
  }),
  columns: [
    ['ASN', ({ spec }) => spec.asNumber ?? 64512, '.spec.asNumber'],
    ['MESH', ({ spec }) => spec.nodeToNodeMeshEnabled ?? true, '.spec.nodeToNodeMeshEnabled'],
  ],
});

export type BGPConfiguration = StoredObject & Of<typeof body>;

/** Under any other name it would say nothing to anybody. */
function nameProblems(name: string): Problem[] {
  return name === 'default' || /^node\../.test(name)
    ? []
    : [{ path: 'metadata.name', reason: 'expected default, or node. and the name of a node', value: name }];
}

const SERVICE_LISTS = ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'] as const;

/** A range of service addresses is announced whole by every node: this one would have all traffic go to nodes. */
function rangeProblems(spec: BGPConfiguration['spec']): Problem[] {
  return SERVICE_LISTS.flatMap((list) =>
    (spec[list] ?? []).flatMap(({ cidr }, index) => {
      const reason = rangeProblem(parsePrefix(cidr));
      return reason === undefined ? [] : [{ path: `spec.${list}[${index}].cidr`, reason, value: cidr }];
    }),
  );
}

function rangeProblem(range: Prefix): string | undefined {
  if (range.length === 0) return 'would announce a default route';
  const nobodys = nobodysIn(range);
  return nobodys && `overlaps ${formatPrefix(nobodys)}, which no service can have`;
}

/** Every name that an advertisement uses must be declared. */
function communityProblems({
  communities = [],
  prefixAdvertisements = [],
}: BGPConfiguration['spec']): Problem[] {
  const names = new Set(communities.map(({ name }) => name));
  return prefixAdvertisements.flatMap(({ communities: used = [] }, index) =>
    used.flatMap((value, at) => {
      if (names.has(value)) return [];
      const path = `spec.prefixAdvertisements[${index}].communities[${at}]`;
      const problems: Problem[] = [];
      communityText.check(value, path, problems);
      return problems.length > 0
        ? [{ path, reason: 'expected the name of one of spec.communities, or a community', value }]
        : [];
    }),
  );
}
