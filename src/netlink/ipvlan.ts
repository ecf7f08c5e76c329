import { u16 } from './attribute.ts';
import { addLink, type NewLink } from './link.ts';
import type { Sink } from './socket.ts';

const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;

const MODES = { l2: 0, l3: 1, l3s: 2 } as const;
/** Whether siblings reach each other (include/uapi/linux/if_link.h). */
const FLAGS = { bridge: 0, private: 1, vepa: 2 } as const;

export interface NewIpvlan extends NewLink {
  /** Index of the device it sits on, in the namespace of the socket. */
  readonly parent: number;
  readonly mode: keyof typeof MODES;
  /** @default 'bridge' */
  readonly isolation?: keyof typeof FLAGS;
}

/** Makes a device that shares the Ethernet address of the one below. */
export function addIpvlan(sink: Sink, { parent, mode, isolation = 'bridge', ...link }: NewIpvlan): void {
  const data = [u16(IFLA_IPVLAN_MODE, MODES[mode]), u16(IFLA_IPVLAN_FLAGS, FLAGS[isolation])];
  addLink(sink, 'ipvlan', link, data, parent);
}
