/* This file contains what the programs know of the node they run on. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

/* Never NULL, but the verifier cannot know. */
static __always_inline const struct node *this_node(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_node, &key);
}
