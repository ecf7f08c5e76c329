/* This file contains the map of whom services are open to. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

struct range_key {
	__u32 length; /* bits of service and prefix together: 32 and more; of IPv4 96 more than written */
	__u32 service;
	struct address address;
};

/* The clients that a service is open to; the value means nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct range_key);
	__type(value, __u8);
} tb_ranges SEC(".maps");
