/* This file contains the check of what pods send: nobody speaks with another one's address. IPv4 has a reverse path filter
 * of the kernel's besides; IPv6 has none. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "packet.h"
#include "pods.h"
#include "verdict.h"

static __always_inline bool comes_from_mac(const struct __sk_buff *skb, const __u8 *mac)
{
	struct ethhdr *ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return false;
	const __u16 *source = (const __u16 *)ethernet->h_source;
	const __u16 *expected = (const __u16 *)mac;
	return source[0] == expected[0] && source[1] == expected[1] && source[2] == expected[2];
}

/* Neighbour discovery and the like, between the pod and its gateway: from a link-local address, or none yet. */
static __always_inline bool speaks_on_link(const struct packet *packet)
{
	const __u32 *words = packet->source.words;
	bool link_local = (words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
	bool unspecified = !words[0] && !words[1] && !words[2] && !words[3];
	return packet->ipv6 && (link_local || unspecified) && stays_on_link(packet);
}

/* `sender` is the pod that has the packet's source address, if any has. CONTINUE: it is the one behind this device. */
static __always_inline int check_source(const struct __sk_buff *skb, const struct packet *packet, const struct pod *sender)
{
	if (sender && sender->ifindex == skb->ifindex && comes_from_mac(skb, sender->mac))
		return CONTINUE;
	if (speaks_on_link(packet))
		return to_stack(REASON_stack_on_link);
	return drop(REASON_spoofed_source);
}
