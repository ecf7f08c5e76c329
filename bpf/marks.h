/* This file contains which addresses a table has anything about at all: tb_flows about destinations (services) and sources
 * (backends), tb_nat about destinations, tb_sock_peers about backends. Packets of all others need not be looked up there. The buckets of such a table are 4 MiB
 * that no cache holds, and a look-up that finds nothing costs as much as one that does; marks are a few bytes that are
 * always at hand. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "address.h"
#include "maps/marks.h"

/* In place of a direction: of a backend that a socket knows by its service. */
#define MARK_OF_PEER 2

/* Runs of a collector until what it marks is complete: programs of an earlier load, which mark nothing here, are replaced one after
 * the other, and may be entering their last during the first run. */
#define RUNS_TO_COMPLETE 2

static __always_inline struct address_marks *flow_marks(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_flow_marks, &key);
}

static __always_inline struct address_marks *nat_marks(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_nat_marks, &key);
}

/* Where an address is marked. Two may have the same place: then packets of one are looked up for nothing. */
static __always_inline __u16 place_of_mark(const struct address *address, __u8 direction)
{
	__u32 hash = address->words[3] + (address->words[2] ^ direction) * 0x85ebca6b + address->words[1] * 0xc2b2ae35 +
		     address->words[0] * 0x27d4eb2f;
	return hash * 2654435769u >> 16; /* Fibonacci hashing: the upper bits of the product depend on all */
}

/* Of what is about to be entered, or has been found in the table. It stays when that has gone. */
static __always_inline void mark_address(struct address_marks *marks, const struct address *address, __u8 direction)
{
	/* Never NULL, but the verifier cannot know. */
	if (!marks)
		return;
	__u8 *mark = &marks->marked[place_of_mark(address, direction)];
	if (!*mark)
		*mark = 1;
}

/* A collector has been through the whole table. */
static __always_inline void complete_run(struct address_marks *marks)
{
	if (marks && marks->runs < RUNS_TO_COMPLETE)
		marks->runs++;
}

/* Whether the table may have anything about the address: FLOW_FORWARD as a destination, FLOW_REPLY as a source. */
static __always_inline bool may_be_known(const struct address_marks *marks, const struct address *address, __u8 direction)
{
	return !marks || marks->runs < RUNS_TO_COMPLETE || marks->marked[place_of_mark(address, direction)];
}
