import { familyOf } from '../address/ip.ts';
import { deleteLink, setLink } from '../netlink/link.ts';
import { replaceNeighbour } from '../netlink/neighbour.ts';
import { addRoute } from '../netlink/route.ts';
import { addVeth } from '../netlink/veth.ts';
import type { Made, Workplace } from './attach.ts';
import { hostLinkName } from './attachment.ts';
import { enableForwarding, uplinkMtu } from './nodeSettings.ts';
import { derivedMac, planVethHost, planVethPod } from './plan.ts';
import { configureInterface } from './podInterface.ts';
import { setSysctl } from './sysctl.ts';

/** A pair of virtual devices, one end in the pod, the other routed to by the node. */
export function attachVeth(place: Workplace): Made {
  const { spec, node, pod, steps } = place;
  const mtu = spec.mtu || uplinkMtu(node) - (spec.room ?? 0);
  // Chosen here: udev gives an address of its own making to links that have a random one, after the fact.
  const host = { name: hostLinkName(spec.id), mac: derivedMac(spec.id, 'host') };
  const podMac = spec.mac ?? derivedMac(spec.id, 'pod');
  const peer = { name: spec.ifName, mac: podMac, mtu, namespace: pod.fd };

  const made = steps.take(
    'make the veth pair',
    () => addVeth(node, { ...host, mtu, peer }),
    () => deleteLink(node, host.name),
  );
  const ends = {
    host: { ...host, index: made.index },
    pod: { name: spec.ifName, mac: podMac, mtu, index: made.parent ?? 0 },
  };
  const { index } = ends.pod;
  configureInterface(place, { index, host: { spec, netlink: node, ...ends } }, planVethPod(spec, host.mac));
  steps.take('let the node forward', () => prepareHost(host.name, spec));
  steps.take('route to the pod', () => {
    const plan = planVethHost(spec, podMac);
    node.batch((batch) => {
      setLink(batch, made.index, { up: true });
      for (const { prefix } of plan.routes) addRoute(batch, { prefix, nextHops: [{ index: made.index }] });
      for (const neighbour of plan.neighbours) replaceNeighbour(batch, { index: made.index, ...neighbour });
    });
  });
  return ends;
}

function prepareHost(link: string, { addresses }: Workplace['spec']): void {
  const families = new Set(addresses.map(({ address }) => familyOf(address.address)));
  for (const family of families) enableForwarding(family);
  // Strict: what comes out of the pod must come from its addresses. Only routes to the pod lead to this link,
  // so no reply can take another way, and systemd-sysctl setting it once more changes nothing.
  if (families.has(4)) setSysctl(`ipv4/conf/${link}/rp_filter`, '1');
  if (families.has(6)) setSysctl(`ipv6/conf/${link}/disable_ipv6`, '0');
}
