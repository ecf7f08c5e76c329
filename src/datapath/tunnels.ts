import { isDeepStrictEqual } from 'node:util';
import { bitsOf, familyOf } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import { openMap } from '../ebpf/map.ts';
import { pinDirectory } from './directory.ts';
import { MAPS } from './layout.ts';
import { TUNNEL_FLAGS, type Tunnel, type TunnelKey } from './maps/tunnels.ts';
import type { ClusterPrefix } from './tunnelPlan.ts';

const FLAGS = { node: 0, pods: TUNNEL_FLAGS.ofPods, services: TUNNEL_FLAGS.ofServices } as const;

/**
 * Makes `tb_tunnels` say this and nothing else. What is new comes first: at no time is an address outside the cluster that
 * was in it before and is after.
 *
 * @throws {SystemError} If the map is full: what came before has been written.
 */
export function writeTunnels(bpfDir: string, prefixes: readonly ClusterPrefix[]): void {
  const map = openMap(pinDirectory(bpfDir).map('tb_tunnels'), MAPS.tb_tunnels.key, MAPS.tb_tunnels.value);
  try {
    const known = new Map([...map.entries()].map(([key, value]) => [nameOf(key), { key, value }]));
    for (const { prefix, endpoint, of, holder } of prefixes) {
      const key = keyOf(prefix);
      const name = nameOf(key);
      const value: Tunnel = { endpoint, flags: FLAGS[of], holder };
      const before = known.get(name);
      known.delete(name);
      if (!isDeepStrictEqual(before?.value, value)) map.set(key, value);
    }
    for (const { key } of known.values()) map.delete(key);
  } finally {
    map.close();
  }
}

/** IPv4 is looked up as ::ffff:a.b.c.d. */
function keyOf({ address, length }: Prefix): TunnelKey {
  return { length: 128 - bitsOf(familyOf(address)) + length, address };
}

function nameOf({ length, address }: TunnelKey): string {
  return `${typeof address === 'number' ? '' : ':'}${address}/${length}`;
}
