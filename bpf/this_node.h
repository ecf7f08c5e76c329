/* This file contains what the programs know of the node they run on. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/node.h"

/* Never NULL, but the verifier cannot know. */
static __always_inline const struct node *this_node(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_node, &key);
}

static __always_inline bool is_uplink(const struct node *node, __u32 ifindex)
{
	/* Most nodes have one. */
	for (int i = 0; i < UPLINKS && node->uplinks[i]; i++)
		if (node->uplinks[i] == ifindex)
			return true;
	return false;
}

static __always_inline bool is_own_address(const struct node *node, const struct address *address)
{
	if (address_is_ipv4(address))
		return address->words[3] == node->address;
	return address_equal(address, &node->ipv6);
}

/* False: the node has none of this family. */
static __always_inline bool own_address(const struct node *node, bool ipv6, struct address *own)
{
	if (ipv6) {
		*own = node->ipv6;
		return own->words[0] | own->words[1] | own->words[2] | own->words[3];
	}
	*own = address_of_ipv4(node->address);
	return node->address;
}
