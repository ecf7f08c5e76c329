import { type Prefix, samePrefix } from '../address/prefix.ts';
import type { Source } from '../ipam/binding.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { AgentConfig } from './config.ts';
import { ownNetwork, segmentsOf } from './segments.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** What could not be assigned is tried again after this. */
const RETRY_MS = 5_000;

export interface SegmentAssignmentParts {
  readonly config: Pick<AgentConfig, 'segments'>;
  /** This node's name. */
  readonly node: string;
  readonly ipam: Ipam;
  /** Compares segments that are new here with the claims in the store, before the first address of them is given out. */
  readonly prepare: (prefixes: readonly Prefix[]) => Promise<void>;
  /** Called when the IPAM has them. */
  readonly assigned: () => void;
  readonly store: StoreState;
  readonly log: Log;
}

export interface SegmentAssignment {
  /** What the operator says against another segment for whoever draws from there, while it does. */
  reason(source: Pick<Source, 'bound' | 'pools'>): string | undefined;
  stop(): Promise<void>;
}

/** Has the IPAM give out addresses of the segments that the operator has assigned to this node, and of no others. */
export function assignSegments(parts: SegmentAssignmentParts): SegmentAssignment {
  const { config, node, ipam, prepare, assigned, store, log } = parts;
  let network: NodeNetwork | undefined;
  const isNew = (prefix: Prefix) => !ipam.segments().some((segment) => samePrefix(segment.prefix, prefix));

  const assign = settling(
    0,
    async () => {
      const segments = segmentsOf(network, config.segments);
      await prepare(segments.map(({ prefix }) => prefix).filter(isNew));
      await ipam.assign(segments);
      assigned();
    },
    (error) => {
      log.error('segments cannot be assigned; it is tried again', { error });
      assign.later(RETRY_MS);
    },
  );

  // Apart from those of the others, which change as often as anything happens anywhere.
  const own = { fields: { 'metadata.name': node } };
  store.follow(
    'NodeNetwork',
    (change) => {
      if (change.type === 'interrupted') return;
      network = ownNetwork(network, change, node);
      assign.soon();
    },
    own,
  );
  return {
    reason: (source) => shortageOf(source, network?.status?.shortages ?? []),
    stop: assign.stop,
  };
}

type Shortages = NonNullable<NonNullable<NodeNetwork['status']>['shortages']>;

/** Why no segment comes: none of the pools has one. That others have none is nothing to whoever does not draw from them. */
export function shortageOf(
  { bound, pools }: Pick<Source, 'bound' | 'pools'>,
  shortages: Shortages,
): string | undefined {
  const open = bound ? [] : shortages.filter(({ pool }) => pool === undefined);
  const each = pools.map((name) => shortages.filter(({ pool }) => pool === name));
  const found = open.length > 0 || each.some((one) => one.length === 0) ? open : each.flat();
  const reasons = new Set(found.map(({ reason }) => reason));
  return reasons.size > 0 ? [...reasons].join('; ') : undefined;
}
