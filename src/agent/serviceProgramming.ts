import type { Log } from '../log.ts';
import type { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import type { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import { ServiceFeed, type ServiceInput } from './serviceFeed.ts';
import type { ServiceTable } from './serviceTable.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 2;

/** Services taken from the feed at once. */
const AT_ONCE = 1_000;

/** What could not be programmed is tried again after this. */
const RETRY_MS = 5_000;

export interface ServiceProgrammingParts {
  readonly services: ServiceTable;
  readonly announced: AnnouncedClusterIPs;
  /** Told of services that have changed, beside the table. */
  readonly health: Pick<HealthCheckNodePorts, 'update' | 'stop'>;
  readonly store: StoreState;
  readonly log: Log;
}

export interface ServiceProgramming {
  readonly feed: Pick<ServiceFeed, 'sizes'>;
  /** Programs every service anew: what they are served with is other than before. */
  again(): void;
  stop(): Promise<void>;
}

/** Brings the services of the store into the kernel's maps. */
export function programServices(parts: ServiceProgrammingParts): ServiceProgramming {
  const { services, announced, health, store, log } = parts;
  const feed = new ServiceFeed();

  const failed = (details: Record<string, unknown>) => {
    log.error('services cannot be programmed', details);
    program.later(RETRY_MS);
  };
  const program = settling(
    SETTLE_MS,
    async () => {
      if (!feed.complete || !announced.listed) return;
      await services.adopted();
      const left: ServiceInput[] = [];
      for (let inputs = feed.take(AT_ONCE); inputs.length > 0; inputs = feed.take(AT_ONCE)) {
        left.push(...(await services.update(inputs)));
        health.update(inputs);
      }
      if (left.length > 0) {
        feed.putBack(left);
        failed({ problems: services.problems() });
      }
      // What cannot be read now may be the very service that an earlier run has programmed: that serves on.
      if (left.length === 0 && store.store.problems().length === 0) await services.reconcile();
    },
    (error) => failed({ error }),
  );
  const again = () => {
    feed.putAllBack();
    program.soon();
  };

  store.follow('Service', (change) => {
    feed.onService(change);
    program.soon();
  });
  store.follow('EndpointSlice', (change) => {
    feed.onSlice(change);
    program.soon();
  });
  store.follow('BGPConfiguration', (change) => {
    if (announced.take(change)) again();
  });
  return {
    feed,
    again,
    async stop() {
      await services.close();
      await program.stop();
      health.stop();
    },
  };
}
