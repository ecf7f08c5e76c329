import { realpathSync } from 'node:fs';
import { type Link, listLinks } from '../netlink/link.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { DeviceSelector } from './attachment.ts';
import { defaultLinks } from './nodeSettings.ts';

/**
 * The device of the node that a selector means.
 *
 * @throws {Error} If there is none, or a MAC address means several.
 */
export function findDevice(nl: Netlink, selector: DeviceSelector): Link {
  const found = listLinks(nl).filter((link) => selects(selector, link));
  // A VLAN or macvlan may share the address of the device below; the hardware itself is meant.
  const hardware = found.filter(({ kind }) => kind === undefined);
  const [device, ...others] = hardware.length > 0 ? hardware : found;
  if (device === undefined) throw new Error(`Cannot find device: there is none with ${describe(selector)}`);
  if (others.length > 0) {
    const names = [device, ...others].map(({ name }) => name).join(', ');
    throw new Error(`Cannot choose device: ${names} all have ${describe(selector)}`);
  }
  return device;
}

function selects(selector: DeviceSelector, link: Link): boolean {
  switch (selector.by) {
    case 'name':
      return link.name === selector.name || link.alternativeNames.includes(selector.name);
    case 'mac':
      return link.mac === selector.mac || link.permanentMac === selector.mac;
    case 'pci':
      return pciAddressOf(link) === selector.address;
  }
}

function describe(selector: DeviceSelector): string {
  switch (selector.by) {
    case 'name':
      return `name ${selector.name}`;
    case 'mac':
      return `MAC address ${selector.mac}`;
    case 'pci':
      return `PCI address ${selector.address}`;
  }
}

/** @throws {Error} If the node itself needs the device. */
export function confirmFree(nl: Netlink, device: Link): void {
  const refuse = (reason: string) => {
    throw new Error(`Cannot lend device ${device.name} to a pod: ${reason}`);
  };
  if (device.name === 'lo') refuse('it is the loopback');
  if (device.master !== undefined) refuse(`it belongs to ${nameOf(nl, device.master)}`);
  if (defaultLinks(nl).includes(device.index)) refuse("the node's default route leaves by it");
  const above = listLinks(nl).filter(
    (link) =>
      link.parent === device.index && link.parentNamespaceId === undefined && !areVethPair(link, device),
  );
  if (above.length > 0) refuse(`${above.map(({ name }) => name).join(', ')} stands on it`);
}

function areVethPair(a: Link, b: Link): boolean {
  return a.parent === b.index && b.parent === a.index;
}

function nameOf(nl: Netlink, index: number): string {
  return listLinks(nl).find((link) => link.index === index)?.name ?? `link ${index}`;
}

const PCI_ADDRESS = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** Where a device sits on PCI, also if by way of another bus: a virtio NIC's parent is `virtio0`. */
export function pciAddressOf({ device, name }: Link): string | undefined {
  if (device?.bus === 'pci') return device.name;
  try {
    // Buses are the same for all namespaces; /sys/class/net, for kernels that name no parent, is not.
    const path = device ? `/sys/bus/${device.bus}/devices/${device.name}` : `/sys/class/net/${name}/device`;
    return realpathSync(path)
      .split('/')
      .findLast((part) => PCI_ADDRESS.test(part));
  } catch {
    return undefined;
  }
}
