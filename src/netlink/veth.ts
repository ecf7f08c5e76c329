import { nested } from './attribute.ts';
import { addLink, getLink, type Link, linkAttributes, linkHeader, type NewLink } from './link.ts';
import type { Netlink } from './socket.ts';

const VETH_INFO_PEER = 1;

export interface NewVeth extends Omit<NewLink, 'namespace' | 'queues'> {
  /** Made where `namespace` says; it cannot be made up there, since the pair has no carrier yet. */
  readonly peer: Omit<NewLink, 'up' | 'queues'>;
}

/**
 * A queue each way, which is what a pair has at first in any case: untold, the kernel makes one for each CPU and takes
 * them back at once, waiting for an RCU grace period at either end while it holds RTNL (drivers/net/veth.c).
 */
const queues = 1;

/**
 * Makes a pair of virtual Ethernet devices (man 4 veth), each end right where it belongs.
 *
 * @returns The near end; its `parent` is the index of the far one.
 */
export function addVeth(nl: Netlink, { peer, ...near }: NewVeth): Link {
  const far = [linkHeader(), ...linkAttributes({ ...peer, queues })];
  addLink(nl, 'veth', { ...near, queues }, [nested(VETH_INFO_PEER, far)]);
  return getLink(nl, near.name);
}
