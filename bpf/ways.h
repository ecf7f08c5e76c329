/* This file contains the memory of ways: what the tables and the routing table have said of one packet from or to a pod holds
 * for the others of its flow, for a moment. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "clock.h"
#include "packet.h"

/* Nanoseconds for which a way is believed: what has changed meanwhile takes that long to be seen, and a flow of a thousand
 * packets a second pays for one look-up in ten. */
#define WAY_NANOSECONDS 10000000ULL

/* Nanoseconds after which nothing is left in the queue of tbvxlan, which is emptied before the CPU does anything else; many ticks of
 * the coarse clock. */
#define QUEUE_NANOSECONDS 10000000ULL

/* Ways each CPU remembers. Two flows that want the same place cost each other look-ups, and no more. */
#define WAYS (1 << WAY_BITS)
#define WAY_BITS 10

/* KINDS of a way: */
#define WAY_TO_POD 1    /* of this node */
#define WAY_TO_TUNNEL 2
#define WAY_TO_UPLINK 3
#define WAY_OF_HANDOVER 4 /* through a tunnel, to the node of the backend */
#define WAY_OF_TAKEOVER 5 /* out of a tunnel, to where tb_nat says */

struct way {
	/* Whose: */
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 from; /* ifindex they come by */
	__be32 through; /* node at the other end of the tunnel they come out of; 0: they do not */
	__u8 from_mac[ETH_ALEN];
	__u8 protocol;
	/* Where to: */
	__u8 kind;
	__u32 device;  /* ifindex */
	__u32 longest; /* bytes of the largest IP packet that may go there */
	__u32 untranslated; /* 1: nothing is left to translate */
	__u64 until;  /* CLOCK_MONOTONIC */
	__u64 queued_until; /* likewise: packets that come out of a tunnel may still be in the queue of tbvxlan */
	union {
		struct { /* its own end of the pair, and the host's */
			__u8 mac[ETH_ALEN];
			__u8 gateway[ETH_ALEN];
		} pod;
		struct bpf_redir_neigh next_hop; /* family 0: of a tunnel that tbvxlan has to find */
	};
	struct {
		__be32 endpoint; /* the nodes at both ends */
		__be32 local;
		__u32 uplink; /* ifindex */
	} tunnel;
};

/* On each CPU for itself: no packet waits for another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct way);
} tb_ways SEC(".maps");

/* Where the way of a packet is remembered, if it is. Never NULL, but the verifier cannot know. */
static __always_inline struct way *place_of_way(const struct packet *packet)
{
	__u32 addresses = packet->source.words[3] ^ (packet->destination.words[3] >> 7 | packet->destination.words[3] << 25);
	__u32 ports = (__u32)packet->source_port << 16 | packet->destination_port;
	/* Fibonacci hashing (Knuth, volume 3, section 6.4): the upper bits of the product depend on all. */
	__u32 place = (addresses + ports) * 2654435769u >> (32 - WAY_BITS);
	return bpf_map_lookup_elem(&tb_ways, &place);
}

/* Whether a packet belongs to a flow that is known as a whole by its ports. */
static __always_inline bool may_be_remembered(const struct packet *packet)
{
	return packet->fragment == WHOLE && has_ports(packet->protocol);
}

/* Whether a packet comes as that way's have come: with this header, by this device, out of that tunnel. */
static __always_inline bool is_way_of(const struct way *way, const struct packet *packet, const struct ethhdr *ethernet,
				      __u32 from, __be32 through)
{
	const __u16 *mac = (const __u16 *)ethernet->h_source;
	const __u16 *expected = (const __u16 *)way->from_mac;
	return way->source_port == packet->source_port && way->destination_port == packet->destination_port &&
	       address_equal(&way->source, &packet->source) && address_equal(&way->destination, &packet->destination) &&
	       way->protocol == packet->protocol && way->from == from && way->through == through && mac[0] == expected[0] &&
	       mac[1] == expected[1] && mac[2] == expected[2];
}

static __always_inline void remember_way(struct way *way, struct __sk_buff *skb, const struct packet *packet, __be32 through)
{
	struct ethhdr *ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return;
	__builtin_memcpy(way->from_mac, ethernet->h_source, ETH_ALEN);
	way->source = packet->source;
	way->destination = packet->destination;
	way->source_port = packet->source_port;
	way->destination_port = packet->destination_port;
	way->protocol = packet->protocol;
	way->from = skb->ifindex;
	way->through = through;
	way->until = now_nanoseconds() + WAY_NANOSECONDS;
}
