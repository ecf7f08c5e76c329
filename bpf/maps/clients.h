/* This file contains the map of clients: how much of the flow table each has. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

struct client_flows {
	__u32 flows; /* what the collector found in its latest run */
	__u32 full;  /* 1: it has its share of the table, and is given no more */
};

/* Which client has how many flows. The collector writes it, so that a new flow costs no more than a look-up. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct client_flows);
} tb_clients SEC(".maps");
