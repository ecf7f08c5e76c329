import type { Prefix } from '../address/prefix.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { networkStatus, publishStatus } from './nodeStatus.ts';
import { type Settling, settling } from './settling.ts';
import type { Shortage } from './shortage.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 1_000;

/** How often is looked whether an address has rested. */
const REST_MS = 1_000;

export interface StatusPublicationParts {
  readonly config: Pick<AgentConfig, 'routing'>;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly shortage: Pick<Shortage, 'requests'>;
  readonly isWithdrawn: (segment: Prefix) => boolean;
  /** Called when addresses have rested. */
  readonly rested: () => void;
  readonly store: StoreState;
  readonly log: Log;
}

/** Keeps the status of the node's `NodeNetwork` as the IPAM has it, whenever it is told that something has changed. */
export function statusPublication(parts: StatusPublicationParts): Omit<Settling, 'later'> {
  const { config, node, ipam, shortage, isWithdrawn, rested, store, log } = parts;
  let resting: NodeJS.Timeout | undefined;

  /** Addresses that rest count as used, keep a segment from being given back, and say nothing when they have rested. */
  const awaitRest = () => {
    clearTimeout(resting);
    const before = restingAddresses(ipam);
    if (before === 0) return;
    resting = setTimeout(() => (restingAddresses(ipam) === before ? awaitRest() : rested()), REST_MS);
  };

  const publish = settling(
    SETTLE_MS,
    () => {
      awaitRest();
      const self = { ips: node.ips, routing: config.routing };
      const status = () =>
        networkStatus(
          self,
          { usage: ipam.usage(), borrowed: ipam.borrowed() },
          shortage.requests(),
          isWithdrawn,
        );
      return publishStatus(store.store, node.name, status);
    },
    (error) => log.warning('the status of the node cannot be written', { error }),
  );
  return {
    ...publish,
    async stop() {
      await publish.stop();
      clearTimeout(resting);
    },
  };
}

function restingAddresses(ipam: Ipam): number {
  return ipam.usage().reduce((sum, { resting }) => sum + resting, 0);
}
