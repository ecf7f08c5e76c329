/* This file contains the packets that are tunnels: to the programs at the uplink they are the node's own, from one VXLAN device to
 * another, and nothing is to be done to them. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>

#include "this_node.h"
#include "vxlan.h"

/* A packet as tbvxlan sends it and takes it, seen by what it begins with, so that it need not be parsed; one with options of IP is
 * seen by the others' ways. The port is not asked for: nothing else begins like that, or it is nobody's loss but the sender's. */
static __always_inline bool is_tunnelled(struct __sk_buff *skb, const struct tunnelled **found)
{
	const struct tunnelled *outer = (void *)(long)skb->data;
	if ((void *)(outer + 1) > (void *)(long)skb->data_end)
		return false;
	*found = outer;
	return outer->ethernet.h_proto == bpf_htons(ETH_P_IP) && *(const __u8 *)&outer->ip == 0x45 &&
	       outer->ip.protocol == IPPROTO_UDP && !(outer->ip.frag_off & bpf_htons(0x3fff)) &&
	       outer->flags == bpf_htonl(VXLAN_FLAGS) && outer->network == bpf_htonl(VXLAN_NETWORK);
}

/* DIRECTIONS at the uplink: */
#define INGRESS false
#define EGRESS true

static __always_inline bool is_tunnel_of(struct __sk_buff *skb, bool direction)
{
	const struct node *node = this_node();
	const struct tunnelled *outer;
	if (!node || !node->vxlan || !is_tunnelled(skb, &outer))
		return false;
	return (direction == EGRESS ? outer->ip.saddr : outer->ip.daddr) == node->address;
}
