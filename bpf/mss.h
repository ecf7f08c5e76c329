/* This file contains the clamping of the maximum segment size (RFC 9293 section 3.7.1): a server that is asked through a tunnel
 * tells its client so, and no segment is ever too long for it. */
#pragma once

#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "subprogram.h"
#include "verdict.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2

/* Options looked through. The MSS is the first that anybody sends. */
#define TCP_OPTIONS 8

static __always_inline long lower_mss(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u16 most)
{
	__be16 before = 0, after = bpf_htons(most);
	if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)) || bpf_ntohs(before) <= most)
		return 0;
	/* Two bytes across the words of the checksum add up swapped. */
	bool odd = (at - packet->l4) & 1;
	__u16 old = odd ? __builtin_bswap16(before) : before;
	__u16 new = odd ? __builtin_bswap16(after) : after;
	count(REASON_mss_clamped);
	return bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct tcphdr, check), old, new, sizeof(new)) ||
	       bpf_skb_store_bytes(skb, at, &after, sizeof(after), 0);
}

/* Of a SYN. `room`: bytes of the largest IP packet that may come in answer to it. */
SUBPROGRAM int clamp_mss(struct __sk_buff *skb, const struct packet *packet GIVEN, __u32 room)
{
	__u32 at = packet->l4 + sizeof(struct tcphdr);
	__u8 offset = 0;
	if (packet->fragment == LATER_FRAGMENT || bpf_skb_load_bytes(skb, packet->l4 + 12, &offset, sizeof(offset)))
		return 0;
	__u32 end = packet->l4 + (offset >> 4) * 4;
	__u16 most = room - sizeof(struct tcphdr) - (packet->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	for (int i = 0; i < TCP_OPTIONS && at + 1 < end; i++) {
		__u8 option[2] = {}; /* kind, length */
		if (bpf_skb_load_bytes(skb, at, option, sizeof(option)) || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_MSS)
			return lower_mss(skb, packet, at + sizeof(option), most);
		at += option[0] == TCP_OPTION_NOP ? 1 : option[1];
	}
	return 0;
}
