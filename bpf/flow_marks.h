/* This file contains which addresses have flows at all: those of services, as destinations, and those of backends, as sources.
 * Packets of all others need not be looked up in the table. Its buckets are 4 MiB that no cache holds, and a look-up that
 * finds nothing costs as much as one that does; these marks are a few bytes that are always at hand. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "address.h"
#include "maps.h"

/* Never NULL, but the verifier cannot know. */
static __always_inline struct flow_marks *flow_marks(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_flow_marks, &key);
}

/* Where an address is marked. Two may have the same place: then packets of one are looked up for nothing. */
static __always_inline __u16 place_of_mark(const struct address *address, __u8 direction)
{
	__u32 hash = address->words[3] + (address->words[2] ^ direction) * 0x85ebca6b + address->words[1] * 0xc2b2ae35 +
		     address->words[0] * 0x27d4eb2f;
	return hash * 2654435769u >> 16; /* Fibonacci hashing: the upper bits of the product depend on all */
}

/* Of a flow that is about to be entered, or has been found in the table. It stays when the flow has gone. */
static __always_inline void mark_address(struct flow_marks *marks, const struct address *address, __u8 direction)
{
	__u8 *mark = &marks->marked[place_of_mark(address, direction)];
	if (!*mark)
		*mark = 1;
}

/* Whether there may be a flow to this destination (forward), or from this source (reply). */
static __always_inline bool may_have_flows(const struct address *address, __u8 direction)
{
	const struct flow_marks *marks = flow_marks();
	return !marks || !marks->complete || marks->marked[place_of_mark(address, direction)];
}
