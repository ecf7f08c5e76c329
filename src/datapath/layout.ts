/**
 * What the maps hold, byte for byte as `bpf/maps/` declares it, under the same names: what the programs share with each other and
 * with the agent, who pins maps by name and hands them to each object it loads. Ports and addresses are in network order; padding is zero in
 * keys; numbers that the agent gives out begin at 1, so that 0 means "none". A kernel test compares both by the BTF of the compiled objects.
 */

import type { IP, IPv4, IPv6 } from '../address/ip.ts';
import { be16, type Codec, choice, padding, raw, struct, u8, u16, u32, u64, upTo } from '../ebpf/codec.ts';

/** IP protocol numbers that services may have. */
export const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export type ProtocolName = keyof typeof PROTOCOLS;

/** Of no address: all 16 bytes zero. */
export const NO_ADDRESS = 0n as IPv6;

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d: an address of either family. */
export const address: Codec<IP> = {
  size: 16,
  write: (bytes, offset, ip) => {
    if (typeof ip === 'number') {
      bytes.fill(0, offset, offset + 10);
      bytes.writeUInt16BE(0xffff, offset + 10);
      bytes.writeUInt32BE(ip, offset + 12);
      return;
    }
    bytes.writeBigUInt64BE(ip >> 64n, offset);
    bytes.writeBigUInt64BE(ip & 0xffffffffffffffffn, offset + 8);
  },
  read: (bytes, offset) => {
    const mapped =
      bytes.readUInt32BE(offset) === 0 &&
      bytes.readUInt32BE(offset + 4) === 0 &&
      bytes.readUInt32BE(offset + 8) === 0xffff;
    if (mapped) return bytes.readUInt32BE(offset + 12) as IPv4;
    return ((bytes.readBigUInt64BE(offset) << 64n) | bytes.readBigUInt64BE(offset + 8)) as IPv6;
  },
};

/**
 * By which policy a frontend is served: for pods and the node itself, for clients in the network outside, or for packets of
 * such clients that another node has handed over.
 */
export const SCOPES = ['inside', 'outside', 'handedOver'] as const;
export type Scope = (typeof SCOPES)[number];

/** An address and port of one protocol. Port 0 and protocol 0 stand for the address as such. */
export interface Endpoint {
  readonly address: IP;
  readonly port: number;
  readonly protocol: number;
  /** Of a frontend; absent: inside. */
  readonly scope?: Scope | undefined;
}

const scope: Codec<Scope | undefined> = choice(u8, SCOPES) as Codec<Scope | undefined>;

export const endpoint = struct<Endpoint>({
  address,
  port: be16,
  protocol: u8,
  scope: {
    ...scope,
    write: (bytes, offset, value) => scope.write(bytes, offset, value ?? 'inside'),
  },
});

/** `SERVICE_…` of bpf/maps/services.h. */
export const SERVICE_FLAGS = { affinity: 1, maglev: 2, sharedAddress: 4, ranges: 8, direct: 16 } as const;

export interface Service {
  /** Names the backend set; 0 in the entry of an address as such. */
  readonly number: number;
  readonly generation: number;
  /** Slots of this generation; none: connections are refused. */
  readonly count: number;
  /** Of {@link SERVICE_FLAGS}. */
  readonly flags: number;
  readonly affinity_seconds: number;
}

export const service = struct<Service>({
  number: u32,
  generation: u32,
  count: u32,
  flags: u32,
  affinity_seconds: u32,
});

export interface Slot {
  readonly service: number;
  readonly generation: number;
  readonly index: number;
}

export const slot = struct<Slot>({ service: u32, generation: u32, index: u32 });

export const BACKEND_STATES = ['none', 'active', 'draining'] as const;
export type BackendState = (typeof BACKEND_STATES)[number];

export interface Backend {
  readonly address: IP;
  readonly port: number;
  readonly protocol: number;
  readonly state: BackendState;
  /** The one service number it belongs to. */
  readonly service: number;
}

export const backend = struct<Backend>({
  address,
  port: be16,
  protocol: u8,
  state: choice(u8, BACKEND_STATES),
  service: u32,
});

export const affinityKey = struct<{ client: IP; service: number }>({ client: address, service: u32 });

export const affinity = struct<{ used_ns: bigint; backend: number }>({
  used_ns: u64,
  backend: u32,
  zero: padding(4),
});

export const FLOW_DIRECTIONS = ['forward', 'reply'] as const;

export interface FlowKey {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
  readonly direction: (typeof FLOW_DIRECTIONS)[number];
}

export const flowKey = struct<FlowKey>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  protocol: u8,
  direction: choice(u8, FLOW_DIRECTIONS),
  zero: padding(2),
});

export const FLOW_STATES = ['new', 'open', 'closing', 'reset'] as const;

/** `FLOW_…` flags of bpf/maps/flows.h. */
export const FLOW_FLAGS = {
  direct: 1,
  self: 2,
  clientFin: 4,
  serverFin: 8,
  lingers: 16,
} as const;

/** One direction of a flow; times are seconds of CLOCK_MONOTONIC. */
export interface Flow {
  /** Forward: the new destination; reply: the new source. */
  readonly address: IP;
  readonly port: number;
  readonly client_port: number;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
  /** Of {@link FLOW_FLAGS}. */
  readonly flags: number;
  readonly next_hop: Buffer;
}

export const flow = struct<Flow>({
  address,
  port: be16,
  client_port: be16,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  flags: u8,
  next_hop: raw(6),
});

/** How many flows a client has. */
export interface ClientFlows {
  readonly flows: number;
  /** 1: it has its share of the table, and is given no more. */
  readonly full: number;
}

const clientFlows = struct<ClientFlows>({ flows: u32, full: u32 });

interface FragmentKey {
  readonly source: IP;
  readonly destination: IP;
  readonly identification: Buffer;
  readonly protocol: number;
  readonly direction: (typeof FLOW_DIRECTIONS)[number];
}

export const fragmentKey = struct<FragmentKey>({
  source: address,
  destination: address,
  identification: raw(4),
  protocol: u8,
  direction: choice(u8, FLOW_DIRECTIONS),
  zero: padding(2),
});

export const fragment = struct<{
  source_port: number;
  destination_port: number;
  seen: number;
  protocol: number;
}>({
  source_port: be16,
  destination_port: be16,
  seen: u32,
  protocol: u32,
});

export const heldKey = struct<{ packet: FragmentKey; index: number }>({ packet: fragmentKey, index: u32 });

export const held = struct<{ length: number; seen: number; bytes: Buffer }>({
  length: u32,
  seen: u32,
  bytes: raw(9216),
});

/** `NETNS_…` of bpf/maps/netns.h: what serves a network namespace. */
export const NETNS_FLAGS = { socket: 1, packet: 2 } as const;

export interface Netns {
  /** Of {@link NETNS_FLAGS}. */
  readonly flags: number;
  /** The pod's or node's own; {@link NO_ADDRESS} where it has none. */
  readonly ipv4: IP;
  readonly ipv6: IP;
}

export const netns = struct<Netns>({ flags: u32, ipv4: address, ipv6: address });

export const PEER_SIDES = ['service', 'backend'] as const;

export const sockPeerKey = struct<{
  cookie: bigint;
  address: IP;
  port: number;
  side: (typeof PEER_SIDES)[number];
}>({ cookie: u64, address, port: be16, side: choice(u8, PEER_SIDES), zero: padding(5) });

export const sockPeer = struct<{ address: IP; port: number; backend: number }>({
  address,
  port: be16,
  zero: padding(2),
  backend: u32,
});

/** The service that a connected TCP socket believes its peer to be. */
export interface TcpService {
  /** The socket's; 0: the place is free. */
  readonly cookie: bigint;
  readonly known: Buffer;
}

export const tcpService = struct<TcpService>({ cookie: u64, known: raw(36), lock: padding(4) });

/** `POD_…` of bpf/maps/pods.h. */
export const POD_FLAGS = { stack: 1, keepsAddress: 2, answersStack: 4 } as const;

/** A veth pod of this node, as its host end knows it. */
export interface Pod {
  /** Of the host end. */
  readonly ifindex: number;
  /** Of {@link POD_FLAGS}. */
  readonly flags: number;
  /** Of the pod's end. */
  readonly mac: Buffer;
  /** MAC address of the host end. */
  readonly gateway: Buffer;
}

export const pod = struct<Pod>({ ifindex: u32, flags: u32, mac: raw(6), gateway: raw(6) });

/** A flow that came to a pod by the node's stack. */
export interface StackFlow {
  readonly pod: IP;
  readonly peer: IP;
  readonly pod_port: number;
  readonly peer_port: number;
  readonly protocol: number;
}

export const stackFlow = struct<StackFlow>({
  pod: address,
  peer: address,
  pod_port: be16,
  peer_port: be16,
  protocol: u8,
  zero: padding(3),
});

/** A key of the longest-prefix map: of IPv4 the length is 96 more than written. */
export interface TunnelKey {
  readonly length: number;
  readonly address: IP;
}

export const tunnelKey = struct<TunnelKey>({ length: u32, address });

/** 4 bytes in network order; zeros where there is none. */
const ipv4OrNone: Codec<IPv4 | undefined> = {
  size: 4,
  write: (bytes, offset, ip) => void bytes.writeUInt32BE(ip ?? 0, offset),
  read: (bytes, offset) => (bytes.readUInt32BE(offset) || undefined) as IPv4 | undefined,
};

export interface Tunnel {
  /** The node to tunnel to; none where the network itself knows the way. */
  readonly endpoint: IPv4 | undefined;
  /** Of {@link TUNNEL_FLAGS}. */
  readonly flags: number;
  /** The node that takes packets over for what is there. */
  readonly holder: IPv4 | undefined;
}

/** `TUNNEL_…` of bpf/maps/tunnels.h. */
export const TUNNEL_FLAGS = { ofPods: 1, ofServices: 2 } as const;

export const tunnel = struct<Tunnel>({ endpoint: ipv4OrNone, flags: u32, holder: ipv4OrNone });

/** Devices towards leaves that a node may have. */
export const UPLINKS = 4;

/** What the programs know of this node. */
export interface ThisNode {
  /** ifindexes of the devices towards the leaves, at most {@link UPLINKS}. */
  readonly uplinks: readonly number[];
  /** ifindex of tbvxlan; 0: there is no overlay. */
  readonly vxlan: number;
  readonly address: IPv4 | undefined;
  readonly overlay_mtu: number;
  /** Of {@link NODE_FLAGS}. */
  readonly flags: number;
  /** Ports of translated flows, none of which the node's sockets are given. */
  readonly first_port: number;
  readonly ports: number;
  /** UDP port of the overlay, at every node; 0: tbvxlan alone tunnels. */
  readonly tunnel_port: number;
  /** {@link NO_ADDRESS} where it has none. */
  readonly ipv6: IP;
}

/** `NODE_…` of bpf/maps/node.h. */
export const NODE_FLAGS = { masquerades: 1, awaitsCluster: 2 } as const;

export const thisNode = struct<ThisNode>({
  uplinks: upTo(UPLINKS, u32),
  vxlan: u32,
  address: ipv4OrNone,
  overlay_mtu: u32,
  flags: u32,
  first_port: u16,
  ports: u16,
  tunnel_port: be16,
  zero: padding(2),
  ipv6: address,
});

/** A packet at the uplink before translation; an ICMP echo has its identifier for the port of who asks. */
export interface NatKey {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
}

export const natKey = struct<NatKey>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  protocol: u8,
  zero: padding(3),
});

/** What becomes of it; times are seconds of CLOCK_MONOTONIC. */
export interface Nat {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
  /** Of {@link FLOW_FLAGS}, and {@link NAT_FLAGS}. */
  readonly flags: number;
}

/** `NAT_…` of bpf/maps/nat.h. */
export const NAT_FLAGS = { reply: 128, direct: 64 } as const;

export const nat = struct<Nat>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  flags: u8,
  zero: padding(2),
});

/** A flow of a client outside whose packets go to the node of its backend; times are seconds of CLOCK_MONOTONIC. */
export interface Handover {
  /** The backend's. */
  readonly address: IP;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
}

export const handover = struct<Handover>({
  address,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  zero: padding(3),
});

/** Clients that a service is open to. The length counts the 32 bits of the service; of IPv4 it is 96 more than written. */
export interface RangeKey {
  readonly length: number;
  readonly service: number;
  readonly address: IP;
}

export const rangeKey = struct<RangeKey>({ length: u32, service: u32, address });

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
