/* This file contains the table of translations that the node makes at its uplink. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

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
