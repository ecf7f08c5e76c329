import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { IP } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import { addressesOf } from '../bgp/config/clusterNode.ts';
import { routerConfigFrom } from '../bgp/config/kinds.ts';
import type { RouterConfig } from '../bgp/config/router.ts';
import type { KernelEntry } from '../bgp/speaker/kernelReport.ts';
import type { SpeakerStatus } from '../bgp/speaker/status.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import { inForce } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import { Lingering } from './bgpLinger.ts';
import { BgpMemory } from './bgpMemory.ts';
import { bgpMetrics } from './bgpMetrics.ts';
import { emptiedSegments, nodeViewOf, servesOutside } from './bgpNode.ts';
import { followBgpObjects, isComplete } from './bgpObjects.ts';
import { BgpSecrets, secretNames } from './bgpSecrets.ts';
import { ServiceAnnouncements, serviceRangesOf } from './bgpServices.ts';
import { BgpSpeaker } from './bgpSpeaker.ts';
import { Withdrawals } from './bgpWithdrawals.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { defaultGateways, watchGateways } from './gateways.ts';
import type { Metric } from './metrics.ts';
import { ServiceFeed } from './serviceFeed.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;

/** An agent that starts waits so long for the store to say what it has to; its peers wait for two minutes. */
const PATIENCE_MS = 10_000;

export interface BgpParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly netlink: Netlink;
  readonly store: StoreState;
  readonly log: Log;
}

/** The node's speaker, as the rest of the agent sees it. */
export interface Bgp {
  /** To be called when addresses or segments have come or gone. */
  changed(): void;
  /** `listener` is called whenever {@link isWithdrawn} says something new. */
  onWithdrawn(listener: () => void): void;
  /** Whether a segment that is empty and asked back is withdrawn from everybody. */
  isWithdrawn(segment: Prefix): boolean;
  /** What could not be done as it was written, a line each. */
  problems(): string[];
  /** Serves `/v1/bgp/…`. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  metrics(): Promise<Metric[]>;
  stop(): Promise<void>;
}

/** Keeps a speaker configured by what the store, the IPAM and the kernel say. Starts none where BGP is off. */
export function embedBgp(parts: BgpParts): Bgp {
  return parts.config.bgp === undefined ? SILENT : speaking(parts);
}

function speaking({ config, node, ipam, netlink, store, log }: BgpParts): Bgp {
  const speaker = new BgpSpeaker({
    state: join(config.stateDir, 'bgp.running'),
    logLevel: config.logLevel,
    write: (line) => process.stderr.write(line),
    log: log.part('bgp'),
  });
  const withdrawals = new Withdrawals({
    ask: (method, path) => speaker.ask(method, path),
    withdrawn: () => news(),
  });
  let news = () => {};
  let gateways = defaultGateways(netlink);
  const lingering = new Lingering(
    ({ kind, address }) => kind !== 'global' && kind !== 'node specific' && isNode(address),
    () => performance.now(),
  );
  const isNode = (address: IP) => objects.nodes.all().some((one) => addressesOf(one).includes(address));
  let later: NodeJS.Timeout | undefined;
  const secrets = new BgpSecrets(store.store, () => configure.soon(), log.part('bgp'));
  const memory = new BgpMemory(join(config.runDir, 'bgp.last'), log.part('bgp'));
  const patience = setTimeout(() => {
    const last = known ? undefined : memory.recall();
    if (last === undefined) return;
    note(['the store is out of reach: sessions go on as they were told last']);
    speaker.configure(last);
  }, PATIENCE_MS);
  let known: RouterConfig | undefined;
  let noted: readonly string[] = [];

  const note = (problems: readonly string[]) => {
    if (isDeepStrictEqual(problems, noted)) return;
    for (const problem of problems) log.part('bgp').warning('configuration', { problem });
    noted = problems;
  };

  const services = () => {
    const named = (name: string) => objects.configurations.get(name)?.spec ?? [];
    const ranges = serviceRangesOf([named(`node.${node.name}`), named('default')].flat());
    return announcements.prefixes(ranges).map((prefix) => ({ prefix }));
  };

  const translated = (self: Node) => {
    const { view, problems: local } = nodeViewOf({
      config,
      gateways,
      self,
      addresses: node.ips,
      usage: ipam.usage(),
      held: ipam.allocations().flatMap(({ addresses }) => addresses),
      pools: objects.pools.all().map(inForce),
      networks: objects.networks.all(),
      services: servesOutside(self) ? services() : [],
    });
    const cluster = {
      nodeName: node.name,
      nodes: objects.nodes.all(),
      configurations: objects.configurations.all(),
      peers: objects.peers.all(),
      filters: objects.filters.all(),
      secret: (name: string, key: string) => secrets.value(name, key),
    };
    const { config: router, problems: translation } = routerConfigFrom(cluster, view);
    return { router, problems: [...local, ...translation] };
  };

  const configure = settling(
    SETTLE_MS,
    async () => {
      if (!isComplete(objects) || !feed.complete) return;
      await secrets.want(secretNames(objects.peers.all(), objects.configurations.all()));
      const self = objects.nodes.get(node.name);
      if (self !== undefined && addressesOf(self).length > 0) {
        const { router, problems } = translated(self);
        note(problems);
        const { config: extended, again } = lingering.extend(router);
        known = extended;
        speaker.configure(extended);
        memory.remember(extended);
        clearTimeout(later);
        if (again !== undefined) later = setTimeout(() => configure.soon(), again);
        withdrawals.expect(emptiedSegments({ usage: ipam.usage() }));
      } else if (known && self === undefined) {
        // The node has left the cluster: peers are told to let go, by the name that they know it by.
        speaker.configure({ ...known, neighbours: [], originate: [] });
      } else note([`Node ${node.name} names no address: there is nothing to peer with`]);
    },
    (error) => log.part('bgp').error('the speaker cannot be configured', { error }),
  );

  const objects = followBgpObjects(store, () => configure.soon());
  const feed = new ServiceFeed();
  const announcements = new ServiceAnnouncements(feed, node.name);
  const servicesChanged = () => {
    if (announcements.refresh()) configure.soon();
  };
  store.follow('Service', (change) => {
    feed.onService(change);
    servicesChanged();
  });
  store.follow('EndpointSlice', (change) => {
    feed.onSlice(change);
    servicesChanged();
  });
  const watch = watchGateways(() => {
    gateways = defaultGateways(netlink);
    configure.soon();
  });
  return {
    changed: configure.soon,
    isWithdrawn: (segment) => withdrawals.has(segment),
    onWithdrawn(listener) {
      news = listener;
    },
    problems: () => [...(speaker.problem === undefined ? [] : [speaker.problem]), ...noted],
    async handle({ method = 'GET', url = '/' }, response) {
      const { status, body } = await speaker.ask(method, url);
      reply(response, status, body);
    },
    async metrics() {
      const { status, body } = await speaker.ask('GET', '/v1/bgp/neighbors');
      if (status !== 200) return bgpMetrics(undefined);
      const kernel = await speaker.ask('GET', '/v1/bgp/kernel');
      return bgpMetrics(body as SpeakerStatus, kernel.status === 200 ? (kernel.body as KernelEntry[]) : []);
    },
    async stop() {
      watch.close();
      withdrawals.stop();
      clearTimeout(patience);
      secrets.stop();
      clearTimeout(later);
      await configure.stop();
      await speaker.stop();
    },
  };
}

const SILENT: Bgp = {
  changed() {},
  isWithdrawn: () => true,
  onWithdrawn() {},
  problems: () => [],
  async handle(_request, response) {
    reply(response, 404, { error: 'BGP is off on this node' });
  },
  metrics: async () => [],
  async stop() {},
};

function reply(response: ServerResponse, status: number, body: unknown): void {
  if (body instanceof Uint8Array) {
    response.writeHead(status, { 'content-type': 'application/octet-stream' }).end(body);
  } else response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}
