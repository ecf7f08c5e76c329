/* This file contains VXLAN on the wire (RFC 7348): what tbvxlan sends and takes, and the programs by themselves. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>

/* The VXLAN network identifier of all clusters: who may send is told by address. */
#define NETWORK 111

#define TUNNEL_TTL 64

/* Codepoints of congestion, in the class of traffic of both headers (RFC 3168 section 5, RFC 6040). */
#define CONGESTION_BITS 3
#define NOT_CAPABLE 0
#define CONGESTED 3

/* In host order. Bit 27: there is an identifier, which is the upper 24 bits of the second word. */
#define VXLAN_FLAGS (1 << 27)
#define VXLAN_NETWORK (NETWORK << 8)

/* Section 5, with IPv4 underneath. */
struct tunnelled {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags;
	__be32 network;
	struct ethhdr inner;
} __attribute__((packed));

/* Bytes that a packet is longer by in its tunnel. */
#define TUNNEL_BYTES ((int)(sizeof(struct tunnelled) - sizeof(struct ethhdr)))

/* The MAC address of a node's tbvxlan follows from its IP address, so that nobody need ask. Locally administered. */
#define MAC_OF_NODES 0x0274 /* first two bytes; the address is the others */

static __always_inline void mac_of_node(__u8 *mac, __be32 node)
{
	*(__be16 *)mac = bpf_htons(MAC_OF_NODES);
	__builtin_memcpy(mac + 2, &node, sizeof(node));
}

static __always_inline bool is_mac_of_node(const __u8 *mac, __be32 node)
{
	return *(const __be16 *)mac == bpf_htons(MAC_OF_NODES) && *(const __be32 *)(mac + 2) == node;
}
