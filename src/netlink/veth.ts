import { nested } from './attribute.ts';
import { addLink, getLink, type Link, linkAttributes, linkHeader, type NewLink } from './link.ts';
import type { Netlink } from './socket.ts';

const VETH_INFO_PEER = 1;

export interface NewVeth extends Omit<NewLink, 'namespace'> {
  /** Made where `namespace` says; it cannot be made up there, since the pair has no carrier yet. */
  readonly peer: Omit<NewLink, 'up'>;
}

/**
 * Makes a pair of virtual Ethernet devices (man 4 veth), each end right where it belongs.
 *
 * @returns The near end; its `parent` is the index of the far one.
 */
export function addVeth(nl: Netlink, { peer, ...near }: NewVeth): Link {
  addLink(nl, 'veth', near, [nested(VETH_INFO_PEER, [linkHeader(), ...linkAttributes(peer)])]);
  return getLink(nl, near.name);
}
