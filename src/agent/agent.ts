import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Released } from '../../cni/released.ts';
import { Turns } from '../../cni/turns.ts';
import type { AttachmentSpec } from '../attach/attachment.ts';
import { RecordStore } from '../attach/record.ts';
import { History } from '../ipam/history.ts';
import { Ipam } from '../ipam/ipam.ts';
import { createLog, type Log } from '../log.ts';
import { warmPool } from '../netlink/namespace.ts';
import { openNetlink } from '../netlink/socket.ts';
import { openStore } from '../store/open.ts';
import { addressesOf } from './addresses.ts';
import { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import { apiHandler } from './api.ts';
import { attachmentsOf } from './attachments.ts';
import { embedBgp } from './bgp.ts';
import { joinCluster } from './cluster.ts';
import type { AgentConfig } from './config.ts';
import { Cooldowns } from './cooldowns.ts';
import { startDatapath } from './datapath.ts';
import { describeNode, detectNode } from './detect.ts';
import { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import { watchNode } from './nodeWatch.ts';
import { joinOverlay } from './overlay.ts';
import { fitPodMtus } from './podMtus.ts';
import { recover } from './recovery.ts';
import { reportsOf } from './resources.ts';
import { segmentsOf } from './segments.ts';
import { claimDirectory, drained, listenOnAddress, listenOnSocket } from './socket.ts';
import { watchStalls } from './stall.ts';
import { StoreState } from './storeState.ts';
import { Verbs } from './verbs.ts';

/** Calls that are under way get so long to end before the agent leaves. */
const FAREWELL_MS = 10_000;

/**
 * Runs the agent of this node until SIGTERM or SIGINT. It leaves everything in place: pods keep their networks and
 * services while no agent runs, and the next one takes over.
 *
 * @throws {Error} If it cannot start; the node is as it was.
 */
export async function runAgent(config: AgentConfig): Promise<void> {
  // Before the first look into a pod: threads of the pool stay in the namespace in which they were born.
  warmPool();
  compileEarly();
  const log = createLog((line) => process.stderr.write(line), config.logLevel, 'agent');
  const unclaim = claimDirectory(config.runDir);
  try {
    const stop = await start(config, log);
    log.info('stopping', { signal: await toldToStop() });
    await stop();
    log.info('stopped');
  } finally {
    unclaim();
  }
}

async function start(config: AgentConfig, log: Log): Promise<() => Promise<void>> {
  const began = performance.now();
  const startedAt = new Date().toISOString();
  const stalls = watchStalls(log);
  const netlink = openNetlink();
  const node = detectNode(config, netlink, log);
  const records = new RecordStore(config.stateDir);
  const announced = new AnnouncedClusterIPs();
  const datapath = startDatapath({ config, node, netlink, records, announced, log: log.part('datapath') });

  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const cooldowns = new Cooldowns(config.cooldownSeconds * 1000);
  const directory = join(config.stateDir, 'ipam');
  const history = new History(directory);
  const ipam = new Ipam({
    directory,
    cooldown: cooldowns.of,
    boot,
    now: Date.now,
    log: log.part('ipam'),
    history,
  });
  if (ipam.segments().length === 0) await ipam.assign(segmentsOf(undefined, config.segments));

  const attachments = attachmentsOf({ records, programs: datapath.pods, log: log.part('attach') });
  const released = new Released(config.stateDir);
  await recover({ ipam, records, released, boot, undo: attachments.undo, log: log.part('recovery') });

  const report = (problem: string) => log.part('store').error('file refused', { problem });
  const store = new StoreState(await openStore(config.store, { create: true, report }), log.part('store'));
  const bgp = embedBgp({ config, node, ipam, netlink, store, log });
  const overlay = joinOverlay({ config, node, ipam, netlink, store, log: log.part('overlay') });
  const services = datapath.services;
  const health = new HealthCheckNodePorts(node.name, log.part('services'));
  const cluster = joinCluster({
    config,
    node,
    netlink,
    ipam,
    services,
    announced,
    health,
    bgp,
    overlay,
    store,
    log,
  });
  store.follow('IPPool', cooldowns.onPool);
  store.follow('IPPool', (change) => datapath.outgoing.onPool(change, datapath.pods, log.part('datapath')));
  const cni = {
    addresses: addressesOf(ipam, cluster.supply),
    records,
    ...attachments,
    attach: (spec: AttachmentSpec) => attachments.attach({ ...spec, room: overlay.podRoom }),
    turns: new Turns(),
    log: log.part('cni'),
  };
  const fitMtus = () => fitPodMtus({ records, netlink, room: overlay.podRoom, log: log.part('attach') });
  fitMtus();
  const watch = watchNode(
    node,
    config.uplink ?? [],
    () => {
      datapath.nodeChanged();
      overlay.changed();
      cluster.nodeChanged();
      fitMtus();
    },
    log.part('node'),
  );
  const verbs = new Verbs(cni, log.part('cni'), cluster.addressesChanged);
  const reports = reportsOf({
    config,
    node,
    netlink,
    ipam,
    history,
    records,
    datapath,
    bgp,
    overlay,
    cluster,
    store,
    stalls,
    verbs,
    startedAt,
  });
  const api = apiHandler(reports.resources, reports.metrics, reports.actions);
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    if (request.url?.startsWith('/cni/')) return verbs.handle(request, response);
    return request.url?.startsWith('/v1/bgp/') ? bgp.handle(request, response) : api(request, response);
  };

  const servers = [await listenOnSocket(config.runDir, handler, verbs.serve, log)];
  if (config.metricsAddress) {
    servers.push(await listenOnAddress(config.metricsAddress, apiHandler({}, reports.metrics), log));
  }
  log.info('ready', { ...describeNode(node), milliseconds: Math.round(performance.now() - began) });

  return async () => {
    await Promise.race([Promise.all(servers.map(drained)), patience()]);
    watch.close();
    await bgp.stop();
    await overlay.stop();
    await cluster.stop();
    await ipam.close();
    history.close();
    datapath.close();
    stalls.stop();
    netlink.close();
  };
}

/**
 * Has V8 compile what it runs, without optimising, where it would interpret it until it has run many times: a node has a
 * hundred pods, and each way through an ADD is gone once for each. Costs 5 MB.
 */
function compileEarly(): void {
  setFlagsFromString('--always-sparkplug');
}

/** The second signal ends the process at once, as if nobody had listened. */
function toldToStop(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

function patience(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, FAREWELL_MS).unref());
}
