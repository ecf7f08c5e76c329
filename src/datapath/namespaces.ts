import type { IP } from '../address/ip.ts';
import { type BpfMap, openMap } from '../ebpf/map.ts';
import { type PinDirectory, pinDirectory } from './directory.ts';
import { MAPS } from './layout.ts';
import { NO_ADDRESS } from './maps/address.ts';
import { NETNS_FLAGS, type Netns } from './maps/netns.ts';

/** Which hooks serve a network namespace. */
export interface ServicesMode {
  /** Programs of the cgroup, when a socket is connected. */
  readonly socket: boolean;
  /** Programs on the interfaces, for every packet. */
  readonly packet: boolean;
}

/**
 * Lets the datapath serve a namespace. The node's own is listed by the agent, a pod's when it is attached.
 *
 * @param cookie As SO_NETNS_COOKIE gives it.
 * @param addresses The first of each family is who a socket in there is; where the namespace is listed already,
 * it stays who it was.
 */
export function listNamespace(
  bpfDir: string,
  cookie: bigint,
  mode: ServicesMode,
  addresses: readonly IP[],
): void {
  const flags = (mode.socket ? NETNS_FLAGS.socket : 0) | (mode.packet ? NETNS_FLAGS.packet : 0);
  const first = (type: 'number' | 'bigint') => addresses.find((address) => typeof address === type);
  withMap(pinDirectory(bpfDir), (map) => {
    const known = map.get(cookie);
    const ipv4 = known && known.ipv4 !== NO_ADDRESS ? known.ipv4 : first('number');
    const ipv6 = known && known.ipv6 !== NO_ADDRESS ? known.ipv6 : first('bigint');
    map.set(cookie, { flags, ipv4: ipv4 ?? NO_ADDRESS, ipv6: ipv6 ?? NO_ADDRESS });
  });
}

/** Whether the datapath serves a namespace at all. */
export function isListed(bpfDir: string, cookie: bigint): boolean {
  return withMap(pinDirectory(bpfDir), (map) => map.get(cookie) !== undefined);
}

/** Once more does nothing. */
export function unlistNamespace(bpfDir: string, cookie: bigint): void {
  withMap(pinDirectory(bpfDir), (map) => map.delete(cookie));
}

function withMap<T>(directory: PinDirectory, body: (map: BpfMap<bigint, Netns>) => T): T {
  const map = openMap(directory.map('tb_netns'), MAPS.tb_netns.key, MAPS.tb_netns.value);
  try {
    return body(map);
  } finally {
    map.close();
  }
}
