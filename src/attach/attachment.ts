import { createHash } from 'node:crypto';
import type { IP } from '../address/ip.ts';
import type { Mac } from '../address/mac.ts';
import type { InterfaceAddress, Prefix } from '../address/prefix.ts';

/** How a pod's interface comes to be. */
export type AttachmentKind =
  | { readonly kind: 'veth' }
  /** A whole device of the node, lent to the pod. */
  | { readonly kind: 'nic'; readonly device: DeviceSelector }
  /** A device made for the pod on top of one of the node's. */
  | { readonly kind: 'child'; readonly master: string; readonly type: 'macvlan' | 'ipvlan' };

export type DeviceSelector =
  | { readonly by: 'name'; readonly name: string }
  | { readonly by: 'mac'; readonly mac: Mac }
  /** `0000:00:05.0`, as in /sys/bus/pci/devices. */
  | { readonly by: 'pci'; readonly address: string };

export interface PodAddress {
  /** On veths the length is not looked at: the pod's end carries /32 and /128. */
  readonly address: InterfaceAddress;
  /** Not looked at on veths, whose gateway is the host end. */
  readonly gateway?: IP | undefined;
}

export interface PodRoute {
  readonly prefix: Prefix;
  /** Absent: the way the default route goes. */
  readonly via?: IP | undefined;
}

/** Who gave the addresses and takes them back. */
export type AddressOwner =
  | { readonly kind: 'agent' }
  /** A CNI IPAM plugin, run with `config`, the network configuration that named it. */
  | { readonly kind: 'delegated'; readonly type: string; readonly config: unknown };

/** A CNI plugin that runs behind this one: after ADD, before DEL. `config` is its network configuration. */
export interface Follower {
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/** What is wanted; nothing in here is decided by the kernel. */
export interface AttachmentSpec {
  /** {@link attachmentId} of the next two. */
  readonly id: string;
  readonly containerId: string;
  readonly ifName: string;
  /** Name of the CNI network. */
  readonly network: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly kind: AttachmentKind;
  /** Bytes; 0: that of the uplink (veth), of the device itself (NIC), of the master (child). */
  readonly mtu: number;
  /** Bytes that an MTU of the uplink's leaves free, for headers of tunnels. Absent: none. */
  readonly room?: number | undefined;
  readonly mac?: Mac | undefined;
  /** Of one or both families, one or more each; the first of a family is the source of the pod's packets. */
  readonly addresses: readonly PodAddress[];
  /** Beside the default route, which every family with an address gets. */
  readonly routes: readonly PodRoute[];
  readonly ipam: AddressOwner;
  /** Absent: none. */
  readonly followers?: readonly Follower[] | undefined;
  readonly cniVersion: string;
}

export interface HostEnd {
  readonly name: string;
  readonly mac: Mac;
  readonly index: number;
}

export interface PodEnd {
  readonly name: string;
  readonly mac: Mac;
  readonly mtu: number;
  readonly index: number;
  /** PCI address of a NIC that has one. */
  readonly pciId?: string | undefined;
  /** Name of the device below a child. */
  readonly master?: string | undefined;
}

/** What came of it. */
export interface Attached {
  /** Only veths have an end on the node. */
  readonly host?: HostEnd | undefined;
  readonly pod: PodEnd;
  /** By which eBPF programs know the pod; `undefined` before Linux 5.14. */
  readonly netnsCookie: bigint | undefined;
}

/** The first 11 hex digits of SHA-256 over `containerID "/" ifName`. */
export function attachmentId(containerId: string, ifName: string): string {
  return createHash('sha256').update(`${containerId}/${ifName}`).digest('hex').slice(0, 11);
}

/** What every host end's name begins with. */
export const HOST_LINK_PREFIX = 'tbo';

/** 14 characters; the kernel takes 15. */
export function hostLinkName(id: string): string {
  return `${HOST_LINK_PREFIX}${id}`;
}
