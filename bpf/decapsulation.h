/* This file contains how a program takes a packet out of its tunnel by itself, where it comes to the uplink (docs/adr/0012): one of a
 * flow that tb_vxlan_in has delivered to a pod a moment ago, having seen that all is well with it. Everything else goes on to
 * tbvxlan. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "local_pod.h"
#include "nat.h"
#include "nat_packet.h"
#include "packet.h"
#include "pods.h"
#include "subprogram.h"
#include "this_node.h"
#include "tunnelled.h"
#include "untranslated.h"
#include "verdict.h"
#include "vxlan.h"
#include "ways.h"

/* BPF_F_ADJ_ROOM_DECAP_L3_IPV6, since Linux 6.3. Before, IPv6 takes tbvxlan. */
#define WAS_IPV4_IS_IPV6 (1 << 8)

/* Whether tbvxlan would make nothing more of its outer headers than the program does. */
static __always_inline bool is_plain(struct __sk_buff *skb, const struct tunnelled *outer, const struct node *node)
{
	return skb->pkt_type == PACKET_HOST && !skb->vlan_present && node->tunnel_port && outer->udp.dest == node->tunnel_port &&
	       !outer->udp.check && is_mac_of_node(outer->inner.h_dest, node->address);
}

/* Whether the packet inside is forwarded, and nothing else is to be done to it. What has met congestion has to be able to say
 * so (RFC 6040 section 4.2), or tbvxlan drops it. */
static __always_inline bool is_plain_inside(struct __sk_buff *skb, const struct packet *packet, bool congested)
{
	const __u8 *ip = (void *)(long)skb->data + TUNNEL_BYTES + ETH_HLEN;
	if ((void *)(ip + sizeof(struct iphdr)) > (void *)(long)skb->data_end)
		return false;
	__u8 capable = (packet->ipv6 ? ip[1] >> 4 : ip[1]) & CONGESTION_BITS;
	if (congested && capable == NOT_CAPABLE)
		return false;
	/* Next header and hop limit, or version with length of the header and time to live. */
	return packet->ipv6 ? ip[6] != IPPROTO_HOPOPTS && ip[7] > 1 : ip[0] == 0x45 && ip[8] > 1;
}

/* CONTINUE: the packet is what was inside. */
SUBPROGRAM int take_out(struct __sk_buff *skb, struct packet *packet GIVEN, bool congested)
{
	/* Which checksums a NIC has found to be right is counted from outside. */
	if (bpf_skb_adjust_room(skb, -TUNNEL_BYTES, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_NO_CSUM_RESET | (packet->ipv6 ? WAS_IPV4_IS_IPV6 : 0)))
		return PASS;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	if (congested)
		bpf_skb_ecn_set_ce(skb);
	struct ethhdr *ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return drop(REASON_rewrite_failed);
	ethernet->h_proto = packet->ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	packet->l3 -= TUNNEL_BYTES;
	packet->l4 -= TUNNEL_BYTES;
	mark_untranslated(skb, false);
	count(REASON_decapsulated);
	return CONTINUE;
}

static __always_inline int take_to_pod(struct __sk_buff *skb, struct packet *packet, const struct way *way, bool congested)
{
	int verdict = take_out(skb, packet, congested);
	if (verdict != CONTINUE)
		return verdict;
	count_hop(skb, packet);
	return enter_pod(skb, way->device, way->pod.mac, way->pod.gateway);
}

/* A packet of a client outside, of a flow that has been handed over to this node for one of its pods. */
static __always_inline int take_over_known(struct __sk_buff *skb, struct packet *packet, bool congested)
{
	struct nat_key key = nat_key_of(packet);
	struct nat *nat = known_nat(packet, &key);
	const struct pod *pod = nat ? find_pod(&nat->destination) : NULL;
	if (!pod || pod->flags & POD_STACK || !(nat->flags & NAT_DIRECT) || nat->flags & NAT_REPLY)
		return PASS;
	int verdict = take_out(skb, packet, congested);
	if (verdict == CONTINUE)
		verdict = translate(skb, packet, &key, nat);
	return verdict == TRANSLATED ? deliver(skb, packet, pod) : verdict;
}

static __always_inline int parse_inside(struct __sk_buff *skb, struct packet *packet, bool ipv6)
{
	int result = parse_ip(skb, packet, TUNNEL_BYTES + ETH_HLEN, ipv6, WITH_TRANSPORT);
	if (result != TRUNCATED || !pull_headers(skb, TUNNEL_BYTES + HEADER_BYTES))
		return result;
	__builtin_memset(packet, 0, sizeof(*packet));
	return parse_ip(skb, packet, TUNNEL_BYTES + ETH_HLEN, ipv6, WITH_TRANSPORT);
}

/* A packet for the end of a tunnel. PASS: for tbvxlan. */
SUBPROGRAM int leave_tunnel(struct __sk_buff *skb)
{
	struct packet packet = {};
	const struct node *node = this_node();
	const struct tunnelled *outer;
	if (!node || !is_tunnelled(skb, &outer) || !is_plain(skb, outer, node))
		return PASS;
	__be16 type = outer->inner.h_proto;
	if ((type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)) ||
	    parse_inside(skb, &packet, type == bpf_htons(ETH_P_IPV6)) != PARSED || !may_be_remembered(&packet) ||
	    !is_tunnelled(skb, &outer)) /* it may lie elsewhere now */
		return PASS;
	bool congested = (outer->ip.tos & CONGESTION_BITS) == CONGESTED;
	struct way *way = place_of_way(&packet);
	if (!way)
		return PASS;
	__u64 now = now_nanoseconds();
	/* Nothing would take the marks of a tunnel off what may be segmented once more, so the kernel has to do it. It does so
	 * in a queue, where the packets before are not to be overtaken. */
	if (skb->gso_size)
		way->queued_until = now + QUEUE_NANOSECONDS;
	if (!is_way_of(way, &packet, &outer->inner, node->vxlan, outer->ip.saddr) || !is_plain_inside(skb, &packet, congested))
		return PASS;
	if (way->until <= now || way->queued_until > now)
		return PASS;
	if (way->kind == WAY_TO_POD)
		return take_to_pod(skb, &packet, way, congested);
	return way->kind == WAY_OF_TAKEOVER ? take_over_known(skb, &packet, congested) : PASS;
}
