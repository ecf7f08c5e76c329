/* This file contains the map of one entry that says what this node is. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

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
