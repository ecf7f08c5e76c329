import { closeSync } from 'node:fs';
import { getLink, type Link, listLinks, setLink } from '../netlink/link.ts';
import { openNamespace } from '../netlink/namespace.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { Made, Workplace } from './attach.ts';
import { pciAddressOf } from './device.ts';
import { restoreDevice } from './originalDevice.ts';
import { planNic } from './plan.ts';
import type { Pod } from './pod.ts';
import { configureInterface } from './podInterface.ts';
import type { AttachmentRecord, OriginalDevice } from './record.ts';

/** Lends a device of the node to the pod. */
export function attachNic(place: Workplace, device: Link, original: OriginalDevice): Made {
  const { spec, node, pod, steps } = place;
  const lent = { id: spec.id, original, mac: spec.mac, podIndex: undefined };
  steps.onFailure('give the device back', () => {
    const failed = returnDevice(node, pod, lent).failed;
    if (failed.length > 0) throw new Error(failed.join('; '));
  });
  steps.take(`write the name of ${device.name} into its alias`, () =>
    setLink(node, device.index, { alias: original.name }),
  );
  steps.take(`switch ${device.name} off`, () => setLink(node, device.index, { up: false }));
  // Under a name that nobody has: moved under its final one, it could end up in the pod and not be renamed.
  steps.take(`move ${device.name} into the pod`, () =>
    setLink(node, device.index, { namespace: pod.fd, name: lentName(spec.id) }),
  );
  const { index } = getLink(pod.netlink, lentName(spec.id));
  steps.take(`name it ${spec.ifName}`, () => {
    const changes = { name: spec.ifName, mac: spec.mac, mtu: spec.mtu || undefined };
    setLink(pod.netlink, index, changes);
  });
  configureInterface(place, { index }, planNic(spec));
  const { mac, mtu } = getLink(pod.netlink, index);
  if (mac === undefined) throw new Error(`device ${original.name} has no MAC address`);
  return { pod: { name: spec.ifName, mac, mtu, index, pciId: original.pciId } };
}

/** What a device is called between the node and the pod, and where its own name is taken. */
export function lentName(id: string): string {
  return `nic${id}`;
}

/** By what a lent device is known again, wherever and under whatever name it is. */
export interface LentDevice {
  readonly id: string;
  readonly original: OriginalDevice;
  /** The one it was given for the pod. */
  readonly mac?: string | undefined;
  readonly podIndex?: number | undefined;
}

export function lentDeviceOf({ spec, original, attached }: AttachmentRecord): LentDevice | undefined {
  return original === undefined
    ? undefined
    : { id: spec.id, original, mac: spec.mac, podIndex: attached?.pod.index };
}

/** A device in the pod that still carries its name on the node, where nothing else is known of it any more. */
export function strandedDevice({ netlink }: Pod, id: string, ifName: string): LentDevice | undefined {
  const link = listLinks(netlink).find(
    ({ name, alias }) => (name === ifName || name === lentName(id)) && DEVICE_NAME.test(alias ?? ''),
  );
  if (link?.alias === undefined) return undefined;
  const { alias: name, permanentMac, mtu, kind, index } = link;
  const mac = permanentMac ?? link.mac;
  const original = {
    name,
    mac,
    permanentMac,
    mtu,
    kind,
    pciId: pciAddressOf(link),
    up: false,
    alias: undefined,
  };
  return { id, podIndex: index, mac: link.mac, original: { ...original, addresses: [], routes: [] } };
}

/** What the kernel takes for one (dev_valid_name in net/core/dev.c). */
const DEVICE_NAME = /^[^\s/:]{1,15}$/;

export interface Return {
  /** Whether it was in the pod or on the node. */
  readonly found: boolean;
  /** What of its former state could not be restored. */
  readonly failed: readonly string[];
}

/**
 * Brings a lent device home and makes it what it was. Finds it in the pod or, where the pod's namespace is
 * gone, among the node's links: that is where hardware falls to, as `dev2` if its name is taken.
 */
export function returnDevice(node: Netlink, pod: Pod | undefined, lent: LentDevice): Return {
  if (pod !== undefined) moveHome(pod, lent);
  const device = listLinks(node).find((link) => isLent(link, lent) || isAtHome(link, lent));
  if (device === undefined) return { found: false, failed: [] };
  const failed = isWhole(device, lent) ? [] : restoreDevice(node, device.index, lent.original);
  return { found: true, failed };
}

function moveHome(pod: Pod, lent: LentDevice): void {
  const device = listLinks(pod.netlink).find((link) => isLent(link, lent) || link.index === lent.podIndex);
  if (device === undefined) return;
  const home = openNamespace('/proc/thread-self/ns/net');
  try {
    setLink(pod.netlink, device.index, { up: false });
    setLink(pod.netlink, device.index, { namespace: home, name: lentName(lent.id) });
  } finally {
    closeSync(home);
  }
}

function isLent(link: Link, { id, original, mac }: LentDevice): boolean {
  if (link.kind !== original.kind) return false;
  if (link.name === lentName(id)) return true;
  if (original.pciId === undefined && original.permanentMac === undefined) {
    return link.alias === original.name && (link.mac === original.mac || link.mac === mac);
  }
  // Both, since the ports of one card may share their PCI address.
  const samePlace = original.pciId === undefined || pciAddressOf(link) === original.pciId;
  return samePlace && link.permanentMac === original.permanentMac;
}

function isAtHome(link: Link, { original }: LentDevice): boolean {
  return link.name === original.name && link.mac === original.mac && link.kind === original.kind;
}

/** Never touched, or restored to the last, which is the alias. */
function isWhole(link: Link, lent: LentDevice): boolean {
  const { alias, up } = lent.original;
  return isAtHome(link, lent) && link.alias === alias && link.up === up;
}
