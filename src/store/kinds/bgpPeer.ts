import { isLinkLocal } from '../../address/ip.ts';
import { boolean, integer, listOf, type Of, object, oneOf, type Problem, text } from '../schema.ts';
import { durationOf, parsePeerAddress, peerAddress, restartTime, secretKeyRef } from './bgpValues.ts';
import {
  asNumber,
  CALICO_VERSIONS,
  defineKind,
  deviceName,
  ip,
  type StoredObject,
  selector,
  TOMBOLO_V1ALPHA1,
  written,
} from './kind.ts';

const body = object(
  {
    spec: object(
      {},
      {
        /** The one node that peers; absent with nodeSelector absent: all of them. */
        node: text(),
        nodeSelector: selector,
        /** The other end: an address, or nodes by their labels. */
        peerIP: peerAddress,
        peerSelector: selector,
        asNumber,
        localASNumber: asNumber,
        keepOriginalNextHop: boolean(),
        nextHopMode: oneOf('Auto', 'Self', 'Keep'),
        password: secretKeyRef,
        sourceAddress: oneOf('UseNodeIP', 'None'),
        maxRestartTime: restartTime,
        /** A third of what fits into an OPEN as hold time. */
        keepaliveTime: durationOf(1, 21_845),
        numAllowedLocalASNumbers: integer(0, 255),
        /** Hops allowed between the two ends (RFC 5082); absent switches the check off. */
        ttlSecurity: integer(1, 255),
        reachableBy: ip,
        filters: listOf(text()),
        localWorkloadSelector: text(),
        reversePeering: oneOf('Auto', 'Manual'),
        /** Ours, named as MetalLB does: how long without a message before the session is dead, as `90s`. */
        holdTime: durationOf(3, 65_535, true),
        connectTime: durationOf(1, 65_535),
        interface: deviceName,
        bfdProfile: text(),
        ebgpMultiHop: boolean(),
      },
    ),
  },
  {},
);

export const bgpPeer = defineKind({
  kind: 'BGPPeer',
  apiVersion: TOMBOLO_V1ALPHA1,
  otherVersions: CALICO_VERSIONS,
  description: 'A peering: of which nodes, and with whom.',
  plural: 'bgppeers',
  shortNames: ['bgpp'],
  namespaced: false,
  body,
  rules: ({ spec }) => exclusionProblems(spec),
  unheeded: ({ spec }) =>
    written(spec, {
      reachableBy: 'the peer is reached by whatever route the node has',
      localWorkloadSelector: 'there are no sessions with pods',
      bfdProfile: 'there is no BFD, holdTime says how soon a peer that is gone is noticed',
    }),
  columns: [
    ['PEERIP', ({ spec }) => spec.peerIP ?? spec.peerSelector, '.spec.peerIP'],
    ['NODE', ({ spec }) => spec.node ?? spec.nodeSelector ?? '(global)', '.spec.nodeSelector'],
    ['ASN', ({ spec }) => spec.asNumber, '.spec.asNumber'],
  ],
});

export type BGPPeer = StoredObject & Of<typeof body>;

function exclusionProblems(spec: BGPPeer['spec']): Problem[] {
  const problems: Problem[] = [];
  const notBoth = (a: keyof BGPPeer['spec'], b: keyof BGPPeer['spec']) => {
    if (spec[a] !== undefined && spec[b] !== undefined) {
      problems.push({
        path: `spec.${a}`,
        reason: `stands beside spec.${b}, expected one of them`,
        value: spec[a],
      });
    }
  };
  notBoth('node', 'nodeSelector');
  notBoth('peerIP', 'peerSelector');
  notBoth('asNumber', 'peerSelector');
  if (spec.peerIP === undefined && spec.peerSelector === undefined && !spec.localWorkloadSelector) {
    problems.push({ path: 'spec.peerIP', reason: 'is required where there is no spec.peerSelector' });
  }
  if (spec.peerIP && spec.interface === undefined && isLinkLocal(parsePeerAddress(spec.peerIP).address)) {
    const reason = 'is required with the link-local address of spec.peerIP';
    problems.push({ path: 'spec.interface', reason });
  }
  return problems;
}
