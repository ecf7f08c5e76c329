/* This file contains the map of who had which backend of a service with affinity. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

struct affinity_key {
	struct address client; /* the packet's source; at the socket, that of tb_netns for the service's family */
	__u32 service;
};

struct affinity {
	__u64 used_ns; /* CLOCK_MONOTONIC; over when used + timeout <= now */
	__u32 backend;
	__u32 zero;
};

/* Which backend a client of a service with affinity had last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} tb_affinity SEC(".maps");
