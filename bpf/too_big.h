/* This file contains the answer to a packet that does not fit into a tunnel: an ICMP error that says what does. It comes from
 * the address that the packet is to, the service's: this node has that too, and every firewall on the way lets it pass. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "packet.h"
#include "refuse.h"
#include "refuse_outside.h"
#include "subprogram.h"
#include "verdict.h"

#define ICMP_FRAG_NEEDED 4 /* code */
#define ICMP6_TOO_BIG 2    /* type */

#define DONT_FRAGMENT 0x4000

/* IPv4 without DF, which fragments have to be. In IPv6 only the sender fragments. */
static __always_inline bool may_fragment(struct __sk_buff *skb, const struct packet *packet)
{
	struct iphdr *ip = (void *)(long)skb->data + ETH_HLEN;
	return !packet->ipv6 && (void *)(ip + 1) <= (void *)(long)skb->data_end && !(ip->frag_off & bpf_htons(DONT_FRAGMENT));
}

/* Two bytes of the answer lie where the packet's transport had its checksum. Where that one is left to a device
 * (CHECKSUM_PARTIAL), it may be written over them, over the sum from there to the end of the frame. A trailer behind the end of
 * the IP packet makes that come to what stands there in any case. */
static __always_inline __be32 trailer_for(const struct packet *packet, const struct icmp_error *error, __wsum pseudo)
{
	const __u8 *bytes = (const __u8 *)error;
	__u16 value;
	if (packet->protocol == IPPROTO_TCP)
		__builtin_memcpy(&value, bytes + offsetof(struct tcphdr, check), sizeof(value));
	else
		__builtin_memcpy(&value, bytes + offsetof(struct udphdr, check), sizeof(value));
	return (__u16)~fold((__u64)(__u16)~value + (__u32)pseudo);
}

/* RFC 1191 section 4, RFC 4443 section 3.2. So many in a second as refusals. The quote has the ports behind an IPv6 fragment
 * header too. */
SUBPROGRAM int tell_size(struct __sk_buff *skb, const struct packet *packet GIVEN, __u32 mtu)
{
	if (!is_answerable(packet) || !is_one_host(&packet->source))
		return drop(REASON_handover_too_big);
	if (!may_be_told(packet))
		return drop(REASON_outside_unanswered);
	struct icmp_error error = {};
	if (bpf_skb_load_bytes(skb, packet->l3, error.quote, sizeof(error.quote)))
		return drop(REASON_malformed);
	error.header.type = packet->ipv6 ? ICMP6_TOO_BIG : ICMP_DEST_UNREACH;
	error.header.code = packet->ipv6 ? 0 : ICMP_FRAG_NEEDED;
	error.header.rest = bpf_htonl(mtu);
	__u8 protocol = packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	__wsum seed = packet->ipv6 ? pseudo_sum(packet, sizeof(error), protocol) : 0;
	error.header.checksum = fold((__u32)sum_of(&error, sizeof(error), seed));

	__u32 start = packet->l3 + ip_length(packet);
	__be32 trailer = trailer_for(packet, &error, seed);
	/* Also makes a packet for segmentation offload an ordinary one. */
	if (bpf_skb_change_tail(skb, start + sizeof(error) + sizeof(trailer), 0) ||
	    store_ip(skb, packet, protocol, sizeof(error)) ||
	    bpf_skb_store_bytes(skb, start, &error, sizeof(error), 0) ||
	    bpf_skb_store_bytes(skb, start + sizeof(error), &trailer, sizeof(trailer), 0))
		return drop(REASON_rewrite_failed);
	return send_back(skb, 0, REASON_handover_too_big);
}
