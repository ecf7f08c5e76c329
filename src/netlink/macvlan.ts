import { u32 } from './attribute.ts';
import { addLink, type NewLink } from './link.ts';
import type { Sink } from './socket.ts';

const IFLA_MACVLAN_MODE = 1;

/** What its siblings on the same parent are to it (include/uapi/linux/if_link.h). */
const MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;

export interface NewMacvlan extends NewLink {
  /** Index of the device it sits on, in the namespace of the socket. */
  readonly parent: number;
  readonly mode: keyof typeof MODES;
}

/** Makes a device with an Ethernet address of its own on top of another. */
export function addMacvlan(sink: Sink, { parent, mode, ...link }: NewMacvlan): void {
  addLink(sink, 'macvlan', link, [u32(IFLA_MACVLAN_MODE, MODES[mode])], parent);
}
