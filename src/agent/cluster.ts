import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import { EventRecorder } from '../store/events.ts';
import { tellFailure } from './addressEvents.ts';
import type { Supply } from './addresses.ts';
import type { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import type { Bgp } from './bgp.ts';
import { Bindings } from './binding.ts';
import { claimSupply } from './claimSupply.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import type { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import { NameClash } from './nameClash.ts';
import { keepRegistered } from './nodeRegistration.ts';
import type { Overlay } from './overlay.ts';
import { assignSegments } from './segmentAssignment.ts';
import { programServices, type ServiceProgramming } from './serviceProgramming.ts';
import type { ServiceTable } from './serviceTable.ts';
import { Shortage } from './shortage.ts';
import { statusPublication } from './statusPublication.ts';
import type { StoreState } from './storeState.ts';

export interface ClusterParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly netlink: Netlink;
  readonly ipam: Ipam;
  readonly services: ServiceTable;
  readonly announced: AnnouncedClusterIPs;
  /** Told of services that have changed, beside the table. */
  readonly health: Pick<HealthCheckNodePorts, 'update' | 'stop'>;
  readonly bgp: Bgp;
  readonly overlay: Overlay;
  readonly store: StoreState;
  readonly log: Log;
}

/** The node's part in the cluster: what the store says becomes true here, what is true here is said there. */
export interface Cluster {
  readonly feed: ServiceProgramming['feed'];
  readonly bindings: Bindings;
  readonly supply: Supply;
  readonly events: EventRecorder;
  /** What the store says of this node that cannot be. */
  problems(): readonly string[];
  /** Brings claims, journal and the routes of this node's blocks together now. */
  reconcile(): Promise<void>;
  /** To be called when addresses have come or gone. */
  addressesChanged(): void;
  /** To be called when the node's own addresses are others than before. */
  nodeChanged(): void;
  stop(): Promise<void>;
}

export function joinCluster(parts: ClusterParts): Cluster {
  const { config, node, ipam, bgp, overlay, store, log } = parts;
  const common = { config, ipam, store, log };
  const bindings = new Bindings(
    store.store,
    node.name,
    () => ipam.segments().some(({ pool }) => pool !== undefined),
    log.part('ipam'),
  );
  const shortage = new Shortage(() => status.now());
  const events = new EventRecorder({
    store: store.store,
    component: 'tombolo-agent',
    host: node.name,
    now: Date.now,
    log: log.part('events'),
  });
  const addressesChanged = () => {
    status.soon();
    bgp.changed();
    claims.changed();
  };

  const services = programServices(parts);
  const status = statusPublication({
    ...common,
    node,
    shortage,
    isWithdrawn: bgp.isWithdrawn,
    rested: addressesChanged,
  });
  const claims = claimSupply({
    ...parts,
    node: node.name,
    bindings,
    events,
    borrowedChanged: () => {
      bgp.changed();
      status.now();
    },
    log: log.part('claims'),
  });
  const assignment = assignSegments({
    ...common,
    node: node.name,
    prepare: claims.prepare,
    assigned: () => {
      bindings.segmentsAssigned();
      claims.blocksChanged();
      shortage.relieve();
      bgp.changed();
      overlay.changed();
      // The operator waits for this answer, and an agent that is ended again within the second still has given it.
      status.now();
    },
  });
  const register = keepRegistered(store, node, log);
  const clash = new NameClash(node, log);
  const own = { fields: { 'metadata.name': node.name } };
  store.follow('Node', (change) => clash.onNode(change), own);
  store.follow('NodeNetwork', (change) => clash.onNetwork(change), own);
  store.follow('IPPool', (change) => bindings.onPool(change));
  bgp.onWithdrawn(() => {
    status.now();
    claims.changed();
  });

  return {
    feed: services.feed,
    bindings,
    supply: {
      shortage,
      claims: claims.holders,
      loans: claims.loans,
      termsOf: (pod) => bindings.termsOf(pod),
      mayGrow: () => bindings.any,
      reason: assignment.reason,
      failed: (pod, error) => tellFailure(events, pod, error),
    },
    events,
    problems: () => clash.problems(),
    reconcile() {
      bgp.changed();
      return claims.reconcile();
    },
    addressesChanged,
    nodeChanged() {
      register();
      services.again();
      status.soon();
      bgp.changed();
    },
    async stop() {
      await events.settled();
      await store.stop();
      await Promise.all([services, assignment, status, claims].map((part) => part.stop()));
    },
  };
}
