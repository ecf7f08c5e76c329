/**
 * What the maps hold, byte for byte as `bpf/maps/` declares it, under the same names: what the programs share with each other and
 * with the agent, who pins maps by name and hands them to each object it loads. Ports and addresses are in network order; padding is zero in
 * keys; numbers that the agent gives out begin at 1, so that 0 means "none". A kernel test compares both by the BTF of the compiled objects.
 */

import { u8, u32, u64 } from '../ebpf/codec.ts';
import { address } from './maps/address.ts';
import { affinity, affinityKey } from './maps/affinity.ts';
import { backend } from './maps/backends.ts';
import { clientFlows } from './maps/clients.ts';
import { endpoint } from './maps/endpoint.ts';
import { flow, flowKey } from './maps/flows.ts';
import { fragment, fragmentKey, held, heldKey } from './maps/fragments.ts';
import { handover } from './maps/handovers.ts';
import { nat, natKey } from './maps/nat.ts';
import { netns } from './maps/netns.ts';
import { thisNode } from './maps/node.ts';
import { pod } from './maps/pods.ts';
import { rangeKey } from './maps/ranges.ts';
import { service, slot } from './maps/services.ts';
import { sockPeer, sockPeerKey } from './maps/sockPeers.ts';
import { tcpService } from './maps/sockServices.ts';
import { stackFlow } from './maps/stackFlows.ts';
import { tunnel, tunnelKey } from './maps/tunnels.ts';

/** Every map that is pinned, with the codecs of its keys and values. */
export const MAPS = {
  tb_services: { key: endpoint, value: service },
  tb_slots: { key: slot, value: u32 },
  /** Written: the descriptor of a ring of backend numbers; read: its id. */
  tb_maglev: { key: u32, value: u32 },
  tb_backends: { key: u32, value: backend },
  tb_endpoints: { key: endpoint, value: u32 },
  tb_affinity: { key: affinityKey, value: affinity },
  tb_flows: { key: flowKey, value: flow },
  tb_clients: { key: address, value: clientFlows },
  tb_fragments: { key: fragmentKey, value: fragment },
  tb_held: { key: heldKey, value: held },
  tb_netns: { key: u64, value: netns },
  tb_sock_peers: { key: sockPeerKey, value: sockPeer },
  /** By cookie, modulo the size. */
  tb_tcp_service: { key: u32, value: tcpService },
  tb_pods: { key: address, value: pod },
  tb_stack_flows: { key: stackFlow, value: u8 },
  tb_tunnels: { key: tunnelKey, value: tunnel },
  tb_nat: { key: natKey, value: nat },
  tb_handovers: { key: natKey, value: handover },
  tb_ranges: { key: rangeKey, value: u8 },
  /** At 0. */
  tb_node: { key: u32, value: thisNode },
  /** By the number of a reason, for each CPU. */
  tb_metrics: { key: u32, value: u64 },
} as const;

export type MapName = keyof typeof MAPS;
