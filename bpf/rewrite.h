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

/* Mends the transport's checksum for another address on one side, and other ports. */
static __always_inline long mend_transport(struct __sk_buff *skb, const struct packet *packet, const struct address *old,
					   const struct address *new, struct ports old_ports, struct ports ports)
{
	__u32 checksum = checksum_offset(packet);
	if (!checksum)
		return 0;
	/* In UDP over IPv4 a checksum of 0 means "none", and has to stay it. */
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	if (mend_pseudo_header(skb, packet, checksum, flags, old, new))
		return -1;
	return ports_word(old_ports) != ports_word(ports) &&
	       bpf_l4_csum_replace(skb, checksum, ports_word(old_ports), ports_word(ports), flags | sizeof(ports));
}

/* The header's checksum for another address (RFC 1624 equation 3). Of the packet's whole sum, where a device has taken it
 * (CHECKSUM_COMPLETE), address and checksum take away from each other. */
static __always_inline void mend_ipv4_header(struct iphdr *ip, __be32 old, __be32 new)
{
	__u64 sum = (__u64)(__u16)~ip->check + (__u32)~old + new;
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

static __always_inline long write_address(struct __sk_buff *skb, const struct packet *packet, bool side,
					  const struct address *old, const struct address *new)
{
	void *l3 = (void *)(long)skb->data + (packet->l3 & 0x3ff);
	void *end = (void *)(long)skb->data_end;
	if (packet->ipv6) {
		struct ipv6hdr *ip = l3;
		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(side == SOURCE ? (void *)&ip->saddr : (void *)&ip->daddr, new, sizeof(*new));
		return 0;
	}
	struct iphdr *ip = l3;
	if ((void *)(ip + 1) > end)
		return -1;
	mend_ipv4_header(ip, old->words[3], new->words[3]);
	if (side == SOURCE)
		ip->saddr = new->words[3];
	else
		ip->daddr = new->words[3];
	return 0;
}

static __always_inline long write_ports(struct __sk_buff *skb, const struct packet *packet, struct ports ports)
{
	struct ports *l4 = (void *)(long)skb->data + (packet->l4 & 0x3ff);
	if ((void *)(l4 + 1) > (void *)(long)skb->data_end)
		return -1;
	*l4 = ports;
	return 0;
}

/* Gives the packet another address on one side, and these ports. Invalidates pointers into the packet, whose headers are
 * linear since it was parsed: they are written straight, which takes a fraction of a helper's time. */
static __always_inline long rewrite(struct __sk_buff *skb, const struct packet *packet, bool side,
				    const struct address *address, struct ports ports)
{
	const struct address *old = side == SOURCE ? &packet->source : &packet->destination;
	struct ports old_ports = { packet->source_port, packet->destination_port };
	/* Later fragments carry no transport header; the first one's checksum covers the addresses of all. */
	if (packet->fragment != LATER_FRAGMENT) {
		if (mend_transport(skb, packet, old, address, old_ports, ports))
			return -1;
		if (ports_word(old_ports) != ports_word(ports) && write_ports(skb, packet, ports))
			return -1;
	}
	return write_address(skb, packet, side, old, address);
}
