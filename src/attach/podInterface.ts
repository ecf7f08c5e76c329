import { familyOf } from '../address/ip.ts';
import { samePrefix } from '../address/prefix.ts';
import { addAddress } from '../netlink/address.ts';
import { setLink } from '../netlink/link.ts';
import { replaceNeighbour } from '../netlink/neighbour.ts';
import { addRoute, listRoutes, MAIN_TABLE } from '../netlink/route.ts';
import type { Ends, Workplace } from './attach.ts';
import type { AttachmentSpec } from './attachment.ts';
import { type InterfacePlan, isOffLink } from './plan.ts';
import { setSysctl } from './sysctl.ts';

const LOOPBACK = 1;

/** What the eBPF programs count on. */
const LOOPBACK_SYSCTLS = [
  // A packet from and to the pod's own address comes in by lo after translation of the destination.
  ['let the pod reach itself by its own address', 'ipv4/conf/lo/accept_local'],
  // They look up routes as for output, which is by lo, and may only for a device that forwards. Nothing comes in there.
  ['let programs look up routes of IPv4', 'ipv4/conf/lo/forwarding'],
  ['let programs look up routes of IPv6', 'ipv6/conf/lo/forwarding'],
] as const;

/** A route that an earlier interface of the pod has already comes after it: IPv6 starts at 1024. */
const BEHIND = 2048;

/** Gives the pod's interface its programs and what the plan says, and switches it on. Undoing the interface undoes it. */
export function configureInterface(place: Workplace, ends: Ends, plan: InterfacePlan): void {
  const { spec, pod, steps } = place;
  const { index } = ends;
  switchLoopbackOn(place);
  pod.inside(() => {
    for (const [why, name] of LOOPBACK_SYSCTLS) {
      steps.take(
        why,
        () => setSysctl(name, '1'),
        (former) => {
          if (former !== undefined) pod.inside(() => setSysctl(name, former));
        },
      );
    }
    steps.take('set the pod’s sysctls', () => prepareSysctls(spec, plan));
  });
  place.equip(ends);
  steps.take('give the pod its addresses and routes', () => {
    const isFirst = place.others.every(({ index }) => index === LOOPBACK);
    const taken = isFirst ? [] : listRoutes(pod.netlink, { table: MAIN_TABLE });
    pod.netlink.batch((batch) => {
      // Before the interface is on, so that its neighbours are told of them (arp_notify) when it is.
      for (const address of plan.addresses) addAddress(batch, { index, address, noDad: true });
      setLink(batch, index, { up: true });
      for (const neighbour of plan.neighbours) replaceNeighbour(batch, { index, ...neighbour });
      for (const { prefix, gateway, preferredSource } of plan.routes) {
        const onLink = gateway !== undefined && isOffLink(gateway, plan.addresses);
        const priority = taken.some((route) => samePrefix(route.prefix, prefix)) ? BEHIND + index : undefined;
        addRoute(batch, { prefix, preferredSource, priority, nextHops: [{ index, gateway, onLink }] });
      }
    });
  });
}

function switchLoopbackOn({ pod: { netlink }, others, steps }: Workplace): void {
  if (others.find(({ index }) => index === LOOPBACK)?.up) return;
  steps.take(
    'switch the pod’s loopback on',
    () => setLink(netlink, LOOPBACK, { up: true }),
    () => setLink(netlink, LOOPBACK, { up: false }),
  );
}

function prepareSysctls({ ifName, kind }: AttachmentSpec, plan: InterfacePlan): void {
  if (plan.addresses.some(({ address }) => familyOf(address) === 6)) {
    // Runtimes switch IPv6 off for all interfaces of a pod; where it is not asked for it stays off.
    for (const link of ['lo', ifName]) setSysctl(`ipv6/conf/${link}/disable_ipv6`, '0');
  }
  if (kind.kind === 'veth') return;
  // On a shared network, whoever remembers a former holder of the address learns the new one.
  setSysctl(`ipv4/conf/${ifName}/arp_notify`, '1');
  setSysctl(`ipv6/conf/${ifName}/ndisc_notify`, '1');
}
