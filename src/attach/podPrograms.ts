import type { IP } from '../address/ip.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { AttachmentKind, AttachmentSpec, HostEnd, PodEnd } from './attachment.ts';

/** The pod's side of an attachment, seen from within its namespace. */
export interface PodInterface {
  readonly id: string;
  readonly kind: AttachmentKind['kind'];
  readonly ifName: string;
  readonly index: number;
  /** Path of the pod's namespace. */
  readonly netns: string;
  /** A socket bound to the pod's namespace. */
  readonly netlink: Netlink;
  /** By which eBPF programs know the namespace; `undefined` before Linux 5.14. */
  readonly netnsCookie: bigint | undefined;
  readonly addresses: readonly IP[];
  /** Index of the host end, in the node's namespace; only veths have one. */
  readonly hostIndex: number | undefined;
}

/** The node's side of an attachment by veth. */
export interface HostInterface {
  readonly spec: AttachmentSpec;
  readonly host: HostEnd;
  readonly pod: PodEnd;
  /** A socket bound to the node's namespace. */
  readonly netlink: Netlink;
}

/**
 * The eBPF programs on a pod's interfaces and on its host end. Everything here is synchronous, and what takes a
 * {@link PodInterface} is called with the thread inside the pod's namespace.
 */
export interface PodPrograms {
  /** Puts the programs on both ends; over those that are there already, in their place. */
  attach(pod: PodInterface, host?: HostInterface): void;
  /** Undoes that at the host end of an attachment that was not completed. Called outside the pod. */
  detachHost(end: HostInterface): void;
  /** Removes what outlives the interface (pins, map entries). Called outside; once more does nothing. */
  detach(id: string): void;
  /** @throws {Error} Naming the program that is missing or is not the one that should be there. */
  check(pod: PodInterface): void;
  /** The same of the host end. Called outside the pod. */
  checkHost(end: HostInterface): void;
}

/** For attachments without a datapath: delegated set-ups and tests of the interfaces alone. */
export const noPrograms: PodPrograms = {
  attach() {},
  detachHost() {},
  detach() {},
  check() {},
  checkHost() {},
};
