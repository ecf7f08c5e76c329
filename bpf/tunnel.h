/* This file contains the overlay: VXLAN (RFC 7348) by one device, tbvxlan, which is told with each packet where to. Both
 * families inside, IPv4 underneath. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "hop.h"
#include "maps/tunnels.h"
#include "packet.h"
#include "subprogram.h"
#include "this_node.h"
#include "verdict.h"
#include "vxlan.h"
#include "ways.h"

/* Size of struct bpf_tunnel_key before Linux 6.0 gave it the local address. */
#define TUNNEL_KEY_WITHOUT_LOCAL offsetof(struct bpf_tunnel_key, local_ipv4)

/* NULL: the address is outside the cluster, or on this node. */
static __always_inline struct tunnel *find_tunnel(const struct address *address)
{
	struct tunnel_key key = { .length = 8 * sizeof(*address), .address = *address };
	return bpf_map_lookup_elem(&tb_tunnels, &key);
}

/* Says where tbvxlan is to send the packet. The source is named as well, or the kernel would choose one, and the other end
 * would not know it. */
static __always_inline int address_tunnel(struct __sk_buff *skb, __be32 endpoint, __be32 local)
{
	struct bpf_tunnel_key key = {
		.tunnel_id = NETWORK,
		.remote_ipv4 = bpf_ntohl(endpoint),
		.local_ipv4 = bpf_ntohl(local),
		.tunnel_ttl = TUNNEL_TTL,
	};
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
	mac_of_node(destination, endpoint);
	mac_of_node(source, local);
	set_macs(skb, destination, source);
	/* The inner checksums cover everything that matters (RFC 7348 section 5: zero over IPv4). */
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX) &&
	    bpf_skb_set_tunnel_key(skb, &key, TUNNEL_KEY_WITHOUT_LOCAL, BPF_F_ZERO_CSUM_TX))
		return drop(REASON_rewrite_failed);
	return CONTINUE;
}

/* The node that a packet has come from through a tunnel; 0: none of ours. */
SUBPROGRAM __be32 sender_of(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	if (bpf_skb_get_tunnel_key(skb, &key, TUNNEL_KEY_WITHOUT_LOCAL, 0) || key.tunnel_id != NETWORK)
		return 0;
	return bpf_htonl(key.remote_ipv4);
}

static __always_inline void way_to_tunnel(const struct node *node, __be32 endpoint, struct way *way)
{
	way->kind = WAY_TO_TUNNEL;
	way->device = node->vxlan;
	way->longest = node->overlay_mtu;
	way->tunnel.endpoint = endpoint;
	way->tunnel.local = node->address;
}
