/* This file contains the rewriting of a packet's addresses and ports, with all checksums that cover them. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "address.h"
#include "packet.h"

/* Since 6.16 and its backports: with CHECKSUM_COMPLETE, an IPv6 address change leaves skb->csum as it is. */
#ifndef BPF_F_IPV6
#define BPF_F_IPV6 (1ULL << 7)
#endif

/* SIDES of a packet: */
#define SOURCE false
#define DESTINATION true

/* The ports as they lie in TCP, UDP and SCTP headers. */
struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline __u32 ports_word(struct ports ports)
{
	return *(__u32 *)&ports;
}

static __always_inline __u32 address_offset(const struct packet *packet, bool side)
{
	if (packet->ipv6)
		return packet->l3 + (side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	return packet->l3 + (side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
}

/* The checksum is adjusted by a helper, never stored: only the kernel knows whether the packet carries a whole
 * checksum, or the pseudo header's alone that the device will complete (CHECKSUM_PARTIAL). */
static __always_inline long mend_pseudo_header(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u64 flags,
					       const struct address *old, const struct address *new)
{
	flags |= BPF_F_PSEUDO_HDR;
	if (!packet->ipv6)
		return bpf_l4_csum_replace(skb, at, old->words[3], new->words[3], flags | sizeof(__be32));
	__s64 difference = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)new, sizeof(*new), 0);
	if (!bpf_l4_csum_replace(skb, at, 0, difference, flags | BPF_F_IPV6))
		return 0;
	return bpf_l4_csum_replace(skb, at, 0, difference, flags);
}

/* 0 for protocols without a checksum to mend: SCTP's covers neither addresses nor can it be adjusted. */
static __always_inline __u32 checksum_offset(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return packet->l4 + offsetof(struct tcphdr, check);
	if (packet->protocol == IPPROTO_UDP)
		return packet->l4 + offsetof(struct udphdr, check);
	return 0;
}

static __always_inline long rewrite_transport(struct __sk_buff *skb, const struct packet *packet,
					      const struct address *old, const struct address *new, struct ports ports)
{
	struct ports old_ports = { packet->source_port, packet->destination_port };
	bool same_ports = ports_word(old_ports) == ports_word(ports);
	__u32 checksum = checksum_offset(packet);
	if (checksum) {
		/* In UDP over IPv4 a checksum of 0 means "none", and has to stay it. */
		__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
		if (mend_pseudo_header(skb, packet, checksum, flags, old, new))
			return -1;
		if (!same_ports && bpf_l4_csum_replace(skb, checksum, ports_word(old_ports), ports_word(ports),
						       flags | sizeof(struct ports)))
			return -1;
	}
	if (same_ports)
		return 0;
	return bpf_skb_store_bytes(skb, packet->l4, &ports, sizeof(ports), 0);
}

/* Gives the packet another address on one side, and these ports. Invalidates pointers into the packet. */
static __always_inline long rewrite(struct __sk_buff *skb, const struct packet *packet, bool side,
				    const struct address *address, struct ports ports)
{
	const struct address *old = side == SOURCE ? &packet->source : &packet->destination;
	__u32 at = address_offset(packet, side);
	/* Later fragments carry no transport header; the first one's checksum covers the addresses of all. */
	if (packet->fragment != LATER_FRAGMENT && rewrite_transport(skb, packet, old, address, ports))
		return -1;
	if (packet->ipv6)
		return bpf_skb_store_bytes(skb, at, address, sizeof(*address), 0);
	if (bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), old->words[3], address->words[3],
				sizeof(__be32)))
		return -1;
	return bpf_skb_store_bytes(skb, at, &address->words[3], sizeof(__be32), 0);
}
