import { formatIP } from '../address/ip.ts';
import type { Mac } from '../address/mac.ts';
import { formatPrefix, type InterfaceAddress, samePrefix } from '../address/prefix.ts';
import { because } from '../errors.ts';
import { listAddresses } from '../netlink/address.ts';
import { findLink, type Link } from '../netlink/link.ts';
import { listNeighbours } from '../netlink/neighbour.ts';
import { type InstalledRoute, listRoutes, MAIN_TABLE } from '../netlink/route.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';
import type { AttachmentSpec, HostEnd, PodEnd } from './attachment.ts';
import { type InterfacePlan, type PlannedRoute, planNic, planVethHost, planVethPod } from './plan.ts';
import { type Pod, reopenPod } from './pod.ts';
import type { PodPrograms } from './podPrograms.ts';
import type { AttachmentRecord } from './record.ts';
import { readSpec } from './recordText.ts';
import { readSysctl } from './sysctl.ts';

export interface CheckHooks {
  readonly programs: PodPrograms;
}

/**
 * Compares the kernel with what was attached. What others have added does not matter.
 *
 * @throws {Error} Naming the first difference.
 */
export function check(record: AttachmentRecord, { programs }: CheckHooks): void {
  const { ifName, containerId } = record.spec;
  try {
    if (record.attached === undefined) throw new Error(`its record says ${record.state}`);
    const pod = reopenPod(record.spec.netns, record.namespace);
    if (pod === undefined) throw new Error(`its network namespace ${record.spec.netns} is gone`);
    try {
      checkPod(readSpec(record.spec), record.attached, pod, programs);
    } finally {
      pod.close();
    }
    const { host, pod: end } = record.attached;
    if (host) checkHost(readSpec(record.spec), host, end, programs);
  } catch (error) {
    throw because(`confirm ${ifName} of container ${containerId}`, error);
  }
}

interface Ends {
  readonly host?: HostEnd | undefined;
  readonly pod: PodEnd;
}

function checkPod(spec: AttachmentSpec, { host, pod: end }: Ends, pod: Pod, programs: PodPrograms): void {
  const where = 'in the pod';
  const link = linkOf(pod.netlink, end.name, end.mac, where);
  if (link.mtu !== end.mtu) throw new Error(`the MTU of ${end.name} is ${link.mtu}, not ${end.mtu}`);
  compare(pod.netlink, link, host ? planVethPod(spec, host.mac) : planNic(spec), where);
  pod.inside(() => {
    if (readSysctl('ipv4/conf/lo/accept_local') !== '1') {
      throw new Error('sysctl net.ipv4.conf.lo.accept_local is not 1 in the pod');
    }
    programs.check({
      id: spec.id,
      kind: spec.kind.kind,
      ifName: spec.ifName,
      index: link.index,
      netns: spec.netns,
      netlink: pod.netlink,
      netnsCookie: pod.cookie,
      addresses: spec.addresses.map(({ address }) => address.address),
      hostIndex: host?.index,
    });
  });
}

function checkHost(spec: AttachmentSpec, host: HostEnd, pod: PodEnd, programs: PodPrograms): void {
  const node = openNetlink();
  try {
    const link = linkOf(node, host.name, host.mac, 'on the node');
    compare(node, link, planVethHost(spec, pod.mac), 'on the node');
    programs.checkHost({ spec, host, pod, netlink: node });
  } finally {
    node.close();
  }
}

function linkOf(nl: Netlink, name: string, mac: Mac, where: string): Link {
  const link = findLink(nl, name);
  if (link === undefined) throw new Error(`there is no link ${name} ${where}`);
  if (link.mac !== mac) throw new Error(`link ${name} ${where} has MAC address ${link.mac}, not ${mac}`);
  if (!link.up) throw new Error(`link ${name} ${where} is down`);
  return link;
}

function compare(nl: Netlink, { index, name }: Link, plan: InterfacePlan, where: string): void {
  const missing = (what: string) => new Error(`link ${name} ${where} has no ${what}`);
  const addresses = listAddresses(nl, { index }).map(({ address }) => address);
  for (const wanted of plan.addresses) {
    if (!addresses.some((address) => sameAddress(address, wanted))) {
      throw missing(`address ${formatPrefix(wanted)}`);
    }
  }
  const routes = listRoutes(nl, { index, table: MAIN_TABLE });
  for (const wanted of plan.routes) {
    if (!routes.some((route) => isRoute(route, wanted))) throw missing(describeRoute(wanted));
  }
  const neighbours = plan.neighbours.length > 0 ? listNeighbours(nl, { index }) : [];
  for (const { address, mac } of plan.neighbours) {
    const known = neighbours.find((entry) => entry.address === address && entry.state === 'permanent');
    if (known?.mac !== mac) throw missing(`permanent neighbour ${formatIP(address)} with ${mac}`);
  }
}

function sameAddress(a: InterfaceAddress, b: InterfaceAddress): boolean {
  return a.address === b.address && a.length === b.length;
}

function isRoute(route: InstalledRoute, { prefix, gateway }: PlannedRoute): boolean {
  return samePrefix(route.prefix, prefix) && route.nextHops.some((hop) => hop.gateway === gateway);
}

function describeRoute({ prefix, gateway }: PlannedRoute): string {
  return `route ${formatPrefix(prefix)}${gateway === undefined ? '' : ` via ${formatIP(gateway)}`}`;
}
