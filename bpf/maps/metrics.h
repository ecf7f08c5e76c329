/* This file contains the counters of packets and calls: one for each reason. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Packets (or socket calls) by reason, with room for reasons to come: a pinned map is reused only in its size. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u64);
} tb_metrics SEC(".maps");
