import { addIpvlan } from '../netlink/ipvlan.ts';
import { deleteLink, findLink, getLink } from '../netlink/link.ts';
import { addMacvlan } from '../netlink/macvlan.ts';
import type { Made, Workplace } from './attach.ts';
import { derivedMac, planNic } from './plan.ts';
import { configureInterface } from './podInterface.ts';

/** A device on top of one of the node's, born in the pod under its final name. */
export function attachChild(
  place: Workplace,
  { master, type }: { readonly master: string; readonly type: 'macvlan' | 'ipvlan' },
): Made {
  const { spec, node, pod, steps } = place;
  const parent = findLink(node, master);
  if (parent === undefined) throw new Error(`there is no master ${master}`);
  const link = {
    name: spec.ifName,
    parent: parent.index,
    namespace: pod.fd,
    mtu: spec.mtu || parent.mtu,
  };
  steps.take(
    `make the ${type} on ${master}`,
    () => {
      if (type === 'ipvlan') addIpvlan(node, { ...link, mode: 'l2' });
      else addMacvlan(node, { ...link, mode: 'bridge', mac: spec.mac ?? derivedMac(spec.id, 'pod') });
    },
    () => deleteLink(pod.netlink, spec.ifName),
  );
  const { index, mac, mtu } = getLink(pod.netlink, spec.ifName);
  if (mac === undefined) throw new Error(`${type} ${spec.ifName} has no MAC address`);
  configureInterface(place, { index }, planNic(spec));
  return { pod: { name: spec.ifName, mac, mtu, index, master } };
}
