/* This file contains the map of the cluster: which of its addresses are reached through which tunnel. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

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
