/* This file contains how a program puts a packet into its tunnel by itself (docs/adr/0012): it writes the outer headers, and the
 * packet leaves by the uplink at once. tbvxlan would send the same, after it has looked up the route of each. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "packet.h"
#include "subprogram.h"
#include "this_node.h"
#include "tunnel.h"
#include "uplink.h"
#include "verdict.h"
#include "vxlan.h"
#include "ways.h"

/* Source ports: the dynamic ones (RFC 7348 section 5), of which tbvxlan gives the same one to the same flow. A network with
 * several paths tells flows apart by them. */
#define FIRST_TUNNEL_PORT 49152
#define TUNNEL_PORTS (65535 - FIRST_TUNNEL_PORT)

/* Of the inner flow, by the hash that its sender's socket or the NIC has given it, or the kernel makes. */
static __always_inline __be16 tunnel_source_port(struct __sk_buff *skb)
{
	__u32 hash = bpf_get_hash_recalc(skb);
	hash ^= hash << 16;
	return bpf_htons(FIRST_TUNNEL_PORT + ((__u64)hash * TUNNEL_PORTS >> 32));
}

/* Finds the uplink and the next hop of a tunnel, as for the node's own packets (`lo` forwards, as every device of a node). Where
 * something is left to translate, or the way is none of ours, the family stays 0. */
SUBPROGRAM int find_way_of_tunnel(struct __sk_buff *skb, const struct packet *packet GIVEN, struct way *way GIVEN)
{
	const struct node *node = this_node();
	way->next_hop.nh_family = 0;
	if (!node || !node->tunnel_port || !way->untranslated)
		return 0;
	struct bpf_fib_lookup query = {
		.ifindex = LOOPBACK,
		.family = FAMILY_IPV4,
		.l4_protocol = IPPROTO_UDP,
		.sport = tunnel_source_port(skb),
		.dport = node->tunnel_port,
		.tot_len = wire_length(skb, packet) + TUNNEL_BYTES,
		.ipv4_src = way->tunnel.local,
		.ipv4_dst = way->tunnel.endpoint,
	};
	long result = look_up_route(skb, &query);
	if ((result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH) || !is_uplink(node, query.ifindex))
		return 0;
	way->tunnel.uplink = query.ifindex;
	if (way->longest + TUNNEL_BYTES > query.mtu_result)
		way->longest = query.mtu_result - TUNNEL_BYTES;
	way->next_hop.nh_family = query.family;
	__builtin_memcpy(way->next_hop.ipv6_nh, query.ipv6_dst, sizeof(way->next_hop.ipv6_nh));
	return 0;
}

/* RFC 6040 section 4.1: congestion is told across the tunnel. The class of traffic stays inside, as with tbvxlan. */
static __always_inline __u8 congestion_bits(struct __sk_buff *skb, bool ipv6)
{
	const __u8 *ip = (void *)(long)skb->data + ETH_HLEN;
	if ((void *)(ip + 2) > (void *)(long)skb->data_end)
		return 0;
	return (ipv6 ? ip[1] >> 4 : ip[1]) & CONGESTION_BITS;
}

/* RFC 1071. Of a header without options whose own field is 0. */
static __always_inline __sum16 header_sum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;
	for (__u32 i = 0; i < sizeof(*ip) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* CONTINUE: the packet has its outer headers, except for the MAC addresses, which whoever sends it to a neighbour writes. PASS: the
 * kernel cannot do that to it, and it is as it was. Checksums and segments that are left to a device stay so: whoever makes
 * segments makes length, identification and header checksum of each. */
SUBPROGRAM int encapsulate(struct __sk_buff *skb, const struct packet *packet GIVEN, const struct way *way GIVEN)
{
	const struct node *node = this_node();
	__u8 congestion = congestion_bits(skb, packet->ipv6);
	__be16 source_port = tunnel_source_port(skb);
	__u32 length = skb->len - ETH_HLEN + TUNNEL_BYTES;
	if (!node || length > 0xffff ||
	    bpf_skb_adjust_room(skb, TUNNEL_BYTES, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
					BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH))
		return PASS;
	struct tunnelled *outer = (void *)(long)skb->data;
	if ((void *)(outer + 1) > (void *)(long)skb->data_end)
		return drop(REASON_rewrite_failed);
	/* Aligned by twos, which the members of a packed struct are not known to be. */
	struct iphdr *ip = (void *)&outer->ip;
	struct udphdr *udp = (void *)&outer->udp;
	__be32 *vxlan = (void *)&outer->flags;
	*ip = (struct iphdr){
		.version = 4,
		.ihl = sizeof(*ip) / 4,
		.tos = congestion,
		.tot_len = bpf_htons(length),
		/* The network may fragment it: there is no DF, as with tbvxlan. */
		.id = bpf_get_prandom_u32(),
		.ttl = TUNNEL_TTL,
		.protocol = IPPROTO_UDP,
		.saddr = way->tunnel.local,
		.daddr = way->tunnel.endpoint,
	};
	ip->check = header_sum(ip);
	/* The inner checksums cover everything that matters (RFC 7348 section 5: zero over IPv4). */
	*udp = (struct udphdr){
		.source = source_port,
		.dest = node->tunnel_port,
		.len = bpf_htons(length - sizeof(*ip)),
	};
	vxlan[0] = bpf_htonl(VXLAN_FLAGS);
	vxlan[1] = bpf_htonl(VXLAN_NETWORK);
	mac_of_node(outer->inner.h_dest, way->tunnel.endpoint);
	mac_of_node(outer->inner.h_source, way->tunnel.local);
	outer->inner.h_proto = packet->ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	count(REASON_encapsulated);
	return CONTINUE;
}

/* By the program where it can, or else by tbvxlan. */
static __always_inline int enter_tunnel(struct __sk_buff *skb, const struct packet *packet, struct way *way)
{
	int verdict = way->next_hop.nh_family ? encapsulate(skb, packet, way) : PASS;
	if (verdict == CONTINUE)
		return bpf_redirect_neigh(way->tunnel.uplink, &way->next_hop, sizeof(way->next_hop), 0);
	if (verdict == PASS)
		verdict = address_tunnel(skb, way->tunnel.endpoint, way->tunnel.local);
	return verdict == CONTINUE ? bpf_redirect(way->device, 0) : verdict;
}
