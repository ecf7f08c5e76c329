/* This file contains refusals: the packet is turned into the answer that ends the attempt at once. TCP gets a RST: an ICMPv6
 * error reaches the socket while connect() still holds it, and is only noted until the SYN is repeated a second later.
 * Everything else gets an ICMP error. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bounds.h"
#include "packet.h"
#include "subprogram.h"
#include "verdict.h"

#define ANSWER_TTL 64

/* Bytes of the refused packet quoted: an IP header with all options, and the 8 bytes behind it by which the sender finds its
 * socket. The second: without extension headers. */
#define QUOTE_MOST (60 + 8)
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

/* Swaps the MAC addresses, so that the frame is to whom it has come from, and sends it by the device where it is: `towards`
 * BPF_F_INGRESS into this host, 0 out of it. */
static __always_inline int send_back(struct __sk_buff *skb, __u64 towards, enum reason reason)
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
	return bpf_redirect(skb->ifindex, towards);
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

/* The checksum by helpers alone: of a packet whose checksum the device is to complete (CHECKSUM_PARTIAL: from a neighbouring
 * virtual machine, or a veth) the field holds the pseudo header's sum, and the helper that adds the rest does nothing. */
static __always_inline long sum_reset(struct __sk_buff *skb, const struct packet *refused, const struct tcphdr *reset, __u32 at)
{
	at += offsetof(struct tcphdr, check);
	return bpf_l4_csum_replace(skb, at, 0, pseudo_sum(refused, sizeof(*reset), IPPROTO_TCP), BPF_F_PSEUDO_HDR) ||
	       bpf_l4_csum_replace(skb, at, 0, sum_of(reset, sizeof(*reset), 0), 0);
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

SUBPROGRAM int become_reset(struct __sk_buff *skb, const struct packet *refused GIVEN, __u32 reason)
{
	struct tcphdr segment;
	if (bpf_skb_load_bytes(skb, refused->l4, &segment, sizeof(segment)))
		return drop(reason);
	__u32 length = skb->len - refused->l4 - segment.doff * 4 + segment.syn + segment.fin;
	struct tcphdr reset = reset_for(&segment, length);

	__u32 start = refused->l3 + ip_length(refused);
	/* May fail where header options leave the old checksum field behind the new end. Then the IP header's
	 * length is what ends the answer. */
	bpf_skb_change_tail(skb, start + sizeof(reset), 0);
	if (store_ip(skb, refused, IPPROTO_TCP, sizeof(reset)) ||
	    bpf_skb_store_bytes(skb, start, &reset, sizeof(reset), 0) || sum_reset(skb, refused, &reset, start))
		return drop(REASON_rewrite_failed);
	return CONTINUE;
}

/* What lies behind the IP header of an ICMP error. */
struct icmp_error {
	struct icmp_header header;
	__u8 quote[QUOTE_MOST];
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

/* Where the checksum of a datagram is left to the device (CHECKSUM_PARTIAL), it is written into the answer: there, that is the
 * unused half of the error's second word. Over IPv6 the device does not know that ICMP covers the pseudo header; if the
 * field holds that one's sum, what the device computes is the same again. The first helper adds it to either kind of
 * packet, the second takes it off those that the device leaves alone. Returns what the field is to hold. */
static __always_inline __be32 unused_word(struct __sk_buff *skb, const struct packet *refused, __u32 start, __wsum pseudo)
{
	__be32 word = 0;
	__u32 half = start + offsetof(struct icmp_header, rest) + 2;
	if (!refused->ipv6 || refused->protocol != IPPROTO_UDP || refused->l4 != start ||
	    bpf_skb_store_bytes(skb, start + offsetof(struct icmp_header, rest), &word, sizeof(word), 0) ||
	    bpf_l4_csum_replace(skb, half, 0, pseudo, BPF_F_PSEUDO_HDR) ||
	    bpf_l4_csum_replace(skb, half, 0, ~pseudo, 0) ||
	    bpf_skb_load_bytes(skb, start + offsetof(struct icmp_header, rest), &word, sizeof(word)))
		return 0;
	return word;
}

SUBPROGRAM int become_icmp_error(struct __sk_buff *skb, const struct packet *refused GIVEN, __u32 reason)
{
	struct icmp_error error = {};
	__u32 quoted = skb->len - refused->l3;
	__u32 most = refused->ipv6 ? QUOTE_IPV6 + refused->l4 - refused->l3 - ip_length(refused) : QUOTE_MOST;
	if (quoted > most)
		quoted = most;
	/* The quote ends on a word, so that the checksum can be taken in words. */
	quoted &= 0x7c;
	if (!WITHIN(quoted, sizeof(struct iphdr), QUOTE_MOST) ||
	    bpf_skb_load_bytes(skb, refused->l3, error.quote, quoted))
		return drop(reason);
	set_icmp_kind(&error, refused);
	__u8 protocol = refused->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	__u32 length = offsetof(struct icmp_error, quote) + quoted;
	/* What is not quoted is zero and adds nothing to the sum. */
	__wsum seed = refused->ipv6 ? pseudo_sum(refused, length, protocol) : 0;
	__u32 start = refused->l3 + ip_length(refused);
	/* Also makes a packet for segmentation offload an ordinary one. */
	if (bpf_skb_change_tail(skb, start + length, 0))
		return drop(REASON_rewrite_failed);
	error.header.rest = unused_word(skb, refused, start, seed);
	error.header.checksum = fold((__u32)sum_of(&error, sizeof(error), seed));
	if (store_ip(skb, refused, protocol, length) ||
	    bpf_skb_store_bytes(skb, start, &error, length, 0))
		return drop(REASON_rewrite_failed);
	return CONTINUE;
}

/* No errors about errors, nor about fragments that say nothing of themselves (RFC 1122 section 3.2.2). */
static __always_inline bool is_answerable(const struct packet *packet)
{
	return packet->fragment != LATER_FRAGMENT && !is_icmp_error(packet) &&
	       (packet->protocol != IPPROTO_TCP || !(packet->tcp_flags & TCP_RST));
}

/* CONTINUE: the packet is the answer now, from where it was to go to who has sent it; nobody has sent or counted it yet. */
static __always_inline int become_refusal(struct __sk_buff *skb, const struct packet *refused, __u32 reason)
{
	if (!is_answerable(refused))
		return drop(reason);
	return refused->protocol == IPPROTO_TCP ? become_reset(skb, refused, reason)
						: become_icmp_error(skb, refused, reason);
}

/* Answers a pod's packet to a service that cannot have it. */
static __always_inline int refuse(struct __sk_buff *skb, const struct packet *packet, enum reason reason)
{
	int verdict = become_refusal(skb, packet, reason);
	return verdict == CONTINUE ? send_back(skb, BPF_F_INGRESS, reason) : verdict;
}
