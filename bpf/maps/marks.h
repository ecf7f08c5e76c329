/* This file contains which addresses the tables of flows and translations may have anything about (docs/adr/0004). */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ADDRESS_MARKS 65536 /* one for each value of 16 bits that an address is hashed to */

/* Addresses that a table may have something about (../marks.h). Made anew whenever the programs are loaded. */
struct address_marks {
	__u32 runs; /* of the collector, as far as they count */
	__u8 marked[ADDRESS_MARKS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct address_marks);
} tb_flow_marks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct address_marks);
} tb_nat_marks SEC(".maps");
