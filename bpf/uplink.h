/* This file contains the way out by the uplink: the routing table is asked, the stack is not. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "next_hop.h"
#include "packet.h"
#include "subprogram.h"
#include "this_node.h"
#include "verdict.h"
#include "ways.h"

/* BPF_FIB_LOOKUP_SKIP_NEIGH, since Linux 6.5: the neighbour is looked up once, by who sends to it. */
#define WITHOUT_NEIGHBOUR (1 << 2)

/* As for a packet that has come in by this device, with all that routing rules may look at. */
static __always_inline struct bpf_fib_lookup route_query(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_fib_lookup query = {
		.ifindex = skb->ifindex,
		.l4_protocol = packet->protocol,
		.sport = packet->source_port,
		.dport = packet->destination_port,
		.tot_len = wire_length(skb, packet),
	};
	if (packet->ipv6) {
		query.family = FAMILY_IPV6;
		__builtin_memcpy(query.ipv6_src, &packet->source, sizeof(packet->source));
		__builtin_memcpy(query.ipv6_dst, &packet->destination, sizeof(packet->destination));
	} else {
		query.family = FAMILY_IPV4;
		query.ipv4_src = packet->source.words[3];
		query.ipv4_dst = packet->destination.words[3];
	}
	return query;
}

static __always_inline long look_up_route(struct __sk_buff *skb, struct bpf_fib_lookup *query)
{
	long result = bpf_fib_lookup(skb, query, sizeof(*query), WITHOUT_NEIGHBOUR);
	return result >= 0 ? result : bpf_fib_lookup(skb, query, sizeof(*query), 0);
}

/* CONTINUE: the way is found. It is where everything goes that nobody else has taken. */
static __always_inline int find_way_to_uplink(struct __sk_buff *skb, const struct packet *packet, struct way *way)
{
	const struct node *node = this_node();
	struct bpf_fib_lookup query = route_query(skb, packet);
	switch (look_up_route(skb, &query)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		if (!node || !is_uplink(node, query.ifindex))
			return to_stack(REASON_stack_device);
		way->kind = WAY_TO_UPLINK;
		way->device = query.ifindex;
		/* The MTU, since Linux 5.12; before, it is still the length of this packet, and longer ones ask anew. */
		way->longest = query.mtu_result;
		way->next_hop.nh_family = query.family;
		__builtin_memcpy(way->next_hop.ipv6_nh, query.ipv6_dst, sizeof(way->next_hop.ipv6_nh));
		return CONTINUE;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return to_stack(REASON_stack_mtu);
	default:
		return to_stack(REASON_stack_node);
	}
}

/* The MAC address is left to the neighbour subsystem even where the look-up has found it: a neighbour that nobody uses is
 * never asked again, and would be believed for ever after it has moved. */
static __always_inline int to_neighbour(struct way *way)
{
	count(REASON_forwarded_to_uplink);
	return bpf_redirect_neigh(way->device, &way->next_hop, sizeof(way->next_hop), 0);
}
