import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { addressesOf } from '../bgp/config/clusterNode.ts';
import type { NeighbourConfig, RouterConfig } from '../bgp/config/router.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { Node } from '../store/kinds/node.ts';
import { followBgpInputs } from './bgpInputs.ts';
import { Lingering } from './bgpLinger.ts';
import { BgpMemory } from './bgpMemory.ts';
import { emptiedSegments } from './bgpNode.ts';
import { secretNames } from './bgpSecrets.ts';
import { translate } from './bgpTranslation.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;

/** An agent that starts waits so long for the store to say what it has to; its peers wait for two minutes. */
const PATIENCE_MS = 10_000;

export interface SteeringParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly netlink: Netlink;
  readonly store: StoreState;
  readonly log: Log;
}

/** Who is steered. */
export interface Steered {
  configure(config: RouterConfig): void;
  /** Segments that are empty and asked back; the speaker has been told to announce none of them. */
  leave(segments: ReturnType<typeof emptiedSegments>): void;
}

export interface Steering {
  /** To be called when addresses or segments have come or gone. */
  changed(): void;
  /** What could not be done as it was written, a line each. */
  problems(): readonly string[];
  stop(): Promise<void>;
}

/** Keeps the speaker doing what the store, the IPAM and the kernel's default route say. */
export function steer(parts: SteeringParts, speaker: Steered): Steering {
  const { config, node, ipam, netlink, store } = parts;
  const log = parts.log.part('bgp');
  const memory = new BgpMemory(join(config.runDir, 'bgp.last'), log);
  let problems: readonly string[] = [];
  let known: RouterConfig | undefined;

  const note = (found: readonly string[]) => {
    if (isDeepStrictEqual(found, problems)) return;
    for (const problem of found) log.warning('configuration', { problem });
    problems = found;
  };

  const follow = (self: Node) => {
    const translation = translate(parts, inputs, self);
    note(translation.problems);
    const extended = lingering.extend(translation.config);
    known = extended.config;
    speaker.configure(known);
    speaker.leave(emptiedSegments({ usage: ipam.usage() }));
    memory.remember(known);
    if (extended.again !== undefined) configure.later(extended.again);
  };

  const configure = settling(
    SETTLE_MS,
    async () => {
      if (!inputs.isComplete()) return;
      const { nodes, peers, configurations } = inputs.objects;
      await inputs.secrets.want(secretNames(peers.all(), configurations.all()));
      const self = nodes.get(node.name);
      if (self !== undefined && addressesOf(self).length > 0) follow(self);
      else if (known && self === undefined) {
        // The node has left the cluster: peers are told to let go, by the name that they know it by.
        speaker.configure({ ...known, neighbours: [], originate: [] });
      } else note([`Node ${node.name} names no address: there is nothing to peer with`]);
    },
    (error) => log.error('the speaker cannot be configured', { error }),
  );

  const inputs = followBgpInputs({ nodeName: node.name, netlink, store, log }, () => configure.soon());
  const isNode = ({ kind, address }: NeighbourConfig) =>
    kind !== 'global' &&
    kind !== 'node specific' &&
    inputs.objects.nodes.all().some((one) => addressesOf(one).includes(address));
  const lingering = new Lingering(isNode, () => performance.now());
  const patience = setTimeout(() => {
    const last = known ? undefined : memory.recall();
    if (last === undefined) return;
    note(['the store is out of reach: sessions go on as they were told last']);
    speaker.configure(last);
  }, PATIENCE_MS);

  return {
    changed: configure.soon,
    problems: () => problems,
    async stop() {
      inputs.close();
      clearTimeout(patience);
      await configure.stop();
    },
  };
}
