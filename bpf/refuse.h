/* This file contains refusals: the packet is turned into the answer that ends the attempt at once, and sent back into the
 * pod. TCP gets a RST: an ICMPv6 error reaches the socket while connect() still holds it, and is only noted until the
 * SYN is repeated a second later. Everything else gets an ICMP error. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "subprogram.h"
#include "verdict.h"

#define ANSWER_TTL 64

/* Bytes of the refused packet quoted: an IP header with all options, and the 8 bytes behind it by which the
 * sender finds its socket. */
#define QUOTE_IPV4 (60 + 8)
#define QUOTE_IPV6 (40 + 8)

static __always_inline __sum16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __wsum sum_of(const void *bytes, __u32 length, __wsum seed)
{
	return bpf_csum_diff(NULL, 0, (__be32 *)bytes, length, seed);
}

/* The pseudo header of RFC 8200 section 8.1; that of IPv4 sums up to the same with mapped addresses less ffff. */
struct pseudo_header {
	struct address source;
	struct address destination;
	__be32 length;
	__be32 protocol;
};

static __always_inline __wsum pseudo_sum(const struct packet *answered, __u32 length, __u8 protocol)
{
	struct pseudo_header header = {
		.source = answered->destination,
		.destination = answered->source,
		.length = bpf_htonl(length),
		.protocol = bpf_htonl(protocol),
	};
	if (!answered->ipv6) {
		header.source.words[2] = 0;
		header.destination.words[2] = 0;
	}
	return sum_of(&header, sizeof(header), 0);
}

/* Swaps the MAC addresses, so that the frame is to this host, and sends it in by the device it was to leave by. */
static __always_inline int send_back(struct __sk_buff *skb, enum reason reason)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *ethernet = data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return drop(REASON_rewrite_failed);
	__u8 mac[ETH_ALEN];
	__builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
	count(reason);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

static __always_inline struct iphdr answer_ipv4(const struct packet *refused, __u8 protocol, __u32 length)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(ip) + length),
		.ttl = ANSWER_TTL,
		.protocol = protocol,
		.saddr = refused->destination.words[3],
		.daddr = refused->source.words[3],
	};
	ip.check = fold((__u32)sum_of(&ip, sizeof(ip), 0));
	return ip;
}

static __always_inline struct ipv6hdr answer_ipv6(const struct packet *refused, __u8 protocol, __u32 length)
{
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(length),
		.nexthdr = protocol,
		.hop_limit = ANSWER_TTL,
	};
	__builtin_memcpy(&ip.saddr, &refused->destination, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &refused->source, sizeof(ip.daddr));
	return ip;
}

static __always_inline long store_ip(struct __sk_buff *skb, const struct packet *refused, __u8 protocol, __u32 length)
{
	if (refused->ipv6) {
		struct ipv6hdr ip = answer_ipv6(refused, protocol, length);
		return bpf_skb_store_bytes(skb, refused->l3, &ip, sizeof(ip), 0);
	}
	struct iphdr ip = answer_ipv4(refused, protocol, length);
	return bpf_skb_store_bytes(skb, refused->l3, &ip, sizeof(ip), 0);
}

static __always_inline __u32 ip_length(const struct packet *packet)
{
	return packet->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* The sequence numbers of RFC 9293 section 3.5.2. `length` is what the segment takes of the sequence space. */
static __always_inline struct tcphdr reset_for(const struct tcphdr *segment, __u32 length)
{
	struct tcphdr reset = { .source = segment->dest, .dest = segment->source, .doff = 5, .rst = 1 };
	if (segment->ack) {
		reset.seq = segment->ack_seq;
	} else {
		reset.ack = 1;
		reset.ack_seq = bpf_htonl(bpf_ntohl(segment->seq) + length);
	}
	return reset;
}

SUBPROGRAM int refuse_tcp(struct __sk_buff *skb, const struct packet *refused, __u32 reason)
{
	struct tcphdr segment;
	if (refused->tcp_flags & TCP_RST || bpf_skb_load_bytes(skb, refused->l4, &segment, sizeof(segment)))
		return drop(reason);
	__u32 length = skb->len - refused->l4 - segment.doff * 4 + segment.syn + segment.fin;
	struct tcphdr reset = reset_for(&segment, length);
	reset.check = fold((__u32)sum_of(&reset, sizeof(reset), pseudo_sum(refused, sizeof(reset), IPPROTO_TCP)));

	__u32 start = refused->l3 + ip_length(refused);
	/* May fail where header options leave the old checksum field behind the new end. Then the IP header's
	 * length is what ends the answer. */
	bpf_skb_change_tail(skb, start + sizeof(reset), 0);
	if (store_ip(skb, refused, IPPROTO_TCP, sizeof(reset)) ||
	    bpf_skb_store_bytes(skb, start, &reset, sizeof(reset), 0))
		return drop(REASON_rewrite_failed);
	return send_back(skb, reason);
}

/* What lies behind the IP header of an ICMP error. */
struct icmp_error {
	struct icmp_header header;
	__u8 quote[QUOTE_IPV4];
};

static __always_inline void set_icmp_kind(struct icmp_error *error, const struct packet *refused)
{
	bool port = has_ports(refused->protocol);
	if (refused->ipv6) {
		error->header.type = ICMP6_DEST_UNREACH;
		error->header.code = port ? ICMP6_PORT_UNREACH : ICMP6_ADM_PROHIBITED;
	} else {
		error->header.type = ICMP_DEST_UNREACH;
		error->header.code = port ? ICMP_PORT_UNREACH : ICMP_PROT_UNREACH;
	}
}

SUBPROGRAM int refuse_with_icmp(struct __sk_buff *skb, const struct packet *refused, __u32 reason)
{
	struct icmp_error error = {};
	__u32 quoted = skb->len - refused->l3;
	__u32 most = refused->ipv6 ? QUOTE_IPV6 : QUOTE_IPV4;
	if (quoted > most)
		quoted = most;
	/* The quote ends on a word, so that the checksum can be taken in words. */
	quoted &= 0x7c;
	if (quoted < sizeof(struct iphdr) || quoted > QUOTE_IPV4 ||
	    bpf_skb_load_bytes(skb, refused->l3, error.quote, quoted))
		return drop(reason);
	set_icmp_kind(&error, refused);
	__u8 protocol = refused->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	__u32 length = offsetof(struct icmp_error, quote) + quoted;
	/* What is not quoted is zero and adds nothing to the sum. */
	__wsum seed = refused->ipv6 ? pseudo_sum(refused, length, protocol) : 0;
	error.header.checksum = fold((__u32)sum_of(&error, sizeof(error), seed));

	__u32 start = refused->l3 + ip_length(refused);
	/* Also makes a packet for segmentation offload an ordinary one. */
	if (bpf_skb_change_tail(skb, start + length, 0) ||
	    store_ip(skb, refused, protocol, length) ||
	    bpf_skb_store_bytes(skb, start, &error, length, 0))
		return drop(REASON_rewrite_failed);
	return send_back(skb, reason);
}

/* Answers a packet to a service that cannot have it. */
static __always_inline int refuse(struct __sk_buff *skb, const struct packet *packet, enum reason reason)
{
	/* No errors about errors, nor about fragments that say nothing of themselves (RFC 1122 section 3.2.2). */
	if (packet->fragment == LATER_FRAGMENT || is_icmp_error(packet))
		return drop(reason);
	if (packet->protocol == IPPROTO_TCP)
		return refuse_tcp(skb, packet, reason);
	return refuse_with_icmp(skb, packet, reason);
}
