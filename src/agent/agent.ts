import { setFlagsFromString } from 'node:v8';
import { Released } from '../../cni/released.ts';
import { Turns } from '../../cni/turns.ts';
import type { AttachmentSpec } from '../attach/attachment.ts';
import { RecordStore } from '../attach/record.ts';
import { claimPins } from '../ebpf/pin.ts';
import { createLog, type Log } from '../log.ts';
import { warmPool } from '../netlink/namespace.ts';
import { openNetlink } from '../netlink/socket.ts';
import { openStore } from '../store/open.ts';
import { addressesOf } from './addresses.ts';
import { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import { attachmentsOf } from './attachments.ts';
import { embedBgp } from './bgp.ts';
import { joinCluster } from './cluster.ts';
import type { AgentConfig } from './config.ts';
import { startDatapath } from './datapath.ts';
import { describeNode, detectNode } from './detect.ts';
import { openDoors } from './doors.ts';
import { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import { watchNode } from './nodeWatch.ts';
import { openIpam } from './openIpam.ts';
import { joinOverlay } from './overlay.ts';
import { fitPodMtus } from './podMtus.ts';
import { recover } from './recovery.ts';
import { reportsOf } from './resources.ts';
import { claimDirectory } from './socket.ts';
import { watchStalls } from './stall.ts';
import { StoreState } from './storeState.ts';
import { Verbs } from './verbs.ts';

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
  const closers: Closer[] = [claimDirectory(config.runDir)];
  try {
    await start(config, log, closers);
    log.info('stopping', { signal: await toldToStop() });
  } finally {
    await closeAll(closers, log);
  }
  log.info('stopped');
}

/** Ends what a start has begun. */
type Closer = () => void | Promise<void>;

/** Last one first. One that fails keeps none of the others from it. */
async function closeAll(closers: readonly Closer[], log: Log): Promise<void> {
  for (const close of closers.toReversed()) {
    try {
      await close();
    } catch (error) {
      log.error('cannot end what was begun', { error });
    }
  }
}

async function start(config: AgentConfig, log: Log, closers: Closer[]): Promise<void> {
  const began = performance.now();
  const startedAt = new Date().toISOString();
  closers.push(claimPins(config.bpfDir));
  const stalls = watchStalls(log);
  const netlink = openNetlink();
  closers.push(
    () => stalls.stop(),
    () => netlink.close(),
  );
  const node = detectNode(config, netlink, log);
  const records = new RecordStore(config.stateDir);
  const announced = new AnnouncedClusterIPs();
  const datapath = startDatapath({ config, node, netlink, records, announced, log: log.part('datapath') });
  closers.push(() => datapath.close());
  const { ipam, history, cooldowns, boot } = await openIpam(config, log.part('ipam'));
  closers.push(
    () => history.close(),
    () => ipam.close(),
  );
  const attachments = attachmentsOf({ records, programs: datapath.pods, log: log.part('attach') });
  const released = new Released(config.stateDir);
  await recover({ ipam, records, released, boot, undo: attachments.undo, log: log.part('recovery') });

  const report = (problem: string) => log.part('store').error('file refused', { problem });
  const store = new StoreState(await openStore(config.store, { create: true, report }), log.part('store'));
  const common = { config, node, netlink, ipam, store, log };
  const bgp = embedBgp(common);
  const overlay = joinOverlay({ ...common, log: log.part('overlay') });
  const { services } = datapath;
  const health = new HealthCheckNodePorts(node.name, log.part('services'));
  const cluster = joinCluster({ ...common, services, announced, health, bgp, overlay });
  closers.push(
    () => cluster.stop(),
    () => overlay.stop(),
    () => bgp.stop(),
  );
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
  closers.push(() => watch.close());
  const verbs = new Verbs(cni, log.part('cni'), cluster.addressesChanged);
  const told = { history, records, datapath, bgp, overlay, cluster, stalls, verbs, startedAt };
  const reports = reportsOf({ ...common, ...told });
  const doors = await openDoors({ config, verbs, bgp, reports, log });
  closers.push(() => doors.close());
  log.info('ready', { ...describeNode(node), milliseconds: Math.round(performance.now() - began) });
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
