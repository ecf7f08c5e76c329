/* This file contains the next hop of a packet whose destination has changed. The stack has chosen it for the
 * service address; on a NIC of its own the pod would send every packet for a neighbour by way of the gateway,
 * which was measured to cost a fifth of the throughput. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps/flows.h"
#include "packet.h"
#include "rewrite.h"
#include "subprogram.h"
#include "verdict.h"

/* In every network namespace. */
#define LOOPBACK 1

#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

/* Marks in skb->cb of a packet that has been through the egress program and comes again by way of the neighbour
 * subsystem (which may keep it until an address is resolved). Two words, since cb may hold leftovers. */
#define TRANSLATED_MARK_0 0x746f6d62
#define TRANSLATED_MARK_1 0x6f6c6f21

static __always_inline bool comes_again(const struct __sk_buff *skb)
{
	return skb->cb[0] == TRANSLATED_MARK_0 && skb->cb[1] == TRANSLATED_MARK_1;
}

static __always_inline void mark_translated(struct __sk_buff *skb)
{
	skb->cb[0] = TRANSLATED_MARK_0;
	skb->cb[1] = TRANSLATED_MARK_1;
}

static __always_inline bool mac_known(const struct flow *flow)
{
	return *(__u16 *)&flow->next_hop[0] | *(__u16 *)&flow->next_hop[2] | *(__u16 *)&flow->next_hop[4];
}

static __always_inline int set_destination_mac(struct __sk_buff *skb, const __u8 *mac)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *ethernet = data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return drop(REASON_rewrite_failed);
	__u16 *old = (__u16 *)ethernet->h_dest;
	const __u16 *new = (const __u16 *)mac;
	/* On a veth pair it is the same: nothing is written. */
	if (old[0] == new[0] && old[1] == new[1] && old[2] == new[2])
		return PASS;
	old[0] = new[0];
	old[1] = new[1];
	old[2] = new[2];
	return PASS;
}

/* Asks the routing table where the packet goes, as if the pod itself sent it (a route for output is one that came in by
 * lo). The look-up is denied where that device does not forward; lo can be made to without any other consequence, as
 * eth0 could not, which would turn the pod into a router. */
SUBPROGRAM int look_up_next_hop(struct __sk_buff *skb, const struct packet *packet GIVEN, struct flow *flow GIVEN)
{
	struct bpf_fib_lookup query = { .ifindex = LOOPBACK, .l4_protocol = packet->protocol };
	if (packet->ipv6) {
		query.family = FAMILY_IPV6;
		__builtin_memcpy(query.ipv6_src, &packet->source, sizeof(packet->source));
		__builtin_memcpy(query.ipv6_dst, &flow->address, sizeof(flow->address));
	} else {
		query.family = FAMILY_IPV4;
		query.ipv4_src = packet->source.words[3];
		query.ipv4_dst = flow->address.words[3];
	}
	long result = bpf_fib_lookup(skb, &query, sizeof(query), 0);
	__builtin_memset(flow->next_hop, 0, sizeof(flow->next_hop));
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		if (query.ifindex != skb->ifindex)
			return PASS; /* replies come where the programs are */
		__builtin_memcpy(flow->next_hop, query.dmac, sizeof(flow->next_hop));
		return set_destination_mac(skb, flow->next_hop);
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/* The kernel looks up route and neighbour itself. It is not told the next hop found here: a packet that
		 * waits for its neighbour keeps the route of the service address then, and in the end goes to that one's
		 * gateway. Where look-ups are denied every packet takes this way, which costs a look-up each. */
		mark_translated(skb);
		return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return drop(REASON_no_route);
	default:
		/* No route of its own: the one of the service address is the best there is. */
		return PASS;
	}
}

/* Costs a comparison, but for one packet a second. */
static __always_inline int to_next_hop(struct __sk_buff *skb, const struct packet *packet, struct flow *flow,
				       bool refresh)
{
	if (refresh || !mac_known(flow))
		return look_up_next_hop(skb, packet, flow);
	return set_destination_mac(skb, flow->next_hop);
}
