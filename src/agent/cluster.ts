import type { IP } from '../address/ip.ts';
import { hostPrefix, type Prefix, samePrefix } from '../address/prefix.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Segment } from '../ipam/segment.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import { EventRecorder } from '../store/events.ts';
import type { Change } from '../store/follow.ts';
import { internalIPs } from '../store/kinds/node.ts';
import { type NodeNetwork, SHORTAGE } from '../store/kinds/nodeNetwork.ts';
import { tellFailure } from './addressEvents.ts';
import type { Supply } from './addresses.ts';
import type { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import type { Bgp } from './bgp.ts';
import { Bindings } from './binding.ts';
import { claimSupply } from './claimSupply.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import type { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import { networkStatus, publishStatus, registerNode } from './nodeObjects.ts';
import type { Overlay } from './overlay.ts';
import { ownNetwork, segmentsOf } from './segments.ts';
import { ServiceFeed, type ServiceInput } from './serviceFeed.ts';
import type { ServiceTable } from './serviceTable.ts';
import { settling } from './settling.ts';
import { Shortage } from './shortage.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SERVICES_SETTLE_MS = 2;
const STATUS_SETTLE_MS = 1_000;
const CLAIMS_SETTLE_MS = 20;

/** Services taken from the feed at once. */
const AT_ONCE = 1_000;

/** What could not be programmed is tried again after this. */
const RETRY_MS = 5_000;

/** How often is looked whether an address has rested. */
const REST_MS = 1_000;

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
  readonly feed: ServiceFeed;
  readonly bindings: Bindings;
  readonly supply: Supply;
  readonly events: EventRecorder;
  /** Brings claims, journal and the routes of this node's blocks together now. */
  reconcile(): Promise<void>;
  /** To be called when addresses have come or gone. */
  addressesChanged(): void;
  /** To be called when the node's own addresses are others than before. */
  nodeChanged(): void;
  stop(): Promise<void>;
}

export function joinCluster(parts: ClusterParts): Cluster {
  const { config, node, netlink, ipam, services, announced, health, bgp, overlay, store, log } = parts;
  const feed = new ServiceFeed();
  const bindings = new Bindings(
    store.store,
    node.name,
    () => ipam.segments().some(({ pool }) => pool !== undefined),
    log.part('ipam'),
  );
  const shortage = new Shortage(() => publish.now());
  const host = node.name;
  const events = new EventRecorder({
    store: store.store,
    component: 'tombolo-agent',
    host,
    now: Date.now,
    log: log.part('events'),
  });
  const { blocks, borrowing, claims, claimed, holders, loans, reconcileClaims } = claimSupply({
    config,
    node: node.name,
    netlink,
    ipam,
    store: store.store,
    bindings,
    events,
    bgp,
    overlay,
    borrowedChanged: () => {
      bgp.changed();
      publish.now();
    },
    log: log.part('claims'),
  });
  let network: NodeNetwork | undefined;
  let retry: NodeJS.Timeout | undefined;
  let resting: NodeJS.Timeout | undefined;

  const addressesChanged = () => {
    publish.soon();
    bgp.changed();
    reconcile.soon();
  };

  const programAgain = () => {
    retry ??= setTimeout(() => {
      retry = undefined;
      program.soon();
    }, RETRY_MS);
  };
  const program = settling(
    SERVICES_SETTLE_MS,
    async () => {
      if (!feed.complete || !announced.listed) return;
      await services.adopted();
      const failed: ServiceInput[] = [];
      for (let inputs = feed.take(AT_ONCE); inputs.length > 0; inputs = feed.take(AT_ONCE)) {
        failed.push(...(await services.update(inputs)));
        health.update(inputs);
      }
      if (failed.length > 0) {
        feed.putBack(failed);
        log.error('services cannot be programmed', { problems: services.problems() });
        programAgain();
      }
      // What cannot be read now may be the very service that an earlier run has programmed: that serves on.
      if (failed.length === 0 && store.store.problems().length === 0) await services.reconcile();
    },
    (error) => {
      log.error('services cannot be programmed', { error });
      programAgain();
    },
  );

  /** Addresses that rest count as used, keep a segment from being given back, and say nothing when they have rested. */
  const awaitRest = () => {
    clearTimeout(resting);
    const before = restingAddresses(ipam);
    if (before === 0) return;
    resting = setTimeout(
      () => (restingAddresses(ipam) === before ? awaitRest() : addressesChanged()),
      REST_MS,
    );
  };

  const publish = settling(
    STATUS_SETTLE_MS,
    () => {
      awaitRest();
      const self = { ips: node.ips, routing: config.routing };
      const status = () =>
        networkStatus(
          self,
          { usage: ipam.usage(), borrowed: ipam.borrowed() },
          shortage.requests(),
          (segment) => bgp.isWithdrawn(segment),
        );
      return publishStatus(store.store, node.name, status);
    },
    (error) => log.warning('the status of the node cannot be written', { error }),
  );

  let reconcileAgain: NodeJS.Timeout | undefined;
  const again = () => {
    reconcileAgain ??= setTimeout(() => {
      reconcileAgain = undefined;
      reconcile.soon();
    }, RETRY_MS);
  };
  const reconcile = settling(
    CLAIMS_SETTLE_MS,
    async () => {
      await reconcileClaims();
      if (holders.leaving().length > 0) again();
    },
    (error) => {
      log.warning('claims and journal cannot be brought together; it is tried again', { error });
      again();
    },
  );

  let assignAgain: NodeJS.Timeout | undefined;
  const assign = settling(
    0,
    async () => {
      const segments = segmentsOf(network, config.segments);
      await claimed.prepare(
        segments.map(({ prefix }) => prefix).filter((prefix) => !known(ipam.segments(), prefix)),
      );
      await ipam.assign(segments);
      bindings.segmentsAssigned();
      blocks.drop(ipam.segments());
      shortage.relieve();
      bgp.changed();
      reconcile.soon();
      overlay.changed();
      // The operator waits for this answer, and an agent that is ended again within the second still has given it.
      publish.now();
    },
    (error) => {
      log.error('segments cannot be assigned; it is tried again', { error });
      assignAgain ??= setTimeout(() => {
        assignAgain = undefined;
        assign.soon();
      }, RETRY_MS);
    },
  );

  store.follow('Service', (change) => {
    feed.onService(change);
    program.soon();
  });
  store.follow('EndpointSlice', (change) => {
    feed.onSlice(change);
    program.soon();
  });
  store.follow('BGPConfiguration', (change) => {
    if (!announced.take(change)) return;
    feed.putAllBack();
    program.soon();
  });
  const takeNetwork = (change: Change<NodeNetwork>) => {
    if (change.type === 'interrupted') return;
    network = ownNetwork(network, change, node.name);
    assign.soon();
  };
  // Apart from those of the others, which change as often as anything happens anywhere.
  store.follow('NodeNetwork', takeNetwork, { fields: { 'metadata.name': node.name } });
  store.follow('IPPool', (change) => bindings.onPool(change));
  bgp.onLeaving(() => holders.leaving().map(hostPrefix));
  bgp.onWithdrawn(() => {
    publish.now();
    reconcile.soon();
  });
  overlay.onSettled(() => {
    if (config.routing === 'overlay') reconcile.soon();
  });
  store.follow('IPAMConfiguration', borrowing.onConfiguration);
  store.follow('IPClaim', (change) => {
    claims.onClaim(change);
    reconcile.soon();
  });
  let registered: readonly IP[] = [];
  const register = () => {
    const former = registered;
    registered = node.ips;
    registerNode(store.store, node, log, former).catch((error: unknown) => {
      log.warning('the node cannot be registered', { error });
    });
  };
  register();
  // Whoever writes labels into a file may have left out what the agent has said of itself.
  if (store.store.location.startsWith('directory:')) {
    store.follow('Node', (change) => {
      if (change.type !== 'applied' || change.object.metadata.name !== host) return;
      if (internalIPs(change.object).length === 0) register();
    });
  }

  return {
    feed,
    bindings,
    supply: {
      shortage,
      claims: holders,
      loans,
      termsOf: (pod) => bindings.termsOf(pod),
      mayGrow: () => bindings.any,
      reason: () => shortageOf(network),
      failed: (pod, error) => tellFailure(events, pod, error),
    },
    events,
    async reconcile() {
      blocks.compareAgain();
      blocks.drop(ipam.segments());
      bgp.changed();
      await reconcileClaims();
    },
    addressesChanged,
    nodeChanged() {
      register();
      feed.putAllBack();
      program.soon();
      publish.soon();
      bgp.changed();
    },
    async stop() {
      await events.settled();
      health.stop();
      await store.stop();
      await services.close();
      await Promise.all([program.stop(), assign.stop(), publish.stop(), reconcile.stop()]);
      for (const timer of [retry, resting, reconcileAgain, assignAgain]) clearTimeout(timer);
    },
  };
}

function restingAddresses(ipam: Ipam): number {
  return ipam.usage().reduce((sum, { resting }) => sum + resting, 0);
}

function known(segments: readonly Segment[], prefix: Prefix): boolean {
  return segments.some((segment) => samePrefix(segment.prefix, prefix));
}

/** What the operator says against another segment for this node, while it does. */
function shortageOf(network: NodeNetwork | undefined): string | undefined {
  const condition = network?.status?.conditions?.find(({ type }) => type === SHORTAGE);
  return condition?.status === 'True' ? condition.message : undefined;
}
