import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Change } from '../store/follow.ts';
import { type NodeNetwork, SHORTAGE } from '../store/kinds/nodeNetwork.ts';
import type { Supply } from './addresses.ts';
import type { Bgp } from './bgp.ts';
import { Bindings } from './binding.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { networkStatus, publishStatus, registerNode } from './nodeObjects.ts';
import { segmentsOf } from './segments.ts';
import { ServiceFeed } from './serviceFeed.ts';
import type { ServiceTable } from './serviceTable.ts';
import { settling } from './settling.ts';
import { Shortage } from './shortage.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SERVICES_SETTLE_MS = 2;
const STATUS_SETTLE_MS = 1_000;

/** What could not be programmed is tried again after this. */
const RETRY_MS = 5_000;

/** How often is looked whether the last address of a segment has rested. */
const REST_MS = 1_000;

export interface ClusterParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly services: ServiceTable;
  readonly bgp: Bgp;
  readonly store: StoreState;
  readonly log: Log;
}

/** The node's part in the cluster: what the store says becomes true here, what is true here is said there. */
export interface Cluster {
  readonly feed: ServiceFeed;
  readonly bindings: Bindings;
  readonly supply: Supply;
  /** To be called when addresses have come or gone. */
  addressesChanged(): void;
  stop(): Promise<void>;
}

export function joinCluster({ config, node, ipam, services, bgp, store, log }: ClusterParts): Cluster {
  const feed = new ServiceFeed();
  const bindings = new Bindings(
    store.store,
    node.name,
    () => ipam.segments().some(({ pool }) => pool !== undefined),
    log.part('ipam'),
  );
  const shortage = new Shortage(() => publish.now());
  let network: NodeNetwork | undefined;
  let retry: NodeJS.Timeout | undefined;
  let resting: NodeJS.Timeout | undefined;

  const addressesChanged = () => {
    publish.soon();
    bgp.changed();
  };

  const program = settling(
    SERVICES_SETTLE_MS,
    async () => {
      if (!feed.complete) return;
      const failed = await services.update(feed.take());
      if (failed.length > 0) {
        feed.putBack(failed);
        log.error('services cannot be programmed', { problems: services.problems() });
        retry ??= setTimeout(() => {
          retry = undefined;
          program.soon();
        }, RETRY_MS);
      }
      // What cannot be read now may be the very service that an earlier run has programmed: that serves on.
      if (failed.length === 0 && store.store.problems().length === 0) services.reconcile();
    },
    (error) => log.error('services cannot be programmed', { error }),
  );

  /** Addresses that rest keep a segment from being given back, and say nothing when they have rested. */
  const awaitRest = () => {
    clearTimeout(resting);
    const waits = ipam.usage().some(({ segment, resting }) => segment.state === 'releasing' && resting > 0);
    if (waits) resting = setTimeout(addressesChanged, REST_MS);
  };

  const publish = settling(
    STATUS_SETTLE_MS,
    () => {
      awaitRest();
      const status = () =>
        networkStatus(node, ipam.usage(), shortage.requests(), (segment) => bgp.isWithdrawn(segment));
      return publishStatus(store.store, node.name, status);
    },
    (error) => log.warning('the status of the node cannot be written', { error }),
  );

  const assign = settling(
    0,
    async () => {
      await ipam.assign(segmentsOf(network, config.segments));
      shortage.relieve();
      bgp.changed();
      // The operator waits for this answer, and an agent that is ended again within the second still has given it.
      publish.now();
    },
    (error) => log.error('segments cannot be assigned', { error }),
  );

  store.follow('Service', (change) => {
    feed.onService(change);
    program.soon();
  });
  store.follow('EndpointSlice', (change) => {
    feed.onSlice(change);
    program.soon();
  });
  store.follow('NodeNetwork', (change) => {
    if (change.type === 'interrupted') return;
    network = latest(network, change, node.name);
    assign.soon();
  });
  store.follow('IPPool', (change) => bindings.onPool(change));
  bgp.onWithdrawn(() => publish.now());
  registerNode(store.store, node, log).catch((error: unknown) => {
    log.warning('the node cannot be registered', { error });
  });

  return {
    feed,
    bindings,
    supply: {
      shortage,
      sourcesOf: (pod) => bindings.sourcesOf(pod),
      mayGrow: () => bindings.any,
      reason: () => shortageOf(network),
    },
    addressesChanged,
    async stop() {
      clearTimeout(retry);
      clearTimeout(resting);
      await store.stop();
      await Promise.all([program.stop(), assign.stop(), publish.stop()]);
    },
  };
}

/** What the operator says against another segment for this node, while it does. */
function shortageOf(network: NodeNetwork | undefined): string | undefined {
  const condition = network?.status?.conditions?.find(({ type }) => type === SHORTAGE);
  return condition?.status === 'True' ? condition.message : undefined;
}

function latest(
  known: NodeNetwork | undefined,
  change: Exclude<Change<NodeNetwork>, { type: 'interrupted' }>,
  name: string,
): NodeNetwork | undefined {
  if (change.type === 'replaced') return change.objects.find(({ metadata }) => metadata.name === name);
  if (change.object.metadata.name !== name) return known;
  return change.type === 'applied' ? change.object : undefined;
}
