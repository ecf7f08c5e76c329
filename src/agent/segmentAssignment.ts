import { type Prefix, samePrefix } from '../address/prefix.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import { type NodeNetwork, SHORTAGE } from '../store/kinds/nodeNetwork.ts';
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
  /** What the operator says against another segment for this node, while it does. */
  reason(): string | undefined;
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
    reason() {
      const condition = network?.status?.conditions?.find(({ type }) => type === SHORTAGE);
      return condition?.status === 'True' ? condition.message : undefined;
    },
    stop: assign.stop,
  };
}
