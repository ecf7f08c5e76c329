import type { IP } from '../address/ip.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import { type BgpObjects, followBgpObjects, isComplete } from './bgpObjects.ts';
import { BgpSecrets } from './bgpSecrets.ts';
import { ServiceAnnouncements } from './bgpServices.ts';
import { defaultGateways, watchGateways } from './gateways.ts';
import { ServiceFeed } from './serviceFeed.ts';
import type { StoreState } from './storeState.ts';

/** What sessions and routes follow from, beside the node's own addresses. */
export interface BgpInputs {
  readonly objects: BgpObjects;
  readonly announcements: ServiceAnnouncements;
  readonly secrets: BgpSecrets;
  gateways(): readonly IP[];
  /** Whether everything has been seen once: half of it would end sessions, or take back what a service needs. */
  isComplete(): boolean;
  close(): void;
}

export interface BgpInputParts {
  readonly nodeName: string;
  readonly netlink: Netlink;
  readonly store: StoreState;
  readonly log: Log;
}

/** Follows all of it, and calls `changed` when something has changed that matters. */
export function followBgpInputs(
  { nodeName, netlink, store, log }: BgpInputParts,
  changed: () => void,
): BgpInputs {
  const objects = followBgpObjects(store, nodeName, changed);
  const secrets = new BgpSecrets(store.store, changed, log);
  const feed = new ServiceFeed();
  const announcements = new ServiceAnnouncements(feed, nodeName);
  const servicesChanged = () => {
    if (announcements.refresh()) changed();
  };
  store.follow('Service', (change) => {
    feed.onService(change);
    servicesChanged();
  });
  store.follow('EndpointSlice', (change) => {
    feed.onSlice(change);
    servicesChanged();
  });
  let gateways = defaultGateways(netlink);
  const watch = watchGateways(() => {
    gateways = defaultGateways(netlink);
    changed();
  });
  return {
    objects,
    announcements,
    secrets,
    gateways: () => gateways,
    isComplete: () => isComplete(objects) && feed.complete,
    close() {
      secrets.stop();
      watch.close();
    },
  };
}
