/* This file contains every map, with its key and value: what the programs share with each other and with the
 * agent, who pins them by name and hands them to each object it loads. Ports and addresses are in network order;
 * padding is zero in keys; numbers that the agent gives out begin at 1, so that 0 means "none". Sizes are defaults:
 * the loader may set others. Those of the services carry 100,000 of them with 4 backends each, at places of their
 * own, and a change of many at once; an empty hash without preallocation costs 16 bytes for each entry it could hold. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "reasons.h"

/* SCOPES of a frontend: by which policy it is served. */
#define INSIDE 0  /* for pods and for the node's own processes */
#define OUTSIDE 1 /* for clients whose packets come to the node from the network */
#define HANDED_OVER 2 /* for such packets that another node has handed over: by backends of this node alone */

/* An address and port of one protocol: a service's frontend or a backend. */
struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 scope;    /* of a frontend; INSIDE for a backend */
};

/* --- services -------------------------------------------------------------------------------------------- */

/* FLAGS of a service: */
/* the same client keeps its backend for affinity_seconds after its last new flow */
#define SERVICE_AFFINITY (1 << 0)
/* backends are chosen by the ring in tb_maglev instead of at random */
#define SERVICE_MAGLEV (1 << 1)
/* on the entry with port 0: the address is not the service's alone (a node's, an external one); ports that are
 * no service's pass untouched instead of being refused */
#define SERVICE_SHARED_ADDRESS (1 << 2)
/* outside: only clients in tb_ranges are served (loadBalancerSourceRanges) */
#define SERVICE_RANGES (1 << 3)
/* outside: packets for a backend elsewhere are handed over to its node, which answers the client itself */
#define SERVICE_DIRECT (1 << 4)

struct service {
	__u32 number;     /* names the backend set; frontends with the same backends share it */
	__u32 generation; /* of the backend set: the slots to look in */
	__u32 count;      /* slots of this generation; 0: connections are refused */
	__u32 flags;
	__u32 affinity_seconds;
};

/* Frontends. Each frontend address has a second entry with port 0 and protocol 0: it is looked up before the
 * exact one, and says that the address is a service's at all (value: flags only). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct endpoint);
	__type(value, struct service);
} tb_services SEC(".maps");

struct slot {
	__u32 service;
	__u32 generation;
	__u32 index; /* from 0 to count - 1 */
};

/* The backend numbers of a service. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct slot);
	__type(value, __u32);
} tb_slots SEC(".maps");

/* Entries of a Maglev ring: a prime, and a hundred times the backends expected (Maglev, NSDI 2016, section 5.3). */
#define MAGLEV_RING 16381

struct maglev_ring {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAGLEV_RING);
	__type(key, __u32);
	__type(value, __u32);
};

/* Service number to its ring of backend numbers; a service without a ring falls back to its slots. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__array(values, struct maglev_ring);
} tb_maglev SEC(".maps");

/* STATES of a backend: */
#define BACKEND_NONE 0     /* no such backend */
#define BACKEND_ACTIVE 1   /* takes new flows */
#define BACKEND_DRAINING 2 /* keeps the flows it has; a new TCP connection of an old tuple goes elsewhere */

struct backend {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 state;
	__u32 service; /* a backend number belongs to one service number: out of the service is out of here */
};

/* By backend number. A number is free again when its state has been BACKEND_NONE for a minute: an array is
 * written in place, and nobody may read half of one backend and half of the next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 524288);
	__type(key, __u32);
	__type(value, struct backend);
} tb_backends SEC(".maps");

/* Where backends are, whatever their service: a flow straight to one of them has to be kept apart from a
 * translated one with the same tuple. Each backend address has a second entry with port 0 and protocol 0.
 * The value is any one of the backend numbers there (0 in the second entry). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1048576);
	__type(key, struct endpoint);
	__type(value, __u32);
} tb_endpoints SEC(".maps");

struct affinity_key {
	struct address client; /* the packet's source; at the socket, that of tb_netns for the service's family */
	__u32 service;
};

struct affinity {
	__u64 used_ns; /* CLOCK_MONOTONIC; over when used + timeout <= now */
	__u32 backend;
	__u32 zero;
};

/* Which backend a client of a service with affinity had last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} tb_affinity SEC(".maps");

/* --- flows ----------------------------------------------------------------------------------------------- */

/* DIRECTIONS of a flow, as the client sees it: */
#define FLOW_FORWARD 0 /* client to service (or straight to a backend), before translation */
#define FLOW_REPLY 1   /* backend to client, before translation */

struct flow_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 direction;
	__u16 zero;
};

/* STATES of a flow; both halves hold the same one: */
#define FLOW_NEW 0     /* no reply yet */
#define FLOW_OPEN 1    /* seen in both directions */
#define FLOW_CLOSING 2 /* TCP: FIN in both directions */
#define FLOW_RESET 3   /* TCP: RST seen; traffic that goes on regardless opens the flow again */

/* FLAGS of a flow: */
#define FLOW_DIRECT (1 << 0)     /* goes straight to a backend; tracked so that its tuple is known to be taken */
#define FLOW_SELF (1 << 1)       /* client and backend are the same pod: by way of lo */
#define FLOW_CLIENT_FIN (1 << 2) /* TCP: the client has closed its direction */
#define FLOW_SERVER_FIN (1 << 3) /* TCP: the server has closed its direction */
#define FLOW_LINGERS (1 << 4)    /* TCP: the server closed first, so that its end of the tuple is in TIME-WAIT */

/* One direction of a flow. The other half's key follows from this half's key and value. */
struct flow {
	struct address address; /* forward: the backend's, new destination; reply: the service's, new source */
	__be16 port;            /* belonging to address */
	__be16 client_port;     /* forward: what the client's port becomes; reply: what it is at the client */
	__u32 service;          /* number; 0 in a direct flow */
	__u32 backend;          /* number; 0 in a direct flow */
	__u32 seen;             /* last packet, in seconds of CLOCK_MONOTONIC */
	__u32 since;            /* begin of the state, in seconds of CLOCK_MONOTONIC */
	__u8 state;
	__u8 flags;
	__u8 next_hop[6]; /* forward: the neighbour's MAC as of `seen`; zero: not known, or on another device */
};

/* Flows, two entries each. Never LRU: a port scan must not push out an idle database connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct flow);
} tb_flows SEC(".maps");

#define ADDRESS_MARKS 65536 /* one for each value of 16 bits that an address is hashed to */

/* Addresses that a table may have something about (marks.h). Made anew whenever the programs are loaded. */
struct address_marks {
	__u32 runs; /* of the collector, as far as they count */
	__u8 marked[ADDRESS_MARKS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct address_marks);
} tb_flow_marks SEC(".maps");

struct client_flows {
	__u32 flows; /* what the collector found in its latest run */
	__u32 full;  /* 1: it has its share of the table, and is given no more */
};

/* Which client has how many flows. The collector writes it, so that a new flow costs no more than a look-up. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct client_flows);
} tb_clients SEC(".maps");

/* --- fragments ------------------------------------------------------------------------------------------- */

struct fragment_key {
	struct address source;
	struct address destination;
	__be32 identification;
	__u8 protocol;  /* IPv4; 0 in IPv6, where addresses and identification suffice (RFC 8200 section 4.5) */
	__u8 direction; /* FLOW_FORWARD at egress, FLOW_REPLY at ingress */
	__u16 zero;
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__u32 seen; /* seconds of CLOCK_MONOTONIC */
	__u32 protocol;
};

/* The ports of a fragmented packet, learnt from its first fragment. LRU maps keep up to 128 free entries aside for each
 * CPU, so that a small one would push out what is in use. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} tb_fragments SEC(".maps");

struct held_key {
	struct fragment_key packet;
	__u32 index;
};

/* Longest fragment held, in bytes from the IP header on: an Ethernet jumbo frame. */
#define HELD_BYTES 9216

struct held {
	__u32 length;
	__u32 seen; /* seconds of CLOCK_MONOTONIC */
	__u8 bytes[HELD_BYTES];
};

/* Fragments that overtook their first one, as they came. Memory is taken for those there are; tb_held_gc removes those
 * whose first never came. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct held_key);
	__type(value, struct held);
} tb_held SEC(".maps");

/* --- sockets --------------------------------------------------------------------------------------------- */

/* FLAGS of a network namespace: */
#define NETNS_SOCKET (1 << 0) /* socket programs translate here */
#define NETNS_PACKET (1 << 1) /* its interfaces carry the packet programs */

struct netns {
	__u32 flags;
	struct address ipv4; /* the pod's (or node's) addresses: who a socket is, for affinity; zero: none */
	struct address ipv6;
};

/* By network namespace cookie (SO_NETNS_COOKIE). Sockets of namespaces not listed are left alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct netns);
} tb_netns SEC(".maps");

/* SIDES a peer is asked from: */
#define PEER_OF_SERVICE 0 /* sendmsg: which backend has this socket for the service? */
#define PEER_OF_BACKEND 1 /* recvmsg: which service does this socket know the backend by? */

struct sock_peer_key {
	__u64 cookie; /* the socket's */
	struct address address;
	__be16 port;
	__u8 side;
	__u8 zero[5];
};

struct sock_peer {
	struct address address;
	__be16 port;
	__u16 zero;
	__u32 backend; /* number; 0: the packet programs choose */
};

/* The peers of unconnected UDP sockets, two entries each. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
} tb_sock_peers SEC(".maps");

/* What a connected socket believes to be connected to, and what it is connected to. */
struct sock_service {
	struct address service;
	struct address backend;
	__be16 service_port;
	__be16 backend_port;
};

/* Of UDP sockets, and of TCP sockets that have no place in tb_tcp_service; goes away with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_service);
} tb_sock_service SEC(".maps");

/* Places for TCP sockets, 48 bytes each: a node has a few thousand connections to services as a rule. */
#define TCP_SERVICES 65536

struct tcp_service {
	__u64 cookie; /* of the socket that has the place; 0: none */
	struct sock_service known;
	struct bpf_spin_lock lock; /* held while the place is taken */
};

/* Of TCP sockets: storage of a socket costs more than all else that is done when it connects (docs/adr/0004). A socket may
 * have one place, by its cookie. Cookies are counted up, so that a place is wanted again only after as many sockets as there are
 * places. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCP_SERVICES);
	__type(key, __u32);
	__type(value, struct tcp_service);
} tb_tcp_service SEC(".maps");

/* --- forwarding ------------------------------------------------------------------------------------------ */

/* FLAGS of a pod: */
#define POD_STACK (1 << 0)         /* from and to it, packets take the node's stack: something there has to see them */
#define POD_KEEPS_ADDRESS (1 << 1) /* towards the outside it is not hidden behind the node (natOutgoing: false) */
#define POD_ANSWERS_STACK (1 << 2) /* set by tb_host_egress: it has flows in tb_stack_flows */

struct pod {
	__u32 ifindex;          /* of the host end: who sends from here has this address */
	__u32 flags;
	__u8 mac[6];            /* of the pod's end */
	__u8 gateway[6];        /* of the host end, which is where the pod's packets come from */
};

/* The veth pods of this node, by each of their addresses: 250 pods with two each are usual. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct pod);
} tb_pods SEC(".maps");

struct stack_flow {
	struct address pod;
	struct address peer;
	__be16 pod_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 zero[3];
};

/* Flows of which a packet came to the pod by the node's stack; the value means nothing. LRU: one that is pushed out is
 * noted again with the next packet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct stack_flow);
	__type(value, __u8);
} tb_stack_flows SEC(".maps");

struct tunnel_key {
	__u32 length; /* bits of the prefix; of IPv4 96 more than written */
	struct address address;
};

/* FLAGS of a part of the cluster: */
#define TUNNEL_OF_PODS (1 << 0)     /* its addresses are pods', and come by no other way than they are reached by */
#define TUNNEL_OF_SERVICES (1 << 1) /* nodes announce it for services: what is no service's ends where it comes to a node */

struct tunnel {
	__be32 endpoint; /* the node to tunnel to; 0: the network knows the way */
	__u32 flags;
	__be32 holder;   /* the node that takes packets over for what is there; 0: nobody */
};

/* Where the cluster's addresses are that are not on this node: its segments, the nodes themselves, and the addresses that
 * they announce. What is not in here is outside. 5,000 nodes with four segments of each family. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct tunnel_key);
	__type(value, struct tunnel);
} tb_tunnels SEC(".maps");

/* FLAGS of a node: */
#define NODE_MASQUERADES (1 << 0)     /* towards the outside its pods are hidden behind it */
#define NODE_AWAITS_CLUSTER (1 << 1)  /* they will be, but nobody knows yet what is outside: until then nothing begins */

/* Devices towards leaves that a node may have: two NICs, each with a leaf, and as many for another network. */
#define UPLINKS 4

/* This node. */
struct node {
	__u32 uplinks[UPLINKS]; /* ifindexes; 0: none from here on */
	__u32 vxlan;            /* ifindex of tbvxlan; 0: there is no overlay */
	__be32 address;    /* its end of the tunnels, and its address of IPv4; 0: none */
	__u32 overlay_mtu; /* bytes of the largest IP packet that fits into a tunnel */
	__u32 flags;
	__u16 first_port;  /* host order: ports of translated flows, none of which the node's sockets are given */
	__u16 ports;       /* how many */
	__be16 tunnel_port; /* UDP port of the overlay, at every node; 0: tbvxlan alone tunnels */
	__u16 zero;
	struct address ipv6; /* its address of IPv6; zero: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
} tb_node SEC(".maps");

/* --- translation at the node ----------------------------------------------------------------------------- */

/* A packet as it comes to the node's uplink from either side, before translation. An ICMP echo has its identifier for a
 * port: that of who asks. */
struct nat_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 zero[3];
};

/* FLAGS of a translation, beside FLOW_CLIENT_FIN, FLOW_SERVER_FIN and FLOW_LINGERS: */
#define NAT_REPLY (1 << 7) /* this half is the server's */
#define NAT_DIRECT (1 << 6) /* the client's packets come through a tunnel, or may later: they have to fit into it */

/* What becomes of it. The key of the other half is this one turned round. */
struct nat {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 service; /* number; 0: a pod hidden behind the node, or one that outsiders talk to directly */
	__u32 backend; /* number; 0 likewise */
	__u32 seen;    /* last packet, in seconds of CLOCK_MONOTONIC */
	__u32 since;   /* begin of the state, in seconds of CLOCK_MONOTONIC */
	__u8 state;    /* as of a flow */
	__u8 flags;
	__u16 zero;
};

/* Two entries each. Never LRU, as with tb_flows. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct nat_key);
	__type(value, struct nat);
} tb_nat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct address_marks);
} tb_nat_marks SEC(".maps");

/* What became of the packets of a client outside whose backend is elsewhere. The backend's node has the translation; this is
 * so that the flow stays there when the ring changes. Nothing depends on it: by the ring it is found again. */
struct handover {
	struct address address; /* the backend's, whose node gets the packets */
	__u32 service;          /* number */
	__u32 backend;          /* number */
	__u32 seen;             /* last packet, in seconds of CLOCK_MONOTONIC */
	__u32 since;            /* first packet, likewise */
	__u8 state;             /* as of a flow, of which only the client's side is seen */
	__u8 zero[3];
};

/* By the client's packet. Never LRU: a flood of SYNs must not push out what is open. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct nat_key);
	__type(value, struct handover);
} tb_handovers SEC(".maps");

struct range_key {
	__u32 length; /* bits of service and prefix together: 32 and more; of IPv4 96 more than written */
	__u32 service;
	struct address address;
};

/* The clients that a service is open to; the value means nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct range_key);
	__type(value, __u8);
} tb_ranges SEC(".maps");

/* --- counters -------------------------------------------------------------------------------------------- */

/* Packets (or socket calls) by reason, with room for reasons to come: a pinned map is reused only in its size. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u64);
} tb_metrics SEC(".maps");
