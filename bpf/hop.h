/* This file contains what a router does to every packet: it looks whether that is all there is to do, counts the hop, and
 * writes new MAC addresses. Everything beyond that is the stack's: it answers, fragments and reassembles. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "verdict.h"

/* skb->pkt_type of a frame to this device's own MAC address (linux/if_packet.h needs the C library). */
#define PACKET_HOST 0

/* An untagged frame to this very device, with the IP header right behind the Ethernet header. */
static __always_inline bool is_for_router(const struct __sk_buff *skb, const struct packet *packet)
{
	return skb->pkt_type == PACKET_HOST && !skb->vlan_present && packet->l3 == ETH_HLEN;
}

/* Multicast, broadcast, and link-local addresses of IPv6: routers leave them where they are. */
static __always_inline bool stays_on_link(const struct packet *packet)
{
	const __u8 *bytes = (const __u8 *)&packet->destination;
	if (packet->ipv6)
		return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
	return bytes[12] >= 224;
}

/* CONTINUE: nothing but forwarding is to be done to the packet. Options of IPv4 and the hop-by-hop options of IPv6 are
 * addressed to routers. */
static __always_inline int check_hop(const struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	if (packet->ipv6) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) > end || ip->nexthdr == IPPROTO_HOPOPTS)
			return to_stack(REASON_stack_options);
		return ip->hop_limit > 1 ? CONTINUE : to_stack(REASON_stack_ttl);
	}
	struct iphdr *ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end || ip->ihl != 5)
		return to_stack(REASON_stack_options);
	return ip->ttl > 1 ? CONTINUE : to_stack(REASON_stack_ttl);
}

/* One hop less to live. Of a packet that check_hop has let through. RFC 1624: the sum grows by what the field loses. */
static __always_inline void count_hop(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	if (packet->ipv6) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) <= end)
			ip->hop_limit--;
		return;
	}
	struct iphdr *ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return;
	__u32 sum = ip->check + bpf_htons(0x0100);
	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

static __always_inline void set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return;
	__builtin_memcpy(ethernet->h_dest, destination, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, source, ETH_ALEN);
}

/* Bytes of the IP packet on the wire: of each one that segmentation offload will make of it. */
static __always_inline __u32 wire_length(struct __sk_buff *skb, const struct packet *packet)
{
	if (!skb->gso_size)
		return skb->len - packet->l3;
	__u32 transport = sizeof(struct udphdr);
	if (packet->protocol == IPPROTO_TCP) {
		__u8 offset = 0;
		bpf_skb_load_bytes(skb, packet->l4 + 12, &offset, sizeof(offset));
		transport = (offset >> 4) * 4;
	}
	return packet->l4 - packet->l3 + transport + skb->gso_size;
}
